/* The fields of an image one after another, as bytes. One and the same function writes and reads each structure, so that the two
 * cannot differ. Nothing that is read is trusted: what does not fit is a failure, after which all that follows is 0. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base.h"
#include "ranges.h"
#include "wire.h"

struct image;
struct memory;

/* Failures that are nobody's fault. */
#define PACK_OTHER_KERNEL "it was taken under another kernel"
#define PACK_OTHER_PROCESSOR "it was taken on a processor that could more"

struct pack {
    bool is_reading;
    struct out out;          /* what was written */
    const uint8_t *at, *end; /* what is still to be read */
    const char *failure;     /* what was wrong first; NULL: nothing */
    const struct image *image;
    size_t tree_count;     /* of the base; when it is read */
    size_t read, room;     /* bytes that were read, and what lists have been made of them */
    struct memory *memory; /* whose areas these are, */
    uint64_t address;      /* and where the one before ends */
    bool is_compared;      /* without what may differ where nothing else does: where files are found */
};

/* A number or truth value in whatever type it has. */
#define PACK(pack, value)                                                                                    \
    do {                                                                                                     \
        const int64_t packed_number = pack_number(pack, (int64_t)(value));                                   \
        (value) = (__typeof__(value))packed_number;                                                          \
        pack_check(pack, (int64_t)(value) == packed_number, "a number is too large");                        \
    } while (0)

/* All that there are of a list that `size` bytes long items stand in. One that is read is never NULL, and grows as its items
 * come: a count that is not true costs nothing. */
#define PACK_LIST(pack, list, count, each)                                                                   \
    pack_list(pack, (void **)&(list), &(count), sizeof *(list), (pack_each *)(void *)(each))

typedef void pack_each(struct pack *pack, void *item);

void pack_free(struct pack *pack);
/* Notes a failure unless it holds. */
void pack_check(struct pack *pack, bool holds, const char *what);
int64_t pack_number(struct pack *pack, int64_t value);
/* As it lies in memory: for what the kernel has laid out. */
void pack_raw(struct pack *pack, void *data, size_t size);
/* In an array of so many bytes. */
void pack_text(struct pack *pack, char *text, size_t room);
/* What objects of the API are called, or nothing. */
void pack_api_id(struct pack *pack, char id[ID_MAX + 1], bool or_none);
/* Of its own; may be NULL. */
void pack_string(struct pack *pack, char **text);
void pack_bytes(struct pack *pack, uint8_t **data, size_t *count);
void pack_list(struct pack *pack, void **list, size_t *count, size_t size, pack_each *each);
/* For lists that others name items of, before these are there: room for all. An item takes so many bytes or more. */
void pack_count(struct pack *pack, void **list, size_t *count, size_t size, size_t least);
/* Then the items; what is there no more when it fails is not counted. */
void pack_items(struct pack *pack, void *list, size_t *count, size_t size, pack_each *each);
#define PACK_COUNT(pack, list, count, least)                                                                 \
    pack_count(pack, (void **)&(list), &(count), sizeof *(list), least)
#define PACK_ITEMS(pack, list, count, each)                                                                  \
    pack_items(pack, list, &(count), sizeof *(list), (pack_each *)(void *)(each))
/* Whole pages of a process's memory. */
void pack_ranges(struct pack *pack, struct ranges *ranges);
/* Host ids are those of the sandbox. */
void pack_id(struct pack *pack, uint32_t *id);
/* An index into a list of so many; SIZE_MAX where that is allowed. */
void pack_index(struct pack *pack, size_t *index, size_t count, bool or_none);
void pack_tree(struct pack *pack, size_t *tree);
/* A socket's, which has so much room. */
void pack_address(struct pack *pack, void *address, socklen_t *size, size_t room);
/* A part of the bytes that are left, which it takes. */
void pack_take(struct pack *pack, size_t *left, size_t size);
/* What `kept` of a handle or an object points to; zeroed where it is read. */
void *pack_kept(struct pack *pack, void **kept, size_t size);
