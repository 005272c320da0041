/* What live processes have come from: which of their pages are still those of a template. */
#pragma once

#include "image.h"
#include "inject.h"

struct lineage {
    pid_t pid; /* as the engine sees it */
    int pidfd;
    char image[ID_MAX + 1]; /* its state there is that of the process `inner` */
    pid_t inner;
    int watch; /* a userfaultfd: knows the pages written since then; -1: pages it has in common with the template are
                  the same page frames */
    uint64_t faults;      /* that were its by then, or fewer */
    struct ranges before; /* pages it has written before it was watched */
    struct lineage *next;
};

/* Of a frozen process; NULL when it has come from no checkpoint that is there. */
struct lineage *lineage_of(struct sandbox *sandbox, pid_t pid);
/* The process of an image that it came from; NULL when that is gone. */
const struct image_process *lineage_origin(const struct lineage *lineage);
/* The same; NULL also when its template is gone. */
const struct image_process *lineage_living_origin(const struct lineage *lineage);
/* It has just been revived from there. `watch`: what lineage_watch_new has given for it, or negative; it is taken over. */
void lineage_begin(struct sandbox *sandbox, pid_t pid, const char *image, pid_t inner, int watch);
/* For a process that has the pages of an image, but no page frames in common with the template. It or -errno. */
int lineage_watch_new(struct inject *inject, const struct memory *memory);
/* The process stands as it is in the image, and all its pages are watched from now on. Where the kernel cannot do that,
 * its lineage ends. */
void lineage_watch(struct sandbox *sandbox, struct inject *inject, const struct memory *memory,
                   const char *image);
/* Of a frozen one that is watched: what it has written, of which it is noticed from now on when it is written again. Where the
 * kernel fails to tell, the lineage ends. */
void lineage_take_written(struct sandbox *sandbox, struct lineage *lineage, pid_t tid,
                          struct ranges *written);
/* Those of processes that have ended are forgotten; the templates that its processes have come from are built before it stands still. */
void lineages_complete(struct sandbox *sandbox);
/* What has come from an image that goes has come from what that has grown from. */
void lineages_without(const struct image *image);
void lineage_end(struct sandbox *sandbox, pid_t pid);
void lineages_forget(struct lineage **lineages);
