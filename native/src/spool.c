#include "spool.h"

#include <fcntl.h>

#include "fd.h"

#define FIRST_BLOCK (64 * 1024)

int spool_create(struct spool *spool, int dir, const char *name, uint64_t capacity)
{
    *spool = (struct spool){.fd = -1, .capacity = capacity < FIRST_BLOCK ? FIRST_BLOCK : capacity};
    cleanup_fd fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -errno;
    }
    int result = posix_fallocate(fd, 0, FIRST_BLOCK);
    if (result != 0) {
        unlinkat(dir, name, 0);
        return -result;
    }
    spool->fd = fd_steal(&fd);
    return 0;
}

void spool_close(struct spool *spool)
{
    fd_close(&spool->fd);
}

uint64_t spool_oldest(const struct spool *spool)
{
    return spool->written > spool->capacity ? spool->written - spool->capacity : 0;
}

size_t spool_room(const struct spool *spool)
{
    if (!spool->hold) {
        return (size_t)spool->capacity;
    }
    uint64_t kept = spool->written - spool->released;
    return kept >= spool->capacity ? 0 : (size_t)(spool->capacity - kept);
}

int64_t spool_put(struct spool *spool, const void *data, size_t len)
{
    size_t done = 0, room = spool_room(spool);

    len = len < room ? len : room;
    while (done < len) {
        uint64_t at = spool->written % spool->capacity;
        size_t part = len - done;
        if (part > spool->capacity - at) {
            part = (size_t)(spool->capacity - at);
        }
        ssize_t wrote = RETRY_EINTR(pwrite(spool->fd, (const char *)data + done, part, (off_t)at));
        if (wrote < 0 && errno == ENOSPC && spool->written < spool->capacity &&
            spool->written >= FIRST_BLOCK) {
            /* Nothing has wrapped yet, so a ring that ends right here holds every byte at its place. */
            spool->capacity = spool->written;
            room = spool_room(spool);
            len = len - done < room ? len : done + room;
            continue;
        }
        if (wrote < 0) {
            return done > 0 ? (int64_t)done : -errno;
        }
        done += (size_t)wrote;
        spool->written += (uint64_t)wrote;
    }
    return (int64_t)done;
}

int64_t spool_get(const struct spool *spool, uint64_t *offset, void *data, size_t len)
{
    size_t done = 0;

    if (*offset < spool_oldest(spool)) {
        *offset = spool_oldest(spool);
    }
    if (*offset >= spool->written) {
        return 0;
    }
    if (len > spool->written - *offset) {
        len = (size_t)(spool->written - *offset);
    }
    while (done < len) {
        uint64_t at = (*offset + done) % spool->capacity;
        size_t part = len - done;
        if (part > spool->capacity - at) {
            part = (size_t)(spool->capacity - at);
        }
        ssize_t got = RETRY_EINTR(pread(spool->fd, (char *)data + done, part, (off_t)at));
        if (got <= 0) {
            return got < 0 ? -errno : -EIO;
        }
        done += (size_t)got;
    }
    return (int64_t)done;
}
