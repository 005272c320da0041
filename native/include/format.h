/* What the file of an image begins and ends with. */
#pragma once

#include <stdint.h>

#include "stored.h"

#define FORMAT_VERSION 2u

struct format_head {
    char magic[8];
    uint32_t version, reserved;
};

/* Behind the pages; checked by its own sum, which is the last. */
struct format_tail {
    uint64_t description_at, description_bytes, description_sum[2];
    uint64_t index_at, index_bytes, index_sum[2];
    uint32_t process_count, body_count;
    char magic[8];
    uint64_t sum;
};

struct format_head format_head(void);
/* Fills in what makes it whole. */
void format_seal(struct format_tail *tail);
void format_sum(const void *data, size_t size, uint64_t sum[2]);
bool format_is_sum(const void *data, size_t size, const uint64_t sum[2]);
/* Compares with what is this kernel's and processor's, or tells it. What does not fit is a failure. */
void format_pack_circumstances(struct pack *pack);

/* A file that has been opened and found whole as far as head and tail go. */
struct format_file {
    char id[ID_MAX + 1];
    int fd;
    uint64_t bytes;
    struct format_tail tail;
};
/* 0 or -1 with err. */
int format_open(struct format_file *file, const char *directory, const char *id, struct err *err);
/* The image of that id is damaged. Returns -1. */
int format_damaged(const char *id, const char *what, struct err *err);
/* All the pages that were written together: in `raw` as they are in the file, or unpacked in `pages`; each has room for an extent.
 * NULL with err. */
const uint8_t *format_read_extent(const struct format_file *file, const struct extent *extent, uint8_t *raw,
                                  uint8_t *pages, struct err *err);
/* A part of it that has that sum; to be freed. NULL with err. */
uint8_t *format_read(const struct format_file *file, uint64_t at, uint64_t bytes, const uint64_t sum[2],
                     const char *what, struct err *err);
