/* Taking down what the frozen processes of a sandbox are. */
#pragma once

#include "image.h"
#include "move.h"

/* The processes are entered. 0, or -1 with err or all the obstacles there are. */
int capture(struct image *image, struct move *move, struct obstacles *obstacles, struct err *err);
/* handles.c: what the process has open. 0, also when something cannot be kept and was said to be an obstacle; -1 with
 * err. */
int handles_capture(struct image *image, struct image_process *process, const struct move *move,
                    const struct unit *unit, struct obstacles *obstacles, struct err *err);
/* When that was done for all: what of one thing depends on others. */
int handles_complete(struct image *image, const struct move *move, struct obstacles *obstacles,
                     struct err *err);
