/* Inodes of frozen layers that living sandboxes show the numbers of. A file that was copied up shows the number of what
 * it was copied from, as long as that has exactly one name: so those inodes must neither be linked nor removed. */
#pragma once

#include <stdbool.h>
#include <sys/stat.h>

struct pins {
    void *tree;
    bool grew; /* since it was cleared: by an inode that has several names already */
};

/* Adds what the files of an upper that is written to were copied from. 0 or -errno. */
int pins_collect(struct pins *pins, int upper);
void pins_free(struct pins *pins);
/* In the upper of a frozen layer: puts copies in the place of pinned inodes, which move to the directory `origins`
 * (made when there are any) of the layer's directory. What the layer shows stays the same. 0 or -errno. */
int pins_set_aside(const struct pins *pins, int upper, int layer);
/* Moves what was set aside from one layer's directory to another's. 0 or -errno. */
int pins_move(int from_layer, int to_layer);
