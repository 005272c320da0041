/* Short rows of forks. The kernel links the memory of each fork with that of all it descends from, so that a template after
 * N others, each a fork of the one before, costs N times as much to fork again. */
#pragma once

#include "image.h"

/* Of a process whose template has just been built: where it is its turn, the template becomes a fork of one further back. */
void regrow(struct image_process *process);
/* What grew from the process of an image that goes has grown from what that one has grown from. */
void regrow_without(const struct image_process *gone, const char *image);
