#include "gather.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "pages.h"

/* Of more than so much another thread takes one half: what a thread costs is less than a tenth of what it saves. */
#define MUCH_BYTES (8ULL << 20)
#define LARGE_BYTES (2ULL << 20)
/* Of less than so much in a row it is not asked who has it. */
#define ROW_BYTES (1ULL << 20)

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

/* Many at a time, which is faster. */
static int read_alone(const struct subject *subject, const struct range *pages, uint8_t *into)
{
    const size_t bytes = pages->end - pages->start;
    const struct iovec local = {.iov_base = into, .iov_len = bytes};
    const struct iovec remote = {.iov_base = (void *)pages->start, .iov_len = bytes};

    return process_vm_readv(subject->pid, &local, 1, &remote, 1, 0) == (ssize_t)bytes
               ? 0
               : subject_read_pages(subject, pages, into);
}

/* What others have, too, is not read in the faster way: it would be in common no more. */
static int read_row(const struct subject *subject, const struct range *row, uint8_t *into)
{
    struct ranges alone = {0};
    uint64_t at = row->start;
    int result = row->end - row->start < ROW_BYTES ? 0 : pages_alone(subject->pid, row, &alone);

    for (size_t i = 0; result == 0 && at < row->end; i++) {
        const struct range end = {row->end, row->end}, *next = i < alone.count ? &alone.list[i] : &end;
        const struct range common = {at, next->start};
        if (common.start < common.end) {
            result = subject_read_pages(subject, &common, into + (at - row->start));
        }
        if (result == 0 && next->start < next->end) {
            result = read_alone(subject, next, into + (next->start - row->start));
        }
        at = next->end;
    }
    ranges_free(&alone);
    return result;
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
            part->result = read_row(part->subject, &piece, part->into + first);
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
