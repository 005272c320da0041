/* The areas of a process's memory. */
#pragma once

#include "freeze.h"
#include "image.h"

/* What was injected at `injected` is left out. 0, or -1 with err; what cannot be kept is an obstacle. */
int areas_capture(struct memory *memory, const struct subject *subject, const struct thread *thread,
                  uint64_t injected, struct obstacles *obstacles, struct err *err);
/* Those whose pages may be the process's own. */
struct ranges areas_private(const struct memory *memory);
/* Those of them in which writing is not noticed yet. */
struct ranges areas_unwatched(const struct memory *memory);
/* Where there is nothing but anonymous memory, but for small ones. */
struct ranges areas_plain(const struct memory *memory);
/* What a template of one state can go on using for the other: all but the pages' content and the access to them. */
void areas_each_common(const struct memory *a, const struct memory *b,
                       void (*each)(void *owner, const struct area *left, const struct area *right,
                                    uint64_t start, uint64_t end),
                       void *owner);
struct ranges areas_common(const struct memory *a, const struct memory *b);
/* Opens the files of areas that are not whole in `kept`. 0 or -errno. */
int areas_open_files(struct memory *memory, const struct thread *thread, const struct ranges *kept);
