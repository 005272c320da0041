/* Work that takes long, done in a child of the engine so that the engine goes on serving. The child writes reply
 * frames; the engine passes them on whole. */
#pragma once

#include "engine.h"

struct job_out {
    struct reply_to reply_to;
    struct out frames;
    int fd;
};

/* Runs in the child: sends parts with job_part and returns 0 with `ok` as the last reply's inside, or <0 with err. */
typedef int job_work(struct job_out *out, void *argument, struct out *ok, struct err *err);

/* Returns OP_LATER, or <0 when the child could not be started. `argument` is used in the child's copy only. */
int job_start(const struct reply_to *to, job_work *work, void *argument, struct err *err);
void job_part(struct job_out *out, const struct out *inside);
