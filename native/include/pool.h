/* Where cells are made and templates live: a user and a pid namespace between the engine's and those of the cells. What is
 * in it has every right over the cells and none over the host. */
#pragma once

#include <sys/types.h>

#include "error.h"

int pool_init(struct err *err);
/* Kills what lives in it and waits for its holder. */
void pool_end(void);

/* The pool's user namespace, which has the ids every cell has. */
int pool_user_namespace(void);
int pool_pid_namespace(void);
/* Forks with the child in the pool's pid namespace; `cgroup`: -1 for the engine's. Returns like fork; *pidfd in the parent. */
pid_t pool_fork(int cgroup, int *pidfd);
/* In such a child: becomes the root of the pool's user namespace. 0 or -errno. */
int pool_enter(void);
