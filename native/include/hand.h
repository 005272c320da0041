/* Descriptors of the engine's, brought into a frozen process by a socket that is made for it. */
#pragma once

#include "inject.h"

struct hand {
    struct inject *inject;
    int socket;     /* our end; -1 when it is not connected */
    int queue;      /* where it leads; -1 */
    int sockets[2]; /* the numbers inside */
};

#define HAND_NONE ((struct hand){.socket = -1, .queue = -1, .sockets = {-1, -1}})

/* 0 or -errno, like the others; after a failure too hand_close is due. `pidfd`: of the process. */
int hand_open(struct hand *hand, struct inject *inject, int pidfd);
void hand_close(struct hand *hand);
/* Our ends of one that a process has from what made it, under the number `number`. 0 or -errno. */
int hand_share(struct hand *hand, const struct hand *from, struct inject *inject, int number);
/* Closes our ends. */
void hand_forget(struct hand *hand);
/* Adds what closes it inside to the batch that is run next. */
void hand_add_close(struct hand *hand);
/* Brings them in; `numbers` are what they got there. -EMFILE: the process has no room for as many. */
int hand_over(struct hand *hand, const int *fds, size_t count, int *numbers);
