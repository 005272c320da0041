/* The seed: the layer right above a base that hides what must not be seen and adds what a sandbox needs. */
#pragma once

#include "wire.h"

/* base is a descriptor of the base as the sandbox will see it (ids shifted), base_path the path it is attached at. */
struct seed {
    int fd;
    int base;
    const char *base_path;
};

int seed_build(const struct seed *seed, item description, struct err *err);
/* Makes the directory (and what leads to it) so that something can be mounted there. */
int seed_mount_point(const struct seed *seed, const char *path, struct err *err);
