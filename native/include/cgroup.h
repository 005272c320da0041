/* A sandbox's cgroups: limits and accounting, v2 where its controllers are usable, else v1; the v2 hierarchy, even an
 * empty one, for everything the core gives (entering by clone, freezing). */
#pragma once

#include <stdint.h>

#include "error.h"
#include "wire.h"

#define CGROUP_MAX 4

struct limits {
    uint64_t memory_bytes; /* 0: none */
    uint64_t pids;         /* 0: none */
    double cpus;           /* 0: none */
};

struct cgroup {
    char *paths[CGROUP_MAX]; /* directories made for this sandbox */
    int path_count;
    int enter_fds[CGROUP_MAX]; /* v1 `tasks` files: a process enters by writing "0" */
    int enter_count;
    int v2_fd; /* directory for CLONE_INTO_CGROUP, -1 when there is no v2 hierarchy */
};

struct cgroup_stats {
    int64_t memory_bytes, processes, cpu_usec, oom_kills; /* -1: unknown */
};

/* In `limits`. */
int arg_limits(item args, struct limits *limits, struct err *err);

void cgroup_detect(void);
/* What the probe tells: "v2", "v1" or NULL per controller name (memory, pids, cpu). */
const char *cgroup_version_of(const char *controller);

int cgroup_create(struct cgroup *cgroup, const char *name, const struct limits *limits, struct err *err);
/* Another limit on processes. */
int cgroup_set_pids(const struct cgroup *cgroup, const struct limits *limits, struct err *err);
/* In the child, before it leaves the host's namespaces; v2 was entered by clone. Returns -errno. */
int cgroup_enter(const struct cgroup *cgroup);
/* The directory, for CLONE_INTO_CGROUP, of what lives in the engine's pool: from there its root may clone into those of its
 * sandboxes. -1 where there is no v2 hierarchy, -errno. */
int cgroup_of_pool(void);
void cgroup_remove_pool(void);
void cgroup_read(const struct cgroup *cgroup, struct cgroup_stats *stats);
int64_t cgroup_oom_kills(const struct cgroup *cgroup);
/* Removes the directories; the processes must be gone. */
void cgroup_remove(struct cgroup *cgroup);
