/* How a file looks besides its content: owner, mode, times, and those attributes that a sandbox can set. */
#pragma once

#include <sys/stat.h>

#include "copy.h"
#include "pack.h"

struct attribute {
    char *name;
    uint8_t *value;
    size_t size;
};

struct looks {
    uint32_t mode;
    uid_t uid;
    gid_t gid;
    struct timespec times[2]; /* of access and of change, as utimensat takes them */
    struct attribute *attributes;
    size_t attribute_count;
    bool
        is_in_layer; /* with the marks that layers have: overlayfs' of its place among them, and of what it stands for (links.h) */
};

/* One of overlayfs' attributes that speaks of a node's place among the layers: opaque, redirect, whiteout. */
bool speaks_of_place(const char *name);

/* Each 0 or -errno; to be freed in any case. */
int looks_get(struct looks *looks, int fd);
int looks_set(const struct looks *looks, int fd);
/* The same of what cannot be opened, a link among it. */
int looks_get_node(struct looks *looks, struct node node);
int looks_set_node(const struct looks *looks, struct node node);
void looks_pack(struct pack *pack, struct looks *looks);
void looks_free(struct looks *looks);
