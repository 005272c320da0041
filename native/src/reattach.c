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

static void close_pipes(struct stdio *stdio)
{
    for (int i = 0; i < 3; i++) {
        fd_close(&stdio->ours[i]);
        fd_close(&stdio->theirs[i]);
    }
}

int stdio_end_of(struct stdio **list, const char *process, int stream)
{
    struct stdio *stdio = *list;

    while (stdio && strcmp(stdio->id, process) != 0) {
        stdio = stdio->next;
    }
    if (!stdio) {
        stdio = malloc(sizeof *stdio);
        if (!stdio) {
            die("out of memory");
        }
        *stdio = (struct stdio){.ours = {-1, -1, -1}, .theirs = {-1, -1, -1}};
        strcpy(stdio->id, process);
        int result = make_pipes(stdio);
        if (result < 0) {
            close_pipes(stdio);
            free(stdio);
            return result;
        }
        stdio->next = *list;
        *list = stdio;
    }
    return fcntl(stdio->theirs[stream], F_DUPFD_CLOEXEC, 0);
}

void stdio_free(struct stdio **list)
{
    while (*list) {
        struct stdio *next = (*list)->next;
        close_pipes(*list);
        free(*list);
        *list = next;
    }
}

struct process *process_reattach(struct sandbox *sandbox, struct stdio *list, const char *id, pid_t pid,
                                 pid_t host_pid, struct err *err)
{
    struct process *process = process_again(sandbox, id, err);
    struct stdio *stdio = list;

    while (stdio && strcmp(stdio->id, id) != 0) {
        stdio = stdio->next;
    }
    if (!process) {
        return NULL;
    }
    process->cell = sandbox->cell;
    process->pid = pid;
    process->host_pid = host_pid;
    fd_close(&process->pidfd);
    process->pidfd = pidfd_open(host_pid, 0);
    process_watch(process);
    if (!stdio) { /* it has closed all its streams */
        return process;
    }
    for (int i = 0; i < 2; i++) {
        stream_open(&process->streams[i], process, fd_steal(&stdio->ours[i + 1]));
    }
    if (process->has_stdin) {
        process->input.fd = fd_steal(&stdio->ours[0]);
    }
    return process;
}
