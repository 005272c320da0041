/* What the processes of the sample have open. */
#pragma once

#include <string.h>

#include "handle.h"

/* The objects, then the handles, by their places in the image. */
enum { PIPE, SHARED, NAMELESS, FIFO, OBJECTS };

enum {
    FILE_HANDLE,
    DIRECTORY,
    NAMELESS_HANDLE,
    VIEW,
    DEVICE,
    MEMORY,
    STDIO,
    PIPE_HANDLE,
    EVENT,
    SIGNAL,
    TIMER,
    EPOLL,
    OUTER_EPOLL,
    PIDFD,
    INOTIFY,
    MASTER,
    HUNG_UP,
    NETLINK,
    PAIR,
    OTHER_OF_PAIR,
    LISTENER,
    CLIENT,
    MESSAGES,
    TCP,
    OTHER_TCP,
    TCP_LISTENER,
    UDP,
    HANDLES
};

/* Fills in both lists, which have room for all. */
void sample_add_handles(struct image *image);

static inline void *kept(const void *data, size_t size)
{
    return memcpy(handle_keep(size), data, size);
}

static inline char *text(const char *from)
{
    return kept(from, strlen(from) + 1);
}

#define LIST(type, ...) kept((const type[])__VA_ARGS__, sizeof((const type[])__VA_ARGS__))
