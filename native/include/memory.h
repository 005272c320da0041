/* The memory of a frozen process: its areas, and the pages of them that are its own. */
#pragma once

#include "freeze.h"
#include "image.h"

/* 0, or -1 with err or an obstacle. What was injected at `injected` is left out. */
int memory_capture(struct memory *memory, const struct subject *subject, const struct thread *thread,
                   uint64_t injected, struct obstacles *obstacles, struct err *err);
