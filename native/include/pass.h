/* What a short-lived child of ours tells the engine over a socket pair: a result and, with it, descriptors. */
#pragma once

#include <stddef.h>

#define PASS_MAX_FDS 4

struct outcome {
    int num; /* 0 or an errno */
    char step[48];
};

int pass_pair(int pair[2]); /* datagrams with boundaries, CLOEXEC; 0 or -errno */
/* In the child. */
void pass_send(int socket, int num, const char *step, const int *fds, int fd_count);
/* In the engine: blocks. fds not received are -1. A child that dies unheard gives num ECHILD. */
void pass_receive(int socket, struct outcome *outcome, int *fds, int fd_count);
