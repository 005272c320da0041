/* Pairs of connected unix sockets without names, with what is on its way in them. Both ends share an object. */
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "fd.h"
#include "handle.h"

#define RECEIVE_SHUT 1
#define SEND_SHUT 2
#define PIECE_MAX (8 << 20)

static const int options[] = {SO_PASSCRED, SO_RCVLOWAT, SO_PRIORITY, SO_MARK, SO_KEEPALIVE, SO_PEEK_OFF};
#define OPTIONS (sizeof options / sizeof *options)

struct end {
    uint64_t inode;
    bool is_held; /* somebody has it open */
    int send_bytes, receive_bytes, set[OPTIONS];
    struct timeval send_timeout, receive_timeout;
    unsigned shut;
    uint8_t *bytes; /* that wait to be received */
    size_t byte_count;
    size_t *pieces;
    size_t piece_count;
};

struct pair {
    int type;
    pid_t maker;
    struct end ends[2];
};

struct kept_end {
    size_t object;
    int end;
};

/* ---- what the kernel tells of the other end ---- */

struct told {
    uint64_t peer;
    unsigned shut;
};

/* In the network namespace of the process: a socket tells of its own only. */
static int open_diagnosis(const struct seen *seen)
{
    const struct cell *cell = seen->move->sandbox->cell;

    if (cell->host_net) {
        int own = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
        return own < 0 ? -errno : own;
    }
    cleanup_fd back = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (back < 0 || setns(cell->net_ns, CLONE_NEWNET) < 0) {
        return -errno;
    }
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    int failure = fd < 0 ? -errno : 0;
    if (setns(back, CLONE_NEWNET) < 0) {
        die("return to the engine's network namespace: %s", strerror(errno));
    }
    return failure < 0 ? failure : fd;
}

static int parse_answer(const struct nlmsghdr *header, size_t size, struct told *told)
{
    if (!NLMSG_OK(header, size) || header->nlmsg_type == NLMSG_ERROR) {
        return -ENOENT;
    }
    const struct unix_diag_msg *message = NLMSG_DATA(header);
    size_t left = header->nlmsg_len - NLMSG_LENGTH(sizeof *message);
    *told = (struct told){0};
    for (const struct rtattr *at = (const void *)(message + 1); RTA_OK(at, left); at = RTA_NEXT(at, left)) {
        if (at->rta_type == UNIX_DIAG_PEER && RTA_PAYLOAD(at) >= sizeof(uint32_t)) {
            uint32_t peer;
            memcpy(&peer, RTA_DATA(at), sizeof peer);
            told->peer = peer;
        } else if (at->rta_type == UNIX_DIAG_SHUTDOWN && RTA_PAYLOAD(at) >= 1) {
            told->shut = *(const uint8_t *)RTA_DATA(at);
        }
    }
    return 0;
}

static int ask(const struct seen *seen, struct told *told)
{
    struct {
        struct nlmsghdr header;
        struct unix_diag_req request;
    } question = {
        .header = {.nlmsg_len = sizeof question,
                   .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                   .nlmsg_flags = NLM_F_REQUEST},
        .request = {.sdiag_family = AF_UNIX,
                    .udiag_states = ~0U,
                    .udiag_ino = (uint32_t)seen->st.st_ino,
                    .udiag_show = UDIAG_SHOW_PEER,
                    .udiag_cookie = {~0U, ~0U}},
    };
    _Alignas(struct nlmsghdr) char answer[4096];
    cleanup_fd fd = open_diagnosis(seen);

    if (fd < 0) {
        return fd;
    }
    if (send(fd, &question, sizeof question, 0) < 0) {
        return -errno;
    }
    ssize_t got = recv(fd, answer, sizeof answer, MSG_DONTWAIT);
    return got < 0 ? -errno : parse_answer((const void *)answer, (size_t)got, told);
}

/* ---- capturing ---- */

static const struct object_kind pair_kind;

static void forget_pair(void *kept)
{
    struct pair *pair = kept;

    for (int i = 0; i < 2; i++) {
        free(pair->ends[i].bytes);
        free(pair->ends[i].pieces);
    }
    free(pair);
}

static void add_piece(struct end *end, const char *bytes, size_t size)
{
    end->bytes = realloc(end->bytes, end->byte_count + size + 1);
    end->pieces = realloc(end->pieces, (end->piece_count + 1) * sizeof *end->pieces);
    if (!end->bytes || !end->pieces) {
        die("out of memory");
    }
    memcpy(end->bytes + end->byte_count, bytes, size);
    end->byte_count += size;
    end->pieces[end->piece_count++] = size;
}

/* Looked at, not taken: where the next look begins is a property of the socket, which gets its own back. */
static int copy_waiting(struct end *end, int fd)
{
    const int from_start = 0;
    int was = -1;
    socklen_t size = sizeof was;
    int result = 0;
    cleanup_free char *bytes = malloc(PIECE_MAX);

    if (!bytes) {
        die("out of memory");
    }
    if (getsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &was, &size) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &from_start, sizeof from_start) < 0) {
        return -errno;
    }
    while (result == 0) {
        struct iovec piece = {.iov_base = bytes, .iov_len = PIECE_MAX};
        struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
        struct pollfd events = {.fd = fd, .events = POLLIN};
        ssize_t got = recvmsg(fd, &message, MSG_PEEK | MSG_DONTWAIT);
        if (got < 0) {
            result = errno == EAGAIN ? 1 : -errno;
        } else if (got == 0 && (poll(&events, 1, 0) != 1 || events.revents & (POLLHUP | POLLRDHUP) ||
                                end->shut & RECEIVE_SHUT || end->piece_count > 0)) {
            result = 1;
        } else if (message.msg_flags & MSG_TRUNC) {
            result = -EMSGSIZE;
        } else {
            add_piece(end, bytes, (size_t)got);
        }
    }
    if (setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &was, sizeof was) < 0) {
        return -errno;
    }
    return result < 0 ? result : 0;
}

static int look_at_end(struct end *end, int fd)
{
    socklen_t size = sizeof end->send_timeout;

    if (getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &end->send_timeout, &size) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &end->receive_timeout, &size) < 0) {
        return -errno;
    }
    size = sizeof(int);
    if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &end->send_bytes, &size) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &end->receive_bytes, &size) < 0) {
        return -errno;
    }
    for (size_t i = 0; i < OPTIONS; i++) {
        if (getsockopt(fd, SOL_SOCKET, options[i], &end->set[i], &size) < 0) {
            return -errno;
        }
    }
    return copy_waiting(end, fd);
}

static bool has_name(int fd, bool peer)
{
    struct sockaddr_un name;
    socklen_t size = sizeof name;
    int result = peer ? getpeername(fd, (struct sockaddr *)&name, &size)
                      : getsockname(fd, (struct sockaddr *)&name, &size);

    return result < 0 || size > sizeof(sa_family_t);
}

static bool is_it(const struct seen *seen)
{
    return S_ISSOCK(seen->st.st_mode) && !seen->description;
}

/* NULL when it can be kept. */
static const char *why_not(const struct seen *seen, int fd, const struct ucred *maker)
{
    int family = 0, filter = 0;
    socklen_t size = sizeof family;
    struct pollfd events = {.fd = fd};

    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) < 0 || family != AF_UNIX) {
        return "sockets of this family are not brought back";
    }
    if (has_name(fd, false) || has_name(fd, true)) {
        return "a unix socket with a name, or without another end, is not brought back";
    }
    if (maker->pid != seen->unit->subject->pid || maker->uid != engine.uid_base ||
        maker->gid != engine.uid_base) {
        return "it was made by another process or user";
    }
    size = 0;
    if (getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, &filter, &size) < 0 || size > 0) {
        return "it has a filter";
    }
    return poll(&events, 1, 0) > 0 && events.revents & POLLERR ? "it has an error that was not told yet"
                                                               : NULL;
}

static int keep_end(const struct seen *seen, struct kept_end *kept, int fd, pid_t maker)
{
    struct told told;
    socklen_t size = sizeof(int);
    int result = ask(seen, &told);

    if (result < 0) {
        return result;
    }
    struct stat key = {.st_ino = told.peer && told.peer < seen->st.st_ino ? told.peer : seen->st.st_ino};
    kept->object = object_find(seen->image, &pair_kind, &key);
    if (kept->object == SIZE_MAX) {
        struct pair *made = handle_keep(sizeof *made);
        made->ends[0].inode = seen->st.st_ino;
        made->ends[1].inode = told.peer;
        made->maker = maker;
        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &made->type, &size) < 0) {
            free(made);
            return -errno;
        }
        kept->object = object_add(seen->image, &pair_kind, &key, made);
    }
    struct pair *pair = seen->image->objects[kept->object].kept;
    kept->end = pair->ends[0].inode != seen->st.st_ino;
    pair->ends[kept->end].is_held = true;
    pair->ends[kept->end].shut = told.shut;
    return look_at_end(&pair->ends[kept->end], fd);
}

static int capture_end(const struct seen *seen, struct image_handle *handle)
{
    struct ucred maker = {0};
    socklen_t size = sizeof maker;
    cleanup_fd fd = seen_take(seen);

    if (fd < 0) {
        return fd;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &maker, &size) < 0) {
        return seen_refuse(seen, "sockets of this family are not brought back");
    }
    const char *reason = why_not(seen, fd, &maker);
    if (reason) {
        return seen_refuse(seen, reason);
    }
    handle->kept = handle_keep(sizeof(struct kept_end));
    int result = keep_end(seen, handle->kept, fd, maker.pid);
    const struct kept_end *kept = handle->kept;
    if (result == -EMSGSIZE) {
        result = seen_refuse(seen, "it holds a message that is too long");
    } else if (result == -ENOENT) {
        result = seen_refuse(seen, "it is in a network namespace of its own");
    } else if (result == 0) {
        const struct pair *pair = seen->image->objects[kept->object].kept;
        const struct end *end = &pair->ends[kept->end];
        if (end->piece_count > 0 && end->set[0]) { /* SO_PASSCRED */
            result = seen_refuse(seen, "it holds messages with credentials");
        }
    }
    if (result != 0) {
        free(handle->kept);
        handle->kept = NULL;
    }
    return result;
}

/* The other end is there: then somebody must have it who is looked at. */
static int complete_end(const struct seen *seen, struct image_handle *handle)
{
    const struct kept_end *kept = handle->kept;
    const struct pair *pair = seen->image->objects[kept->object].kept;
    const struct end *other = &pair->ends[!kept->end];

    return other->inode != 0 && !other->is_held ? seen_refuse(seen, "its other end is not open in a process")
                                                : 0;
}

/* ---- making ---- */

static int fill(const struct pair *pair, int to, int by)
{
    const struct end *end = &pair->ends[to];
    const uint8_t *at = end->bytes;

    for (size_t i = 0; i < end->piece_count; i++) {
        for (size_t done = 0; done < end->pieces[i] || end->pieces[i] == 0;) {
            ssize_t sent = send(by, at + done, end->pieces[i] - done, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (sent < 0) {
                return -errno;
            }
            done += (size_t)sent;
            if (end->pieces[i] == 0) {
                break;
            }
        }
        at += end->pieces[i];
    }
    return 0;
}

/* The kernel doubles what it is given. */
static int set_bytes(int fd, int option, int bytes)
{
    const int half = bytes / 2;

    return setsockopt(fd, SOL_SOCKET, option, &half, sizeof half) < 0 ? -errno : 0;
}

static int set_options(const struct end *end, int fd)
{
    int result = set_bytes(fd, SO_SNDBUFFORCE, end->send_bytes);

    result = result < 0 ? result : set_bytes(fd, SO_RCVBUFFORCE, end->receive_bytes);
    for (size_t i = 0; result == 0 && i < OPTIONS; i++) {
        int now;
        socklen_t size = sizeof now;
        if (getsockopt(fd, SOL_SOCKET, options[i], &now, &size) < 0 ||
            (now != end->set[i] &&
             setsockopt(fd, SOL_SOCKET, options[i], &end->set[i], sizeof end->set[i]) < 0)) {
            return -errno;
        }
    }
    if (result == 0 &&
        (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &end->send_timeout, sizeof end->send_timeout) < 0 ||
         setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &end->receive_timeout, sizeof end->receive_timeout) < 0)) {
        return -errno;
    }
    return result;
}

/* By the process itself, whose credentials both ends tell. */
static int make_inside(const struct opening *opening, int type, int fds[2])
{
    const struct revived *revived = opening->revived;
    struct inject *inject = &opening->revived->puppet.inject;
    int numbers[2], result;

    inject_clear(inject);
    inject_add(inject, SYS_socketpair, AF_UNIX, (uint64_t)type | SOCK_CLOEXEC, 0, inject_data(inject), 0, 0);
    if ((result = inject_run_clear(inject)) < 0 ||
        (result = subject_read(inject->subject, inject_data(inject), numbers, sizeof numbers)) < 0) {
        return result;
    }
    for (int i = 0; i < 2; i++) {
        fds[i] = pidfd_getfd(revived->puppet.subject.pidfd, numbers[i], 0);
        result = fds[i] < 0 ? -errno : result;
        inject_add(inject, SYS_close, (uint64_t)numbers[i], 0, 0, 0, 0, 0);
    }
    int closed = inject_run_clear(inject);
    return result < 0 ? result : closed;
}

static int how_to_shut(unsigned shut)
{
    return shut == (RECEIVE_SHUT | SEND_SHUT) ? SHUT_RDWR : shut == SEND_SHUT ? SHUT_WR : SHUT_RD;
}

static int make_pair(const struct opening *opening, const struct image_object *object, int fds[2])
{
    const struct pair *pair = object->kept;
    const int roomy = 64 << 20;
    int result = make_inside(opening, pair->type, fds);

    for (int i = 0; result == 0 && i < 2; i++) {
        result = set_bytes(fds[!i], SO_SNDBUFFORCE, roomy);
        result = result < 0 ? result : fill(pair, i, fds[!i]);
    }
    for (int i = 0; result == 0 && i < 2; i++) {
        const struct end *end = &pair->ends[i];
        if (!end->is_held) {
            fd_close(&fds[i]);
            continue;
        }
        result = set_options(end, fds[i]);
        if (result == 0 && end->shut && pair->ends[!i].is_held &&
            shutdown(fds[i], how_to_shut(end->shut)) < 0) {
            result = -errno;
        }
    }
    return result;
}

static int open_end(const struct opening *opening, const struct image_handle *handle)
{
    const struct kept_end *kept = handle->kept;
    const int *fds = opening_object(opening, kept->object);

    if (!fds) {
        return -errno;
    }
    int fd = fcntl(fds[kept->end], F_DUPFD_CLOEXEC, 0);
    if (fd < 0 || fcntl(fd, F_SETFL, handle->flags & (O_NONBLOCK)) < 0) {
        int failure = -errno;
        fd_close(&fd);
        return failure;
    }
    return fd;
}

static const struct object_kind pair_kind = {.make = make_pair, .forget = forget_pair};

const struct handle_kind handle_unix = {.name = "unix socket",
                                        .is_it = is_it,
                                        .capture = capture_end,
                                        .complete = complete_end,
                                        .open = open_end};
