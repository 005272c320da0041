/* A process that stands in the pool with the memory of a checkpoint's: copies of it are forked off. */
#pragma once

#include "image.h"
#include "puppet.h"

struct template
{
    struct puppet puppet;
};

/* Builds it from what was captured, which is then let go; where that grows, from the template of its origin. NULL with
 * err. */
struct template *template_build(struct memory *memory, const struct image_process *origin, struct err *err);
/* What madvise was told of an area that is mapped. */
void template_add_advices(struct inject *inject, const struct area *area, uint64_t start, uint64_t size);
void template_free(struct template *template);
