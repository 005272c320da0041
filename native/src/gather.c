#include "gather.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "fd.h"
#include "pages.h"

/* Of more than so much another thread takes one half: what a thread costs is less than a tenth of what it saves. */
#define MUCH_BYTES (8ULL << 20)
#define LARGE_BYTES (2ULL << 20)
/* Of less than so much it is not asked who has it. */
#define FEW_BYTES (64ULL << 10)
#define READS 256

struct part {
    const struct subject *subject;
    int pagemap;
    const struct ranges *pages;
    uint8_t *into;
    uint64_t from, to; /* in bytes of all pages */
    int result;
    /* what is read next, all at once */
    struct iovec reads[READS];
    size_t read_count, read_bytes;
    uint8_t *read_into;
};

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static int read_slowly(const struct part *part)
{
    uint8_t *into = part->read_into;
    int result = 0;

    for (size_t i = 0; result == 0 && i < part->read_count; i++) {
        const uint64_t start = (uint64_t)part->reads[i].iov_base;
        const struct range range = {start, start + part->reads[i].iov_len};
        result = subject_read_pages(part->subject, &range, into);
        into += part->reads[i].iov_len;
    }
    return result;
}

static int read_all(struct part *part)
{
    const struct iovec local = {.iov_base = part->read_into, .iov_len = part->read_bytes};
    int result = 0;

    if (part->read_count > 0 && process_vm_readv(part->subject->pid, &local, 1, part->reads, part->read_count,
                                                 0) != (ssize_t)part->read_bytes) {
        result = read_slowly(part);
    }
    part->read_count = part->read_bytes = 0;
    return result;
}

/* What nobody else has is read in the faster way, and goes on where the last of it has ended. */
static int read_alone(struct part *part, const struct range *pages, uint8_t *into)
{
    const size_t bytes = pages->end - pages->start;
    const bool goes_on = part->read_count < READS && part->read_into + part->read_bytes == into;
    int result = part->read_count > 0 && !goes_on ? read_all(part) : 0;

    if (part->read_count == 0) {
        part->read_into = into;
    }
    part->reads[part->read_count++] = (struct iovec){.iov_base = (void *)pages->start, .iov_len = bytes};
    part->read_bytes += bytes;
    return result;
}

/* What others have, too, is not: it would be in common no more. Of a process whose first thread has ended nothing is told by its
 * number. */
static int read_row(struct part *part, const struct range *row, uint8_t *into)
{
    struct ranges alone = {0};
    uint64_t at = row->start;
    int result = 0;

    if (part->to - part->from >= FEW_BYTES && pages_alone(part->pagemap, row, &alone) < 0) {
        ranges_free(&alone);
    }
    for (size_t i = 0; result == 0 && at < row->end; i++) {
        const struct range end = {row->end, row->end}, *next = i < alone.count ? &alone.list[i] : &end;
        const struct range common = {at, next->start};
        if (common.start < common.end) {
            result = subject_read_pages(part->subject, &common, into + (at - row->start));
        }
        if (result == 0 && next->start < next->end) {
            result = read_alone(part, next, into + (next->start - row->start));
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
            part->result = read_row(part, &piece, part->into + first);
        }
        at += size;
    }
    part->result = part->result < 0 ? part->result : read_all(part);
    return NULL;
}

int gather(const struct subject *subject, const struct ranges *pages, uint8_t *into)
{
    const uint64_t bytes = ranges_bytes(pages);
    const uint64_t middle = bytes < MUCH_BYTES ? bytes : bytes / 2 / LARGE_BYTES * LARGE_BYTES;
    cleanup_fd pagemap = pages_open(subject->pid);
    struct part first = {.subject = subject, .pagemap = pagemap, .pages = pages, .into = into, .to = middle};
    struct part second = first;
    pthread_t other;

    second.from = middle;
    second.to = bytes;
    const bool has_other = middle < bytes && pthread_create(&other, NULL, take, &second) == 0;
    take(&first);
    if (has_other) {
        pthread_join(other, NULL);
    } else if (middle < bytes) {
        take(&second);
    }
    return first.result < 0 ? first.result : second.result;
}
