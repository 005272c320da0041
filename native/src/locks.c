/* File locks: they hang on an inode of the old tree and are taken again on that of the new one. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>

#include "move.h"

/* "lock:\t1: POSIX  ADVISORY  WRITE 12345 00:2f:1234 0 EOF" */
static int parse_line(const char *line, struct lock *lock)
{
    char kind[16], mode[16], end[32];
    unsigned long long start;

    if (sscanf(line, "lock:\t%*d: %15s %*s %15s %*s %*s %llu %31s", kind, mode, &start, end) != 4) {
        return -EPROTO;
    }
    if (strcmp(kind, "FLOCK") == 0) {
        lock->kind = LOCK_OF_FILE;
    } else if (strcmp(kind, "POSIX") == 0) {
        lock->kind = LOCK_OF_PROCESS;
    } else if (strcmp(kind, "OFDLCK") == 0) {
        lock->kind = LOCK_OF_DESCRIPTION;
    } else {
        return -EOPNOTSUPP;
    }
    lock->write = strcmp(mode, "WRITE") == 0;
    lock->start = start;
    lock->length = strcmp(end, "EOF") == 0 ? 0 : strtoull(end, NULL, 10) - start + 1;
    return 0;
}

/* Every descriptor of a shared description tells its flock and OFD locks. */
static bool is_known(const struct description *description, const struct lock *lock)
{
    for (size_t i = 0; i < description->lock_count; i++) {
        const struct lock *known = &description->locks[i];
        if (known->kind == lock->kind && known->start == lock->start && known->length == lock->length &&
            (lock->kind != LOCK_OF_PROCESS || known->unit == lock->unit)) {
            return true;
        }
    }
    return false;
}

void locks_parse(struct move *move, struct description *description, const struct holder *holder,
                 const char *fdinfo)
{
    for (const char *line = strstr(fdinfo, "\nlock:"); line; line = strstr(line + 1, "\nlock:")) {
        struct lock lock = {.unit = holder->unit, .fd = holder->fd};
        if (parse_line(line + 1, &lock) < 0) {
            obstacle_add_descriptor(&move->obstacles, move->units[holder->unit].subject, holder->fd,
                                    description->was, true, "it has a lease or a lock of an unknown kind");
            continue;
        }
        if (is_known(description, &lock)) {
            continue;
        }
        description->locks =
            realloc(description->locks, (description->lock_count + 1) * sizeof *description->locks);
        if (!description->locks) {
            die("out of memory");
        }
        description->locks[description->lock_count++] = lock;
    }
}

static struct flock to_flock(const struct lock *lock)
{
    return (struct flock){.l_type = lock->write ? F_WRLCK : F_RDLCK,
                          .l_whence = SEEK_SET,
                          .l_start = (off_t)lock->start,
                          .l_len = (off_t)lock->length};
}

int lock_take(const struct lock *lock, int fd)
{
    struct flock range = to_flock(lock);

    return (lock->kind == LOCK_OF_FILE && flock(fd, (lock->write ? LOCK_EX : LOCK_SH) | LOCK_NB) < 0) ||
                   (lock->kind == LOCK_OF_DESCRIPTION && fcntl(fd, F_OFD_SETLK, &range) < 0)
               ? -errno
               : 0;
}

int locks_take(struct description *description)
{
    int result = 0;

    for (size_t i = 0; result == 0 && i < description->lock_count; i++) {
        result = lock_take(&description->locks[i], description->new);
    }
    return result;
}

int locks_pass(const struct description *description, int from, int to)
{
    int result = 0;

    for (size_t i = 0; result == 0 && i < description->lock_count; i++) {
        const struct lock *lock = &description->locks[i];
        struct flock range = to_flock(lock);
        range.l_type = F_UNLCK;
        if (lock->kind == LOCK_OF_FILE) {
            flock(from, LOCK_UN);
        } else if (lock->kind == LOCK_OF_DESCRIPTION) {
            fcntl(from, F_OFD_SETLK, &range);
        }
        result = lock_take(lock, to);
    }
    return result;
}

int locks_add_call(struct inject *inject, const struct lock *lock, uint64_t at)
{
    const struct flock range = to_flock(lock);
    int result = subject_write(inject->subject, at, &range, sizeof range);

    inject_add(inject, SYS_fcntl, (uint64_t)lock->fd, F_SETLK, at, 0, 0, 0);
    return result;
}
