/* The processes of an image, standing in a new cell until they are let go. */
#pragma once

#include "family.h"
#include "image.h"
#include "puppet.h"
#include "wire.h"

struct revived {
    const struct image_process *image;
    struct puppet puppet; /* its first thread */
    struct puppet *threads;
    size_t thread_count;
    size_t common_filters; /* that all threads have of its filters of system calls */
    int watch;             /* what tells which of its pages it writes; -1: those of its template show that */
};

/* Of an object of the image. */
struct made {
    bool is_made;
    int fds[2];
};

/* What time is spent on; told with the other steps of an operation. */
enum revival_part {
    PART_FORK,
    PART_ENTER,
    PART_FILL,
    PART_THREADS,
    PART_DESCRIPTORS,
    PART_RESTORE,
    PART_FAMILY, /* all of the first three, and the rest of it */
    PART_SOCKETS,
    PART_SETTLE,
    REVIVAL_PARTS
};

struct revival {
    const struct image *image;
    uint64_t spent[REVIVAL_PARTS]; /* in microseconds */
    struct revived *processes;
    size_t count;
    struct family family;
    struct puppet *others; /* by member of the family: those that are no process of the image */
    int *opened;           /* by handle; -1: not opened */
    bool *finished;
    struct made *made;               /* by object */
    struct live_terminal *terminals; /* terminal.h */
};

/* `stdio` gives the end that a process gets of a stream of a command: its descriptor, or -errno. */
typedef int stdio_end(void *owner, const char *process, int stream);
/* Takes over the master of the terminal of a command. 0 or -errno. */
typedef int terminal_end(void *owner, const char *process, int master);

struct stage {
    const struct cell *cell;
    const struct cgroup *cgroup;
    const int *trees;
    bool is_watched;
    stdio_end *stdio;
    terminal_end *terminal;
    void *owner;
};

/* What needs no files: the processes with their memory, sessions, groups and threads, standing in the cell. 0 or -1 with err;
 * in both cases there is something to end. */
int revive_begin(struct revival *revival, const struct image *image, const struct stage *stage,
                 struct err *err);
bool revival_lives(const struct revival *revival);
/* All else, once the root of the cell is that of the sandbox. 0 or -1 with err. */
int revive_complete(struct revival *revival, const struct stage *stage, struct err *err);
/* Adds the time since `*start`, which is now. */
void revival_spend(struct revival *revival, enum revival_part part, uint64_t *start);
void revival_tell(const struct revival *revival, struct out *timings);
/* They run. */
void revival_go(struct revival *revival);
/* Ends what was not let go, and forgets all. */
void revival_end(struct revival *revival);

/* The parts of it; each 0 or -errno. */

/* restore.c: what a fork does not take along of memory; limits and options. */
int restore_memory(struct revived *revived);
int restore_process(struct revived *revived);
/* restore_credentials.c: filters before there are threads; ids and capabilities of each. */
int restore_filters(struct revived *revived);
/* Adds to the batch what is to be run next; the last so many bytes of the data are taken. */
#define RESTORE_DATA_BYTES 256u
int restore_credentials(const struct revived *revived, struct inject *inject,
                        const struct credentials *wanted);
/* restore_signals.c. `restore_pending` and `restore_running_timers` while all signals are blocked. */
int restore_signals(struct revived *revived);
int restore_timers(struct revived *revived);
int restore_mask(const struct puppet *puppet, uint64_t mask);
int restore_pending(struct puppet *puppet, const struct pending *pending, bool of_process);
int restore_running_timers(struct revived *revived);
/* restore_thread.c: each thread as it was, then the process, the area gone. */
int restore_threads(struct revived *revived);
/* bring.c: what it has open, and where it stands. Everything is opened while it still has the root of the sandbox. */
int bring_open(struct revival *revival, struct revived *revived, const struct stage *stage);
int bring_places(struct revival *revival, struct revived *revived);
/* When all processes are as they were. */
int bring_settle(const struct revival *revival);
int bring_descriptors(struct revival *revival, struct revived *revived, const struct stage *stage);
