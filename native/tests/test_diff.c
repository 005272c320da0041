/* What is told to differ between two chains is what differs when both are looked at whole. */
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "diff.h"
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
    const struct diff_side left = {.view = stack_mount(world, from),
                                   .run = {.uppers = from->layers, .count = from->count - shared}};
    const struct diff_side right = {.view = stack_mount(world, to),
                                    .run = {.uppers = to->layers, .count = to->count - shared}};
    if (diff_run(&left, &right, tell, &tellings, &err) < 0) {
        fprintf(stderr, "%s: %s %s\n", err.object, err.step, err.message);
        CHECK(!"the stacks can be compared");
    }
    close(left.view);
    close(right.view);
    return tellings;
}

/* ---- random pairs ---- */

static void check_one(const struct tellings *tellings, const struct snapshot *from, const struct snapshot *to,
                      const char *path)
{
    const struct record *was = snapshot_find(from, path), *is = snapshot_find(to, path);
    bool differs = !was || !is || strcmp(was->looks, is->looks) != 0;
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

int main(void)
{
    stacks_begin("diff");
    uint64_t first = stacks_first_seed(), wanted = stacks_wanted(100);
    for (uint64_t i = 0; i < wanted; i++) {
        check_random(first + i);
    }
    stacks_end();
    printf("diff: seeds %" PRIu64 "-%" PRIu64 "\n", first, first + wanted - 1);
    return DONE("diff");
}
