/* Descriptors of the engine's, brought into a frozen process by a socket that is made for it. */
#pragma once

#include "inject.h"

struct hand {
    struct inject *inject;
    int socket;     /* our end; -1 when it is not connected */
    int sockets[2]; /* the numbers inside */
};

/* 0 or -errno, like the others; after a failure too hand_close is due. `pidfd`: of the process. */
int hand_open(struct hand *hand, struct inject *inject, int pidfd);
void hand_close(struct hand *hand);
/* Adds what closes it inside to the batch that is run next. */
void hand_add_close(struct hand *hand);
/* Brings them in; `numbers` are what they got there. -EMFILE: the process has no room for as many. */
int hand_over(struct hand *hand, const int *fds, size_t count, int *numbers);
