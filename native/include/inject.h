/* System calls made by a frozen thread for us. Begin and end are paired: between them the thread runs code of ours in
 * memory of ours, after the end it is as it was. */
#pragma once

#include "freeze.h"

#define INJECT_CALLS 256         /* in one batch */
#define INJECT_DATA_BYTES 12288u /* for what the calls point to */

struct inject {
    struct subject *subject;
    struct thread *thread;
    uint64_t area; /* in the process: code, table, data */
    uint64_t kernel_entry;
    int trap; /* the signal by which a batch ends */
    struct arch_call calls[INJECT_CALLS];
    size_t count;
};

/* `vdso` is the start of the process's vdso. 0 or -errno, and nothing has changed; -ESRCH: the thread was killed. */
int inject_begin(struct inject *inject, struct subject *subject, struct thread *thread, uint64_t vdso);
/* Removes what inject_begin made; undoes as much as it can. 0 or -errno. */
int inject_end(struct inject *inject);

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

/* Where the data lies in the process. */
uint64_t inject_data(const struct inject *inject);
/* 0 or -errno; whole or not at all. */
int subject_read(const struct subject *subject, uint64_t at, void *data, size_t len);
int subject_write(const struct subject *subject, uint64_t at, const void *data, size_t len);
