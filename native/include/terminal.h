/* The terminals of a sandbox: pairs of a master and a slave in the devpts of its cell. */
#pragma once

#include "image.h"
#include "move.h"
#include "revive.h"

#define TERMIOS_BYTES 44 /* the kernel's struct termios2 */

struct image_terminal {
    unsigned number;          /* under /dev/pts */
    char process[ID_MAX + 1]; /* the command whose client has the master; empty: it is inside */
    uint8_t termios[TERMIOS_BYTES];
    struct {
        unsigned short rows, columns, width, height;
    } size;
    uid_t uid;
    gid_t gid;
    mode_t mode;
    bool has_slave; /* somebody has it open */
    bool had_slave; /* somebody had */
    bool locked, packets, exclusive;
    pid_t foreground; /* a process group, inside; 0: of none that is left */
    int master;       /* while capturing: the engine's descriptor; -1 */
};

/* While reviving. */
struct live_terminal {
    int master, slave;
};

/* When all descriptors are captured: whose terminal each is. 0; -1 with obstacles or err. */
int terminals_capture(struct image *image, struct move *move, struct obstacles *obstacles, struct err *err);
/* The terminal of that number, added when it is not there yet. Its index. */
size_t terminal_of(struct image *image, unsigned number);
/* What a descriptor of either side tells. 0 or -errno. */
int terminal_look(struct image_terminal *terminal, int fd);

void terminals_free(struct image *image);

/* Before any process is there: the pairs. Then in each process, when it leads its session and before it has children;
 * then when all groups are there. 0 or -errno. */
int terminals_make(struct revival *revival, const struct stage *stage);
int terminal_take_control(struct revival *revival, struct revived *revived);
int terminal_set_foreground(struct revival *revival, struct revived *revived);
/* When everybody has what he had open. */
int terminals_finish(struct revival *revival);
void terminals_forget(struct revival *revival);
