/* The memory of a frozen process: its areas, and the pages of them that are its own. */
#pragma once

#include "ahead.h"
#include "image.h"

/* The state that a process has come from, with its template. */
struct origin {
    const struct image_process *process;
    bool watched; /* else the pages it has in common with the template are the same page frames */
    const struct ranges *more; /* of one that is watched: was written before */
};

/* `origin` and `ahead` may be NULL. 0, also when something cannot be kept and was said to be an obstacle; -1 with err. What was injected
 * at `injected` is left out. */
int memory_capture(struct memory *memory, const struct subject *subject, const struct thread *thread,
                   uint64_t injected, const struct origin *origin, struct ahead *ahead,
                   struct obstacles *obstacles, struct err *err);
/* Whether the template of that state can become one of this memory. */
bool memory_can_grow(const struct memory *memory, const struct image_process *origin);
