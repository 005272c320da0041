/* A cell: the empty shell of a sandbox, a set of namespaces held by a tiny init. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "child.h"
#include "error.h"

struct cell {
    struct child init;
    int init_pidfd;
    int init_socket; /* closing it ends the init */
    int user_ns;
    int mount_ns;
    int pid_ns, net_ns, ipc_ns, uts_ns, cgroup_ns;
    int proc_mount, sys_mount, pts_mount; /* detached; -1 once attached */
    int bare_root;                        /* below that of the sandbox */
    int pts;                              /* the devpts root, for opening terminals */
    int queues; /* the root of its POSIX message queues; -1 until they have been looked at */
    bool host_net;
};

/* `init.ended` is for whoever takes it. */
int cell_new(struct cell **cell, bool host_net, struct err *err);
void cell_destroy(struct cell *cell); /* kills the init and waits for it */
void cell_release(struct cell *cell); /* closes what is left of a cell whose init has ended */

/* The engine's own name stays. */
int cell_set_hostname(const struct cell *cell, const char *hostname, struct err *err);

/* In a child of the engine: enters the cell's namespaces, the pid namespace excepted (that one is chosen before
 * the fork). Returns -errno. */
int cell_enter(const struct cell *cell);

/* Forks with the child in the cell's pid namespace. Returns like fork; *pidfd in the parent. */
pid_t cell_fork(const struct cell *cell, int cgroup_fd, int *pidfd);
