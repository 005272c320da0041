/* The memory of a frozen process: its areas, and the pages of them that are its own. */
#pragma once

#include "freeze.h"
#include "image.h"

/* 0, also when something cannot be kept and was said to be an obstacle; -1 with err. What was injected at `injected` is left out. */
int memory_capture(struct memory *memory, const struct subject *subject, const struct thread *thread,
                   uint64_t injected, struct obstacles *obstacles, struct err *err);
