#include "room.h"

#include <sys/mman.h>

/* What a checkpoint usually copies. One such room is kept for the next, pages and all. */
#define USUAL_BYTES (4UL << 20)

static uint8_t *kept;

/* All usual ones are alike, and whole large pages. */
static size_t whole(size_t size)
{
    return size < USUAL_BYTES ? USUAL_BYTES : size;
}

uint8_t *room_take(size_t size)
{
    uint8_t *room = kept;

    if (room && size <= USUAL_BYTES) {
        kept = NULL;
        return room;
    }
    room = mmap(NULL, whole(size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED) {
        return NULL;
    }
    madvise(room, whole(size), MADV_HUGEPAGE);
    /* what the engine forks would have the pages in common with it, and each would be copied when it is written to */
    madvise(room, whole(size), MADV_DONTFORK);
    return room;
}

void room_leave(uint8_t **bytes, size_t size)
{
    if (!*bytes) {
        return;
    }
    if (!kept && size <= USUAL_BYTES) {
        kept = *bytes;
    } else {
        munmap(*bytes, whole(size));
    }
    *bytes = NULL;
}
