/* How the frozen processes of a sandbox belong together: who made whom, who has ended and was not waited for, who is stopped. */
#pragma once

#include "image.h"
#include "move.h"

/* A process that is captured. */
struct kin {
    struct unit *unit;
    pid_t parent; /* as the engine sees it */
    bool placed;
};

struct kindred {
    struct kin *list;
    size_t count;
};

/* Those that were entered, parents before their children. 0 or -1 with err. */
int kin_list(struct kindred *kindred, const struct move *move, struct err *err);
void kin_free(struct kindred *kindred);
void kin_remove(struct kindred *kindred, size_t index);
/* The index of the one with that pid; SIZE_MAX for none. */
size_t kin_find(const struct kindred *kindred, pid_t pid);
/* ended.c: children that are ending have ended, as far as their parents can see, before anything of those is captured. */
void kin_await_ends(const struct kindred *kindred, const struct move *move, struct obstacles *obstacles);
/* Fills in what a process is to its parent: who that is, what it is told. 0 or -errno. */
int kin_capture(struct image_process *process, const struct kindred *kindred, size_t index,
                const struct move *move);
/* What has ended and not been waited for, what some have in common, who cannot be made again. All are captured. 0, or -1
 * with err. */
int kin_complete(struct image *image, const struct kindred *kindred, const struct move *move,
                 struct obstacles *obstacles, struct err *err);
