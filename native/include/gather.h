/* Taking many pages out of a process at once: it, or whoever waits for a checkpoint of it, stands still meanwhile. */
#pragma once

#include "inject.h"
#include "ranges.h"

/* One after the other into `into`. 0 or -errno. */
int gather(const struct subject *subject, const struct ranges *pages, uint8_t *into);
