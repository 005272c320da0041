/* The signal by which a description tells that something has happened with it: F_SETOWN, F_SETSIG, O_ASYNC. */
#pragma once

#include "handle.h"

/* Of a description just captured. 0 or -errno. */
int notice_capture(const struct seen *seen, struct notice *notice);
/* Of all of a revival: its processes and threads are there and have their descriptors, and are nobody yet. 0 or -errno. */
int notices_ask(struct revival *revival);
