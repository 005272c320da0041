/* Areas that are shared: a revived process maps them itself, with those it shares them with, from what is kept of them as
 * of a descriptor. */
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "capture.h"
#include "fd.h"
#include "handle.h"
#include "root.h"
#include "remap.h"

static const struct mapping *find_mapping(const struct seen *seen, const struct area *area)
{
    for (size_t i = 0; i < seen->move->mapping_count; i++) {
        const struct mapping *mapping = &seen->move->mappings[i];
        if (&seen->move->units[mapping->unit] == seen->unit && mapping->start == area->start) {
            return mapping;
        }
    }
    return NULL;
}

static int capture_file(struct seen *seen, const struct mapping *mapping, struct area *area)
{
    const struct handle_kind *kind = mapping->description->path ? &handle_file : &handle_nameless;
    struct image_handle handle = {.kind = kind, .flags = seen->flags};

    seen->description = mapping->description;
    seen->st = mapping->description->st;
    seen->link = mapping->description->was;
    int result = kind->capture(seen, &handle);
    if (result == 0) {
        area->handle = handle_add(seen->image, &handle);
    } else {
        (kind->forget ? kind->forget : free)(handle.kept);
    }
    return result;
}

#define SEGMENT "/SYSV"

static int capture_segment(const struct seen *seen, struct area *area)
{
    const uint64_t bytes = ((uint64_t)seen->st.st_size + 4095) & ~(uint64_t)4095;

    if (area->offset != 0 || area->end - area->start != bytes) {
        return seen_refuse(seen, "only a part of it is there, or has the same access");
    }
    area->segment = seen->st.st_ino + 1;
    return 0;
}

static int capture_left(struct seen *seen, int own, struct area *area)
{
    struct description description = {.old = own, .new = -1, .st = seen->st, .flags = seen->flags};
    struct image_handle handle = {.kind = &handle_nameless, .flags = seen->flags};

    seen->description = &description;
    int result = handle.kind->capture(seen, &handle);
    seen->description = NULL;
    if (result == 0) {
        area->handle = handle_add(seen->image, &handle);
    } else {
        handle.kind->forget(handle.kept);
    }
    return result;
}

static int capture_generation(struct seen *seen, struct area *area)
{
    struct image_handle handle = {.kind = &handle_view, .flags = seen->flags};

    seen->position = 0;
    int result = handle.kind->capture(seen, &handle);
    if (result == 0) {
        area->handle = handle_add(seen->image, &handle);
    }
    return result;
}

static int capture_area(struct seen *seen, struct area *area)
{
    const struct mapping *mapping = find_mapping(seen, area);
    char path[96], link[PATH_MAX];

    seen->description = NULL;
    seen->fdinfo = "";
    seen->number = -1;
    seen->flags = area->may_write ? O_RDWR : O_RDONLY;
    if (mapping) {
        return capture_file(seen, mapping, area);
    }
    snprintf(path, sizeof path, "/proc/%d/map_files/%llx-%llx", seen->unit->thread->tid,
             (unsigned long long)area->start, (unsigned long long)area->end);
    ssize_t len = readlink(path, link, sizeof link - 1);
    cleanup_fd own = len < 0 ? -1 : open(path, O_PATH | O_CLOEXEC);
    if (own < 0 || fstat(own, &seen->st) < 0) {
        return -errno;
    }
    link[len] = '\0';
    seen->link = link;
    if (strncmp(link, SEGMENT, strlen(SEGMENT)) == 0) {
        return capture_segment(seen, area);
    }
    if (strcmp(link, "/" ROOT_HELD "/" ROOT_GENERATION) == 0) {
        seen->flags = O_RDONLY;
        return capture_generation(seen, area);
    }
    return is_left(seen->move, own) ? capture_left(seen, own, area) : memory_handle(seen, own, &area->handle);
}

int shared_capture(struct image *image, struct image_process *process, const struct move *move,
                   const struct unit *unit, struct obstacles *obstacles, struct err *err)
{
    struct seen seen = {.image = image, .move = move, .unit = unit, .obstacles = obstacles};

    for (size_t i = 0; i < process->memory.area_count; i++) {
        struct area *area = &process->memory.areas[i];
        int result = area->kind == AREA_SHARED ? capture_area(&seen, area) : 0;
        if (result < 0) {
            return err_system(err, -result, "look at shared memory", "process %d at %llx", process->pid,
                              (unsigned long long)area->start);
        }
    }
    return 0;
}

/* ---- mapping ---- */

int shared_open(const struct opening *opening)
{
    const struct memory *memory = &opening->revived->image->memory;
    int result = 0;

    for (size_t i = 0; result >= 0 && i < memory->area_count; i++) {
        if (memory->areas[i].kind == AREA_SHARED && !memory->areas[i].segment) {
            result = opening_fd(opening, memory->areas[i].handle);
        }
    }
    return result < 0 ? result : 0;
}

static int attach(const struct opening *opening, const struct area *area)
{
    struct inject *inject = &opening->revived->puppet.inject;

    inject_add(inject, SYS_shmat, area->segment - 1, area->start, area->may_write ? 0 : SHM_RDONLY, 0, 0, 0);
    inject_add(inject, SYS_mprotect, area->start, area->end - area->start, (uint64_t)area->protection, 0, 0,
               0);
    remap_add_advices(inject, area, area->start, area->end - area->start);
    return inject_run_clear(inject);
}

static int map(const struct opening *opening, const struct area *area)
{
    struct puppet *puppet = &opening->revived->puppet;
    const uint64_t size = area->end - area->start;
    int number;
    int result = hand_over(&puppet->hand, &opening->revival->opened[area->handle], 1, &number);

    if (result < 0) {
        return result;
    }
    inject_add(&puppet->inject, SYS_mmap, area->start, size, (uint64_t)area->protection,
               (area->shared ? MAP_SHARED : MAP_PRIVATE) | MAP_FIXED |
                   (area->looks & LOOK_NO_RESERVE ? MAP_NORESERVE : 0),
               (uint64_t)number, area->offset);
    inject_add(&puppet->inject, SYS_close, (uint64_t)number, 0, 0, 0, 0, 0);
    remap_add_advices(&puppet->inject, area, area->start, size);
    return inject_run_clear(&puppet->inject);
}

int shared_map(const struct opening *opening)
{
    const struct memory *memory = &opening->revived->image->memory;
    int result = 0;

    for (size_t i = 0; result == 0 && i < memory->area_count; i++) {
        if (memory->areas[i].kind == AREA_SHARED) {
            const struct area *area = &memory->areas[i];
            result = area->segment ? attach(opening, area) : map(opening, area);
        }
    }
    return result;
}
