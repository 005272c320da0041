/* Cells made ahead of need, while the engine rests. In some the processes of an image stand already, on its files, which shortens
 * the way back to it. */
#pragma once

#include "arrival.h"

/* For the image: one in the cgroup of the sandbox that is to go back to it; for one that is to be made, where `sandbox` is NULL,
 * one that brings a cgroup with these limits. False when there is none that fits. */
bool spare_take(struct arrival *arrival, const struct image *image, const struct sandbox *sandbox,
                const struct limits *limits);
/* A cell that is made ahead if there is a fitting one, else a new one. 0 or -1 with err. */
int cell_take(struct cell **cell, bool host_net, struct err *err);

unsigned spares_warm(void); /* cells that nobody stands in */
/* Whether the process stands in one, which may be in the cgroup of a sandbox. */
bool spare_has(pid_t pid);
unsigned spares_standing(const struct sandbox *sandbox); /* how many processes in its cgroup */
void spares_without(const struct image *image);
void spares_leave(const struct sandbox *sandbox); /* its cgroup */
void spares_end(void);
