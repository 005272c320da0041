#include "server.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "fault.h"
#include "fd.h"
#include "loop.h"

#define READ_CHUNK (64 * 1024)
/* Who was answered may ask for the next thing. */
#define REST_MS 5

static const struct op ops[] = {
    {"hello", op_hello},
    {"cells.warm", op_cells_warm},
    {"engine.exit", op_engine_exit},
    {"base.open", op_base_open},
    {"sandbox.create", op_sandbox_create},
    {"sandbox.checkpoint", op_sandbox_checkpoint},
    {"sandbox.rollback", op_sandbox_rollback},
    {"layers.diff", op_layers_diff},
    {"layers.merge", op_layers_merge},
    {"layer.measure", op_layer_measure},
    {"layer.sync", op_layer_sync},
    {"image.store", op_image_store},
    {"image.load", op_image_load},
    {"image.drop", op_image_drop},
    {"images.unstore", op_images_unstore},
    {"sandbox.destroy", op_sandbox_destroy},
    {"sandbox.stats", op_sandbox_stats},
    {"sandbox.usage", op_sandbox_usage},
    {"sandbox.signal", op_sandbox_signal},
    {"process.start", op_process_start},
    {"process.read", op_process_read},
    {"process.write", op_process_write},
    {"process.close-stdin", op_process_close_stdin},
    {"process.hold", op_process_hold},
    {"process.signal", op_process_signal},
    {"process.resize", op_process_resize},
    {"process.forget", op_process_forget},
    {"file.open", op_file_open},
    {"file.read", op_file_read},
    {"file.write", op_file_write},
    {"file.close", op_file_close},
    {"file.stat", op_file_stat},
    {"file.list", op_file_list},
    {"file.mkdir", op_file_mkdir},
    {"file.remove", op_file_remove},
    {"file.rename", op_file_rename},
    {"file.symlink", op_file_symlink},
};

static struct {
    int listen_fd;
    struct source listener;
    int fd; /* the connection's, -1 when there is none */
    struct source source;
    uint64_t number;
    bool greeted;
    uint8_t *in;
    size_t in_len, in_cap;
    struct out out;
    size_t out_sent;
} server = {.listen_fd = -1, .fd = -1};

static void connection_close(void)
{
    if (server.fd < 0) {
        return;
    }
    loop_remove(&server.source);
    fd_close(&server.fd);
    server.number++;
    server.greeted = false;
    server.in_len = 0;
    out_free(&server.out);
    server.out_sent = 0;
}

static void connection_flush(void)
{
    while (server.fd >= 0 && server.out_sent < server.out.len) {
        ssize_t sent = send(server.fd, server.out.data + server.out_sent, server.out.len - server.out_sent,
                            MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent < 0 && errno == EAGAIN) {
            loop_set(&server.source, EPOLLIN | EPOLLOUT);
            return;
        }
        if (sent < 0) {
            connection_close();
            return;
        }
        server.out_sent += (size_t)sent;
    }
    if (server.fd >= 0) {
        loop_set(&server.source, EPOLLIN);
        server.out.len = server.out_sent = 0;
        if (server.out.cap > 4 * WIRE_FRAME_MAX) {
            out_free(&server.out);
        }
    }
}

static bool connected(const struct reply_to *to)
{
    return server.fd >= 0 && to->connection == server.number;
}

static void send_reply(const struct reply_to *to, const char *kind, const struct out *inside)
{
    if (!connected(to)) {
        return;
    }
    size_t frame = frame_begin(&server.out);
    out_map(&server.out);
    out_key_uint(&server.out, "id", to->id);
    out_text(&server.out, kind);
    out_map(&server.out);
    if (inside) {
        out_raw(&server.out, inside->data, inside->len);
    }
    out_end(&server.out);
    out_end(&server.out);
    frame_end(&server.out, frame);
    connection_flush();
}

void reply_ok(const struct reply_to *to, const struct out *ok)
{
    send_reply(to, "ok", ok);
}

void reply_part(const struct reply_to *to, const struct out *part)
{
    send_reply(to, "part", part);
}

void reply_error(const struct reply_to *to, const struct err *err)
{
    reply_error_with(to, err, NULL);
}

void reply_error_with(const struct reply_to *to, const struct err *err, const struct out *more)
{
    struct out inside = {0};

    out_key_text(&inside, "code", err->code);
    out_key_int(&inside, "errno", err->num);
    out_key_text(&inside, "step", err->step);
    out_key_bytes(&inside, "object", err->object, strlen(err->object));
    out_key_bytes(&inside, "message", err->message, strlen(err->message));
    if (more) {
        out_raw(&inside, more->data, more->len);
    }
    send_reply(to, "error", &inside);
    out_free(&inside);
}

void reply_raw_frames(const struct reply_to *to, const void *data, size_t len)
{
    if (connected(to)) {
        out_raw(&server.out, data, len);
        connection_flush();
    }
}

void send_event(const struct out *event)
{
    if (server.fd < 0 || !server.greeted) {
        return;
    }
    size_t frame = frame_begin(&server.out);
    out_map(&server.out);
    out_raw(&server.out, event->data, event->len);
    out_end(&server.out);
    frame_end(&server.out, frame);
    connection_flush();
}

static op_function *find_op(const char *name)
{
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        if (strcmp(ops[i].name, name) == 0) {
            return ops[i].run;
        }
    }
    return NULL;
}

/* For tests a request can name a step that is to fail. */
static int run_op(op_function *run, struct request *request, struct err *err)
{
    cleanup_free char *fault = NULL;

    if (arg_optional_string(request->args, "fault", &fault, err) < 0) {
        return -1;
    }
    fault_ask(fault);
    int result = run(request, err);
    fault_ask(NULL);
    loop_rest(REST_MS);
    return result;
}

static void serve_request(item message)
{
    struct request request = {.args = message, .reply_to.connection = server.number};
    struct err err = {0};
    cleanup_free char *name = NULL;
    int result = -1;

    if (arg_uint(message, "id", UINT64_MAX, &request.reply_to.id, &err) < 0) {
        log_line("a request without an id was dropped");
        return;
    }
    if (arg_string(message, "op", &name, &err) == 0) {
        op_function *run = find_op(name);
        if (!run) {
            err_set(&err, ERR_BAD_REQUEST, "no operation is called %s", name);
        } else if (!server.greeted && run != op_hello) {
            err_set(&err, ERR_VERSION, "%s came before hello", name);
        } else {
            result = run_op(run, &request, &err);
        }
    }
    if (result < 0) {
        reply_error(&request.reply_to, &err);
    } else if (result == OP_DONE) {
        server.greeted = server.greeted || find_op(name) == op_hello;
        reply_ok(&request.reply_to, &request.ok);
    }
    out_free(&request.ok);
}

/* Serves the whole frames at the start of the input; returns false when the connection is no longer this one. */
static bool serve_input(void)
{
    uint64_t number = server.number;
    size_t done = 0;

    while (done < server.in_len) {
        size_t used;
        cbor_item_t *message = frame_parse(server.in + done, server.in_len - done, &used);
        if (used == 0) {
            break;
        }
        done += used;
        if (!message) {
            log_line("a malformed frame; connection closed");
            connection_close();
            return false;
        }
        serve_request(message);
        cbor_decref(&message);
        if (server.number != number) {
            return false;
        }
    }
    memmove(server.in, server.in + done, server.in_len - done);
    server.in_len -= done;
    return true;
}

static void connection_ready(struct source *source, uint32_t events)
{
    (void)source;
    if (events & EPOLLOUT) {
        connection_flush();
        if (server.fd < 0) {
            return;
        }
    }
    if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
        return;
    }
    if (server.in_cap - server.in_len < READ_CHUNK) {
        server.in_cap = server.in_len + READ_CHUNK;
        server.in = realloc(server.in, server.in_cap);
        if (!server.in) {
            die("out of memory");
        }
    }
    ssize_t got = RETRY_EINTR(recv(server.fd, server.in + server.in_len, READ_CHUNK, MSG_DONTWAIT));
    if (got < 0 && errno == EAGAIN) {
        return;
    }
    if (got <= 0) {
        connection_close();
        return;
    }
    server.in_len += (size_t)got;
    serve_input();
}

static void listener_ready(struct source *source, uint32_t events)
{
    struct ucred peer;
    socklen_t len = sizeof peer;

    (void)events;
    cleanup_fd fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        return;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || peer.uid != 0) {
        log_line("a connection from uid %u was refused", peer.uid);
        return;
    }
    connection_close();
    server.fd = fd_steal(&fd);
    loop_add(&server.source, server.fd, EPOLLIN, connection_ready, NULL);
}

int server_listen(const char *path, struct err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof address.sun_path) {
        return err_set(err, ERR_BAD_REQUEST, "the socket's path is longer than %zu bytes: %s",
                       sizeof address.sun_path - 1, path);
    }
    strcpy(address.sun_path, path);
    cleanup_fd fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return err_system(err, errno, "socket", "%s", path);
    }
    unlink(path);
    mode_t mask = umask(0177);
    int bound = bind(fd, (struct sockaddr *)&address, sizeof address);
    umask(mask);
    if (bound < 0) {
        return err_system(err, errno, "bind", "%s", path);
    }
    if (listen(fd, 4) < 0) {
        return err_system(err, errno, "listen", "%s", path);
    }
    server.listen_fd = fd_steal(&fd);
    loop_add(&server.listener, server.listen_fd, EPOLLIN, listener_ready, NULL);
    return 0;
}

void server_close(void)
{
    connection_close();
    if (server.listen_fd >= 0) {
        loop_remove(&server.listener);
        fd_close(&server.listen_fd);
    }
}
