/* Giving a process of ours the areas of a memory, where it has those of another one or none. */
#pragma once

#include "image.h"
#include "inject.h"

/* A call with the start and the size of each range. All of these: 0 or -errno; the batch has been run. */
int remap_each(struct inject *inject, const struct ranges *ranges, long number, uint64_t third);
/* Takes away what it has of `before`, but for `kept` and what is the kernel's. */
int remap_clear(struct inject *inject, const struct memory *before, const struct ranges *kept);
/* Maps what is not in `kept`; `files`: the numbers that the memory's files have inside. */
int remap_map(struct inject *inject, const struct memory *memory, const struct ranges *kept,
              const int *files);
/* Makes the memory's guard regions; `before`: what it had in `kept`, or NULL. */
int remap_guard(struct inject *inject, const struct memory *before, const struct memory *memory,
                const struct ranges *kept);
/* Gives what both have in common the access it has in `memory`. */
int remap_protect(struct inject *inject, const struct memory *before, const struct memory *memory);

/* Adds what madvise was told of an area, in at most REMAP_ADVICES calls. */
#define REMAP_ADVICES 7
void remap_add_advices(struct inject *inject, const struct area *area, uint64_t start, uint64_t size);
/* The area in which the memory has what the kernel maps under that name; NULL when it has none of that size. */
const struct area *remap_kernel_area(const struct memory *memory, const char *name, uint64_t size);
