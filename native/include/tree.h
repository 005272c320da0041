/* Whole directory trees that nobody changes any more: no path is followed, any depth is walked. */
#pragma once

#include <stdint.h>

struct tree_size {
    uint64_t bytes, files;
};

/* Removes `name` in `dir` with everything below it. 0 or -errno; ENOENT is success. */
int tree_remove(int dir, const char *name);
/* Adds what is allocated below (and for) `name`. 0 or -errno. */
int tree_measure(int dir, const char *name, struct tree_size *size);
