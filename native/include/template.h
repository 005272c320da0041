/* A process that stands in the pool with the memory of a checkpoint's: copies of it are forked off. */
#pragma once

#include "image.h"
#include "puppet.h"

struct template
{
    struct puppet puppet;
    size_t filled_pieces; /* how many of the captured ones it has */
    uint64_t filled;      /* and so much of the next */
    bool is_filled;
    struct ranges large; /* pages that may become large ones then */
};

/* Builds it from what was captured, but for the content; where that grows, from the template of its origin. NULL with
 * err. */
struct template *template_build(struct memory *memory, const struct image_process *origin, struct err *err);
/* False once somebody has killed it, and of none. */
bool template_lives(const struct template *template);
/* The same, also when it has not come to its end yet. */
bool template_stands(const struct template *template);
void template_free(struct template *template);

/* ---- for other processes that get such a memory ---- */

#define TEMPLATE_POPULATE 23 /* MADV_POPULATE_WRITE */

/* Whether what is injected, and what is the kernel's behind it, can lie there. */
bool template_place_is_free(const struct memory *memory, uint64_t at);
/* Where it can in both; `other` may be NULL. */
uint64_t template_find_place(const struct memory *memory, const struct memory *other);
struct ranges template_writable_areas(const struct memory *memory);
/* `program`: its number inside, -1 for the same as before. 0 or -errno. */
int template_set_map(struct inject *inject, const struct memory *memory, int program);
