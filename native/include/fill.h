/* Giving a process that another one has forked the memory of an image, from the template that has it. */
#pragma once

#include "image.h"
#include "puppet.h"

struct filling {
    struct puppet *puppet; /* with its hand open */
    const struct memory *memory;
    const struct memory *has;     /* what it was forked with */
    const struct ranges *written; /* where they may differ; NULL: that is not known */
    const struct puppet *source;
};

/* 0, or -errno with the step. Pages that are alike stay shared with those it was forked from. */
int fill_memory(const struct filling *filling, const char **step);
