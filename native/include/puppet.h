/* A process of ours that stands for good and makes calls when it is told to: its own code never runs. */
#pragma once

#include "child.h"
#include "hand.h"

struct puppet {
    struct child child;
    struct subject subject;
    struct thread thread;
    struct inject inject;
    struct hand hand;
};

/* One that is not there. */
void puppet_none(struct puppet *puppet);
/* A new one in the pool, with the area at `at`, nothing else mapped but what is the kernel's own, no file open. 0 or -1
 * with err. */
int puppet_make(struct puppet *puppet, uint64_t at, struct err *err);
/* Descriptors of the engine's. */
struct birthplace {
    int pid_ns;
    int cgroup; /* of v2; -1: the parent's */
};

/* Forks with the child there, as `pid` in its namespace (0: any), and takes it over. 0 or -errno. */
int puppet_fork(struct puppet *puppet, struct puppet *parent, const struct birthplace *where, uint64_t flags,
                pid_t pid);
/* A fork has its parent's socket: instead it gets one of its own. 0 or -errno. */
int puppet_own_hand(struct puppet *puppet, const struct puppet *parent);
/* Adds a clone3 whose arguments lie at `offset` in the data of the area, in less than 128 bytes. 0 or -errno. */
int puppet_add_clone(struct inject *inject, size_t offset, uint64_t flags, uint64_t exit_signal, pid_t pid);
/* Takes over a fork or a thread that a puppet has made, its id as the engine sees it; it stands. 0 or -errno. */
int puppet_take(struct puppet *puppet, const struct puppet *parent, pid_t pid, bool is_thread);
/* It ends so that its parent is told of that status. 0 or -errno. */
int puppet_exit(struct puppet *puppet, int status);
/* Its process is stopped by that signal, and goes on making calls until it is let go. 0 or -errno. */
int puppet_stop(struct puppet *puppet, int signal);
/* After that: it goes on, as its parent may be told. 0 or -errno. */
int puppet_go_on(struct puppet *puppet);
/* Kills it and waits for its end; harmless on one that is not there. */
void puppet_end(struct puppet *puppet);
/* Waits for the first stop of what a puppet has made. 0 or -errno. */
int puppet_await(pid_t pid);

/* What the kernel maps into every process, in this one. */
struct kernel_area {
    char name[16];
    uint64_t start, end;
};
#define KERNEL_AREAS 8
size_t puppet_kernel_areas(struct kernel_area areas[KERNEL_AREAS]);
