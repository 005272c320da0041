/* A sandbox: a cell with a root, cgroups and the processes started in it. */
#pragma once

#include "cell.h"
#include "cgroup.h"
#include "layer.h"
#include "standing.h"
#include "watched.h"

struct process;

/* A socket or FIFO of a tree that was left, reachable still. */
struct held {
    unsigned number;
    dev_t device;
    ino_t inode;
    mode_t mode;
    uid_t uid;
    gid_t gid;
    struct timespec times[2]; /* of access and of change */
    bool alive;               /* somebody has it open */
    struct held *next;
};

struct sandbox {
    char id[ID_MAX + 1];
    char *dir, *hostname;
    struct base *base;
    struct chain chain;         /* frozen layers, below the head */
    char *head;                 /* the layer that is written to */
    struct layer_print carried; /* what was in the head before anything was written */
    int *trees;                 /* the mounts, one per tree of the base */
    struct cell *cell;
    struct cell *leaving; /* the one a rollback has left, until all in it is reaped */
    struct cgroup cgroup;
    struct limits limits;
    unsigned admitted; /* how many more than the limit its cgroup allows, for spares */
    struct process *processes;
    struct watched *watched[WATCHED_BUCKETS]; /* by inode */
    struct held *held;
    unsigned last_held;
    struct lineage *lineages;
    bool host_net;
    int64_t oom_kills; /* seen so far */
    bool dead;         /* its init has ended */
    struct {
        bool asked, remove, for_exit;
        struct reply_to reply_to;
    } destroy;
    struct {
        struct reply_to reply_to;
        struct out ok, timings;
        bool is_told;
        uint64_t began, left; /* in microseconds */
        int *trees;
        struct lineage *lineages;
    } rollback; /* of the cell that is being left */
    struct sandbox *next;
};

extern struct sandbox *sandboxes;

/* The sandbox a request names in `sandbox`; NULL with err filled. */
struct sandbox *arg_sandbox(item args, struct err *err);
struct sandbox *arg_live_sandbox(item args, struct err *err);
struct sandbox *sandbox_find(const char *id);

/* rollback.c: finishes a rollback once the last process of the cell it leaves is reaped. */
void rollback_progress(struct sandbox *sandbox);
/* Waits for that. 0, or -1 with err when it takes long. */
int rollback_settle(struct sandbox *sandbox, struct err *err);
/* Finishes a destruction once the last process is reaped. */
void sandbox_maybe_gone(struct sandbox *sandbox);
/* What ended in `cell` is told, its last output taken. */
void sandbox_report_ended(struct sandbox *sandbox, const struct cell *cell);
bool sandbox_all_reaped(const struct sandbox *sandbox, const struct cell *cell);
void sandbox_free(struct sandbox *sandbox);
void sandbox_init_ended(struct child *child, const siginfo_t *info);
/* Blocks until every process of the sandbox is gone, and removes its cgroups: for the end of the engine. */
void sandbox_kill_and_wait(struct sandbox *sandbox);
/* Sends the signal to every process but the init; returns how many. */
int sandbox_signal(struct sandbox *sandbox, int signal);
/* With its init; the number of the others. */
int sandbox_kill_all(const struct sandbox *sandbox);

/* held.c */
void held_forget(struct sandbox *sandbox);
