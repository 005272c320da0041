/* Operations on layers that nobody writes to, or that may go on changing while they are looked at. Each is a job. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base.h"
#include "diff.h"
#include "fd.h"
#include "job.h"
#include "layer.h"
#include "merge.h"
#include "pins.h"
#include "sandbox.h"
#include "tree.h"

#define OPEN_DIRECTORY (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define PART_BYTES (128 * 1024)
#define MERGE_TRIES 3

/* One tree of the first `count` layers as a run. */
static int run_open(struct run *run, const struct chain *chain, size_t count, size_t tree, struct err *err)
{
    int *uppers = calloc(count + 1, sizeof *uppers);

    if (!uppers) {
        die("out of memory");
    }
    run->uppers = uppers;
    for (run->count = 0; run->count < count; run->count++) {
        int upper = layer_open_upper(chain->layers[run->count], tree);
        if (upper < 0) {
            return err_system(err, -upper, "open layer", "%s", chain->layers[run->count]);
        }
        uppers[run->count] = upper;
    }
    return 0;
}

/* ---- layers.diff ---- */

struct diff_question {
    struct base *base;
    uint64_t tree;
    struct chain from, to;
};

struct diff_answer {
    struct job_out *out;
    struct out changes; /* encoded, not yet sent */
};

static void send_changes(struct diff_answer *answer)
{
    struct out part = {0};

    if (answer->changes.len == 0) {
        return;
    }
    out_text(&part, "changes");
    out_list(&part);
    out_raw(&part, answer->changes.data, answer->changes.len);
    out_end(&part);
    job_part(answer->out, &part);
    out_free(&part);
    answer->changes.len = 0;
}

static const char *type_of(mode_t mode)
{
    return S_ISREG(mode)    ? "file"
           : S_ISDIR(mode)  ? "directory"
           : S_ISLNK(mode)  ? "symlink"
           : S_ISFIFO(mode) ? "fifo"
           : S_ISSOCK(mode) ? "socket"
                            : "device";
}

static uint64_t nanoseconds(const struct timespec *time)
{
    return (uint64_t)time->tv_sec * 1000000000 + (uint64_t)time->tv_nsec;
}

/* Ids that the host's files have and the sandbox has not are shown inside as the kernel shows them. */
static uint32_t id_inside(uint32_t id)
{
    return id >= engine.uid_base && id - engine.uid_base < ID_RANGE ? id - engine.uid_base : 65534;
}

static void out_node(struct out *out, const struct stat *st)
{
    out_key_text(out, "type", type_of(st->st_mode));
    out_key_uint(out, "mode", st->st_mode & 07777);
    out_key_uint(out, "uid", id_inside(st->st_uid));
    out_key_uint(out, "gid", id_inside(st->st_gid));
    out_key_uint(out, "size", (uint64_t)st->st_size);
}

static void tell_change(void *context, const struct change *change)
{
    struct diff_answer *answer = context;
    struct out *out = &answer->changes;

    out_map(out);
    out_key_text(out, "kind", !change->now ? "D" : !change->before ? "A" : "M");
    out_key_bytes(out, "path", change->path, strlen(change->path));
    if (change->now) {
        out_node(out, change->now);
    }
    if (change->before) {
        out_text(out, "before");
        out_map(out);
        out_node(out, change->before);
        out_key_uint(out, "ctimeNs", nanoseconds(&change->before->st_ctim));
        out_key_uint(out, "mtimeNs", nanoseconds(&change->before->st_mtim));
        out_end(out);
    }
    out_end(out);
    if (out->len >= PART_BYTES) {
        send_changes(answer);
    }
}

/* How many layers at their ends the chains have in common. */
static size_t shared_layers(const struct chain *left, const struct chain *right)
{
    size_t left_count = chain_length(left), right_count = chain_length(right), shared = 0;

    while (shared < left_count && shared < right_count &&
           strcmp(left->layers[left_count - 1 - shared], right->layers[right_count - 1 - shared]) == 0) {
        shared++;
    }
    return shared;
}

static int side_open(struct diff_side *side, const struct diff_question *question, const struct chain *chain,
                     size_t shared, struct err *err)
{
    size_t count = chain_length(chain);

    side->run.live = true; /* the first layer may be a head, and the base is the host's */
    side->view = count > 0 ? layer_mount(question->base, question->tree, chain, NULL, err)
                           : openat(question->base->trees[question->tree].mount, ".", OPEN_DIRECTORY);
    if (side->view < 0) {
        return count > 0 ? -1 : err_system(err, errno, "open base", "%s", question->base->id);
    }
    return run_open(&side->run, chain, count - shared, question->tree, err);
}

/* What is opened is closed with the job. */
static int diff_work(struct job_out *out, void *argument, struct out *ok, struct err *err)
{
    const struct diff_question *question = argument;
    size_t shared = shared_layers(&question->from, &question->to);
    struct diff_answer answer = {.out = out};
    struct diff_side from, to;

    (void)ok;
    if (base_refresh(question->base, question->tree, err) < 0 ||
        side_open(&from, question, &question->from, shared, err) < 0 ||
        side_open(&to, question, &question->to, shared, err) < 0 ||
        diff_run(&from, &to, tell_change, &answer, err) < 0) {
        return -1;
    }
    send_changes(&answer);
    return 0;
}

int op_layers_diff(struct request *request, struct err *err)
{
    struct diff_question question = {.base = arg_base(request->args, err)};
    int result = -1;

    if (!question.base ||
        arg_uint(request->args, "tree", question.base->tree_count - 1, &question.tree, err) < 0) {
        return -1;
    }
    if (arg_chain(request->args, "from", &question.from, err) == 0 &&
        arg_chain(request->args, "to", &question.to, err) == 0) {
        result = job_start(&request->reply_to, diff_work, &question, err);
    }
    chain_free(&question.from);
    chain_free(&question.to);
    return result;
}

/* ---- layers.merge and layer.measure ---- */

struct merge_question {
    struct chain layers;
    char *into;
    uint64_t trees;
};

static int measure(const char *layer, uint64_t trees, struct out *ok, struct err *err)
{
    struct tree_size size = {0};

    for (uint64_t tree = 0; tree < trees; tree++) {
        cleanup_fd upper = layer_open_upper(layer, tree);
        if (upper == -ENOENT && trees == UINT64_MAX && tree > 0) {
            break;
        }
        int result = upper < 0 ? upper : tree_measure(upper, ".", &size);
        if (result < 0) {
            return err_system(err, -result, "measure", "%s", layer);
        }
    }
    out_key_uint(ok, "bytes", size.bytes);
    out_key_uint(ok, "files", size.files);
    return 0;
}

/* What the sandboxes that live show the inode numbers of. */
static int collect_pins(struct pins *pins, size_t tree, struct err *err)
{
    for (const struct sandbox *sandbox = sandboxes; sandbox; sandbox = sandbox->next) {
        cleanup_fd upper = tree < sandbox->base->tree_count ? layer_open_upper(sandbox->head, tree) : -1;
        int result = upper < 0 ? 0 : pins_collect(pins, upper);
        if (result < 0) {
            return err_system(err, -result, "look for inode numbers", "%s", sandbox->head);
        }
    }
    return 0;
}

static int set_aside(const struct pins *pins, const struct merge_question *question, const struct run *run,
                     struct err *err)
{
    for (size_t i = 0; i < run->count; i++) {
        cleanup_fd layer = open(question->layers.layers[i], OPEN_DIRECTORY);
        int result = layer < 0 ? -errno : pins_set_aside(pins, run->uppers[i], layer);
        if (result < 0) {
            return err_system(err, -result, "set aside", "%s", question->layers.layers[i]);
        }
    }
    return 0;
}

static int merge_once(const struct pins *pins, const struct merge_question *question, const struct run *run,
                      int into, size_t tree, struct err *err)
{
    char name[32];

    snprintf(name, sizeof name, "fs%zu", tree);
    if (set_aside(pins, question, run, err) < 0) {
        return -1;
    }
    tree_remove(into, name); /* of the try before */
    cleanup_fd upper = layer_make_tree(into, tree);
    if (upper < 0) {
        return err_system(err, -upper, "make layer", "%s", question->into);
    }
    if (merge_run(run, upper, err) < 0) {
        return -1;
    }
    int result = carry_names(question->layers.layers[0], question->into, tree);
    return result < 0 ? err_system(err, -result, "keep the names of links", "%s", question->into) : 0;
}

/* Once more when meanwhile a file was copied up from one that has been linked: it shows its own number while that has
 * two names. */
static int merge_tree(const struct merge_question *question, int into, size_t tree, struct err *err)
{
    struct run run = {0};
    struct pins pins = {0};
    int result = run_open(&run, &question->layers, chain_length(&question->layers), tree, err);

    result = result == 0 ? collect_pins(&pins, tree, err) : result;
    for (int tries = 0; result == 0 && tries < MERGE_TRIES && (tries == 0 || pins.grew); tries++) {
        result = merge_once(&pins, question, &run, into, tree, err);
        pins.grew = false;
        result = result == 0 ? collect_pins(&pins, tree, err) : result;
    }
    pins_free(&pins);
    for (size_t i = 0; i < run.count; i++) {
        close(run.uppers[i]);
    }
    return result;
}

static int take_origins(const struct merge_question *question, int into, struct err *err)
{
    for (char **layer = question->layers.layers; *layer; layer++) {
        cleanup_fd from = open(*layer, OPEN_DIRECTORY);
        int result = from < 0 ? -errno : pins_move(from, into);
        if (result < 0) {
            return err_system(err, -result, "move what is set aside", "%s", *layer);
        }
    }
    return 0;
}

static int merge_work(struct job_out *out, void *argument, struct out *ok, struct err *err)
{
    const struct merge_question *question = argument;
    cleanup_fd into = open(question->into, OPEN_DIRECTORY);

    (void)out;
    if (into < 0) {
        return err_system(err, errno, "open layer", "%s", question->into);
    }
    for (uint64_t tree = 0; tree < question->trees; tree++) {
        if (merge_tree(question, into, tree, err) < 0) {
            return -1;
        }
    }
    return take_origins(question, into, err) < 0 ? -1 : measure(question->into, question->trees, ok, err);
}

int op_layers_merge(struct request *request, struct err *err)
{
    struct merge_question question = {0};
    int result = -1;

    if (arg_uint(request->args, "trees", 1000, &question.trees, err) < 0 ||
        arg_string(request->args, "into", &question.into, err) < 0) {
        return -1;
    }
    if (arg_chain(request->args, "layers", &question.layers, err) == 0) {
        result = chain_length(&question.layers) > 0
                     ? job_start(&request->reply_to, merge_work, &question, err)
                     : err_set(err, ERR_BAD_REQUEST, "layers: at least one wanted");
    }
    chain_free(&question.layers);
    free(question.into);
    return result;
}

static int measure_work(struct job_out *out, void *argument, struct out *ok, struct err *err)
{
    (void)out;
    return measure(argument, UINT64_MAX, ok, err);
}

int op_layer_measure(struct request *request, struct err *err)
{
    cleanup_free char *dir = NULL;

    return arg_string(request->args, "dir", &dir, err) < 0
               ? -1
               : job_start(&request->reply_to, measure_work, dir, err);
}

static int sync_work(struct job_out *out, void *argument, struct out *ok, struct err *err)
{
    const char *dir = argument;
    cleanup_fd fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    (void)out;
    (void)ok;
    return fd < 0 || syncfs(fd) < 0 ? err_system(err, errno, "sync", "%s", dir) : 0;
}

/* The whole file system: what the layer shares with others counts too. */
int op_layer_sync(struct request *request, struct err *err)
{
    cleanup_free char *dir = NULL;

    return arg_string(request->args, "dir", &dir, err) < 0
               ? -1
               : job_start(&request->reply_to, sync_work, dir, err);
}
