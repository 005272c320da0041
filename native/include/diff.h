/* What differs between two states of one tree. */
#pragma once

#include <stdint.h>
#include <sys/stat.h>

#include "error.h"
#include "run.h"

/* One of the two: everything mounted, and the layers of its chain that the other's does not have. */
struct diff_side {
    int view; /* an overlay of the whole chain over the base */
    struct run run;
};

struct change {
    const char *path;                /* without leading slash; "" is the root */
    const struct stat *before, *now; /* NULL: not there */
};

typedef void diff_tell(void *context, const struct change *change);

/* Tells every change, parents before children. What lies below both runs must be the same. Times alone are no change. */
int diff_run(const struct diff_side *from, const struct diff_side *to, diff_tell *tell, void *context,
             struct err *err);
