#include "stored.h"

#include <string.h>

#include "error.h"

#define PAGE_BYTES 4096u
#define LAST_PAGE (UINT64_MAX / PAGE_BYTES)

static void *room_for(void *list, size_t count, size_t size)
{
    if ((count & (count - 1)) == 0) {
        list = realloc(list, (count ? count * 2 : 1) * size);
        if (!list) {
            die("out of memory");
        }
    }
    return list;
}

static void *zeroed(size_t count, size_t size)
{
    void *list = calloc(count + 1, size);

    if (!list) {
        die("out of memory");
    }
    return list;
}

struct stored *stored_new(const char *id, size_t body_count, size_t process_count)
{
    struct stored *stored = zeroed(1, sizeof *stored);

    stored->users = 1;
    strcpy(stored->id, id);
    stored->bodies = zeroed(body_count, sizeof *stored->bodies);
    stored->body_count = body_count;
    for (size_t i = 0; i < body_count; i++) {
        stored->bodies[i].below = SIZE_MAX;
    }
    stored->pids = zeroed(process_count, sizeof *stored->pids);
    stored->process_count = process_count;
    stored_source(stored, id);
    return stored;
}

struct stored *stored_share(struct stored *stored)
{
    stored->users++;
    return stored;
}

void stored_leave(struct stored *stored)
{
    while (stored && --stored->users == 0) {
        struct stored *base = stored->base;
        for (size_t i = 0; i < stored->body_count; i++) {
            free(stored->bodies[i].extents);
        }
        free(stored->bodies);
        free(stored->pids);
        free(stored->sources);
        free(stored);
        stored = base;
    }
}

size_t stored_source(struct stored *stored, const char *id)
{
    for (size_t i = 0; i < stored->source_count; i++) {
        if (strcmp(stored->sources[i], id) == 0) {
            return i;
        }
    }
    stored->sources = room_for(stored->sources, stored->source_count, sizeof *stored->sources);
    strcpy(stored->sources[stored->source_count], id);
    return stored->source_count++;
}

size_t stored_body_of(const struct stored *stored, pid_t pid)
{
    for (size_t i = 0; i < stored->process_count; i++) {
        if (stored->pids[i] == pid) {
            return i;
        }
    }
    return SIZE_MAX;
}

void body_add(struct body *body, const struct extent *extent)
{
    body->extents = room_for(body->extents, body->count, sizeof *body->extents);
    body->extents[body->count++] = *extent;
}

bool extent_is_same(const struct extent *a, const struct extent *b)
{
    return a->offset == b->offset && a->bytes == b->bytes && a->whole == b->whole &&
           memcmp(a->sum, b->sum, sizeof a->sum) == 0;
}

/* ---- finding ---- */

struct finding {
    struct found_extent *list;
    size_t count;
};

static void take(struct finding *finding, const struct stored *stored, const struct extent *extent,
                 uint64_t first, uint64_t end)
{
    struct extent part = *extent;

    part.skip += (uint32_t)(first - extent->page);
    part.page = first;
    part.count = (uint32_t)(end - first);
    finding->list = room_for(finding->list, finding->count, sizeof *finding->list);
    finding->list[finding->count++] =
        (struct found_extent){.extent = part, .source = stored->sources[extent->source]};
}

/* The first extent that ends behind the page. */
static size_t first_behind(const struct body *body, uint64_t page)
{
    size_t low = 0, high = body->count;

    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (body->extents[middle].page + body->extents[middle].count <= page) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Those of the pages that the body has are taken; the others are left. */
static struct ranges take_from(struct finding *finding, const struct stored *stored, const struct body *body,
                               const struct ranges *wanted)
{
    struct ranges left = {0};

    for (size_t i = 0; i < wanted->count; i++) {
        const uint64_t end = wanted->list[i].end / PAGE_BYTES;
        uint64_t at = wanted->list[i].start / PAGE_BYTES;
        for (size_t j = first_behind(body, at); j < body->count && at < end; j++) {
            const struct extent *extent = &body->extents[j];
            const uint64_t first = extent->page > at ? extent->page : at;
            const uint64_t last = extent->page + extent->count < end ? extent->page + extent->count : end;
            if (first >= last) {
                break;
            }
            ranges_append(&left, at * PAGE_BYTES, first * PAGE_BYTES);
            take(finding, stored, extent, first, last);
            at = last;
        }
        ranges_append(&left, at * PAGE_BYTES, end * PAGE_BYTES);
    }
    return left;
}

static int by_page(const void *a, const void *b)
{
    const struct found_extent *left = a, *right = b;

    return (left->extent.page > right->extent.page) - (left->extent.page < right->extent.page);
}

bool stored_find(const struct stored *stored, size_t body, const struct ranges *wanted,
                 struct found_extent **list, size_t *count)
{
    struct finding finding = {0};
    const struct ranges none = {0};
    struct ranges left = ranges_either(wanted, &none);

    for (const struct stored *at = stored; at && body < at->body_count && left.count > 0; at = at->base) {
        struct ranges next = take_from(&finding, at, &at->bodies[body], &left);
        ranges_free(&left);
        left = next;
        body = at->bodies[body].below;
    }
    const bool is_whole = left.count == 0;
    ranges_free(&left);
    if (finding.count > 0) {
        qsort(finding.list, finding.count, sizeof *finding.list, by_page);
    }
    *list = finding.list;
    *count = finding.count;
    return is_whole;
}

/* ---- as bytes ---- */

struct packing {
    struct pack *pack;
    const struct stored *stored;
    uint64_t page, offset; /* behind the one before */
};

static bool is_sound(const struct packing *packing, const struct extent *extent)
{
    return extent->offset <= INT64_MAX - (uint64_t)EXTENT_PAGES * PAGE_BYTES && extent->count > 0 &&
           extent->whole <= EXTENT_PAGES && extent->skip <= extent->whole &&
           extent->count <= extent->whole - extent->skip && extent->page <= LAST_PAGE - extent->count &&
           extent->bytes <= extent->whole * PAGE_BYTES && extent->source < packing->stored->source_count;
}

/* Pages of zeros are many where they are, and lie in no file. */
static bool is_sound_zeros(const struct extent *extent)
{
    return extent->count > 0 && extent->page <= LAST_PAGE - extent->count;
}

static void pack_place(struct packing *packing, struct extent *extent)
{
    struct pack *pack = packing->pack;
    int64_t gap = (int64_t)(extent->offset - packing->offset);

    PACK(pack, extent->skip);
    PACK(pack, extent->whole);
    PACK(pack, extent->source);
    PACK(pack, gap);
    pack_raw(pack, extent->sum, sizeof extent->sum);
    extent->offset = packing->offset + (uint64_t)gap;
    pack_check(pack, is_sound(packing, extent), "pages are said to be where none can be");
    packing->offset = extent->offset + extent->bytes;
}

static void pack_extent(struct packing *packing, struct extent *extent)
{
    struct pack *pack = packing->pack;
    uint64_t gap = extent->page - packing->page;

    PACK(pack, gap);
    PACK(pack, extent->count);
    PACK(pack, extent->bytes);
    pack_check(pack, gap <= LAST_PAGE - packing->page, "pages lie outside of memory");
    extent->page = packing->page + gap;
    if (extent->bytes > 0) {
        pack_place(packing, extent);
    }
    pack_check(pack, is_sound_zeros(extent), "pages lie outside of memory");
    packing->page = extent->page + extent->count;
}

static void pack_body(struct pack *pack, struct stored *stored, struct body *body)
{
    struct packing packing = {.pack = pack, .stored = stored};
    size_t count = body->count;

    PACK(pack, count);
    pack_index(pack, &body->below, BODIES_MAX, true);
    for (size_t i = 0; i < count && !pack->failure; i++) {
        struct extent extent = pack->is_reading ? (struct extent){0} : body->extents[i];
        pack_extent(&packing, &extent);
        if (pack->is_reading && !pack->failure) {
            body_add(body, &extent);
        }
    }
}

static void pack_source(struct pack *pack, char (*source)[ID_MAX + 1])
{
    pack_api_id(pack, *source, false);
}

/* By what it says, not by its name alone: another may have come to have that. */
static void pack_base(struct pack *pack, struct stored *stored, char base[ID_MAX + 1])
{
    if (!pack->is_reading && stored->base) {
        memcpy(stored->base_sum, stored->base->sum, sizeof stored->base_sum);
    }
    pack_api_id(pack, base, true);
    PACK(pack, stored->depth);
    pack_check(pack, (stored->depth > 0) == (base[0] != '\0'), "it stands on what it should not");
    if (base[0]) {
        pack_raw(pack, stored->base_sum, sizeof stored->base_sum);
    }
}

void stored_pack(struct pack *pack, struct stored *stored, char base[ID_MAX + 1])
{
    pack_base(pack, stored, base);
    if (pack->is_reading) {
        free(stored->sources);
    }
    PACK_LIST(pack, stored->sources, stored->source_count, pack_source);
    pack_check(pack, stored->source_count > 0 && strcmp(stored->sources[0], stored->id) == 0,
               "it is another image's");
    for (size_t i = 0; i < stored->process_count; i++) {
        PACK(pack, stored->pids[i]);
    }
    for (size_t i = 0; i < stored->body_count; i++) {
        pack_body(pack, stored, &stored->bodies[i]);
    }
}
