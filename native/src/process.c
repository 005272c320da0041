#include "process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>

#include "fd.h"
#include "server.h"
#include "spawn.h"

#define RING_BYTES (4u << 20)

static struct process *find(const struct sandbox *sandbox, const char *id)
{
    struct process *process = sandbox->processes;

    while (process && strcmp(process->id, id) != 0) {
        process = process->next;
    }
    return process;
}

struct process *arg_process(item args, struct err *err)
{
    char id[ID_MAX + 1];
    struct sandbox *sandbox = arg_sandbox(args, err);

    if (!sandbox || arg_id(args, "process", id, err) < 0) {
        return NULL;
    }
    struct process *process = find(sandbox, id);
    if (!process || !process->started) {
        err_set(err, ERR_NO_PROCESS, "%s has no process %s", sandbox->id, id);
        return NULL;
    }
    return process;
}

/* ---- the end ---- */

static void out_status(struct out *out, const struct process *process)
{
    if (process->signal) {
        out_key_int(out, "signal", process->signal);
    } else {
        out_key_int(out, "exitCode", process->exit_code);
    }
    out_key_bool(out, "oomKilled", process->oom_killed);
}

static void out_written(struct out *out, const struct process *process)
{
    out_text(out, "written");
    out_list(out);
    out_uint(out, process->streams[0].spool.written);
    out_uint(out, process->streams[1].spool.written);
    out_end(out);
}

void process_describe(const struct process *process, struct out *out)
{
    out_map(out);
    out_key_text(out, "process", process->id);
    out_key_uint(out, "pid", (uint64_t)process->pid);
    out_key_bool(out, "running", !process->reported);
    if (process->reported) {
        out_status(out, process);
    }
    out_key_bool(out, "held", process->streams[0].spool.hold);
    out_key_bool(out, "tty", process->has_terminal);
    out_key_bool(out, "stdin", process->has_stdin);
    out_written(out, process);
    out_end(out);
}

void process_unlink_output(const struct process *process)
{
    char path[4096];

    for (int stream = 1; stream <= 2; stream++) {
        snprintf(path, sizeof path, "%s/logs/%s.%d", process->sandbox->dir, process->id, stream);
        unlink(path);
    }
}

void process_free(struct process *process)
{
    for (struct process **link = &process->sandbox->processes; *link; link = &(*link)->next) {
        if (*link == process) {
            *link = process->next;
            break;
        }
    }
    child_unwatch(&process->child);
    loop_remove(&process->report);
    fd_close(&process->report_fd);
    process->ended = true;
    input_close(process);
    for (int i = 0; i < 2; i++) {
        stream_close(&process->streams[i]);
    }
    fd_close(&process->terminal);
    fd_close(&process->pidfd);
    free(process);
}

/* The end is told only after the last bytes the process wrote are in the ring. */
void process_progress(struct process *process)
{
    struct out event = {0};

    if (!process->ended || process->reported || !process->started || !stream_drained(&process->streams[0]) ||
        !stream_drained(&process->streams[1])) {
        return;
    }
    process->reported = true;
    out_key_text(&event, "event", "process.exit");
    out_key_text(&event, "sandbox", process->sandbox->id);
    out_key_text(&event, "process", process->id);
    out_status(&event, process);
    out_written(&event, process);
    send_event(&event);
    out_free(&event);
}

static void report_ready(struct source *source, uint32_t events);

static void process_ended(struct child *child, const siginfo_t *info)
{
    struct process *process = child->owner;
    struct sandbox *sandbox = process->sandbox;

    while (process->report_fd >= 0) { /* its other end is closed now */
        report_ready(&process->report, 0);
    }
    process->ended = true;
    if (!process->started) { /* the failure was replied */
        process_unlink_output(process);
        process_free(process);
        rollback_progress(sandbox);
        sandbox_maybe_gone(sandbox);
        return;
    }
    if (info->si_code == CLD_EXITED) {
        process->exit_code = info->si_status;
    } else {
        process->signal = info->si_status;
    }
    if (process->signal == SIGKILL) {
        int64_t kills = cgroup_oom_kills(&sandbox->cgroup);
        process->oom_killed = kills > sandbox->oom_kills;
        sandbox->oom_kills = kills;
    }
    input_close(process);
    stream_drain(&process->streams[0]);
    stream_drain(&process->streams[1]);
    process_progress(process);
    rollback_progress(sandbox);
    sandbox_maybe_gone(sandbox);
}

/* ---- the start ---- */

struct start {
    char **argv, **env;
    char *cwd, *user;
    bool has_stdin, hold, terminal;
    uint64_t cols, rows, ring_bytes;
    int child_ends[3];
};

static void start_free(struct start *start)
{
    strings_free(start->argv);
    strings_free(start->env);
    free(start->cwd);
    free(start->user);
    fd_close(&start->child_ends[0]);
    if (!start->terminal) { /* on a terminal all three are one */
        fd_close(&start->child_ends[1]);
        fd_close(&start->child_ends[2]);
    }
}

static int parse_start(item args, struct start *start, struct err *err)
{
    item tty = item_get(args, "tty");

    if (arg_strings(args, "argv", &start->argv, err) < 0 || arg_strings(args, "env", &start->env, err) < 0 ||
        arg_string(args, "cwd", &start->cwd, err) < 0 ||
        arg_optional_string(args, "user", &start->user, err) < 0 ||
        arg_bool(args, "stdin", &start->has_stdin, err) < 0 ||
        arg_bool(args, "hold", &start->hold, err) < 0 ||
        arg_optional_uint(args, "ringBytes", 1u << 30, RING_BYTES, &start->ring_bytes, err) < 0) {
        return -1;
    }
    if (!start->argv[0] || !start->argv[0][0]) {
        return err_set(err, ERR_BAD_REQUEST, "argv: a program's name wanted");
    }
    start->terminal = tty != NULL;
    if (tty && (!cbor_isa_map(tty) || arg_uint(tty, "cols", 65535, &start->cols, err) < 0 ||
                arg_uint(tty, "rows", 65535, &start->rows, err) < 0)) {
        return err_set(err, ERR_BAD_REQUEST, "tty: cols and rows wanted");
    }
    return 0;
}

static int open_pipe(int ends[2])
{
    return pipe2(ends, O_CLOEXEC);
}

static int set_nonblocking(int fd)
{
    return fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

/* The terminal comes from the cell's own devpts, whose root the engine holds: no path inside is followed. */
static int open_terminal(struct process *process, struct start *start, struct err *err)
{
    struct winsize size = {.ws_col = (unsigned short)start->cols, .ws_row = (unsigned short)start->rows};
    int unlock = 0;

    process->terminal =
        openat(process->sandbox->cell->pts, "ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (process->terminal < 0 || ioctl(process->terminal, TIOCSPTLCK, &unlock) < 0 ||
        ioctl(process->terminal, TIOCSWINSZ, &size) < 0) {
        return err_system(err, errno, "open terminal", "%s", process->id);
    }
    int slave = ioctl(process->terminal, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0 || fchown(slave, engine.uid_base, engine.uid_base + 5) < 0) {
        fd_close(&slave);
        return err_system(err, errno, "open terminal", "%s", process->id);
    }
    for (int i = 0; i < 3; i++) {
        start->child_ends[i] = slave;
    }
    process->input.fd = fcntl(process->terminal, F_DUPFD_CLOEXEC, 0); /* epoll takes a descriptor once */
    if (process->input.fd < 0) {
        return err_system(err, errno, "open terminal", "%s", process->id);
    }
    stream_open(&process->streams[0], process, process->terminal);
    return 0;
}

static int open_output_pipe(struct process *process, struct start *start, int index)
{
    int ends[2];

    if (open_pipe(ends) < 0) {
        return -1;
    }
    start->child_ends[index + 1] = ends[1];
    if (set_nonblocking(ends[0]) < 0 || fchown(ends[1], engine.uid_base, engine.uid_base) < 0) {
        fd_close(&ends[0]);
        return -1;
    }
    stream_open(&process->streams[index], process, ends[0]);
    return 0;
}

static int open_pipes(struct process *process, struct start *start, struct err *err)
{
    int ends[2];

    if (open_output_pipe(process, start, 0) < 0 || open_output_pipe(process, start, 1) < 0) {
        return err_system(err, errno, "pipe", "%s", process->id);
    }
    if (start->has_stdin) {
        if (open_pipe(ends) < 0) {
            return err_system(err, errno, "pipe", "%s", process->id);
        }
        start->child_ends[0] = ends[0];
        process->input.fd = ends[1];
        if (set_nonblocking(ends[1]) < 0 || fchown(ends[0], engine.uid_base, engine.uid_base) < 0) {
            return err_system(err, errno, "pipe", "%s", process->id);
        }
    }
    return 0;
}

static int open_spools(struct process *process, const struct start *start, struct err *err)
{
    char path[4096], name[ID_MAX + 16];

    snprintf(path, sizeof path, "%s/logs", process->sandbox->dir);
    cleanup_fd dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < (start->terminal ? 1 : 2); i++) {
        snprintf(name, sizeof name, "%s.%d", process->id, i + 1);
        int result =
            dir < 0 ? -errno : spool_create(&process->streams[i].spool, dir, name, start->ring_bytes);
        if (result < 0) {
            return err_system(err, -result, "make output file", "%s/%s", path, name);
        }
        process->streams[i].spool.hold = start->hold;
    }
    return 0;
}

static struct process *process_new(struct sandbox *sandbox, const char *id, const struct start *start)
{
    struct process *process = calloc(1, sizeof *process);

    if (!process) {
        die("out of memory");
    }
    strcpy(process->id, id);
    process->sandbox = sandbox;
    process->cell = sandbox->cell;
    process->pidfd = process->terminal = process->report_fd = process->input.fd = -1;
    process->has_terminal = start->terminal;
    process->has_stdin = start->has_stdin || start->terminal;
    for (int i = 0; i < 2; i++) {
        process->streams[i].process = process;
        process->streams[i].fd = process->streams[i].spool.fd = -1;
    }
    process->next = sandbox->processes;
    sandbox->processes = process;
    return process;
}

/* The pid comes first; a failure follows when the program does not start; the end of the pipe means that it has. */
static void report_ready(struct source *source, uint32_t events)
{
    struct process *process = source->owner;
    struct {
        pid_t pid;
        struct spawn_failure failure;
    } __attribute__((packed)) report = {0};
    struct err err = {.code = ERR_EXEC};
    struct out ok = {0};
    size_t have = process->pid ? sizeof report.pid : 0;
    struct spawn_failure failure;

    (void)events;
    ssize_t got = RETRY_EINTR(read(process->report_fd, (char *)&report + have, sizeof report - have));
    if (got < 0 && errno == EAGAIN) {
        return;
    }
    if (have == 0 && got >= (ssize_t)sizeof report.pid && got != (ssize_t)sizeof failure) {
        process->pid = report.pid;
        if (got == (ssize_t)sizeof report.pid) {
            return;
        }
    }
    loop_remove(&process->report);
    fd_close(&process->report_fd);
    if (got == 0 && process->pid) {
        process->started = true;
        out_key_uint(&ok, "pid", (uint64_t)process->pid);
        out_key_uint(&ok, "hostPid", (uint64_t)process->host_pid);
        reply_ok(&process->start_reply, &ok);
        out_free(&ok);
        return;
    }
    if (got == 0) {
        err_set(&err, ERR_EXEC, "the process was killed before its program started");
    } else {
        /* before its pid was told, the failure stands at the start of the report */
        memcpy(&failure, process->pid ? (const void *)&report.failure : (const void *)&report,
               sizeof failure);
        failure.step[sizeof failure.step - 1] = '\0';
        err_system(&err, failure.num, failure.step, "%s", process->id);
        err.code = ERR_EXEC;
    }
    reply_error(&process->start_reply, &err);
}

bool processes_settle(const struct sandbox *sandbox, uint64_t deadline)
{
    for (struct process *process = sandbox->processes; process; process = process->next) {
        while (process->report_fd >= 0) {
            if (!loop_await(process->report_fd, deadline)) {
                return false;
            }
            report_ready(&process->report, 0);
        }
    }
    return true;
}

static int launch(struct process *process, struct start *start, struct err *err)
{
    int ends[2];

    if (open_spools(process, start, err) < 0 ||
        (start->terminal ? open_terminal(process, start, err) : open_pipes(process, start, err)) < 0) {
        return -1;
    }
    if (open_pipe(ends) < 0) {
        return err_system(err, errno, "pipe", "%s", process->id);
    }
    cleanup_fd report = ends[1];
    process->report_fd = ends[0];
    set_nonblocking(process->report_fd);
    const struct spawn spawn = {
        .sandbox = process->sandbox,
        .argv = start->argv,
        .env = start->env,
        .cwd = start->cwd,
        .user = start->user,
        .stdio = {start->child_ends[0], start->child_ends[1], start->child_ends[2]},
        .terminal = start->terminal,
        .report = report,
    };
    process->host_pid = spawn_process(&spawn, &process->pidfd);
    if (process->host_pid < 0) {
        return err_system(err, errno, "fork", "%s", process->id);
    }
    child_watch(&process->child, process->host_pid, process_ended, process);
    loop_add(&process->report, process->report_fd, EPOLLIN, report_ready, process);
    return 0;
}

int op_process_start(struct request *request, struct err *err)
{
    struct start start = {.child_ends = {-1, -1, -1}};
    struct sandbox *sandbox = arg_live_sandbox(request->args, err);
    char id[ID_MAX + 1];
    int result = -1;

    if (!sandbox || arg_id(request->args, "process", id, err) < 0) {
        return -1;
    }
    if (find(sandbox, id)) {
        return err_set(err, ERR_EXISTS, "%s has a process %s", sandbox->id, id);
    }
    if (parse_start(request->args, &start, err) == 0) {
        struct process *process = process_new(sandbox, id, &start);
        process->start_reply = request->reply_to;
        result = OP_LATER;
        if (launch(process, &start, err) < 0) {
            process_unlink_output(process);
            process_free(process);
            result = -1;
        }
    }
    start_free(&start);
    return result;
}

/* ---- one that is there again ---- */

void process_watch(struct process *process)
{
    child_watch(&process->child, process->host_pid, process_ended, process);
}

/* What it wrote last is taken; its pipes are those of the program that is left. */
static void let_go_of_program(struct process *process)
{
    child_unwatch(&process->child);
    process->ended = true;
    input_close(process);
    for (int i = 0; i < 2; i++) {
        struct stream *stream = &process->streams[i];
        stream_drain(stream);
        stream_end_now(stream);
    }
}

struct process *process_again(struct sandbox *sandbox, const char *id, bool terminal, struct err *err)
{
    struct process *process = find(sandbox, id);
    const struct start start = {.has_stdin = true, .terminal = terminal, .ring_bytes = RING_BYTES};

    if (process) {
        let_go_of_program(process);
    } else {
        process = process_new(sandbox, id, &start);
        if (open_spools(process, &start, err) < 0) {
            process_free(process);
            return NULL;
        }
    }
    process->started = true;
    process->ended = process->reported = process->oom_killed = false;
    process->exit_code = process->signal = 0;
    for (int i = 0; i < 2; i++) {
        process->streams[i].draining = process->streams[i].settled = false;
    }
    return process;
}
