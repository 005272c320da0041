/* System calls made by a frozen thread for us. Begin and end are paired: between them the thread runs code of ours in
 * memory of ours, after the end it is as it was. */
#pragma once

#include "freeze.h"
#include "ranges.h"

#define INJECT_CALLS 256         /* in one batch */
#define INJECT_DATA_BYTES 12288u /* for what the calls point to */
#define INJECT_AREA_BYTES (5 * 4096u + INJECT_DATA_BYTES)

struct inject {
    struct subject *subject;
    struct thread *thread;
    uint64_t area; /* in the process: code, table, data */
    uint64_t kernel_entry;
    int trap;                 /* the signal by which a batch ends */
    pid_t born[INJECT_CALLS]; /* the processes and threads made by calls of a batch */
    size_t born_count;
    struct arch_call calls[INJECT_CALLS];
    size_t count;
};

/* `vdso` is the start of the process's vdso. 0 or -errno, and nothing has changed; -ESRCH: the thread was killed. */
int inject_begin(struct inject *inject, struct subject *subject, struct thread *thread, uint64_t vdso);
/* Removes what inject_begin made; undoes as much as it can. 0 or -errno. */
int inject_end(struct inject *inject);

/* The same for a process of ours, which is left with the area: at `at`, where nothing may be yet. */
int inject_begin_at(struct inject *inject, struct subject *subject, struct thread *thread, uint64_t vdso,
                    uint64_t at);
/* For a standing fork or thread of a process that has the area: nothing is to be put back. */
void inject_adopt(struct inject *inject, const struct inject *parent, struct subject *subject,
                  struct thread *thread);
/* For another thread of a process in which a thread has begun. Ended by inject_return, before that one ends. */
int inject_borrow(struct inject *inject, const struct inject *owner, struct thread *thread);
int inject_return(struct inject *inject);
/* Where the instruction is that enters the kernel, after the vdso was moved. 0 or -errno. */
int inject_find_entry(struct inject *inject, uint64_t vdso);

/* Lets the thread come to a stop where the kernel looks at signals. 0 or -errno. */
int inject_interrupt(struct inject *inject);

/* Adds a call to the batch, which stops at its first failure. Returns its index. */
size_t inject_add(struct inject *inject, long number, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                  uint64_t e, uint64_t f);
/* One whose failure does not matter to the calls after it. */
size_t inject_add_free(struct inject *inject, long number, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                       uint64_t e, uint64_t f);
/* Runs the batch; results are in calls[]. Returns 0, the first failure of a call that was not free, or -errno. */
int inject_run(struct inject *inject);
/* Forgets the batch that was run. */
void inject_clear(struct inject *inject);
/* Both. */
int inject_run_clear(struct inject *inject);
/* Runs and clears the batch when so many more calls have no room in it. 0 or as inject_run. */
int inject_make_room(struct inject *inject, size_t calls);
/* A single call, by the process's own instruction. The result or -errno. */
int64_t inject_call(struct inject *inject, const struct arch_call *call);

/* Where the data lies in the process. */
uint64_t inject_data(const struct inject *inject);
/* 0 or -errno; whole or not at all. */
int subject_read(const struct subject *subject, uint64_t at, void *data, size_t len);
int subject_write(const struct subject *subject, uint64_t at, const void *data, size_t len);
/* The same for pages. What the process has in common with others stays in common when it is read. Writing is many at a
 * time, and by the slower way above where the process itself may not write. */
int subject_read_pages(const struct subject *subject, const struct range *range, uint8_t *into);
int subject_write_pages(const struct subject *subject, const struct range *range, const uint8_t *from);
