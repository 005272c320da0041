#include "pages.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "fd.h"
#include "pagemap.h"

#define PAGE_BYTES 4096u
#define REGIONS 4096
#define ENTRIES 2048
#define TASK_END 0x7ffffffff000ULL

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
}

/* `wanted`: categories that all must have. Guard pages are told of as if they were swapped out. */
static int scan(pid_t pid, uint64_t flags, uint64_t wanted, struct page_lists *lists)
{
    static uint64_t guard = PAGEMAP_GUARD;
    static struct pagemap_region regions[REGIONS];
    struct pagemap_scan scan = {
        .size = sizeof scan,
        .flags = flags,
        .end = TASK_END,
        .regions = (uintptr_t)regions,
        .region_max = REGIONS,
        .category_inverted = PAGEMAP_FILE | PAGEMAP_ZERO,
        .category_mask = PAGEMAP_FILE | PAGEMAP_ZERO | wanted,
        .category_anyof_mask = PAGEMAP_PRESENT | PAGEMAP_SWAPPED,
        .return_mask = PAGEMAP_WRITTEN | PAGEMAP_PROTECTABLE | guard,
    };
    cleanup_fd fd = pages_open(pid);

    if (fd < 0) {
        return fd;
    }
    for (;;) {
        int count = ioctl(fd, PAGEMAP_SCAN_CALL, &scan);
        if (count < 0 && errno == EINVAL && guard) { /* this kernel does not tell */
            guard = 0;
            scan.return_mask &= ~(uint64_t)PAGEMAP_GUARD;
            continue;
        }
        if (count < 0) {
            return -errno;
        }
        for (int i = 0; lists && i < count; i++) {
            note(&regions[i], lists);
        }
        if (count < REGIONS) {
            return 0;
        }
        scan.start = scan.walk_end;
    }
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

int pages_look(pid_t pid, struct page_lists *lists)
{
    *lists = (struct page_lists){0};
    int result = scan(pid, 0, 0, lists);
    return result == -ENOTTY ? pages_look_slowly(pid, lists) : result;
}

int pages_take_written(pid_t pid, struct ranges *written)
{
    struct page_lists lists = {0};
    int result = scan(pid, PAGEMAP_PROTECT, PAGEMAP_WRITTEN | PAGEMAP_PROTECTABLE, &lists);

    *written = lists.own;
    lists.own = (struct ranges){0};
    page_lists_free(&lists);
    return result;
}

int pages_protect(pid_t pid)
{
    return scan(pid, PAGEMAP_PROTECT, PAGEMAP_WRITTEN | PAGEMAP_PROTECTABLE, NULL);
}

void page_lists_free(struct page_lists *lists)
{
    ranges_free(&lists->own);
    ranges_free(&lists->written);
    ranges_free(&lists->guards);
}

/* What an entry tells of where a page is: in memory or swapped out. */
static bool is_same_frame(uint64_t a, uint64_t b)
{
    const uint64_t where = 3ULL << 62 | ((1ULL << 55) - 1);

    return (a & where) == (b & where) && (a & 3ULL << 62) && (a & ((1ULL << 55) - 1));
}

int pages_shared(pid_t a, pid_t b, const struct ranges *within, struct ranges *shared)
{
    static uint64_t left[ENTRIES], right[ENTRIES];
    cleanup_fd first = pages_open(a), second = pages_open(b);

    if (first < 0 || second < 0) {
        return first < 0 ? first : second;
    }
    for (size_t i = 0; i < within->count; i++) {
        for (uint64_t at = within->list[i].start; at < within->list[i].end;) {
            const uint64_t pages = (within->list[i].end - at) / PAGE_BYTES;
            const size_t count = pages < ENTRIES ? pages : ENTRIES, bytes = count * sizeof *left;
            const off_t offset = (off_t)(at / PAGE_BYTES * sizeof *left);
            if (pread(first, left, bytes, offset) != (ssize_t)bytes ||
                pread(second, right, bytes, offset) != (ssize_t)bytes) {
                return -EIO;
            }
            for (size_t j = 0; j < count; j++, at += PAGE_BYTES) {
                if (is_same_frame(left[j], right[j])) {
                    ranges_append(shared, at, at + PAGE_BYTES);
                }
            }
        }
    }
    return 0;
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
