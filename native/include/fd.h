/* Ownership of descriptors and memory in the type: a cleanup_fd is closed at the end of its scope unless stolen. */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/resource.h>
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

/* With the list. */
static inline void fds_close(int *fds, size_t count)
{
    for (size_t i = 0; fds && i < count; i++) {
        fd_close(&fds[i]);
    }
    free(fds);
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

/* Numbers are given lowest first, so one of the last says that few are left. Whoever keeps descriptors of other people's
 * files open stops there: what fails for want of one further on would look like a file that is not there. */
#define FDS_KEPT_FREE 256u

static inline bool fd_is_among_last(int fd)
{
    struct rlimit limit;

    return fd >= 0 && getrlimit(RLIMIT_NOFILE, &limit) == 0 && (rlim_t)fd + FDS_KEPT_FREE >= limit.rlim_cur;
}
