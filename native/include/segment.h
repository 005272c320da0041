/* System V memory: the segments of a cell, with their numbers. */
#pragma once

#include "image.h"
#include "revive.h"

struct image_segment {
    int id;
    uint32_t key;
    size_t size;
    unsigned mode; /* with SHM_DEST and SHM_LOCKED */
    uid_t uid, creator_uid;
    gid_t gid, creator_gid;
    struct content content;
};

/* All that are in the cell, whose namespace the engine is in. 0 or -errno; what cannot be kept is an obstacle. */
int segments_capture(struct image *image, struct obstacles *obstacles);
/* The same in a new cell; its processes stand and are nobody yet. 0 or -errno. */
int segments_make(const struct revival *revival, const struct stage *stage);
/* Those that were removed while they were in use are removed, now that they are. 0 or -errno. */
int segments_settle(const struct image *image, const struct cell *cell);
void segments_free(struct image *image);
