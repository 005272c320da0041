/* What a sandbox sees as its file system: overlays over idmapped host directories, the kernel's views, devices. */
#pragma once

#include "cell.h"
#include "wire.h"

struct volume {
    char *path;   /* inside */
    char *source; /* host directory, the lowest layer */
    char *dir;    /* host directory for upper and work */
    int mount;    /* the overlay, -1 before it exists */
};

struct root_plan {
    const char *dir;  /* the sandbox's host directory */
    const char *base; /* host directory, the lowest layer */
    item seed;
    struct volume *volumes;
    size_t volume_count;
};

/* Microseconds per step. */
struct root_timings {
    uint64_t seed, overlay, mounts;
};

/* Makes the seed layer and the overlays and puts them up as the cell's root. After a failure the cell is unusable and
 * must be destroyed; root_close_workshop undoes the rest. */
int root_build(struct cell *cell, const struct root_plan *plan, struct root_timings *timings,
               struct err *err);
/* Drops what root_build keeps mounted in the engine's own namespace for this sandbox. */
void root_close_workshop(const char *dir);
uint64_t now_usec(void);
