/* /proc/PID/pagemap's PAGEMAP_SCAN, of kernels since 6.7, for headers that do not have it yet. */
#pragma once

#include <linux/ioctl.h>
#include <stdint.h>

struct pagemap_region {
    uint64_t start, end, categories;
};

struct pagemap_scan {
    uint64_t size, flags, start, end, walk_end, regions, region_max, page_max;
    uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

#define PAGEMAP_SCAN_CALL _IOWR('f', 16, struct pagemap_scan)
#define PAGEMAP_PROTECT 1u /* flag: what is found is write-protected */
#define PAGEMAP_PROTECTABLE (1u << 0)
#define PAGEMAP_WRITTEN (1u << 1)
#define PAGEMAP_FILE (1u << 2)
#define PAGEMAP_PRESENT (1u << 3)
#define PAGEMAP_SWAPPED (1u << 4)
#define PAGEMAP_ZERO (1u << 5)
#define PAGEMAP_LARGE (1u << 6)
#define PAGEMAP_GUARD (1u << 8) /* since 6.15 */
