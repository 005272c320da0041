/* A sandbox goes back to an earlier chain: a new cell is built on it completely before the old one is killed. */
#include <signal.h>
#include <string.h>

#include "arrival.h"
#include "fd.h"
#include "file.h"
#include "lineage.h"
#include "process.h"
#include "server.h"
#include "urgency.h"

#define SETTLE_USEC 1000000

static void tell_timings(struct sandbox *sandbox)
{
    struct out *ok = &sandbox->rollback.ok, *timings = &sandbox->rollback.timings;
    const uint64_t now = now_usec();

    out_key_uint(timings, "old cell ends", now - sandbox->rollback.left);
    out_key_uint(timings, "total", now - sandbox->rollback.began);
    out_key_map(ok, "timings", timings);
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
    fds_close(sandbox->rollback.trees, sandbox->base->tree_count);
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
static void leave(struct sandbox *sandbox, const struct arrival *arrival, const struct standing *standing)
{
    sandbox->leaving = sandbox->cell;
    sandbox->leaving->init.ended = old_init_ended;
    sandbox->rollback.trees = sandbox->trees;
    sandbox->rollback.lineages = sandbox->lineages;
    sandbox->lineages = NULL;
    files_close_of(sandbox);
    watched_forget(sandbox);
    held_forget(sandbox);
    sandbox->cell = arrival->cell;
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

/* ---- the whole ---- */

int op_sandbox_rollback(struct request *request, struct err *err)
{
    struct sandbox *sandbox = arg_live_sandbox(request->args, err);
    struct chain chain = {0};
    struct standing standing;
    struct arrival arrival;
    struct urgency urgency = {0};
    struct image *image;
    cleanup_free char *head = NULL;
    const uint64_t began = now_usec();
    uint64_t start = began;

    if (!sandbox || arg_string(request->args, "head", &head, err) < 0 || rollback_settle(sandbox, err) < 0) {
        return -1;
    }
    struct out *timings = &sandbox->rollback.timings;
    if (arg_chain(request->args, "layers", &chain, err) < 0 || arg_image(request->args, &image, err) < 0) {
        chain_free(&chain);
        return -1;
    }
    out_key_uint(timings, "template", now_usec() - start);
    if (arrival_stand(&arrival, &standing, sandbox, image, &chain, head, timings, err) < 0) {
        chain_free(&chain);
        out_free(timings);
        return -1;
    }
    out_key_uint(&request->ok, "initPid", (uint64_t)arrival.cell->init.pid);
    start = now_usec();
    /* What is killed ends as soon as it can, which would be before we have gone on. */
    urgency_raise(&urgency, 0);
    out_key_uint(&request->ok, "stopped", (uint64_t)sandbox_kill_all(sandbox));
    out_key_uint(timings, "kill", now_usec() - start);
    start = now_usec();
    const bool goes_on = arrival.revival.count > 0;
    leave(sandbox, &arrival, &standing);
    chain_free(&sandbox->chain);
    free(sandbox->head);
    sandbox->chain = chain;
    sandbox->carried = standing.carried;
    sandbox->head = head;
    head = NULL;
    arrival_let_go(&arrival, sandbox, &request->ok);
    sandbox->rollback.reply_to = request->reply_to;
    sandbox->rollback.ok = request->ok;
    sandbox->rollback.began = began;
    sandbox->rollback.left = now_usec();
    sandbox->rollback.is_told = false;
    out_key_uint(timings, "let go", sandbox->rollback.left - start);
    request->ok = (struct out){0};
    /* Nothing of the old cell runs any more; but on the host's network its sockets are in the way until they are closed. */
    if (goes_on && !sandbox->host_net && !has_left_commands(sandbox)) {
        tell(sandbox);
    }
    urgency_drop(&urgency, 0);
    return OP_LATER;
}
