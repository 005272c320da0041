/* How a file looks besides its content: owner, mode, times, attributes but for those of overlayfs. */
#pragma once

#include <sys/stat.h>

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
};

/* Each 0 or -errno; to be freed in any case. */
int looks_get(struct looks *looks, int fd);
int looks_set(const struct looks *looks, int fd);
void looks_pack(struct pack *pack, struct looks *looks);
void looks_free(struct looks *looks);
