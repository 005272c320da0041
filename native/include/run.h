/* A run of layers of one tree: some that lie one above the other in a chain. What it shows is found here the way
 * overlayfs finds it, together with what overlayfs keeps to itself: in which raw directories a directory lies, and
 * where it goes on in the layers below the run. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

struct run {
    const int *uppers; /* newest first */
    size_t count;
    bool live; /* the newest is being written to: what vanishes while it is looked at was not there */
};

/* A raw file or directory: its path in the layer, as path.h has it. */
struct part {
    size_t layer;
    char *path;
};

struct place {
    struct part *parts; /* newest first */
    size_t count;
    char *below; /* the path it goes on at in what lies below the run; NULL: nothing of that shows */
};

enum found_kind {
    FOUND_NOTHING,   /* the run has nothing of it; place.below may have */
    FOUND_HIDDEN,    /* the run says that it does not exist */
    FOUND_DIRECTORY, /* parts: what is merged */
    FOUND_FILE,      /* anything else; parts: the node */
};

struct found {
    enum found_kind kind;
    struct place place;
    struct stat st;     /* of the first part */
    size_t parent_part; /* the parent's part that the first part lies in */
};

/* The root of the run's tree; it goes on at the root of what lies below. */
struct place run_root(const struct run *run);
/* Opens the raw directories: place->count descriptors (-1 for one that has vanished), to be closed with fds_close.
 * NULL with errno. */
int *place_open(const struct run *run, const struct place *place);
/* What the run shows as `name` in the directory `parent`, opened as `fds`. 0 or -errno; the caller frees `found` by
 * place_free(&found->place). */
int run_look_up(const struct run *run, const struct place *parent, const int *fds, const char *name,
                struct found *found);
void place_free(struct place *place);
/* Two places below the same layers that go on at the same path there, or both do not. */
bool same_below(const struct place *left, const struct place *right);

/* A name's extended attributes, links not followed; like lgetxattr and llistxattr. */
ssize_t name_xattr(int dir, const char *name, const char *attribute, void *value, size_t size);
ssize_t name_xattrs(int dir, const char *name, char *list, size_t size);
