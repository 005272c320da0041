/* Taking pages out of a frozen process, while it and whoever waits for it stands still. */
#pragma once

#include "inject.h"
#include "ranges.h"

/* One after the other into `into`, which nothing has been written to yet. 0 or -errno. */
int gather(const struct subject *subject, const struct ranges *pages, uint8_t *into);
