/* Every child the engine waits for, by pid: who is told when it ends. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/wait.h>

struct child {
    pid_t pid;   /* 0 when it is not (or no longer) watched */
    bool stands; /* it must never run: killed when it comes to a stop that nobody asked for */
    void (*ended)(struct child *child, const siginfo_t *info);
    void *owner;
    struct child *next;
};

void children_init(void); /* SIGCHLD through the loop; SIGTERM and SIGINT end the engine */
void child_watch(struct child *child, pid_t pid, void (*ended)(struct child *, const siginfo_t *),
                 void *owner);
void child_unwatch(struct child *child);
/* Blocks until the child is gone, for the undo of a half-made thing. Unwatches it. */
void child_kill_and_wait(struct child *child);
/* Tells of ends until `owner` waits for none, or the deadline is over. Returns whether it waits for none. */
bool children_await(bool (*waits)(void *owner), void *owner, uint64_t deadline);
/* Forks with the child in the pid namespace that `pid_ns` is of; `cgroup`: -1 for the engine's. Returns like fork; *pidfd in
 * the parent. */
pid_t child_fork_into(int pid_ns, int cgroup, int *pidfd);
/* Undoes what a child inherits of the engine's signal handling. */
void child_reset_signals(void);
