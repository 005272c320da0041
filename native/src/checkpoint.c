/* A checkpoint under running processes: the head is frozen, and everyone goes on above a new one. Each step has its undo;
 * until the swap is done the sandbox can be let go as if nothing had been asked. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "ahead.h"
#include "capture.h"
#include "courier.h"
#include "fault.h"
#include "fd.h"
#include "lineage.h"
#include "move.h"
#include "process.h"
#include "root.h"
#include "same.h"
#include "server.h"

/* How long is waited for what is on its way inside. */
#define SETTLE_USEC 100000

struct checkpoint {
    struct sandbox *sandbox;
    char *head; /* the new one */
    struct chain chain;
    int *trees;
    struct move move;
    bool searched; /* for watched names, while the sandbox ran */
    bool switched;
    char *image_id;
    struct image *image;
    const struct image *same; /* nothing has changed since that one */
    struct ahead *ahead;
    uint64_t much;     /* so many bytes of a process are copied ahead */
    uint64_t held_for; /* it was stopped for that, in microseconds */
    uint64_t frozen_at;
    struct out *timings;
};

/* ---- steps ---- */

static int make_layer(struct checkpoint *this, struct err *err)
{
    return layer_make(this->head, this->sandbox->base, &this->chain, err);
}

static void unmake_layer(struct checkpoint *this)
{
    layer_unmake(this->head);
}

static int mount_trees(struct checkpoint *this, struct err *err)
{
    this->trees = trees_mount(this->sandbox->base, &this->chain, this->head, err);
    return this->trees ? 0 : -1;
}

static void unmount_trees(struct checkpoint *this)
{
    fds_close(this->trees, this->sandbox->base->tree_count);
    this->trees = NULL;
}

static int copy_ahead(struct checkpoint *this, struct err *err)
{
    (void)err;
    this->ahead = ahead_copy(this->sandbox, this->much, &this->held_for);
    this->move.ahead = this->ahead;
    return 0;
}

static void forget_ahead(struct checkpoint *this)
{
    ahead_free(&this->ahead);
}

static int freeze_all(struct checkpoint *this, struct err *err)
{
    this->frozen_at = now_usec();
    return freeze(&this->move.frozen, this->sandbox, &this->move.obstacles, err);
}

/* What a program closes must be closed then, or a file it has written could not be executed yet. */
static void thaw_all(struct checkpoint *this)
{
    move_close_all(&this->move);
    thaw(&this->move.frozen);
}

/* The roots may have changed since the layer was made. */
static int copy_roots(struct checkpoint *this, struct err *err)
{
    int result = layer_copy_roots(this->head, this->sandbox->base, &this->chain);

    return result < 0 ? err_system(err, -result, "copy roots", "%s", this->head) : 0;
}

static int open_uppers(struct checkpoint *this, struct err *err)
{
    for (size_t i = 0; i < this->move.tree_count; i++) {
        struct move_tree *tree = &this->move.trees[i];
        tree->new = this->trees[i];
        tree->old_upper = layer_open_upper(this->sandbox->head, i);
        tree->new_upper = layer_open_upper(this->head, i);
        if (tree->old_upper < 0 || tree->new_upper < 0) {
            return err_system(err, -(tree->old_upper < 0 ? tree->old_upper : tree->new_upper), "open layer",
                              "%s", tree->old_upper < 0 ? this->sandbox->head : this->head);
        }
    }
    return 0;
}

static int scan(struct checkpoint *this, struct err *err)
{
    return open_uppers(this, err) < 0 ? -1 : carry_scan(&this->move, err);
}

static int collect(struct checkpoint *this, struct err *err)
{
    return move_collect(&this->move, err);
}

static int carry(struct checkpoint *this, struct err *err)
{
    return carry_over(&this->move, err);
}

/* What was missed or has come since the sandbox was looked through is looked for while nothing can move. */
static int know_watches(struct checkpoint *this, struct err *err)
{
    watches_know(&this->move);
    if (!this->move.watches_unknown) {
        return 0;
    }
    return this->searched ? watched_search(this->sandbox, err)
                          : err_set(err, ERR_UNSETTLED, "a watch is not known yet");
}

static int move_watches(struct checkpoint *this, struct err *err)
{
    return watches_move(&this->move, err);
}

static void move_watches_back(struct checkpoint *this)
{
    watches_move_back(&this->move);
}

static int reopen(struct checkpoint *this, struct err *err)
{
    return move_reopen(&this->move, err);
}

static void close_new(struct checkpoint *this)
{
    move_close_new(&this->move);
}

static int enter(struct checkpoint *this, struct err *err)
{
    return move_enter(&this->move, err);
}

static void leave(struct checkpoint *this)
{
    struct err err = {0};

    if (move_leave(&this->move, &err) < 0) {
        log_line("%s: %s %s", this->sandbox->id, err.message, err.object);
    }
}

static bool is_unchanged(const struct sandbox *sandbox)
{
    if (sandbox->carried.entries == SIZE_MAX) {
        return false;
    }
    const struct layer_print now = layer_print(sandbox->head, sandbox->base, sandbox->carried.entries);

    return now.entries == sandbox->carried.entries && now.hash == sandbox->carried.hash &&
           layer_has_roots_of(sandbox->head, sandbox->base, &sandbox->chain);
}

/* The obstacles that were met on the way here count as well. */
static int keep_processes(struct checkpoint *this, struct err *err)
{
    this->image = calloc(1, sizeof *this->image);
    if (!this->image) {
        die("out of memory");
    }
    snprintf(this->image->id, sizeof this->image->id, "%s", this->image_id);
    if (capture(this->image, &this->move, &this->move.obstacles, err) < 0) {
        return -1;
    }
    /* what is different is mostly different in memory; the files are walked through only where that is not so */
    const struct image *same = fault_asked() ? NULL : image_same(this->image);
    this->same = same && is_unchanged(this->sandbox) ? same : NULL;
    return this->same ? err_set(err, ERR_UNSETTLED, "nothing has changed") : 0;
}

static void forget_processes(struct checkpoint *this)
{
    if (this->image) {
        image_free(this->image);
        this->image = NULL;
    }
}

static int deliver(struct checkpoint *this, struct err *err)
{
    return move_deliver(&this->move, false, err);
}

static void take_delivered_back(struct checkpoint *this)
{
    move_close_delivered(&this->move);
}

static int hold(struct checkpoint *this, struct err *err)
{
    return held_mount(&this->move, err);
}

static void release(struct checkpoint *this)
{
    held_unmount(&this->move);
}

static int switch_roots(struct checkpoint *this, struct err *err)
{
    int result =
        root_switch(this->sandbox->cell, this->sandbox->base, this->sandbox->trees, this->trees, err);

    this->switched = result == 0;
    return result;
}

static void switch_roots_back(struct checkpoint *this)
{
    if (this->switched) {
        root_switch_back(this->sandbox->cell, this->sandbox->trees, this->trees);
    }
}

static int swap(struct checkpoint *this, struct err *err)
{
    return move_swap(&this->move, false, err);
}

static void swap_back(struct checkpoint *this)
{
    struct err err = {.message = "swap back", .object = "a process is between two trees"};

    if (move_deliver(&this->move, true, &err) < 0 || move_swap(&this->move, true, &err) < 0 ||
        !move_is_back(&this->move)) {
        /* a process that is left between two trees must not run on */
        log_line("%s: %s %s; the sandbox is ended", this->sandbox->id, err.message, err.object);
        sandbox_signal(this->sandbox, SIGKILL);
    }
}

static const struct step {
    const char *name;
    int (*run)(struct checkpoint *this, struct err *err);
    void (*undo)(struct checkpoint *this);
} steps[] = {
    {"make layer", make_layer, unmake_layer},
    {"mount trees", mount_trees, unmount_trees},
    {"scan", scan, NULL},
    {"copy ahead", copy_ahead, forget_ahead},
    {"freeze", freeze_all, thaw_all},
    {"copy roots", copy_roots, NULL},
    {"collect", collect, NULL},
    {"know watches", know_watches, NULL},
    {"carry over", carry, NULL},
    {"open again", reopen, close_new},
    {"enter processes", enter, leave},
    {"capture", keep_processes, forget_processes},
    {"deliver", deliver, take_delivered_back},
    {"hold", hold, release},
    {"switch roots", switch_roots, switch_roots_back},
    {"move watches", move_watches, move_watches_back},
    {"swap", swap, swap_back},
};
#define STEPS (sizeof steps / sizeof *steps)

/* ---- the whole ---- */

static int run_step(struct checkpoint *this, const struct step *step, struct err *err)
{
    uint64_t start = now_usec();

    if (step->run(this, err) < 0) {
        return -1;
    }
    out_key_uint(this->timings, step->name, now_usec() - start);
    return 0;
}

/* A step that fails may have done a part: its own undo takes what it finds. */
static int run_steps(struct checkpoint *this, struct err *err)
{
    for (size_t at = 0; at < STEPS; at++) {
        int result = run_step(this, &steps[at], err);
        if (result == 0 && fault_at(steps[at].name) < 0) {
            result = err_system(err, EIO, steps[at].name, "asked for");
        }
        if (result == 0) {
            continue;
        }
        for (size_t undo = at + 1; undo-- > 0;) {
            if (steps[undo].undo) {
                steps[undo].undo(this);
            }
        }
        return -1;
    }
    return 0;
}

/* From here on there is no way back, and nothing that could fail for the sandbox. */
static void commit(struct checkpoint *this)
{
    struct sandbox *sandbox = this->sandbox;
    struct err err = {0};

    uint64_t start = now_usec();
    sandbox->carried = layer_print(this->head, sandbox->base, CARRIED_MAX);
    move_close_all(&this->move);
    watched_have_moved(this->sandbox);
    held_clean_layer(&this->move);
    held_commit(&this->move);
    out_key_uint(this->timings, "settle", now_usec() - start);
    start = now_usec();
    leave(this);
    out_key_uint(this->timings, "leave processes", now_usec() - start);
    start = now_usec();
    if (root_drop(sandbox->cell, sandbox->base, sandbox->trees, &err) < 0) {
        log_line("%s: %s %s", sandbox->id, err.message, err.object);
    }
    out_key_uint(this->timings, "drop root", now_usec() - start);
    start = now_usec();
    thaw_all(this);
    out_key_uint(this->timings, "thaw", now_usec() - start);
    out_key_uint(this->timings, "blocking", now_usec() - this->frozen_at + this->held_for);
    forget_ahead(this);
    held_release(&this->move, this->trees[0]);
    move_forget(&this->move);
    fds_close(sandbox->trees, sandbox->base->tree_count);
    sandbox->trees = this->trees;
    free(sandbox->head);
    sandbox->head = this->head;
    this->head = NULL;
    chain_free(&sandbox->chain);
    sandbox->chain = this->chain;
    this->chain = (struct chain){0};
}

static void out_obstacles(struct out *out, const struct obstacles *obstacles)
{
    out_text(out, "objects");
    out_list(out);
    for (size_t i = 0; i < obstacles->count; i++) {
        const struct obstacle *obstacle = &obstacles->list[i];
        out_map(out);
        out_key_uint(out, "pid", (uint64_t)obstacle->pid);
        out_key_bytes(out, "command", obstacle->command, strlen(obstacle->command));
        out_key_bytes(out, "object", obstacle->object, strlen(obstacle->object));
        out_key_text(out, "reason", obstacle->reason);
        out_end(out);
    }
    out_end(out);
    out_key_uint(out, "more", obstacles->more);
}

static void reply_obstacles(const struct reply_to *to, const struct obstacles *obstacles)
{
    struct err err = {0};
    struct out more = {0};

    const struct obstacle *first = &obstacles->list[0];
    err_set(&err, obstacles->lasting ? ERR_REFUSED : ERR_UNSETTLED, "%s (%d): %s: %s", first->command,
            first->pid, first->object, first->reason);
    out_obstacles(&more, obstacles);
    reply_error_with(to, &err, &more);
    out_free(&more);
}

static void prepare_move(struct checkpoint *this)
{
    const struct base *base = this->sandbox->base;
    struct move *move = &this->move;

    move->sandbox = this->sandbox;
    move->tree_count = base->tree_count;
    move->trees = calloc(base->tree_count, sizeof *move->trees);
    if (!move->trees) {
        die("out of memory");
    }
    for (size_t i = 0; i < base->tree_count; i++) {
        move->trees[i] = (struct move_tree){.path = base->trees[i].path,
                                            .old = this->sandbox->trees[i],
                                            .new = -1,
                                            .old_upper = -1,
                                            .new_upper = -1};
    }
}

static void move_free(struct move *move)
{
    move_forget(move);
    for (size_t i = 0; i < move->tree_count; i++) {
        fd_close(&move->trees[i].old_upper);
        fd_close(&move->trees[i].new_upper);
        links_free(&move->trees[i].links);
    }
    free(move->trees);
    obstacles_free(&move->obstacles);
    *move = (struct move){0};
}

static void checkpoint_free(struct checkpoint *this)
{
    move_free(&this->move);
    chain_free(&this->chain);
    free(this->head);
    free(this->image_id);
    forget_processes(this);
}

/* What is on its way into the sandbox on our behalf arrives first. What is inside may keep it waiting, but not us. */
static int settle(struct sandbox *sandbox, struct err *err)
{
    const uint64_t deadline = now_usec() + SETTLE_USEC;

    return couriers_finish(sandbox, deadline) && processes_settle(sandbox, deadline)
               ? 0
               : err_set(err, ERR_UNSETTLED, "a file is being opened, or a program started");
}

/* Their templates are built while the sandbox runs on. */
static void reply_image(struct checkpoint *this, struct out *ok)
{
    struct image *image = this->image;
    uint64_t bytes = 0;

    for (size_t i = 0; i < image->process_count; i++) {
        bytes += ranges_bytes(&image->processes[i].memory.fresh);
    }
    out_key_uint(ok, "processes", image->process_count);
    out_key_uint(ok, "memoryBytes", bytes);
    if (image->process_count == 0) { /* the files are all there is */
        forget_processes(this);
    } else {
        image->fault = fault_asked() ? strdup(fault_asked()) : NULL;
        image_know_chain(image, this->sandbox->base, &this->sandbox->chain);
        image_add(image);
        this->image = NULL;
    }
}

static int take_checkpoint(struct checkpoint *this, struct request *request, struct err *err)
{
    struct out timings = {0};

    this->timings = &timings;
    if (settle(this->sandbox, err) < 0) {
        return -1;
    }
    lineages_complete(this->sandbox);
    prepare_move(this);
    int result = run_steps(this, err);
    if (result < 0 && !this->same && this->move.watches_unknown && watched_search(this->sandbox, err) == 0) {
        move_free(&this->move);
        timings.len = 0;
        this->searched = true;
        prepare_move(this);
        result = run_steps(this, err);
    }
    if (result == 0) {
        size_t files = this->move.description_count;
        commit(this);
        out_key_bool(&request->ok, "unchanged", false);
        out_key_uint(&request->ok, "files", files);
        out_text(&request->ok, "timings");
        out_map(&request->ok);
        out_raw(&request->ok, timings.data, timings.len);
        out_end(&request->ok);
        reply_image(this, &request->ok);
    }
    out_free(&timings);
    return result;
}

static int parse(struct checkpoint *this, item args, struct err *err)
{
    struct chain below = {0};
    bool merged = item_get(args, "layers") != NULL;

    if (arg_string(args, "head", &this->head, err) < 0 ||
        arg_string(args, "image", &this->image_id, err) < 0 ||
        arg_uint(args, "much", UINT64_MAX, &this->much, err) < 0 ||
        (merged && arg_chain(args, "layers", &below, err) < 0)) {
        return -1;
    }
    this->chain = chain_push(merged ? &below : &this->sandbox->chain, this->sandbox->head);
    chain_free(&below);
    return 0;
}

int op_sandbox_checkpoint(struct request *request, struct err *err)
{
    struct checkpoint this = {.sandbox = arg_live_sandbox(request->args, err)};
    int result = -1;

    if (!this.sandbox) {
        return -1;
    }
    if (rollback_settle(this.sandbox, err) < 0) {
        return -1;
    }
    if (parse(&this, request->args, err) < 0) {
        result = -1;
    } else if (!fault_asked() && is_unchanged(this.sandbox) && !sandbox_has_processes(this.sandbox)) {
        out_key_bool(&request->ok, "unchanged", true);
        result = OP_DONE;
    } else if (take_checkpoint(&this, request, err) == 0) {
        result = OP_DONE;
    } else if (this.same) {
        out_key_bool(&request->ok, "unchanged", true);
        out_key_text(&request->ok, "image", this.same->id);
        out_key_uint(&request->ok, "processes", this.same->process_count);
        out_key_uint(&request->ok, "blocking", now_usec() - this.frozen_at + this.held_for);
        result = OP_DONE;
    } else if (this.move.obstacles.count > 0) {
        reply_obstacles(&request->reply_to, &this.move.obstacles);
        result = OP_LATER;
    }
    checkpoint_free(&this);
    return result;
}
