/* Taking down what the frozen processes of a sandbox are. */
#pragma once

#include "image.h"
#include "move.h"

/* The processes are entered. 0, or -1 with err or all the obstacles there are. */
int capture(struct image *image, struct move *move, struct obstacles *obstacles, struct err *err);
/* handles.c: what the process has open. 0, also when something cannot be kept and was said to be an obstacle; -1 with
 * err. */
int handles_capture(struct image *image, struct image_process *process, const struct move *move,
                    const struct unit *unit, struct obstacles *obstacles, struct err *err);
/* shared.c: the same for what it shares. Its areas are captured. */
int shared_capture(struct image *image, struct image_process *process, const struct move *move,
                   const struct unit *unit, struct obstacles *obstacles, struct err *err);
/* When that was done for all: what of one thing depends on others. */
int handles_complete(struct image *image, const struct move *move, struct obstacles *obstacles,
                     struct err *err);

/* The parts of it that look at a process; each 0 or -errno. */

/* capture_thread.c: those that are there, the process's first one first, and which signals wait for it alone. */
int threads_capture(struct image_process *process, const struct subject *subject, struct inject *inject,
                    struct obstacles *obstacles);
/* capture_credentials.c; `status` is what /proc tells of the thread. */
int credentials_capture(struct credentials *credentials, pid_t tid, const char *status);
/* capture_signals.c. */
int pending_capture(struct pending *pending, pid_t tid, const char *status, bool of_process);
/* Handlers, what waits for the whole process, and timers: what is due does not slip between the last two. */
int signals_capture(struct image_process *process, const struct subject *subject, struct inject *inject,
                    struct obstacles *obstacles);

/* ipc.c: what processes share by number or name. 0 or -1 with err; what cannot be kept is an obstacle. */
int ipc_capture(struct image *image, struct cell *cell, struct obstacles *obstacles, struct err *err);
/* Takes the engine into the cell's namespace of these. What ipc_leave takes, or -errno. */
int ipc_enter(const struct cell *cell);
void ipc_leave(int own);
