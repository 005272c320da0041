/* Overlay mounts, by descriptors: no path is looked up twice. */
#pragma once

#include <stddef.h>

/* Newest first. */
struct overlay_plan {
    const int *lowers;
    size_t count;
    int upper, work; /* -1: read-only */
};

/* Returns the detached mount or -errno. */
int overlay_mount(const struct overlay_plan *plan);
