/* Calls whose maker the other end of a socket is told: made by the process that made them before, or by one that has its
 * number and ends when it is done. */
#pragma once

#include <linux/un.h>
#include <sys/socket.h>

#include "revive.h"

struct deputies {
    struct revival *revival;
    const struct stage *stage;
    struct puppet other; /* stands for one that has ended */
};

void deputies_begin(struct deputies *deputies, struct revival *revival, const struct stage *stage);
void deputies_end(struct deputies *deputies);

/* Each 0 or -errno. Both ends of a pair are the engine's. */
int deputy_pair(struct deputies *deputies, const struct ucred *who, int type, int fds[2]);
int deputy_listen(struct deputies *deputies, const struct ucred *who, int fd, unsigned backlog);
/* `place` leads to the file that is connected to; -1 with an abstract name. */
int deputy_connect(struct deputies *deputies, const struct ucred *who, int fd, int place,
                   const struct sockaddr_un *name, socklen_t size);
/* Made by a process of the cell, for its account; -errno. */
int deputy_socket(struct deputies *deputies, int family, int type, int protocol);
