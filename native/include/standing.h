/* What a cell stands on: the trees of a chain, with a head that is written to. */
#pragma once

#include "cell.h"
#include "layer.h"

struct standing {
    struct base *base;
    int *trees;                 /* the mounts, one per tree of the base */
    struct layer_print carried; /* what is in the head before anything is written */
};

int *trees_mount(const struct base *base, const struct chain *chain, const char *head, struct err *err);
void trees_free(int *trees, size_t count);

/* Makes the head, and the root of the cell. */
int standing_make(struct standing *standing, struct base *base, const struct chain *chain, const char *head,
                  const struct cell *cell, struct out *timings, struct err *err);
/* Undoes standing_make. */
void standing_unmake(struct standing *standing, const char *head);

/* Made ahead of need: the head gets its place among the layers later. */
struct ready {
    struct standing standing;
    struct chain chain;
    char *place; /* where its head lies; NULL: nothing is ready */
};

/* Leaves the cell as it is, and nothing is ready, where it cannot be had. */
void ready_make(struct ready *ready, struct base *base, const struct chain *chain, const struct cell *cell);
/* Its head becomes `head`. False when that cannot be. */
bool ready_take(struct ready *ready, struct standing *standing, const char *head);
/* Once its cell is gone. */
void ready_end(struct ready *ready);
