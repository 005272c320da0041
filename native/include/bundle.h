/* A stream of bytes from one host to another: in blocks, each with a sum of what it has and of where it stands, compressed where that
 * makes it shorter. What is read is trusted no further than its sums go: accidents, not intentions. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "pack.h"

#define BUNDLE_VERSION 1u
#define BUNDLE_BLOCK (1u << 20)

struct bundle {
    int fd;
    bool is_reading;
    uint64_t number; /* of the block that is next */
    uint8_t *block, *packed;
    size_t used, at; /* bytes in the block; how many of them were read */
    bool has_ended;
};

/* Each 0 or -1 with err. The beginning is written or read. */
int bundle_begin(struct bundle *bundle, int fd, bool is_reading, struct err *err);
int bundle_put(struct bundle *bundle, const void *data, size_t size, struct err *err);
/* What is still in the block, and the end. */
int bundle_end(struct bundle *bundle, struct err *err);
int bundle_get(struct bundle *bundle, void *data, size_t size, struct err *err);
/* Some of the next bytes, at most so many; they stay until the next call. NULL with err. */
const uint8_t *bundle_some(struct bundle *bundle, uint64_t most, size_t *size, struct err *err);
/* That nothing follows. */
int bundle_expect_end(struct bundle *bundle, struct err *err);
void bundle_free(struct bundle *bundle);

/* One that packs and unpacks a structure: what was packed goes into the stream behind its length. */
typedef void bundle_pack(struct pack *pack, void *thing);
int bundle_put_record(struct bundle *bundle, bundle_pack *each, void *thing, struct err *err);
int bundle_get_record(struct bundle *bundle, bundle_pack *each, void *thing, struct err *err);

/* The file is not what was written. Returns -1. */
int bundle_damaged(const char *what, struct err *err);
