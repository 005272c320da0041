/* A merged layer in the place of a run of layers shows exactly the same. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "check.h"
#include "forge.h"
#include "merge.h"
#include "stacks.h"

/* ---- random stacks ---- */

/* Raw nodes of a layer are not what they were: but links and the times of inodes may change. */
static void check_same_raw(const struct snapshot *before, const struct snapshot *now)
{
    CHECK(before->count == now->count);
    for (size_t i = 0; i < now->count; i++) {
        const struct record *was = &before->list[i], *is = &now->list[i];
        CHECK(strcmp(was->path, is->path) == 0 && strcmp(was->looks, is->looks) == 0);
        CHECK(was->st.st_ino == is->st.st_ino && was->st.st_mtim.tv_sec == is->st.st_mtim.tv_sec &&
              was->st.st_mtim.tv_nsec == is->st.st_mtim.tv_nsec);
    }
}

static bool is_metacopy(const struct snapshot *layers, size_t count, ino_t ino)
{
    ino &= ((ino_t)1 << 48) - 1; /* above it an overlay says from which of its file systems the number is */
    for (size_t layer = 0; layer < count; layer++) {
        for (size_t i = 0; i < layers[layer].count; i++) {
            const struct record *record = &layers[layer].list[i];
            if (record->st.st_ino == ino && strstr(record->looks, "trusted.overlay.metacopy=")) {
                return true;
            }
        }
    }
    return false;
}

static void not_the_same(const struct record *was, const struct record *is, const char *what)
{
    fprintf(stderr, "%s\n%s:\n  %s ino %ju mtime %jd\n", was ? was->path : is->path, what,
            was ? was->looks : "-", was ? (uintmax_t)was->st.st_ino : 0,
            was ? (intmax_t)was->st.st_mtime : 0);
    fprintf(stderr, "  %s ino %ju mtime %jd\n", is ? is->looks : "-", is ? (uintmax_t)is->st.st_ino : 0,
            is ? (intmax_t)is->st.st_mtime : 0);
    CHECK(!"the merged layer shows the same");
}

/* Names of one file are names of one file again. */
static void check_same_names_of_files(const struct snapshot *before, const struct snapshot *now)
{
    for (size_t i = 0; i < now->count; i++) {
        const struct record *first = snapshot_find(before, now->list[i].path);
        for (size_t other = 0; other < i && first && !S_ISDIR(first->st.st_mode); other++) {
            const struct record *second = snapshot_find(before, now->list[other].path);
            if (second && (first->st.st_ino == second->st.st_ino) !=
                              (now->list[i].st.st_ino == now->list[other].st.st_ino)) {
                not_the_same(first, second, "no longer one file, or now one");
            }
        }
    }
}

/* Of metacopies in `layers` another inode may be shown: it has got the data now. A directory with whiteouts by attribute
 * is listed by other rules: it may list one that does not count, and leave out a metacopy that leads nowhere. */
static void check_same_view(const struct snapshot *before, const struct snapshot *now,
                            const struct snapshot *layers, size_t layer_count)
{
    for (size_t i = 0; i < before->count; i++) {
        const struct record *was = &before->list[i], *is = snapshot_find(now, was->path);
        if (!is && was->broken) {
            continue;
        }
        if (!is || strcmp(was->looks, is->looks) != 0) {
            not_the_same(was, is, "looks");
        }
        if (was->st.st_mtim.tv_sec != is->st.st_mtim.tv_sec ||
            was->st.st_mtim.tv_nsec != is->st.st_mtim.tv_nsec) {
            not_the_same(was, is, "mtime");
        }
        if (!S_ISDIR(was->st.st_mode) && was->st.st_ino != is->st.st_ino &&
            !is_metacopy(layers, layer_count, was->st.st_ino)) {
            not_the_same(was, is, "inode");
        }
    }
    for (size_t i = 0; i < now->count; i++) {
        if (!snapshot_find(before, now->list[i].path) && now->list[i].broken != EIO) {
            not_the_same(NULL, &now->list[i], "appeared");
        }
    }
    check_same_names_of_files(before, now);
}

/* -1 when the layers have a file whose data is nowhere. */
static int merge_layers(struct world *world, const int *layers, size_t count)
{
    const struct run run = {.uppers = layers, .count = count};
    int target = world_directory(world);
    struct err err = {0};

    if (merge_run(&run, target, &err) < 0) {
        if (err.num == EIO && strcmp(err.step, "find data of") == 0) {
            return -1;
        }
        fprintf(stderr, "%s: %s\n", err.object, err.message);
        CHECK(!"the layers can be merged");
    }
    return target;
}

static void compare_views(const struct world *world, const struct stack *left, const struct stack *right,
                          const struct snapshot *layers, size_t layer_count)
{
    int before_fd = stack_mount(world, left), now_fd = stack_mount(world, right);
    struct snapshot before = snapshot_take(before_fd), now = snapshot_take(now_fd);

    check_same_view(&before, &now, layers, layer_count);
    snapshot_free(&before);
    snapshot_free(&now);
    close(before_fd);
    close(now_fd);
}

/* What is done on top of both has the same results. */
static void grow_both(struct world *world, struct stack left, struct stack right)
{
    int left_fd = stack_push(world, &left), right_fd = stack_push(world, &right);
    uint64_t seed = random_below(UINT64_MAX);

    random_seed(seed);
    uint64_t left_digest = do_random(left_fd, 40);
    random_seed(seed);
    CHECK(do_random(right_fd, 40) == left_digest);
    struct snapshot left_view = snapshot_take(left_fd), right_view = snapshot_take(right_fd);
    CHECK(left_view.count == right_view.count);
    for (size_t i = 0; i < left_view.count; i++) {
        if (strcmp(left_view.list[i].path, right_view.list[i].path) != 0 ||
            strcmp(left_view.list[i].looks, right_view.list[i].looks) != 0) {
            not_the_same(&left_view.list[i], &right_view.list[i], "after more work");
        }
    }
    snapshot_free(&left_view);
    snapshot_free(&right_view);
    close(left_fd);
    close(right_fd);
}

/* Merges a random run of the stack and puts it in place. */
static bool merge_some(struct world *world, struct stack *stack)
{
    size_t first = random_below(stack->count - 1), count = 2 + random_below(stack->count - first - 1);
    struct snapshot layers[STACK_MAX];
    struct stack merged = {.count = stack->count - count + 1};

    for (size_t i = 0; i < count; i++) {
        layers[i] = snapshot_take(stack->layers[first + i]);
    }
    memcpy(merged.layers, stack->layers, first * sizeof *merged.layers);
    merged.layers[first] = merge_layers(world, stack->layers + first, count);
    memcpy(merged.layers + first + 1, stack->layers + first + count,
           (stack->count - first - count) * sizeof *merged.layers);
    for (size_t i = 0; i < count; i++) {
        struct snapshot now = snapshot_take(stack->layers[first + i]);
        check_same_raw(&layers[i], &now);
        snapshot_free(&now);
    }
    for (size_t hidden = 0; hidden <= first && merged.layers[first] >= 0; hidden++) {
        const struct stack left = stack_below(stack, hidden), right = stack_below(&merged, hidden);
        compare_views(world, &left, &right, layers, count);
    }
    for (size_t i = 0; i < count; i++) {
        snapshot_free(&layers[i]);
    }
    if (merged.layers[first] < 0) {
        return false;
    }
    *stack = merged;
    return true;
}

static void check_random(uint64_t seed)
{
    struct world world;
    struct stack stack = {0};

    world_open(&world, seed);
    size_t depth = 3 + random_below(6);
    while (stack.count < depth) {
        stack_grow(&world, &stack, 5 + (unsigned)random_below(60));
    }
    while (stack.count > 1) {
        const struct stack before = stack;
        CHECK(merge_some(&world, &stack));
        grow_both(&world, before, stack);
    }
    world_close(&world);
}

static void check_forged(uint64_t seed)
{
    struct world world;
    struct stack stack = {0};

    world_open(&world, seed);
    size_t depth = 2 + random_below(4);
    while (stack.count < depth) {
        stack_forge(&world, &stack);
    }
    while (stack.count > 1 && merge_some(&world, &stack)) {
    }
    world_close(&world);
}

int main(void)
{
    stacks_begin("merge");
    uint64_t first = stacks_first_seed(), wanted = stacks_wanted(80);
    for (uint64_t i = 0; i < wanted; i++) {
        check_random(first + i);
        check_forged(first + i);
    }
    stacks_end();
    printf("merge: seeds %" PRIu64 "-%" PRIu64 "\n", first, first + wanted - 1);
    return DONE("merge");
}
