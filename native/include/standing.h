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

/* Files that were put up ahead of need: their head gets its place among the layers when they are taken. */
struct footing {
    struct standing standing;
    struct chain chain;
    char *place; /* where its head lies; NULL: there are none */
};

/* Leaves the cell as it is, and has none, where they cannot be had, or not for a few moments' work. */
void footing_make(struct footing *footing, struct base *base, const struct chain *chain,
                  const struct cell *cell);
/* Its head becomes `head`. False when that cannot be. */
bool footing_take(struct footing *footing, struct standing *standing, const char *head);
/* Once its cell is gone, or stands on others. */
void footing_end(struct footing *footing);

/* Makes the head, and the root of the cell, which has to stand on the footing so far if that has files. */
int standing_make(struct standing *standing, struct footing *footing, struct base *base,
                  const struct chain *chain, const char *head, const struct cell *cell, struct out *timings,
                  struct err *err);
/* Undoes standing_make. */
void standing_unmake(struct standing *standing, const char *head);
