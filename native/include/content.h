/* Filling a template with the pages that were captured, and making its pages large, a piece at a time. */
#pragma once

#include "template.h"

/* At most so many bytes more. 1 when some are left, 0, or -1 with err. */
int content_fill(struct template *template, const struct memory *memory, uint64_t most, struct err *err);
/* Which large pages it could have, before what was captured is let go. */
void content_plan_large(struct template *template, const struct memory *memory);
/* Makes at most so many bytes more of them, so that a fork has less to copy. Whether some are left. */
bool content_make_large(struct template *template, uint64_t most);
