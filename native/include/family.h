/* In what order the processes of an image are made, so that each gets its parent, session and group. */
#pragma once

#include "image.h"

#define NOBODY SIZE_MAX

/* A process that is made: one of the image, one that has ended and was not waited for, or one that nobody is to see: it stands
 * for the leader of a session or group that is gone, and ends when all belong to it. */
struct member {
    pid_t pid, parent, group, session; /* parent 0: of none inside; 1: of the cell's init */
    const struct image_process *process;
    const struct image_zombie *zombie;
    /* how it is made */
    size_t
        maker; /* by which member; NOBODY: from its template, or for one that nobody is to see from `likeness` */
    size_t likeness; /* the process whose template that is */
    bool between;    /* by a process between the two, whose end makes it an orphan */
    pid_t now;       /* the session it is in, 0 while it is not made */
};

enum deed {
    DEED_MAKE,
    DEED_LEAD,   /* a session */
    DEED_GATHER, /* a group of its own */
    DEED_JOIN,   /* its group */
    DEED_REAP,   /* takes in the orphans among its descendants from here on */
    DEED_END,    /* of those that nobody is to see, and of those that have ended */
};

struct step {
    enum deed deed;
    size_t member;
};

struct family {
    struct member *members;
    size_t count;
    struct step *steps;
    size_t step_count;
    pid_t spare;   /* a pid that nobody has */
    uint64_t work; /* what planning has cost: so many members were looked at */
};

/* NULL, or the member that cannot be made, with the reason. To be freed in any case. */
const struct member *family_plan(struct family *family, const struct image *image, const char **reason);
void family_free(struct family *family);
