/* Where the pages of an image are in files. Most images tell only of their own file what it has beyond the image they stand on; every
 * so many one tells of all its pages, so that none is far from such a one. */
#pragma once

#include "image.h"
#include "pack.h"

/* Pages that lie in a file as they are, or compressed; or that are zeros. */
struct extent {
    uint64_t page; /* the number of the first one that is meant */
    uint32_t count;
    uint32_t skip, whole; /* it is the `skip`th of so many that were written together */
    uint32_t bytes;       /* in the file; 0: zeros */
    uint64_t offset;
    uint64_t sum[2]; /* of what is in the file */
    size_t source;   /* index of the file's image */
};

#define EXTENT_PAGES 64u
#define BODIES_MAX (1u << 20)

/* The memory of a process, or a content. Its extents are ascending, and apart from each other. */
struct body {
    struct extent *extents;
    size_t count;
    size_t below; /* the body of the base that has the rest; SIZE_MAX: there is none */
};

struct stored {
    char id[ID_MAX + 1];
    unsigned users;
    struct stored *base;         /* NULL: it has all itself */
    unsigned depth;              /* how many it stands on */
    char (*sources)[ID_MAX + 1]; /* whose files its extents lie in; the first is its own */
    size_t source_count;
    struct body *bodies; /* those of its processes, then its contents */
    size_t body_count;
    pid_t *pids; /* of the processes */
    size_t process_count;
    uint64_t sum[2], base_sum[2]; /* of its index, and of that of what it stands on */
    uint64_t bytes;               /* of its file */
};

struct stored *stored_new(const char *id, size_t body_count, size_t process_count);
struct stored *stored_share(struct stored *stored);
void stored_leave(struct stored *stored);
size_t stored_source(struct stored *stored, const char *id);
/* The body of that process; SIZE_MAX. */
size_t stored_body_of(const struct stored *stored, pid_t pid);
/* Appends; joins nothing. */
void body_add(struct body *body, const struct extent *extent);

/* They mean parts of what was written together, in the file of one image. */
bool extent_is_same(const struct extent *a, const struct extent *b);

/* An extent with the image in whose file it lies. */
struct found_extent {
    struct extent extent;
    const char *source;
};
/* Where all the pages in `wanted` are, which are ascending. False when one is nowhere. The list is to be freed. */
bool stored_find(const struct stored *stored, size_t body, const struct ranges *wanted,
                 struct found_extent **list, size_t *count);

/* Without what it stands on, of which the id is given; empty: nothing. */
void stored_pack(struct pack *pack, struct stored *stored, char base[ID_MAX + 1]);
