#include "remap.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "areas.h"

#define DROPPABLE 0x08 /* MAP_DROPPABLE, since Linux 6.11 */

int remap_each(struct inject *inject, const struct ranges *ranges, long number, uint64_t third)
{
    int result = 0;

    for (size_t i = 0; result == 0 && i < ranges->count; i++) {
        const struct range *range = &ranges->list[i];
        if ((result = inject_make_room(inject, 1)) == 0) {
            inject_add(inject, number, range->start, range->end - range->start, third, 0, 0, 0);
        }
    }
    return result < 0 ? result : inject_run_clear(inject);
}

int remap_clear(struct inject *inject, const struct memory *before, const struct ranges *kept)
{
    struct ranges all = {0};

    for (size_t i = 0; i < before->area_count; i++) {
        if (before->areas[i].kind != AREA_KERNEL) {
            ranges_append(&all, before->areas[i].start, before->areas[i].end);
        }
    }
    struct ranges gone = ranges_without(&all, kept);
    int result = remap_each(inject, &gone, SYS_munmap, 0);
    ranges_free(&all);
    ranges_free(&gone);
    return result;
}

/* ---- mapping ---- */

static int flags_of(const struct area *area)
{
    return MAP_FIXED |
           (area->shared                   ? MAP_SHARED
            : area->looks & LOOK_DROPPABLE ? DROPPABLE
                                           : MAP_PRIVATE) |
           (area->kind == AREA_MEMORY ? MAP_ANONYMOUS : 0) |
           (area->looks & LOOK_GROWS_DOWN ? MAP_GROWSDOWN : 0) |
           (area->looks & LOOK_NO_RESERVE ? MAP_NORESERVE : 0);
}

static const struct {
    unsigned look;
    int advice;
} advices[] = {{LOOK_NO_DUMP, MADV_DONTDUMP},   {LOOK_HUGE, MADV_HUGEPAGE},
               {LOOK_NO_HUGE, MADV_NOHUGEPAGE}, {LOOK_MERGEABLE, MADV_MERGEABLE},
               {LOOK_RANDOM, MADV_RANDOM},      {LOOK_SEQUENTIAL, MADV_SEQUENTIAL}};
#define ADVICES (sizeof advices / sizeof *advices)

void remap_add_advices(struct inject *inject, const struct area *area, uint64_t start, uint64_t size)
{
    for (size_t i = 0; i < ADVICES; i++) {
        if (area->looks & advices[i].look) {
            inject_add(inject, SYS_madvise, start, size, (uint64_t)advices[i].advice, 0, 0, 0);
        }
    }
}

_Static_assert(ADVICES < REMAP_ADVICES, "there is room for all");

/* What fork would leave out or wipe it is told to in the revived process only. */
static void add_map(struct inject *inject, const struct area *area, const struct range *piece, int file)
{
    const uint64_t size = piece->end - piece->start;

    inject_add(inject, SYS_mmap, piece->start, size, (uint64_t)area->protection, (uint64_t)flags_of(area),
               (uint64_t)file, area->kind == AREA_FILE ? area->offset + (piece->start - area->start) : 0);
    remap_add_advices(inject, area, piece->start, size);
}

int remap_map(struct inject *inject, const struct memory *memory, const struct ranges *kept, const int *files)
{
    int result = 0;

    for (size_t i = 0; result == 0 && i < memory->area_count; i++) {
        const struct area *area = &memory->areas[i];
        const struct ranges whole = {.list = &(struct range){area->start, area->end}, .count = 1};
        if (area->kind == AREA_KERNEL || area->kind == AREA_SHARED) {
            continue;
        }
        struct ranges missing = ranges_without(&whole, kept);
        for (size_t j = 0; result == 0 && j < missing.count; j++) {
            if ((result = inject_make_room(inject, 1 + REMAP_ADVICES)) == 0) {
                add_map(inject, area, &missing.list[j], area->kind == AREA_FILE ? files[area->file] : -1);
            }
        }
        ranges_free(&missing);
    }
    return result < 0 ? result : inject_run_clear(inject);
}

/* ---- guards ---- */

#define GUARD_INSTALL 102 /* since Linux 6.13 */
#define GUARD_REMOVE 103

int remap_guard(struct inject *inject, const struct memory *before, const struct memory *memory,
                const struct ranges *kept)
{
    const struct ranges none = {0};
    struct ranges had = before ? ranges_both(&before->guards, kept) : none;
    struct ranges gone = ranges_without(&had, &memory->guards), new = ranges_without(&memory->guards, &had);
    int result = remap_each(inject, &gone, SYS_madvise, GUARD_REMOVE);

    result = result < 0 ? result : remap_each(inject, &new, SYS_madvise, GUARD_INSTALL);
    ranges_free(&had);
    ranges_free(&gone);
    ranges_free(&new);
    return result;
}

/* ---- access ---- */

struct protecting {
    struct inject *inject;
    int failure;
};

static void protect(void *owner, const struct area *left, const struct area *right, uint64_t start,
                    uint64_t end)
{
    struct protecting *this = owner;

    if (left->kind != AREA_KERNEL && left->protection != right->protection && this->failure == 0 &&
        (this->failure = inject_make_room(this->inject, 1)) == 0) {
        inject_add(this->inject, SYS_mprotect, start, end - start, (uint64_t)right->protection, 0, 0, 0);
    }
}

int remap_protect(struct inject *inject, const struct memory *before, const struct memory *memory)
{
    struct protecting this = {.inject = inject};

    areas_each_common(before, memory, protect, &this);
    return this.failure < 0 ? this.failure : inject_run_clear(inject);
}

/* ---- what is the kernel's ---- */

const struct area *remap_kernel_area(const struct memory *memory, const char *name, uint64_t size)
{
    for (size_t i = 0; i < memory->area_count; i++) {
        const struct area *area = &memory->areas[i];
        if (area->kind == AREA_KERNEL && strcmp(area->name, name) == 0) {
            return area->end - area->start == size ? area : NULL;
        }
    }
    return NULL;
}
