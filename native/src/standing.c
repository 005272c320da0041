#include "standing.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "fault.h"
#include "fd.h"
#include "root.h"
#include "tree.h"

int *trees_mount(const struct base *base, const struct chain *chain, const char *head, struct err *err)
{
    int *trees = malloc(base->tree_count * sizeof *trees);

    if (!trees) {
        die("out of memory");
    }
    for (size_t i = 0; i < base->tree_count; i++) {
        trees[i] = layer_mount(base, i, chain, head, err);
        if (trees[i] < 0) {
            fds_close(trees, i);
            return NULL;
        }
    }
    return trees;
}

/* ---- the root of a cell ---- */

/* The head is there. */
static int mount_trees(struct standing *standing, const struct chain *chain, const char *head,
                       struct err *err)
{
    const struct base *base = standing->base;

    if (chain_length(chain) > 0 && carry_from_layer(chain->layers[0], head, base->tree_count, err) < 0) {
        return -1;
    }
    standing->trees = trees_mount(base, chain, head, err);
    return standing->trees ? fault_check("mount overlay", err) : -1;
}

static int put_up(struct standing *standing, const char *head, const struct cell *cell, struct err *err)
{
    if (root_put_up(cell, standing->base, standing->trees, err) < 0 || fault_check("put up root", err) < 0) {
        return -1;
    }
    standing->carried = layer_print(head, standing->base, CARRIED_MAX);
    return 0;
}

/* The layers of the footing have been put together since, or somebody has removed its head. */
static int put_up_instead(struct standing *standing, struct footing *footing, const char *head,
                          const struct cell *cell, struct err *err)
{
    const int *before = footing->standing.trees;

    if (root_switch(cell, standing->base, before, standing->trees, err) < 0 ||
        root_drop(cell, standing->base, before, err) < 0) {
        return -1;
    }
    footing_end(footing);
    standing->carried = layer_print(head, standing->base, CARRIED_MAX);
    return 0;
}

static void unmount(struct standing *standing)
{
    fds_close(standing->trees, standing->base->tree_count);
    standing->trees = NULL;
}

int standing_make(struct standing *standing, struct footing *footing, struct base *base,
                  const struct chain *chain, const char *head, const struct cell *cell, struct out *timings,
                  struct err *err)
{
    uint64_t start = now_usec();

    *standing = (struct standing){.base = base};
    if (layer_make(head, base, chain, err) < 0 || mount_trees(standing, chain, head, err) < 0) {
        standing_unmake(standing, head);
        return -1;
    }
    out_key_uint(timings, "overlay", now_usec() - start);
    start = now_usec();
    if ((footing->place ? put_up_instead(standing, footing, head, cell, err)
                        : put_up(standing, head, cell, err)) < 0) {
        standing_unmake(standing, head);
        return -1;
    }
    out_key_uint(timings, "mounts", now_usec() - start);
    return 0;
}

void standing_unmake(struct standing *standing, const char *head)
{
    unmount(standing);
    layer_unmake(head);
}

/* ---- ahead of need ---- */

static int make_at(struct footing *footing, const struct cell *cell, struct err *err)
{
    struct standing *standing = &footing->standing;
    int result = layer_copy_roots(footing->place, standing->base, &footing->chain);

    if (result < 0) {
        return err_system(err, -result, "copy roots", "%s", footing->place);
    }
    return mount_trees(standing, &footing->chain, footing->place, err) < 0
               ? -1
               : put_up(standing, footing->place, cell, err);
}

void footing_make(struct footing *footing, struct base *base, const struct chain *chain,
                  const struct cell *cell)
{
    struct err err = {0};
    /* The content of files with several names is copied: that is not for files nobody may ever want. */
    const bool is_much = chain_length(chain) == 0 || carry_has_names(chain->layers[0], base->tree_count);
    char *place = is_much ? NULL : stock_take(base);

    if (!place) {
        return;
    }
    *footing = (struct footing){.standing.base = base, .chain = chain_copy(chain), .place = place};
    if (make_at(footing, cell, &err) < 0) {
        log_line("no files ahead of need: %s: %s %s", err.step, err.message, err.object);
        footing_end(footing);
    }
}

bool footing_take(struct footing *footing, struct standing *standing, const char *head)
{
    if (rename(footing->place, head) < 0) {
        log_line("rename %s to %s: %s", footing->place, head, strerror(errno));
        return false;
    }
    *standing = footing->standing;
    footing->standing.trees = NULL;
    chain_free(&footing->chain);
    free(footing->place);
    *footing = (struct footing){0};
    return true;
}

void footing_end(struct footing *footing)
{
    if (!footing->place) {
        return;
    }
    unmount(&footing->standing);
    int result = tree_remove(AT_FDCWD, footing->place);
    if (result < 0) {
        log_line("remove %s: %s", footing->place, strerror(-result));
    }
    chain_free(&footing->chain);
    free(footing->place);
    *footing = (struct footing){0};
}
