/* Layers on disk: per tree of the base a directory with an upper and a work directory. */
#pragma once

#include "base.h"

#define CHAIN_MAX 500
/* Beside the upper of a tree: the names of files that have several, each with its end, an empty one after each file. */
#define LAYER_LINKS "links"

/* Newest first: absolute directories. */
struct chain {
    char **layers; /* NULL-terminated */
};

int arg_chain(item args, const char *key, struct chain *chain, struct err *err);
void chain_free(struct chain *chain);
size_t chain_length(const struct chain *chain);
/* A copy; the caller frees it. */
struct chain chain_copy(const struct chain *chain);
bool chain_same(const struct chain *a, const struct chain *b);
/* A copy with `head` in front; the caller frees it. */
struct chain chain_push(const struct chain *chain, const char *head);

/* fsN/upper of a layer for reading, or -errno. */
int layer_open_upper(const char *layer, size_t tree);
/* Directories in this one come and go all the time. Where it can (ext4), the file system is asked to keep them apart: without a
 * journal it takes no inode that was freed within the last minute, and would look at more and more of those. */
void layer_scatter(const char *directory);
/* Makes fsN/{upper,work} in the layer's directory; the upper's descriptor, or -errno. */
int layer_make_tree(int layer, size_t tree);
/* That for so many trees. 0 or -errno. */
int layer_fill(const char *layer, size_t trees);
/* Its directory, unless that is there, and in it fsN/{upper,work} for every tree. Their roots look like those of the newest layer
 * below. */
int layer_make(const char *layer, struct base *base, const struct chain *below, struct err *err);
/* Removes all of that but the directory. */
void layer_unmake(const char *layer);

/* A tree as a chain shows it: an overlay of the chain over the base, with the head's upper (NULL: read-only).
 * Returns the detached mount, or -1 with err. */
int layer_mount(const struct base *base, size_t tree, const struct chain *chain, const char *head,
                struct err *err);

/* Makes the roots look like those of the newest layer below once more. 0 or -errno. */
int layer_copy_roots(const char *layer, const struct base *base, const struct chain *below);
/* What the uppers hold beside their roots. */
struct layer_print {
    uint64_t hash;
    size_t entries;
};

/* Gives up with SIZE_MAX entries when there are more than `most`. */
struct layer_print layer_print(const char *layer, const struct base *base, size_t most);
/* True when the roots still look like those of the newest layer below. */
bool layer_has_roots_of(const char *layer, const struct base *base, const struct chain *below);

/* carry.c: puts the files with several names of a chain's newest layer into a new head, before that is mounted. */
int carry_from_layer(const char *layer, const char *head, size_t tree_count, struct err *err);
/* Whether there is anything for that. */
bool carry_has_names(const char *layer, size_t tree_count);
/* What carry_from_layer goes by is the same for a layer that takes the newest one's place. 0 or -errno. */
int carry_names(const char *layer, const char *into, size_t tree);
/* More carried entries than that are not compared: the next checkpoint then takes them for a change. */
#define CARRIED_MAX 1000
