#include "content.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "fault.h"
#include "remap.h"

#define LARGE_BYTES (2ULL << 20)
#define COLLAPSE 25 /* MADV_COLLAPSE, since Linux 6.1 */

/* ---- what was captured ---- */

static int done(int result, const char *step, struct err *err)
{
    result = result < 0 ? result : fault_at(step);
    return result < 0 ? err_system(err, -result, step, "template") : 0;
}

/* The kernel makes pages faster many at a time than one at each fault. */
static int populate(struct inject *inject, const struct memory *memory, const struct ranges *pages)
{
    struct ranges writable = template_writable_areas(memory), wanted = ranges_both(pages, &writable);
    int result = remap_each(inject, &wanted, SYS_madvise, TEMPLATE_POPULATE);

    ranges_free(&writable);
    ranges_free(&wanted);
    return result;
}

/* So many bytes, from where it stands. */
static int go_through(struct template *template, const struct memory *memory, uint64_t most,
                      int (*each)(void *owner, const struct piece *piece), void *owner)
{
    int result = 0;

    while (result == 0 && most > 0 && template->filled_pieces < memory->piece_count) {
        const struct piece *whole = &memory->pieces[template->filled_pieces];
        const uint64_t left = whole->range.end - whole->range.start - template->filled;
        const uint64_t size = left < most ? left : most;
        const uint64_t start = whole->range.start + template->filled;
        const struct piece piece = {.range = {start, start + size},
                                    .content = whole->content + template->filled};
        result = each(owner, &piece);
        most -= size;
        template->filled = size < left ? template->filled + size : 0;
        template->filled_pieces += size == left;
    }
    return result;
}

static int note(void *owner, const struct piece *piece)
{
    ranges_append(owner, piece->range.start, piece->range.end);
    return 0;
}

static int write_piece(void *owner, const struct piece *piece)
{
    const struct template *template = owner;

    return subject_write_pages(&template->puppet.subject, &piece->range, piece->content);
}

int content_fill(struct template *template, const struct memory *memory, uint64_t most, struct err *err)
{
    struct template next = *template; /* where it stands */
    struct ranges pages = {0};

    go_through(&next, memory, most, note, &pages);
    int result = done(populate(&template->puppet.inject, memory, &pages), "populate", err);
    if (result == 0) {
        result = done(go_through(template, memory, most, write_piece, template), "write pages", err);
    }
    ranges_free(&pages);
    return result < 0 ? result : template->filled_pieces < memory->piece_count;
}

/* ---- large pages ---- */

/* `from`: the first that may reach into it; it moves on with ascending blocks. */
static uint64_t bytes_within(const struct ranges *ranges, size_t *from, uint64_t start, uint64_t end)
{
    uint64_t bytes = 0;

    while (*from < ranges->count && ranges->list[*from].end <= start) {
        ++*from;
    }
    for (size_t i = *from; i < ranges->count && ranges->list[i].start < end; i++) {
        const struct range *range = &ranges->list[i];
        bytes += (range->end < end ? range->end : end) - (range->start > start ? range->start : start);
    }
    return bytes;
}

static bool may_be_large(const struct area *area)
{
    return area->kind == AREA_MEMORY && !area->shared && !(area->looks & (LOOK_NO_HUGE | LOOK_MERGEABLE));
}

/* Those that are whole; and of what is shared with earlier templates those of which most has been written anew. */
void content_plan_large(struct template *template, const struct memory *memory)
{
    size_t own = 0, fresh = 0;

    for (size_t i = 0; i < memory->area_count; i++) {
        const struct area *area = &memory->areas[i];
        uint64_t at = (area->start + LARGE_BYTES - 1) / LARGE_BYTES * LARGE_BYTES;
        for (; may_be_large(area) && at + LARGE_BYTES <= area->end; at += LARGE_BYTES) {
            if (bytes_within(&memory->own, &own, at, at + LARGE_BYTES) == LARGE_BYTES &&
                bytes_within(&memory->fresh, &fresh, at, at + LARGE_BYTES) >= LARGE_BYTES / 2) {
                ranges_append(&template->large, at, at + LARGE_BYTES);
            }
        }
    }
}

/* Once others have been forked off it is too late: they would have the small pages, and nothing in common any more. */
bool content_make_large(struct template *template, uint64_t most)
{
    struct ranges *large = &template->large;

    for (uint64_t left = most; left >= LARGE_BYTES && large->count > 0;) {
        struct range *last = &large->list[large->count - 1];
        const uint64_t size = last->end - last->start, some = size < left ? size : left & ~(LARGE_BYTES - 1);
        const struct iovec blocks = {.iov_base = (void *)(last->end - some), .iov_len = some};
        /* where there is no large page to be had it does without */
        syscall(SYS_process_madvise, template->puppet.subject.pidfd, &blocks, 1, COLLAPSE, 0);
        last->end -= some;
        large->count -= last->end == last->start;
        left -= some;
    }
    return large->count > 0;
}
