/* A sandbox's file system as its processes see it: the trees of its base as overlays, the kernel's views, devices. */
#pragma once

#include "base.h"
#include "cell.h"

/* Where inside lies what is held for the sandbox from trees it has left; see held.c. */
#define ROOT_HELD "dev/deltabox"
/* In it: what tells a program that it is another copy. A link leads there from /run/deltabox. */
#define ROOT_GENERATION "generation"

/* Gives a new cell a bare root with proc, devices and the like, and nothing of the host's. After a failure of this or the
 * next the cell is unusable and must be destroyed. */
int root_prepare(struct cell *cell, struct err *err);
/* Makes `trees` (detached mounts, one per tree of the base) the cell's root. */
int root_put_up(const struct cell *cell, const struct base *base, const int *trees, struct err *err);

/* Puts the trees `to` in the place of `from` under the processes of the cell; proc, devices and the like move along.
 * Everyone who stands on the old root itself stands on the new one afterwards. The old root is still attached. */
int root_switch(const struct cell *cell, const struct base *base, const int *from, const int *to,
                struct err *err);
/* Undoes root_switch. */
void root_switch_back(const struct cell *cell, const int *from, const int *to);
/* After root_switch: makes the old trees read-only and detaches their root, and what is still attached to it. */
int root_drop(const struct cell *cell, const struct base *base, const int *trees, struct err *err);
/* After setns into a cell's mount namespace. */
void root_back_to_own_namespace(void);
