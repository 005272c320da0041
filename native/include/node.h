/* One name of a layer, as it goes into a bundle and comes out of it. */
#pragma once

#include <limits.h>

#include "looks.h"

enum node_kind {
    NODE_END, /* of the directory that was begun last, with its looks */
    NODE_DIRECTORY,
    NODE_FILE, /* its data follow */
    NODE_LINK, /* one more name of a file */
    NODE_SYMLINK,
    NODE_SPECIAL, /* a fifo, a socket, a device */
    NODE_WHITEOUT,
};

struct layer_node {
    enum node_kind kind;
    char name[NAME_MAX + 1];
    struct looks looks;
    uint64_t size;
    bool has_more_names; /* it may be named again */
    uint64_t file;       /* which of those it is one more name of */
    char *target;
    mode_t type;
    dev_t device;
};

void node_pack(struct pack *pack, void *node);
void node_free(struct layer_node *node);
