/* What /proc/PID/pagemap tells of the pages of a process; the lists are appended to. 0 or -errno. */
#pragma once

#include <sys/types.h>

#include "ranges.h"

/* Pages that belong to processes alone: neither those of files nor the kernel's page of zeros. */
int pages_own(pid_t pid, struct ranges *own, struct ranges *guards);
/* Those of them that were written since they were protected, and all that never were. */
int pages_written(pid_t pid, struct ranges *written);
/* From here on writing is noticed. */
int pages_protect(pid_t pid);
/* Those pages in `within` for which both processes have the same page frame. */
int pages_shared(pid_t a, pid_t b, const struct ranges *within, struct ranges *shared);
