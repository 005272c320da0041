/* Commands that are there again after a rollback or in a fork: their streams go on where the client reads them. */
#pragma once

#include "process.h"

/* New pipes for the commands of an image. */
struct stdio {
    char id[ID_MAX + 1];
    int ours[3], theirs[3]; /* pipes; -1: none */
    int terminal;           /* the master; -1: none */
    struct stdio *next;
};

/* The end that the process gets of a stream of a command, made when it is first asked for; -errno. */
int stdio_end_of(struct stdio **list, const char *process, int stream);
/* The command has a terminal, whose master is taken over. 0 or -errno. */
int stdio_take_terminal(struct stdio **list, const char *process, int master);
void stdio_free(struct stdio **list);

/* The command runs in the sandbox's cell as `host_pid`. NULL with err. */
struct process *process_reattach(struct sandbox *sandbox, struct stdio *stdio, const char *id, pid_t pid,
                                 pid_t host_pid, struct err *err);
