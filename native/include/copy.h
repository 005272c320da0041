/* Copies of single files and of what belongs to a directory besides its entries. */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <sys/stat.h>

/* A name in an open directory; "." is the directory itself. */
struct node {
    int dir;
    const char *name;
};

/* A name for system calls that take no directory. */
struct node_path {
    char text[NAME_MAX + 40];
};
struct node_path node_path(struct node node);

/* Makes `to` (there already, of the same type) look like `from`: owner, mode, attributes, flags, times. Of overlayfs'
 * attributes those are left out that speak of the node's place among the layers: opaque, redirect, whiteout.
 * 0 or -errno. */
int copy_looks(struct node from, struct node to, const struct stat *st);
/* Makes `to` a new file of `size` bytes with the data of `data`, extents shared where the file system can, holes kept.
 * 0 or -errno. */
int copy_content(int data, struct node to, off_t size);
/* The data of `from` for the empty file `to`; not durable. 0 or -errno. */
int copy_whole(int from, int to, off_t size);
/* Like copy_looks, by descriptors, and without any of overlayfs' attributes. */
int copy_descriptor_looks(int from, int to);
/* Makes `to` a symbolic link, device, fifo or socket like `from`. 0 or -errno. */
int copy_special(struct node from, struct node to, const struct stat *st);
int set_overlay_xattr(struct node node, const char *name, const char *value);
