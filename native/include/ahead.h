/* The pages of a process that has written much are copied while it runs, before it stands still for a checkpoint: then only what
 * it has written meanwhile is left. It stands still for a moment to begin with, from which on writing is noticed. */
#pragma once

#include "image.h"

struct ahead {
    pid_t pid;            /* as the engine sees it */
    struct memory memory; /* its areas, where it was not watched before */
    bool is_new;          /* but is now */
    struct ranges pages;  /* as they were at that moment, unless they were written since */
    uint8_t *bytes;       /* their content, one after the other */
    size_t size;
    struct ahead *next;
};

/* Of all processes of the sandbox that have written so many bytes or more. `usec`: how long they stood still. Where that is not
 * possible now nothing is copied. */
struct ahead *ahead_copy(struct sandbox *sandbox, uint64_t much, uint64_t *usec);
/* NULL: nothing of it was copied. */
struct ahead *ahead_of(struct ahead *list, pid_t pid);
/* The content is the memory's from now on. */
void ahead_give(struct ahead *ahead, struct memory *memory);
void ahead_free(struct ahead **list);
