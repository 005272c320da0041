/* A sandbox's file system as its processes see it: the trees of its base as overlays, the kernel's views, devices. */
#pragma once

#include "base.h"
#include "cell.h"

/* Makes `trees` (detached mounts, one per tree of the base) the cell's root, at first attached at the directory
 * `point`. After a failure the cell is unusable and must be destroyed. */
int root_put_up(struct cell *cell, const struct base *base, const char *point, const int *trees,
                struct err *err);
