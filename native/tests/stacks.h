/* Random stacks of layers, made as sandboxes make them: by working on mounted overlays. Needs root. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#define STACK_MAX 24

/* Uppers, newest first; the descriptors belong to the world. */
struct stack {
    int layers[STACK_MAX];
    size_t count;
};

/* Everything that belongs to one seed. */
struct world {
    int dir;  /* scratch */
    int base; /* what every stack lies over */
    unsigned made;
    int fds[64];
    size_t fd_count;
};

/* ---- the run of a test program ---- */

/* Says why and ends the program when it cannot run here; else gives it mounts of its own and a scratch directory
 * (DELTABOX_TEST_DIR, or a tmpfs). */
void stacks_begin(const char *name);
void stacks_end(void);
/* From the environment: DELTABOX_STACKS worlds, the first with seed DELTABOX_SEED. */
uint64_t stacks_first_seed(void);
uint64_t stacks_wanted(uint64_t usual);

/* ---- worlds ---- */

/* A base with random content; the seed is told if the program ends before world_close. */
void world_open(struct world *world, uint64_t seed);
void world_close(struct world *world);
uint64_t random_below(uint64_t bound);
struct random_path {
    char text[64];
};
struct random_path random_path(void);
void random_seed(uint64_t seed);
/* An empty directory of the world. */
int world_directory(struct world *world);
/* The stack mounted read-only over the base; the base itself if it is empty. The caller closes it. */
int stack_mount(const struct world *world, const struct stack *stack);
/* Puts an empty layer on the stack and mounts it for writing. The caller closes the mount. */
int stack_push(struct world *world, struct stack *stack);
/* Puts a layer on the stack in which so many random things were done. */
void stack_grow(struct world *world, struct stack *stack, unsigned operations);
/* The stack without its `count` newest layers. */
struct stack stack_below(const struct stack *stack, size_t count);
/* Random things done in the mount; a digest of what each of them returned. */
uint64_t do_random(int mount, unsigned operations);

/* ---- what is to be seen ---- */

struct record {
    char *path;
    char *looks; /* type, mode, owner, content, attributes: everything but times and inode number */
    int broken;  /* listed, but looking at it gives this error */
    struct stat st;
};

struct snapshot {
    struct record *list; /* by path */
    size_t count;
};

struct snapshot snapshot_take(int dir);
void snapshot_free(struct snapshot *snapshot);
struct record *snapshot_find(const struct snapshot *snapshot, const char *path);
