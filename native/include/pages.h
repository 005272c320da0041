/* What /proc/PID/pagemap tells of the pages of a process; the lists are appended to. 0 or -errno. */
#pragma once

#include <sys/types.h>

#include "ranges.h"

struct page_lists {
    struct ranges
        own; /* that belong to processes alone: neither those of files nor the kernel's page of zeros */
    struct ranges
        written; /* those of them that were written since they were protected, and all that never were */
    struct ranges guards;
    struct ranges large; /* those of their own that are parts of large pages */
};

/* Sets the lists. `plain`: where nothing but anonymous memory is, of which it is told faster; may be NULL. */
int pages_look(pid_t pid, const struct ranges *plain, struct page_lists *lists);
/* The same where the kernel cannot tell what was written: all counts as that. */
int pages_look_slowly(pid_t pid, struct page_lists *lists);
void page_lists_free(struct page_lists *lists);
/* Those that can be protected and were written; sets `written`. From here on they are protected. */
int pages_take_written(pid_t pid, struct ranges *written);
/* From here on writing is noticed. `own`: of those of its own pages; NULL: of all. */
int pages_protect(pid_t pid, const struct ranges *own);
/* Those pages in `within` for which both processes have the same page frame. `large`: which are parts of large pages in the first. */
int pages_shared(pid_t a, pid_t b, const struct ranges *within, const struct ranges *large,
                 struct ranges *shared);
/* For pages_alone. The descriptor or -errno. */
int pages_open(pid_t pid);
/* Those pages in `within` that no other process has. */
int pages_alone(int pagemap, const struct range *within, struct ranges *alone);
