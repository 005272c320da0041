/* Whether what was read of an image can be true: that its parts go together. What each part is by itself is checked as it is
 * read. */
#pragma once

#include "image.h"

/* NULL, or what cannot be. */
const char *image_flaw(const struct image *image);
