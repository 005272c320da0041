#include "reattach.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>

#include "fd.h"
#include "server.h"

static int make_pipes(struct stdio *stdio)
{
    for (int i = 0; i < 3; i++) {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) < 0) {
            return -errno;
        }
        stdio->ours[i] = ends[i == 0];
        stdio->theirs[i] = ends[i != 0];
        if (fcntl(stdio->ours[i], F_SETFL, fcntl(stdio->ours[i], F_GETFL) | O_NONBLOCK) < 0 ||
            fchown(stdio->theirs[i], engine.uid_base, engine.uid_base) < 0) {
            return -errno;
        }
    }
    return 0;
}

static void close_all(struct stdio *stdio)
{
    for (int i = 0; i < 3; i++) {
        fd_close(&stdio->ours[i]);
        fd_close(&stdio->theirs[i]);
    }
    fd_close(&stdio->terminal);
}

static struct stdio *find(struct stdio *list, const char *process)
{
    while (list && strcmp(list->id, process) != 0) {
        list = list->next;
    }
    return list;
}

static struct stdio *find_or_add(struct stdio **list, const char *process)
{
    struct stdio *stdio = find(*list, process);

    if (!stdio) {
        stdio = malloc(sizeof *stdio);
        if (!stdio) {
            die("out of memory");
        }
        *stdio = (struct stdio){.ours = {-1, -1, -1}, .theirs = {-1, -1, -1}, .terminal = -1, .next = *list};
        strcpy(stdio->id, process);
        *list = stdio;
    }
    return stdio;
}

int stdio_end_of(struct stdio **list, const char *process, int stream)
{
    struct stdio *stdio = find_or_add(list, process);
    int result = stdio->theirs[stream] < 0 ? make_pipes(stdio) : 0;

    if (result < 0) {
        close_all(stdio);
        return result;
    }
    int fd = fcntl(stdio->theirs[stream], F_DUPFD_CLOEXEC, 0);
    return fd < 0 ? -errno : fd;
}

int stdio_take_terminal(struct stdio **list, const char *process, int master)
{
    struct stdio *stdio = find_or_add(list, process);

    fd_close(&stdio->terminal);
    stdio->terminal = master;
    return fcntl(master, F_SETFL, O_RDWR | O_NONBLOCK) < 0 ? -errno : 0;
}

void stdio_free(struct stdio **list)
{
    while (*list) {
        struct stdio *next = (*list)->next;
        close_all(*list);
        free(*list);
        *list = next;
    }
}

/* The master is one stream, both ways. */
static int attach_terminal(struct process *process, struct stdio *stdio)
{
    fd_close(&process->terminal);
    process->terminal = fd_steal(&stdio->terminal);
    process->input.fd = fcntl(process->terminal, F_DUPFD_CLOEXEC, 0); /* epoll takes a descriptor once */
    stream_open(&process->streams[0], process, process->terminal);
    return process->input.fd < 0 ? -1 : 0;
}

static void attach_pipes(struct process *process, struct stdio *stdio)
{
    for (int i = 0; i < 2; i++) {
        stream_open(&process->streams[i], process, fd_steal(&stdio->ours[i + 1]));
    }
    if (process->has_stdin) {
        process->input.fd = fd_steal(&stdio->ours[0]);
    }
}

struct process *process_reattach(struct sandbox *sandbox, struct stdio *list, const char *id, pid_t pid,
                                 pid_t host_pid, struct err *err)
{
    struct stdio *stdio = find(list, id);
    struct process *process = process_again(sandbox, id, stdio && stdio->terminal >= 0, err);

    if (!process) {
        return NULL;
    }
    process->cell = sandbox->cell;
    process->pid = pid;
    process->host_pid = host_pid;
    fd_close(&process->pidfd);
    process->pidfd = pidfd_open(host_pid, 0);
    process_watch(process);
    if (stdio && stdio->terminal >= 0) {
        if (attach_terminal(process, stdio) < 0) {
            err_system(err, errno, "attach terminal", "%s", id);
            return NULL;
        }
    } else if (stdio && stdio->ours[1] >= 0) { /* else it has closed all its streams */
        attach_pipes(process, stdio);
    }
    return process;
}
