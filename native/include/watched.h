/* What inotify watches of a sandbox are on, by inode. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct image;
struct sandbox;

#define WATCHED_BUCKETS 1024

struct watched {
    size_t tree;
    uint64_t inode;
    uint64_t new_inode; /* in the new tree, once its watches are moved there */
    char *path;         /* NULL: it has no name, or that is not known */
    bool missing;       /* it may have a name, which is to be looked for */
    struct watched *next;
};

struct watched *watched_find(const struct sandbox *sandbox, size_t tree, uint64_t inode);
struct watched *watched_add(struct sandbox *sandbox, size_t tree, uint64_t inode);
void watched_forget(struct sandbox *sandbox);
void watched_not_missing(struct sandbox *sandbox);
/* Where the watches of an image that the sandbox has gone back to lie, so that it need not be looked for. */
void watched_know_image(struct sandbox *sandbox, const struct image *image);
/* In the new trees they have other numbers; those nobody watches any more are forgotten. */
void watched_have_moved(struct sandbox *sandbox);
/* Looks for what is missing. While the sandbox runs, what is renamed may not be found. */
int watched_search(struct sandbox *sandbox, struct err *err);

/* An O_PATH descriptor of what lies there in the tree of `dir`, or -errno: -EMFILE when descriptors run short. */
int watched_open(int dir, const char *path);
/* The same, with its inode number. */
int watched_look(int dir, const char *path, uint64_t *inode);
