#include "gather.h"

#include <pthread.h>
#include <sys/mman.h>

/* Of more than so much another thread takes one half: what a thread costs is less than a tenth of what it saves. */
#define MUCH_BYTES (8ULL << 20)
#define LARGE_BYTES (2ULL << 20)

struct part {
    const struct subject *subject;
    const struct ranges *pages;
    uint8_t *into;
    uint64_t from, to; /* in bytes of all pages */
    int result;
};

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The kernel makes pages faster many at a time than one at each that is copied. */
static void *take(void *argument)
{
    struct part *part = argument;
    uint64_t at = 0;

    madvise(part->into + part->from, part->to - part->from, MADV_POPULATE_WRITE);
    for (size_t i = 0; part->result == 0 && at < part->to && i < part->pages->count; i++) {
        const struct range *range = &part->pages->list[i];
        const uint64_t size = range->end - range->start;
        const uint64_t first = larger(at, part->from), last = smaller(at + size, part->to);
        if (first < last) {
            const struct range piece = {range->start + (first - at), range->start + (last - at)};
            part->result = subject_read_pages(part->subject, &piece, part->into + first);
        }
        at += size;
    }
    return NULL;
}

int gather(const struct subject *subject, const struct ranges *pages, uint8_t *into)
{
    const uint64_t bytes = ranges_bytes(pages);
    const uint64_t middle = bytes < MUCH_BYTES ? bytes : bytes / 2 / LARGE_BYTES * LARGE_BYTES;
    struct part first = {.subject = subject, .pages = pages, .into = into, .to = middle};
    struct part second = {.subject = subject, .pages = pages, .into = into, .from = middle, .to = bytes};
    pthread_t other;
    const bool has_other = middle < bytes && pthread_create(&other, NULL, take, &second) == 0;

    take(&first);
    if (has_other) {
        pthread_join(other, NULL);
    } else if (middle < bytes) {
        take(&second);
    }
    return first.result < 0 ? first.result : second.result;
}
