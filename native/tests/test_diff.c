/* What is told to differ between two chains is what differs when both are looked at whole. */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "diff.h"
#include "forge.h"
#include "merge.h"
#include "stacks.h"

/* ---- what is told ---- */

struct told {
    char *path;
    bool before, now;
};

struct tellings {
    struct told *list;
    size_t count;
};

static void tell(void *context, const struct change *change)
{
    struct tellings *tellings = context;

    tellings->list = realloc(tellings->list, (tellings->count + 1) * sizeof *tellings->list);
    CHECK(tellings->list != NULL);
    tellings->list[tellings->count++] =
        (struct told){.path = strdup(change->path), .before = change->before, .now = change->now};
}

static void tellings_free(struct tellings *tellings)
{
    for (size_t i = 0; i < tellings->count; i++) {
        free(tellings->list[i].path);
    }
    free(tellings->list);
    *tellings = (struct tellings){0};
}

static const struct told *find(const struct tellings *tellings, const char *path)
{
    const struct told *found = NULL;

    for (size_t i = 0; i < tellings->count; i++) {
        if (strcmp(tellings->list[i].path, path) == 0) {
            CHECK(!found); /* nothing is told twice */
            found = &tellings->list[i];
        }
    }
    return found;
}

/* The layers at the end of both chains are left out of the runs. */
static struct tellings diff_stacks(const struct world *world, const struct stack *from,
                                   const struct stack *to)
{
    size_t shared = 0;
    struct tellings tellings = {0};
    struct err err = {0};

    while (shared < from->count && shared < to->count &&
           from->layers[from->count - 1 - shared] == to->layers[to->count - 1 - shared]) {
        shared++;
    }
    const struct diff_side left = {
        .view = stack_mount(world, from),
        .run = {.uppers = from->layers, .count = from->count - shared, .live = true}};
    const struct diff_side right = {.view = stack_mount(world, to),
                                    .run = {.uppers = to->layers, .count = to->count - shared, .live = true}};
    if (diff_run(&left, &right, tell, &tellings, &err) < 0) {
        fprintf(stderr, "%s: %s %s\n", err.object, err.step, err.message);
        CHECK(!"the stacks can be compared");
    }
    close(left.view);
    close(right.view);
    return tellings;
}

/* ---- random pairs ---- */

static const struct record *find_whole(const struct snapshot *snapshot, const char *path)
{
    const struct record *record = snapshot_find(snapshot, path);

    return record && record->broken ? NULL : record;
}

/* Attributes of sockets and FIFOs do not count. */
static bool looks_same(const struct record *was, const struct record *is)
{
    if (S_ISSOCK(is->st.st_mode) || S_ISFIFO(is->st.st_mode)) {
        return was->st.st_mode == is->st.st_mode && was->st.st_uid == is->st.st_uid &&
               was->st.st_gid == is->st.st_gid;
    }
    return strcmp(was->looks, is->looks) == 0;
}

static void check_one(const struct tellings *tellings, const struct snapshot *from, const struct snapshot *to,
                      const char *path)
{
    const struct record *was = find_whole(from, path), *is = find_whole(to, path);
    bool differs = !was != !is || (was && !looks_same(was, is));
    const struct told *told = find(tellings, path);

    if (differs != (told != NULL) || (told && (told->before != (was != NULL) || told->now != (is != NULL)))) {
        fprintf(stderr, "%s\n  %s\n  %s\n  %s\n", path, was ? was->looks : "-", is ? is->looks : "-",
                told ? "told" : "not told");
        CHECK(!"what differs is told, and nothing else");
    }
}

static void check_parents_first(const struct tellings *tellings)
{
    for (size_t i = 0; i < tellings->count; i++) {
        size_t len = strlen(tellings->list[i].path);
        for (size_t earlier = 0; earlier < i; earlier++) {
            const char *path = tellings->list[earlier].path;
            CHECK(strncmp(path, tellings->list[i].path, len) != 0 || path[len] != '/');
        }
    }
}

static void check_pair(const struct world *world, const struct stack *from, const struct stack *to)
{
    int from_fd = stack_mount(world, from), to_fd = stack_mount(world, to);
    struct snapshot before = snapshot_take(from_fd), now = snapshot_take(to_fd);
    struct tellings tellings = diff_stacks(world, from, to);

    for (size_t i = 0; i < before.count; i++) {
        check_one(&tellings, &before, &now, before.list[i].path);
    }
    for (size_t i = 0; i < now.count; i++) {
        check_one(&tellings, &before, &now, now.list[i].path);
    }
    for (size_t i = 0; i < tellings.count; i++) {
        CHECK(snapshot_find(&before, tellings.list[i].path) || snapshot_find(&now, tellings.list[i].path));
    }
    check_parents_first(&tellings);
    tellings_free(&tellings);
    snapshot_free(&before);
    snapshot_free(&now);
    close(from_fd);
    close(to_fd);
}

static void grow_some(struct world *world, struct stack *stack, size_t layers)
{
    for (size_t i = 0; i < layers; i++) {
        stack_grow(world, stack, (unsigned)random_below(40));
    }
}

/* Its newest two layers made into one. */
static struct stack merge_top(struct world *world, const struct stack *stack)
{
    struct stack merged = stack_below(stack, 1);
    const struct run run = {.uppers = stack->layers, .count = 2};
    struct err err = {0};

    merged.layers[0] = world_directory(world);
    CHECK(merge_run(&run, merged.layers[0], &err) == 0);
    return merged;
}

static void check_random(uint64_t seed)
{
    const struct stack nothing = {0};
    struct world world;
    struct stack trunk = {0};

    world_open(&world, seed);
    grow_some(&world, &trunk, random_below(4));
    struct stack left = trunk, right = trunk;
    grow_some(&world, &left, 1 + random_below(4));
    grow_some(&world, &right, random_below(4));
    check_pair(&world, &left, &right);
    check_pair(&world, &right, &left);
    check_pair(&world, &trunk, &left);
    check_pair(&world, &nothing, &left);
    check_pair(&world, &left, &nothing);
    check_pair(&world, &left, &left);
    if (left.count > 1) {
        const struct stack merged = merge_top(&world, &left);
        struct tellings tellings = diff_stacks(&world, &left, &merged);
        CHECK(tellings.count == 0);
        check_pair(&world, &merged, &right);
    }
    world_close(&world);
}

static void check_forged(uint64_t seed)
{
    struct world world;
    struct stack trunk = {0};

    world_open(&world, seed);
    for (uint64_t i = random_below(3); i > 0; i--) {
        stack_forge(&world, &trunk);
    }
    struct stack left = trunk, right = trunk;
    for (uint64_t i = 1 + random_below(3); i > 0; i--) {
        stack_forge(&world, &left);
        stack_forge(&world, &right);
    }
    check_pair(&world, &left, &right);
    check_pair(&world, &trunk, &left);
    check_pair(&world, &right, &trunk);
    world_close(&world);
}

/* ---- what chance does not make ---- */

static void write_file(int dir, const char *path, const char *text)
{
    int fd = openat(dir, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

    CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

static void check_told(const struct tellings *tellings, const char *const *kinds_and_paths)
{
    size_t count = 0;

    for (; kinds_and_paths[count]; count++) {
        const struct told *told = find(tellings, kinds_and_paths[count] + 2);
        const char *kind = !told ? "-" : !told->now ? "D" : !told->before ? "A" : "M";
        if (*kind != *kinds_and_paths[count]) {
            fprintf(stderr, "%s, told %s\n", kinds_and_paths[count], kind);
            CHECK(!"each change is told by its kind");
        }
    }
    CHECK(tellings->count == count);
}

/* A directory of an older layer, changed there, is renamed in a newer one. */
static void check_renamed(void)
{
    static const char *const expected[] = {"D old",         "D old/kept",   "D old/sub", "D old/sub/file",
                                           "A new",         "A new/kept",   "A new/sub", "A new/sub/file",
                                           "A new/sub/add", "M same",       "M type",    "M mode",
                                           "M link",        "A type/in it", "D gone",    NULL};
    struct world world;
    struct stack stack = {0};
    const struct stack nothing = {0};

    world_open(&world, 0);
    world.base = world_directory(&world);
    CHECK(mkdirat(world.base, "old", 0755) == 0 && mkdirat(world.base, "old/sub", 0755) == 0);
    CHECK(mkdirat(world.base, "same", 0755) == 0 && symlinkat("a", world.base, "link") == 0);
    write_file(world.base, "old/kept", "kept");
    write_file(world.base, "old/sub/file", "file");
    write_file(world.base, "same/untouched", "untouched");
    write_file(world.base, "same/touched", "touched");
    write_file(world.base, "same/again", "again");
    write_file(world.base, "type", "type");
    write_file(world.base, "mode", "mode");
    write_file(world.base, "gone", "gone");

    int mount = stack_push(&world, &stack);
    write_file(mount, "old/sub/add", "added");
    write_file(mount, "same/gone again", "gone again");
    CHECK(unlinkat(mount, "same/again", 0) == 0 && unlinkat(mount, "gone", 0) == 0);
    CHECK(unlinkat(mount, "type", 0) == 0 && mkdirat(mount, "type", 0755) == 0);
    CHECK(fchmodat(mount, "mode", 0600, 0) == 0 && fchmodat(mount, "same", 0700, 0) == 0);
    close(mount);
    mount = stack_push(&world, &stack);
    CHECK(renameat(mount, "old", mount, "new") == 0);
    CHECK(utimensat(mount, "same/touched", NULL, 0) == 0);
    write_file(mount, "same/again", "again");
    write_file(mount, "type/in it", "in it");
    CHECK(unlinkat(mount, "same/gone again", 0) == 0);
    CHECK(unlinkat(mount, "link", 0) == 0 && symlinkat("b", mount, "link") == 0);
    close(mount);
    struct tellings tellings = diff_stacks(&world, &nothing, &stack);
    check_told(&tellings, expected);
    tellings_free(&tellings);
    world_close(&world);
}

/* What only holes are compared of does not take as long as its size. */
static void check_holes(void)
{
    struct world world;
    struct stack left = {0}, right = {0};
    const off_t size = (off_t)1 << 40;

    world_open(&world, 0);
    for (int i = 0; i < 3; i++) {
        struct stack *stack = i < 2 ? &left : &right;
        int mount = stack_push(&world, stack);
        int file = openat(mount, "huge", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        CHECK(file >= 0 && pwrite(file, i == 1 ? "end" : "END", 3, size) == 3);
        close(file);
        close(mount);
    }
    struct tellings tellings = diff_stacks(&world, &left, &right);
    CHECK(find(&tellings, "huge") != NULL);
    tellings_free(&tellings);
    left = stack_below(&left, 1);
    tellings = diff_stacks(&world, &left, &right);
    CHECK(find(&tellings, "huge") == NULL);
    tellings_free(&tellings);
    world_close(&world);
}

/* The newest layer of one side is written to all the while. */
static void check_living(void)
{
    const struct stack nothing = {0};
    struct world world;
    struct stack stack = {0};
    int status;

    world_open(&world, 7);
    grow_some(&world, &stack, 3);
    int mount = stack_push(&world, &stack);
    pid_t writer = fork();
    CHECK(writer >= 0);
    if (writer == 0) {
        for (;;) {
            do_random(mount, 1000);
        }
    }
    for (int i = 0; i < 300; i++) {
        struct tellings tellings = diff_stacks(&world, &nothing, &stack);
        tellings_free(&tellings);
        CHECK(waitpid(writer, &status, WNOHANG) == 0);
    }
    CHECK(kill(writer, SIGKILL) == 0 && waitpid(writer, &status, 0) == writer);
    close(mount);
    check_pair(&world, &nothing, &stack);
    world_close(&world);
}

int main(void)
{
    stacks_begin("diff");
    check_renamed();
    check_holes();
    check_living();
    uint64_t first = stacks_first_seed(), wanted = stacks_wanted(100);
    for (uint64_t i = 0; i < wanted; i++) {
        check_random(first + i);
        check_forged(first + i);
    }
    stacks_end();
    printf("diff: seeds %" PRIu64 "-%" PRIu64 "\n", first, first + wanted - 1);
    return DONE("diff");
}
