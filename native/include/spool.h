/* A stream's last bytes in a ring file, addressed by their offset in the whole stream. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct spool {
    int fd;
    uint64_t capacity;
    uint64_t written;  /* bytes ever put in */
    uint64_t released; /* with hold: bytes before this may be overwritten */
    bool hold;
};

/* Creates the file (it must not exist) with room for a first block, so that a disk that fills up later does not lose
 * output: the ring then stays as large as it has become. 0 or -errno. */
int spool_create(struct spool *spool, int dir, const char *name, uint64_t capacity);
void spool_close(struct spool *spool);
/* How many bytes may be put now. */
size_t spool_room(const struct spool *spool);
/* Puts at most spool_room bytes; returns how many were put, fewer when the disk is full, or -errno. */
int64_t spool_put(struct spool *spool, const void *data, size_t len);
/* Oldest offset still there. */
uint64_t spool_oldest(const struct spool *spool);
/* Reads up to len bytes from *offset, which is moved up to the oldest there is. 0 at the end, or -errno. */
int64_t spool_get(const struct spool *spool, uint64_t *offset, void *data, size_t len);
