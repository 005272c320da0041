/* Whether anything but time has passed since the state that frozen processes have come from. */
#pragma once

#include "image.h"

/* `image` has just been captured. The one that it is the same as; NULL: it differs. */
const struct image *image_same(struct image *image);
