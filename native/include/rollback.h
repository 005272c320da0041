/* Putting the processes of an image into the cell of a sandbox that is made or rolled back. */
#pragma once

#include "reattach.h"
#include "revive.h"

struct revived_sandbox {
    struct revival revival;
    struct stdio *stdio;
};

/* The image is named in `image`; without one nothing is done. They stand. 0 or -1 with err. */
int sandbox_revive(struct revived_sandbox *revived, const struct sandbox *sandbox,
                   const struct standing *standing, item args, struct out *timings, struct err *err);
/* Attaches the commands among them to the sandbox, tells of them in `ok`, and lets all run. */
void sandbox_let_go(struct revived_sandbox *revived, struct sandbox *sandbox, struct out *ok);
