/* A base: what the sandboxes of one family start from. For each tree (the root, then the volumes) a read-only overlay
 * of a seed over a host directory with shifted ids, kept mounted in the engine's own mount namespace. */
#pragma once

#include "engine.h"
#include "error.h"
#include "stock.h"

#define ID_MAX 40

struct base_tree {
    char *path;   /* inside; "/" for the root */
    char *source; /* host directory */
    int mount;    /* the read-only overlay */
};

struct base {
    char id[ID_MAX + 1];
    char *dir; /* mount point of its workshop */
    struct base_tree *trees;
    size_t tree_count;
    struct stock stock;
    struct base *next;
};

extern struct base *bases;

void bases_end(void); /* with the engine */

/* The base a request names in `base`; NULL with err filled. */
struct base *arg_base(item args, struct err *err);
/* 1-ID_MAX of a-z, 0-9 and -: it may be a file's name. */
bool is_id(const char *text);
int arg_id(item args, const char *key, char out[ID_MAX + 1], struct err *err);
/* In a child of the engine: a fresh overlay in the place of the tree's, seen by nobody else. One that has been mounted
 * for long goes on showing what it has once seen of the host, however that has changed. */
int base_refresh(struct base *base, size_t index, struct err *err);
