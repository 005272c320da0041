/* A new cell, and in it the processes of an image, for a sandbox that is made or rolled back. */
#pragma once

#include "reattach.h"
#include "revive.h"

struct arrival {
    struct cell *cell;
    struct cgroup cgroup; /* its own, if `has_cgroup`; else they are in that of their sandbox */
    struct limits limits; /* of its own */
    bool has_cgroup;
    bool is_watched;        /* what its processes write is noticed from their birth */
    struct footing footing; /* the files under it, where those are put up before it is wanted */
    struct revival revival; /* without processes where there is no image */
    struct stdio *stdio;
};

/* The image that is named in `image`, with its templates; NULL: none is named. 0 or -1 with err. */
int arg_image(item args, struct image **image, struct err *err);

/* The cell, and the processes born in it: they stand, with nothing open. `image` NULL: the cell alone. In `cgroup`; NULL: in
 * the arrival's own. 0 or -1 with err; then nothing of it is left. */
int arrival_begin(struct arrival *arrival, const struct image *image, bool host_net,
                  const struct cgroup *cgroup, struct err *err);
/* Whether all of it lives yet. */
bool arrival_lives(const struct arrival *arrival);
void arrival_undo(struct arrival *arrival);

/* One that stands on the chain, complete: a spare where there is one. In the cgroup of the sandbox, which one that is only being
 * made gets. 0 or -1 with err; then nothing of it is left but that. */
int arrival_stand(struct arrival *arrival, struct standing *standing, struct sandbox *sandbox,
                  struct image *image, const struct chain *chain, const char *head, struct out *timings,
                  struct err *err);

/* The sandbox stands in the cell: attaches the commands among the processes to it, tells of them in `ok`, and lets all run. */
void arrival_let_go(struct arrival *arrival, struct sandbox *sandbox, struct out *ok);
