/* The state in memory that an image which is read from disk grows from, so that only what differs is read, and takes room. */
#pragma once

#include "image.h"

/* Sets what of the memory of that process is fresh; all of it where there is no such state. What it maps are numbers of files that are
 * known there, or 0. */
void ancestor_find(struct image *image, size_t index);
