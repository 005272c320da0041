#include "pages.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "fd.h"
#include "pagemap.h"

#define PAGE_BYTES 4096u
#define REGIONS 4096
#define ENTRIES 2048
#define LARGE_BYTES (2ULL << 20)
#define TASK_END 0x7ffffffff000ULL
/* More places than that are not gone to one by one. */
#define APART_MAX 128

int pages_open(pid_t pid)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/pagemap", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* What lies where nothing notices writing counts as written, whatever the kernel tells of it: before Linux 6.14 pages that
 * mremap has moved look as they did where they were protected. */
static bool is_written(uint64_t categories)
{
    return categories & PAGEMAP_WRITTEN || !(categories & PAGEMAP_PROTECTABLE);
}

static void note(const struct pagemap_region *region, struct page_lists *lists)
{
    if (region->categories & PAGEMAP_GUARD) {
        ranges_append(&lists->guards, region->start, region->end);
        return;
    }
    ranges_append(&lists->own, region->start, region->end);
    if (is_written(region->categories)) {
        ranges_append(&lists->written, region->start, region->end);
    }
    if (region->categories & PAGEMAP_LARGE) {
        ranges_append(&lists->large, region->start, region->end);
    }
}

/* `wanted`: categories that all must have. Guard pages are told of as if they were swapped out. */
struct look {
    int pagemap;
    uint64_t flags, wanted;
    struct page_lists *lists;
};

/* `unwanted`: categories that none may have. */
static int scan(const struct look *look, const struct range *within, uint64_t unwanted)
{
    static uint64_t guard = PAGEMAP_GUARD;
    static struct pagemap_region regions[REGIONS];
    struct pagemap_scan scan = {
        .size = sizeof scan,
        .flags = look->flags,
        .start = within->start,
        .end = within->end,
        .regions = (uintptr_t)regions,
        .region_max = REGIONS,
        .category_inverted = unwanted,
        .category_mask = unwanted | look->wanted,
        .category_anyof_mask = PAGEMAP_PRESENT | PAGEMAP_SWAPPED,
        .return_mask = PAGEMAP_WRITTEN | PAGEMAP_PROTECTABLE | PAGEMAP_LARGE | guard,
    };

    for (;;) {
        int count = ioctl(look->pagemap, PAGEMAP_SCAN_CALL, &scan);
        if (count < 0 && errno == EINVAL && guard) { /* this kernel does not tell */
            guard = 0;
            scan.return_mask &= ~(uint64_t)PAGEMAP_GUARD;
            continue;
        }
        if (count < 0) {
            return -errno;
        }
        for (int i = 0; look->lists && i < count; i++) {
            note(&regions[i], look->lists);
        }
        if (count < REGIONS) {
            return 0;
        }
        scan.start = scan.walk_end;
    }
}

/* To tell pages of files the kernel looks at what it knows of each page, which takes most of the time: not in `plain`. */
static int scan_all(const struct look *look, const struct ranges *plain)
{
    uint64_t at = 0;
    int result = 0;

    for (size_t i = 0; result == 0 && at < TASK_END; i++) {
        const struct range end = {TASK_END, TASK_END}, *next = i < plain->count ? &plain->list[i] : &end;
        const struct range between = {at, next->start};
        if (between.start < between.end) {
            result = scan(look, &between, PAGEMAP_FILE | PAGEMAP_ZERO);
        }
        if (result == 0 && next->start < next->end) {
            result = scan(look, next, PAGEMAP_ZERO);
        }
        at = next->end;
    }
    return result;
}

/* ---- on kernels before 6.7 ---- */

#define ENTRY_PRESENT (1ULL << 63)
#define ENTRY_SWAPPED (1ULL << 62)
#define ENTRY_FILE (1ULL << 61) /* or memory that is shared */

static int look_at_entries(int pagemap, uint64_t start, uint64_t end, struct page_lists *lists)
{
    static uint64_t entries[ENTRIES];

    for (uint64_t at = start; at < end;) {
        const uint64_t pages = (end - at) / PAGE_BYTES;
        const size_t count = pages < ENTRIES ? pages : ENTRIES, bytes = count * sizeof *entries;
        if (pread(pagemap, entries, bytes, (off_t)(at / PAGE_BYTES * sizeof *entries)) != (ssize_t)bytes) {
            return -EIO;
        }
        for (size_t i = 0; i < count; i++, at += PAGE_BYTES) {
            if (entries[i] & (ENTRY_PRESENT | ENTRY_SWAPPED) && !(entries[i] & ENTRY_FILE)) {
                ranges_append(&lists->own, at, at + PAGE_BYTES);
                ranges_append(&lists->written, at, at + PAGE_BYTES);
            }
        }
    }
    return 0;
}

/* Pages of zeros are told of as well. */
int pages_look_slowly(pid_t pid, struct page_lists *lists)
{
    unsigned long long start, end;
    char path[64], text[4400];
    cleanup_fd pagemap = pages_open(pid);

    *lists = (struct page_lists){0};
    snprintf(path, sizeof path, "/proc/%d/maps", pid);
    FILE *file = fopen(path, "re");
    int result = pagemap < 0 ? pagemap : file ? 0 : -errno;
    while (result == 0 && fgets(text, sizeof text, file)) {
        if (sscanf(text, "%llx-%llx", &start, &end) == 2 && end <= TASK_END) {
            result = look_at_entries(pagemap, start, end, lists);
        }
    }
    if (file) {
        fclose(file);
    }
    return result;
}

/* ---- the lists ---- */

static const struct ranges none;

int pages_look(pid_t pid, const struct ranges *plain, struct page_lists *lists)
{
    cleanup_fd pagemap = pages_open(pid);
    const struct look look = {.pagemap = pagemap, .lists = lists};

    *lists = (struct page_lists){0};
    int result = pagemap < 0 ? pagemap : scan_all(&look, plain ? plain : &none);
    return result == -ENOTTY ? pages_look_slowly(pid, lists) : result;
}

int pages_take_written(pid_t pid, struct ranges *written)
{
    struct page_lists lists = {0};
    cleanup_fd pagemap = pages_open(pid);
    const struct look look = {.pagemap = pagemap,
                              .flags = PAGEMAP_PROTECT,
                              .wanted = PAGEMAP_WRITTEN | PAGEMAP_PROTECTABLE,
                              .lists = &lists};
    int result = pagemap < 0 ? pagemap : scan_all(&look, &none);

    *written = lists.own;
    lists.own = (struct ranges){0};
    page_lists_free(&lists);
    return result;
}

int pages_protect(pid_t pid, const struct ranges *own)
{
    cleanup_fd pagemap = pages_open(pid);
    const struct look look = {
        .pagemap = pagemap, .flags = PAGEMAP_PROTECT, .wanted = PAGEMAP_WRITTEN | PAGEMAP_PROTECTABLE};
    int result = pagemap < 0 ? pagemap : 0;

    if (result == 0 && (!own || own->count > APART_MAX)) {
        return scan_all(&look, &none);
    }
    for (size_t i = 0; result == 0 && i < own->count; i++) {
        result = scan(&look, &own->list[i], PAGEMAP_ZERO);
    }
    return result;
}

void page_lists_free(struct page_lists *lists)
{
    ranges_free(&lists->own);
    ranges_free(&lists->written);
    ranges_free(&lists->guards);
    ranges_free(&lists->large);
}

/* What an entry tells of where a page is: in memory or swapped out. */
static bool is_same_frame(uint64_t a, uint64_t b)
{
    const uint64_t where = 3ULL << 62 | ((1ULL << 55) - 1);

    return (a & where) == (b & where) && (a & 3ULL << 62) && (a & ((1ULL << 55) - 1));
}

struct pair {
    int first, second; /* of pagemaps */
    struct ranges *shared;
};

static int compare_pages(const struct pair *pair, uint64_t start, uint64_t end)
{
    static uint64_t left[ENTRIES], right[ENTRIES];

    for (uint64_t at = start; at < end;) {
        const uint64_t pages = (end - at) / PAGE_BYTES;
        const size_t count = pages < ENTRIES ? pages : ENTRIES, bytes = count * sizeof *left;
        const off_t offset = (off_t)(at / PAGE_BYTES * sizeof *left);
        if (pread(pair->first, left, bytes, offset) != (ssize_t)bytes ||
            pread(pair->second, right, bytes, offset) != (ssize_t)bytes) {
            return -EIO;
        }
        for (size_t j = 0; j < count; j++, at += PAGE_BYTES) {
            if (is_same_frame(left[j], right[j])) {
                ranges_append(pair->shared, at, at + PAGE_BYTES);
            }
        }
    }
    return 0;
}

/* Of both a large page: then all of it has one frame, or none of it. */
static int compare_large(const struct pair *pair, const struct range *range)
{
    const uint64_t first = (range->start + LARGE_BYTES - 1) & ~(LARGE_BYTES - 1);
    const uint64_t last = range->end & ~(LARGE_BYTES - 1);
    uint64_t left, right;
    int result = first < last ? compare_pages(pair, range->start, first)
                              : compare_pages(pair, range->start, range->end);

    for (uint64_t at = first; result == 0 && at < last; at += LARGE_BYTES) {
        const off_t offset = (off_t)(at / PAGE_BYTES * sizeof left);
        if (pread(pair->first, &left, sizeof left, offset) != sizeof left ||
            pread(pair->second, &right, sizeof right, offset) != sizeof right) {
            return -EIO;
        }
        if (is_same_frame(left, right)) {
            ranges_append(pair->shared, at, at + LARGE_BYTES);
        }
    }
    return result < 0 || first >= last ? result : compare_pages(pair, last, range->end);
}

/* Which of them are large pages of the other process, too. */
static int find_large(int pagemap, const struct ranges *within, struct page_lists *lists)
{
    const struct look look = {.pagemap = pagemap, .wanted = PAGEMAP_LARGE, .lists = lists};
    int result = 0;

    for (size_t i = 0; result == 0 && i < within->count; i++) {
        result = scan(&look, &within->list[i], 0);
    }
    return result;
}

int pages_shared(pid_t a, pid_t b, const struct ranges *within, const struct ranges *large,
                 struct ranges *shared)
{
    cleanup_fd first = pages_open(a), second = pages_open(b);
    const struct pair pair = {first, second, shared};
    struct page_lists lists = {0};
    struct ranges some = ranges_both(within, large);
    int result = first < 0 ? first : second < 0 ? second : find_large(second, &some, &lists);
    struct ranges small = ranges_without(within, &lists.large);
    struct ranges whole = ranges_both(within, &lists.large);

    for (size_t i = 0, j = 0; result == 0 && (i < small.count || j < whole.count);) {
        const bool is_small =
            j == whole.count || (i < small.count && small.list[i].start < whole.list[j].start);
        result = is_small ? compare_pages(&pair, small.list[i].start, small.list[i].end)
                          : compare_large(&pair, &whole.list[j]);
        i += is_small;
        j += !is_small;
    }
    page_lists_free(&lists);
    ranges_free(&some);
    ranges_free(&small);
    ranges_free(&whole);
    return result;
}

#define ENTRY_ALONE (1ULL << 56)

int pages_alone(int pagemap, const struct range *within, struct ranges *alone)
{
    uint64_t entries[ENTRIES];

    for (uint64_t at = within->start; at < within->end;) {
        const uint64_t pages = (within->end - at) / PAGE_BYTES;
        const size_t count = pages < ENTRIES ? pages : ENTRIES, bytes = count * sizeof *entries;
        if (pread(pagemap, entries, bytes, (off_t)(at / PAGE_BYTES * sizeof *entries)) != (ssize_t)bytes) {
            return -EIO;
        }
        for (size_t i = 0; i < count; i++, at += PAGE_BYTES) {
            if (entries[i] & ENTRY_ALONE) {
                ranges_append(alone, at, at + PAGE_BYTES);
            }
        }
    }
    return 0;
}
