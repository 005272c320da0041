/* Ownership of descriptors and memory in the type: a cleanup_fd is closed at the end of its scope unless stolen. */
#pragma once

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define RETRY_EINTR(call)                                                                                    \
    ({                                                                                                       \
        __typeof__(call) retry_result;                                                                       \
        do {                                                                                                 \
            retry_result = (call);                                                                           \
        } while (retry_result == -1 && errno == EINTR);                                                      \
        retry_result;                                                                                        \
    })

static inline void fd_close(int *fd)
{
    if (*fd >= 0) {
        int keep = errno;
        close(*fd);
        errno = keep;
    }
    *fd = -1;
}

static inline int fd_steal(int *fd)
{
    int out = *fd;
    *fd = -1;
    return out;
}

static inline void free_string(char **string)
{
    free(*string);
}

#define cleanup_fd __attribute__((cleanup(fd_close))) int
#define cleanup_free __attribute__((cleanup(free_string)))
