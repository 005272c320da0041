/* Taking down what the frozen processes of a sandbox are. */
#pragma once

#include "image.h"
#include "move.h"

/* The processes are entered. 0, or -1 with err or obstacles. */
int capture(struct image *image, struct move *move, struct obstacles *obstacles, struct err *err);
/* handles.c: what the process has open. */
int handles_capture(struct image *image, struct image_process *process, const struct move *move,
                    const struct unit *unit, struct obstacles *obstacles, struct err *err);
