/* A sandbox: a cell with a root, cgroups and the processes started in it. */
#pragma once

#include "cell.h"
#include "cgroup.h"
#include "engine.h"
#include "root.h"

#define ID_MAX 40

struct process;

struct sandbox {
    char id[ID_MAX + 1];
    char *dir;
    struct cell *cell;
    struct cgroup cgroup;
    struct volume *volumes;
    size_t volume_count;
    struct process *processes;
    int64_t oom_kills; /* seen so far */
    bool dead;         /* its init has ended */
    struct {
        bool asked, remove, for_exit;
        struct reply_to reply_to;
    } destroy;
    struct sandbox *next;
};

extern struct sandbox *sandboxes;

/* The sandbox a request names in `sandbox`; NULL with err filled. */
struct sandbox *arg_sandbox(item args, struct err *err);
struct sandbox *arg_live_sandbox(item args, struct err *err);
struct sandbox *sandbox_find(const char *id);
int arg_id(item args, const char *key, char out[ID_MAX + 1], struct err *err);

/* Finishes a destruction once the last process is reaped. */
void sandbox_maybe_gone(struct sandbox *sandbox);
/* Blocks until every process of the sandbox is gone, and removes its cgroups: for the end of the engine. */
void sandbox_kill_and_wait(struct sandbox *sandbox);
/* Sends the signal to every process but the init; returns how many. */
int sandbox_signal(struct sandbox *sandbox, int signal);
