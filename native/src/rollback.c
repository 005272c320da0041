/* A sandbox goes back to an earlier chain: a new cell is built on it completely before the old one is killed. */
#include <signal.h>
#include <string.h>

#include "fd.h"
#include "file.h"
#include "lineage.h"
#include "process.h"
#include "rollback.h"
#include "server.h"

#define SETTLE_USEC 1000000

static void tell_timings(struct sandbox *sandbox)
{
    struct out *ok = &sandbox->rollback.ok, *timings = &sandbox->rollback.timings;
    const uint64_t now = now_usec();

    out_key_uint(timings, "old cell ends", now - sandbox->rollback.left);
    out_key_uint(timings, "total", now - sandbox->rollback.began);
    out_text(ok, "timings");
    out_map(ok);
    out_raw(ok, timings->data, timings->len);
    out_end(ok);
    out_free(timings);
}

static void tell(struct sandbox *sandbox)
{
    if (!sandbox->rollback.is_told) {
        sandbox->rollback.is_told = true;
        tell_timings(sandbox);
        reply_ok(&sandbox->rollback.reply_to, &sandbox->rollback.ok);
        out_free(&sandbox->rollback.ok);
    }
}

void rollback_progress(struct sandbox *sandbox)
{
    struct cell *old = sandbox->leaving;

    if (!old || !sandbox_all_reaped(sandbox, old)) {
        return;
    }
    sandbox->leaving = NULL;
    sandbox_report_ended(sandbox, old);
    for (struct process *process = sandbox->processes; process; process = process->next) {
        if (process->cell == old) {
            process->cell = NULL;
        }
    }
    tell(sandbox);
    cell_release(old);
    free(old);
    trees_free(sandbox->rollback.trees, sandbox->base->tree_count);
    sandbox->rollback.trees = NULL;
    lineages_forget(&sandbox->rollback.lineages);
    sandbox_maybe_gone(sandbox);
}

static bool is_leaving(void *owner)
{
    const struct sandbox *sandbox = owner;

    return sandbox->leaving != NULL;
}

int rollback_settle(struct sandbox *sandbox, struct err *err)
{
    return children_await(is_leaving, sandbox, now_usec() + SETTLE_USEC)
               ? 0
               : err_set(err, ERR_BUSY, "%s is being rolled back", sandbox->id);
}

static void old_init_ended(struct child *child, const siginfo_t *info)
{
    (void)info;
    rollback_progress(child->owner);
}

/* What takes time to be let go is kept until the old cell has ended. */
static void leave(struct sandbox *sandbox, const struct standing *standing)
{
    sandbox->leaving = sandbox->cell;
    sandbox->leaving->init.ended = old_init_ended;
    sandbox->rollback.trees = sandbox->trees;
    sandbox->rollback.lineages = sandbox->lineages;
    sandbox->lineages = NULL;
    files_close_of(sandbox);
    watched_forget(sandbox);
    held_forget(sandbox);
    sandbox->cell = standing->cell;
    sandbox->trees = standing->trees;
    sandbox->cell->init.ended = sandbox_init_ended;
    sandbox->cell->init.owner = sandbox;
}

/* A command that was killed with the old cell is told to have ended first. */
static bool has_left_commands(const struct sandbox *sandbox)
{
    for (const struct process *process = sandbox->processes; process; process = process->next) {
        if (process->cell == sandbox->leaving && !process->reported) {
            return true;
        }
    }
    return false;
}

/* ---- the processes ---- */

static int end_for(void *owner, const char *process, int stream)
{
    return stdio_end_of(owner, process, stream);
}

static int terminal_for(void *owner, const char *process, int master)
{
    return stdio_take_terminal(owner, process, master);
}

int sandbox_revive(struct revived_sandbox *this, const struct sandbox *sandbox,
                   const struct standing *standing, item args, struct out *timings, struct err *err)
{
    cleanup_free char *id = NULL;
    uint64_t start = now_usec();

    *this = (struct revived_sandbox){0};
    if (arg_optional_string(args, "image", &id, err) < 0) {
        return -1;
    }
    if (!id) {
        return 0;
    }
    struct image *image = image_find(id);
    if (!image) {
        return err_set(err, ERR_NO_IMAGE, "there is no image %s", id);
    }
    if (image_complete(image, err) < 0) {
        return -1;
    }
    out_key_uint(timings, "template", now_usec() - start);
    const struct stage stage = {.cell = standing->cell,
                                .cgroup = &sandbox->cgroup,
                                .trees = standing->trees,
                                .stdio = end_for,
                                .terminal = terminal_for,
                                .owner = &this->stdio};
    if (revive(&this->revival, image, &stage, err) < 0) {
        stdio_free(&this->stdio);
        return -1;
    }
    revival_tell(&this->revival, timings);
    return 0;
}

/* The sandbox stands in the new cell. */
void sandbox_let_go(struct revived_sandbox *this, struct sandbox *sandbox, struct out *ok)
{
    struct err err = {0};

    out_key_uint(ok, "revived", this->revival.count);
    out_text(ok, "processes");
    out_list(ok);
    for (size_t i = 0; i < this->revival.count; i++) {
        struct revived *revived = &this->revival.processes[i];
        const struct image_process *image = revived->image;
        pid_t pid = revived->puppet.subject.pid;
        lineage_begin(sandbox, pid, this->revival.image->id, image->pid, fd_steal(&revived->watch));
        if (!image->api_id[0]) {
            continue;
        }
        const struct process *process =
            process_reattach(sandbox, this->stdio, image->api_id, image->pid, pid, &err);
        if (!process) {
            log_line("%s: %s: %s", sandbox->id, image->api_id, err.message);
            continue;
        }
        process_describe(process, ok);
    }
    out_end(ok);
    revival_go(&this->revival);
    revival_end(&this->revival);
    stdio_free(&this->stdio);
}

int op_sandbox_rollback(struct request *request, struct err *err)
{
    struct sandbox *sandbox = arg_live_sandbox(request->args, err);
    struct chain chain = {0};
    struct standing standing;
    struct revived_sandbox revived;
    struct out timings = {0};
    cleanup_free char *head = NULL;
    const uint64_t began = now_usec();

    if (!sandbox || arg_string(request->args, "head", &head, err) < 0) {
        return -1;
    }
    if (rollback_settle(sandbox, err) < 0) {
        return -1;
    }
    if (arg_chain(request->args, "layers", &chain, err) < 0 ||
        standing_make(&standing, sandbox, &chain, head, &timings, err) < 0) {
        chain_free(&chain);
        out_free(&timings);
        return -1;
    }
    if (sandbox_revive(&revived, sandbox, &standing, request->args, &timings, err) < 0) {
        standing_unmake(&standing, sandbox, head);
        chain_free(&chain);
        out_free(&timings);
        return -1;
    }
    out_key_uint(&request->ok, "initPid", (uint64_t)standing.cell->init.pid);
    uint64_t start = now_usec();
    out_key_uint(&request->ok, "stopped", (uint64_t)sandbox_kill_all(sandbox));
    const bool goes_on = revived.revival.count > 0;
    leave(sandbox, &standing);
    chain_free(&sandbox->chain);
    free(sandbox->head);
    sandbox->chain = chain;
    sandbox->carried = standing.carried;
    sandbox->head = strdup(head);
    if (!sandbox->head) {
        die("out of memory");
    }
    sandbox_let_go(&revived, sandbox, &request->ok);
    out_key_uint(&timings, "let go", now_usec() - start);
    sandbox->rollback.reply_to = request->reply_to;
    sandbox->rollback.ok = request->ok;
    sandbox->rollback.timings = timings;
    sandbox->rollback.began = began;
    sandbox->rollback.left = now_usec();
    sandbox->rollback.is_told = false;
    request->ok = (struct out){0};
    /* Nothing of the old cell runs any more; but on the host's network its sockets are in the way until they are closed. */
    if (goes_on && !sandbox->host_net && !has_left_commands(sandbox)) {
        tell(sandbox);
    }
    return OP_LATER;
}
