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
#include "names.h"
#include "pins.h"
#include "stacks.h"
#include "tree.h"

#define WATCHED_MAX 400

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

/* A directory with whiteouts by attribute is listed by other rules: it may list one that does not count. */
static void check_same_view(const struct snapshot *before, const struct snapshot *now, bool same_inodes)
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
        if (same_inodes && !S_ISDIR(was->st.st_mode) && was->st.st_ino != is->st.st_ino) {
            not_the_same(was, is, "inode");
        }
    }
    for (size_t i = 0; i < now->count; i++) {
        if (!snapshot_find(before, now->list[i].path)) {
            not_the_same(NULL, &now->list[i], "appeared");
        }
    }
    if (same_inodes) {
        check_same_names_of_files(before, now);
    }
}

static int merge_layers(struct world *world, const int *layers, size_t count)
{
    const struct run run = {.uppers = layers, .count = count};
    int target = world_directory(world);
    struct err err = {0};

    if (merge_run(&run, target, &err) < 0) {
        fprintf(stderr, "%s: %s\n", err.object, err.message);
        CHECK(!"the layers can be merged");
    }
    return target;
}

static void compare_views(const struct world *world, const struct stack *left, const struct stack *right)
{
    int before_fd = stack_mount(world, left), now_fd = stack_mount(world, right);
    struct snapshot before = snapshot_take(before_fd), now = snapshot_take(now_fd);

    check_same_view(&before, &now, true);
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
static void merge_some(struct world *world, struct stack *stack)
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
    for (size_t hidden = 0; hidden <= first; hidden++) {
        const struct stack left = stack_below(stack, hidden), right = stack_below(&merged, hidden);
        compare_views(world, &left, &right);
    }
    for (size_t i = 0; i < count; i++) {
        snapshot_free(&layers[i]);
    }
    *stack = merged;
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
        merge_some(&world, &stack);
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
    while (stack.count > 1) {
        merge_some(&world, &stack);
    }
    world_close(&world);
}

/* ---- a sandbox that lives on the layers ---- */

static void remove_all(int dir)
{
    struct names names = {0};

    CHECK(names_add(&names, dir) == 0);
    names_sort(&names);
    for (size_t i = 0; i < names.count; i++) {
        CHECK(tree_remove(dir, names.list[i]) == 0);
    }
    names_free(&names);
}

struct watched {
    int file;
    ino_t ino;
};

/* The files of the layer that is written to, as its mount shows them. */
static size_t watch_files(struct watched *watched, int upper, int mount)
{
    struct snapshot files = snapshot_take(upper);
    size_t count = 0;

    for (size_t i = 0; i < files.count; i++) {
        if (S_ISREG(files.list[i].st.st_mode)) {
            struct stat st;
            int file = openat(mount, files.list[i].path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
            CHECK(file >= 0 && count < WATCHED_MAX && fstat(file, &st) == 0);
            watched[count++] = (struct watched){.file = file, .ino = st.st_ino};
        }
    }
    snapshot_free(&files);
    return count;
}

static void check_watched(const struct watched *watched, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct stat st;
        CHECK(fstat(watched[i].file, &st) == 0 && st.st_ino == watched[i].ino);
    }
}

/* Everything that lies below it is merged, then the layers go. */
static void check_living(uint64_t seed)
{
    struct world world;
    struct stack stack = {0};
    struct pins pins = {0};
    struct snapshot layers[STACK_MAX];
    struct watched watched[WATCHED_MAX];

    world_open(&world, seed);
    for (uint64_t depth = 2 + random_below(3); depth > 0; depth--) {
        stack_grow(&world, &stack, 5 + (unsigned)random_below(60));
    }
    const struct stack frozen = stack;
    int mount = stack_push(&world, &stack), aside[STACK_MAX], merged_aside = world_directory(&world);
    do_random(mount, 40);
    struct snapshot before = snapshot_take(mount);
    size_t watched_count = watch_files(watched, stack.layers[0], mount);
    CHECK(pins_collect(&pins, stack.layers[0]) == 0);
    for (size_t i = 0; i < frozen.count; i++) {
        layers[i] = snapshot_take(frozen.layers[i]);
        aside[i] = world_directory(&world);
        CHECK(pins_set_aside(&pins, frozen.layers[i], aside[i]) == 0);
    }
    merge_layers(&world, frozen.layers, frozen.count);
    struct snapshot now = snapshot_take(mount);
    check_same_view(&before, &now, true);
    for (size_t i = 0; i < frozen.count; i++) {
        struct snapshot layer = snapshot_take(frozen.layers[i]);
        check_same_view(&layers[i], &layer, false);
        snapshot_free(&layer);
        snapshot_free(&layers[i]);
        CHECK(pins_move(aside[i], merged_aside) == 0);
        remove_all(frozen.layers[i]);
    }
    check_watched(watched, watched_count);
    while (watched_count > 0) {
        close(watched[--watched_count].file);
    }
    snapshot_free(&before);
    snapshot_free(&now);
    pins_free(&pins);
    close(mount);
    world_close(&world);
}

/* ---- what chance does not make ---- */

static int open_at(int dir, const char *path, int flags)
{
    int fd = openat(dir, path, flags | O_CLOEXEC, 0644);

    CHECK(fd >= 0);
    return fd;
}

static void write_file(int dir, const char *path, const char *text)
{
    int fd = open_at(dir, path, O_WRONLY | O_CREAT);

    CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

/* A chain of directories, as many as `depth`, with a file at its end. */
static void make_deep(int dir, int depth, const char *text)
{
    int at = open_at(dir, ".", O_RDONLY | O_DIRECTORY);

    for (int i = 0; i < depth; i++) {
        CHECK(mkdirat(at, "a-directory-with-a-long-name", 0755) == 0);
        int below = open_at(at, "a-directory-with-a-long-name", O_RDONLY | O_DIRECTORY);
        close(at);
        at = below;
    }
    write_file(at, text, text);
    close(at);
}

static int go_deep(int dir, int depth)
{
    int at = open_at(dir, ".", O_RDONLY | O_DIRECTORY);

    for (int i = 0; i < depth; i++) {
        int below = open_at(at, "a-directory-with-a-long-name", O_RDONLY | O_DIRECTORY);
        close(at);
        at = below;
    }
    return at;
}

static void check_deep(void)
{
    struct world world;
    struct err err = {0};

    world_open(&world, 0);
    const int layers[] = {world_directory(&world), world_directory(&world)};
    make_deep(layers[0], 500, "newer");
    make_deep(layers[1], 500, "older");
    int bottom = go_deep(merge_layers(&world, layers, 2), 500);
    CHECK(faccessat(bottom, "newer", F_OK, 0) == 0 && faccessat(bottom, "older", F_OK, 0) == 0);
    close(bottom);

    const int deepest = world_directory(&world);
    const struct run run = {.uppers = &deepest, .count = 1};
    make_deep(deepest, 2500, "file");
    CHECK(merge_run(&run, world_directory(&world), &err) < 0 && err.num == ENAMETOOLONG);
    world_close(&world);
}

/* A file of holes, with more names than an inode of the merged layer's file system may have in all. */
static void check_many_names(void)
{
    struct world world;
    struct stat first, st;
    char name[32], end[4] = "";

    world_open(&world, 0);
    const int layers[] = {world_directory(&world), world_directory(&world)};
    long most = fpathconf(layers[0], _PC_LINK_MAX), count = most < 1000 ? most / 2 + 1 : 100;
    int file = open_at(layers[1], "0", O_WRONLY | O_CREAT);
    CHECK(pwrite(file, "end", 3, 1 << 30) == 3);
    close(file);
    for (long i = 1; i < count; i++) {
        snprintf(name, sizeof name, "%ld", i);
        CHECK(linkat(layers[1], "0", layers[1], name, 0) == 0);
    }
    int merged = merge_layers(&world, layers, 2);
    CHECK(fstatat(merged, "0", &first, 0) == 0 && first.st_size == (1 << 30) + 3);
    CHECK(first.st_blocks * 512 < 1 << 20);
    file = open_at(merged, "0", O_RDONLY);
    CHECK(pread(file, end, 3, 1 << 30) == 3 && strcmp(end, "end") == 0);
    close(file);
    for (long i = 1; i < count; i++) {
        snprintf(name, sizeof name, "%ld", i);
        CHECK(fstatat(merged, name, &st, 0) == 0 && st.st_ino == first.st_ino);
    }
    CHECK(fstatat(layers[1], "0", &st, 0) == 0);
    CHECK(most < 1000 ? st.st_nlink == (nlink_t)count : st.st_nlink == (nlink_t)(2 * count));
    world_close(&world);
}

/* What the place of the merged layer would pass on to it stays out of it. */
static void check_nothing_inherited(void)
{
    static const unsigned char acl[] = {2,    0,    0, 0, 1,    0,    7,    0,    0xff, 0xff,
                                        0xff, 0xff, 4, 0, 5,    0,    0xff, 0xff, 0xff, 0xff,
                                        0x20, 0,    5, 0, 0xff, 0xff, 0xff, 0xff};
    struct world world;
    struct err err = {0};
    struct stat st;

    world_open(&world, 0);
    const int layer = world_directory(&world);
    const struct run run = {.uppers = &layer, .count = 1};
    CHECK(mkdirat(layer, "directory", 0751) == 0 && fchmodat(layer, "directory", 0751, 0) == 0);
    int target = world_directory(&world);
    CHECK(fsetxattr(target, "system.posix_acl_default", acl, sizeof acl, 0) == 0);
    CHECK(fchown(target, 70000, 70000) == 0 && fchmod(target, 02755) == 0);
    CHECK(merge_run(&run, target, &err) == 0);
    CHECK(fstat(target, &st) == 0 && st.st_mode == (S_IFDIR | 0755) && st.st_gid == 0);
    CHECK(fgetxattr(target, "system.posix_acl_default", NULL, 0) < 0);
    CHECK(fstatat(target, "directory", &st, 0) == 0 && st.st_mode == (S_IFDIR | 0751) && st.st_gid == 0);
    int directory = open_at(target, "directory", O_RDONLY | O_DIRECTORY);
    CHECK(flistxattr(directory, NULL, 0) == 0);
    close(directory);
    world_close(&world);
}

int main(void)
{
    stacks_begin("merge");
    check_deep();
    check_many_names();
    check_nothing_inherited();
    uint64_t first = stacks_first_seed(), wanted = stacks_wanted(80);
    for (uint64_t i = 0; i < wanted; i++) {
        check_random(first + i);
        check_forged(first + i);
        check_living(first + i);
    }
    stacks_end();
    printf("merge: seeds %" PRIu64 "-%" PRIu64 "\n", first, first + wanted - 1);
    return DONE("merge");
}
