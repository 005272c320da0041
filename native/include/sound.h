/* Whether what was read of an image can be true: that its parts go together. What each part is by itself is checked as it is
 * read. */
#pragma once

#include "image.h"

/* So many can be read in bounded time, and no more are captured: processes, with those that have ended and were not waited for. */
#define MEMBERS_MAX 4096u
#define THREADS_MAX 65536u

/* NULL, or what cannot be. */
const char *image_flaw(const struct image *image);
