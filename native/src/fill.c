#include "fill.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "areas.h"
#include "fault.h"
#include "fd.h"
#include "remap.h"
#include "template.h"

#define PAGE_BYTES 4096u
#define BUFFER_BYTES (1u << 20)

struct fill {
    const struct memory *memory, *has;
    const struct ranges *written;
    const struct puppet *source;
    struct puppet *puppet;
    struct inject *inject;
    struct kernel_area own[KERNEL_AREAS]; /* where they are */
    size_t own_count;
    bool same_program;
    int *files; /* the numbers they have inside; -1: not brought in */
    int program;
    struct ranges kept; /* what it has already, but for the content */
};

/* ---- what is injected, and what is the kernel's ---- */

/* It may stand where the program has something. */
static int move_area(struct fill *this)
{
    struct inject *inject = this->inject;

    if (template_place_is_free(this->memory, inject->area)) {
        return 0;
    }
    const uint64_t place = template_find_place(this->memory, this->has);
    const struct arch_call move = {
        .number = SYS_mremap,
        .args = {inject->area, INJECT_AREA_BYTES, INJECT_AREA_BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, place},
    };
    int64_t result = inject_call(inject, &move);
    if (result < 0 && result > -4096) {
        return (int)result;
    }
    inject->area = place;
    return 0;
}

static void find_own(struct fill *this)
{
    for (size_t i = 0; i < this->has->area_count && this->own_count < KERNEL_AREAS; i++) {
        const struct area *area = &this->has->areas[i];
        if (area->kind == AREA_KERNEL) {
            struct kernel_area *own = &this->own[this->own_count++];
            *own = (struct kernel_area){.start = area->start, .end = area->end};
            memcpy(own->name, area->name, sizeof own->name);
        }
    }
}

static const struct area *find_wanted(const struct memory *memory, const struct kernel_area *own)
{
    return remap_kernel_area(memory, own->name, own->end - own->start);
}

static bool stands_right(const struct fill *this)
{
    for (size_t i = 0; i < this->own_count; i++) {
        const struct area *wanted = find_wanted(this->memory, &this->own[i]);
        if (!wanted || wanted->start != this->own[i].start) {
            return false;
        }
    }
    return true;
}

static void add_move(struct fill *this, uint64_t from, uint64_t to, uint64_t size)
{
    inject_add(this->inject, SYS_mremap, from, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, to, 0);
}

/* By a detour behind the area, since both places may overlap. What was where it goes has been unmapped. */
static int move_own(struct fill *this)
{
    uint64_t at = this->inject->area + INJECT_AREA_BYTES, vdso = 0;

    for (size_t i = 0; i < this->own_count; i++) {
        const uint64_t size = this->own[i].end - this->own[i].start;
        if (!find_wanted(this->memory, &this->own[i])) {
            return -ENOEXEC;
        }
        add_move(this, this->own[i].start, at, size);
        at += size;
    }
    at = this->inject->area + INJECT_AREA_BYTES;
    for (size_t i = 0; i < this->own_count; i++) {
        const uint64_t size = this->own[i].end - this->own[i].start;
        const uint64_t to = find_wanted(this->memory, &this->own[i])->start;
        add_move(this, at, to, size);
        at += size;
        vdso = strcmp(this->own[i].name, "[vdso]") == 0 ? to : vdso;
    }
    int result = inject_run_clear(this->inject);
    return result < 0 ? result : inject_find_entry(this->inject, vdso);
}

/* ---- areas ---- */

/* All that it has and that is no part of what stays. */
static int clear(struct fill *this)
{
    int result = remap_clear(this->inject, this->has, &this->kept);

    return result < 0 || stands_right(this) ? result : move_own(this);
}

static int map_areas(struct fill *this)
{
    int result = remap_map(this->inject, this->memory, &this->kept, this->files);

    return result < 0 || !this->same_program ? result : remap_protect(this->inject, this->has, this->memory);
}

/* ---- pages ---- */

/* Only what differs, so that the rest stays shared. */
static int write_different(const struct puppet *puppet, const struct range *range, const uint8_t *wanted)
{
    static uint8_t present[BUFFER_BYTES];
    int result = subject_read_pages(&puppet->subject, range, present);
    const size_t pages = (range->end - range->start) / PAGE_BYTES;

    for (size_t i = 0, from = 0; result == 0 && i <= pages; i++) {
        if (i < pages && memcmp(present + i * PAGE_BYTES, wanted + i * PAGE_BYTES, PAGE_BYTES) != 0) {
            continue;
        }
        const struct range differs = {range->start + from * PAGE_BYTES, range->start + i * PAGE_BYTES};
        if (differs.start < differs.end) {
            result = subject_write_pages(&puppet->subject, &differs, wanted + from * PAGE_BYTES);
        }
        from = i + 1;
    }
    return result;
}

static int copy_pages(const struct fill *this, const struct ranges *pages, bool compare)
{
    static uint8_t buffer[BUFFER_BYTES];
    int result = 0;

    for (size_t i = 0; i < pages->count; i++) {
        for (uint64_t at = pages->list[i].start; result == 0 && at < pages->list[i].end;) {
            const uint64_t left = pages->list[i].end - at;
            const struct range piece = {at, at + (left < BUFFER_BYTES ? left : BUFFER_BYTES)};
            result = subject_read_pages(&this->source->subject, &piece, buffer);
            if (result == 0) {
                result = compare ? write_different(this->puppet, &piece, buffer)
                                 : subject_write_pages(&this->puppet->subject, &piece, buffer);
            }
            at = piece.end;
        }
    }
    return result;
}

static int fill_pages(struct fill *this)
{
    struct ranges had = ranges_both(&this->has->own, &this->kept);
    struct ranges gone = ranges_without(&had, &this->memory->own);
    struct ranges both = ranges_both(&this->memory->own, &had);
    struct ranges common = ranges_both(&both, this->written ? this->written : &both);
    struct ranges new = ranges_without(&this->memory->own, &had);
    struct ranges writable = template_writable_areas(this->memory);
    struct ranges bulk = ranges_both(&new, &writable);
    int result = remap_each(this->inject, &gone, SYS_madvise, MADV_DONTNEED);

    result = result < 0 ? result : remap_each(this->inject, &bulk, SYS_madvise, TEMPLATE_POPULATE);
    result = result < 0 ? result : copy_pages(this, &new, false);
    result = result < 0 ? result : copy_pages(this, &common, true);
    ranges_free(&had);
    ranges_free(&gone);
    ranges_free(&both);
    ranges_free(&common);
    ranges_free(&new);
    ranges_free(&writable);
    ranges_free(&bulk);
    return result;
}

/* ---- files ---- */

static const struct area *area_at(const struct memory *memory, uint64_t at)
{
    for (size_t i = 0; i < memory->area_count; i++) {
        if (memory->areas[i].start <= at && at < memory->areas[i].end) {
            return &memory->areas[i];
        }
    }
    return NULL;
}

/* What the source has mapped. Areas that lie side by side may be one there. */
static int open_files(const struct fill *this, int *fds)
{
    const pid_t pid = this->source->subject.pid;
    char path[96], text[PATH_MAX + 128];
    unsigned long long start, end, inode;

    snprintf(path, sizeof path, "/proc/%d/maps", pid);
    FILE *file = fopen(path, "re");
    while (file && fgets(text, sizeof text, file)) {
        if (sscanf(text, "%llx-%llx %*s %*x %*s %llu", &start, &end, &inode) != 3 || inode == 0) {
            continue;
        }
        const struct area *area = area_at(this->memory, start);
        if (area && area->kind == AREA_FILE && fds[area->file] < 0) {
            snprintf(path, sizeof path, "/proc/%d/map_files/%llx-%llx", pid, start, end);
            fds[area->file] = open(path, O_RDONLY | O_CLOEXEC);
        }
    }
    if (!file) {
        return -errno;
    }
    fclose(file);
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    fds[this->memory->file_count] = open(path, O_RDONLY | O_CLOEXEC);
    return 0;
}

static void note_needed(const struct fill *this, bool *needed)
{
    const struct memory *memory = this->memory;

    for (size_t i = 0; i < memory->area_count; i++) {
        const struct area *area = &memory->areas[i];
        const struct ranges whole = {.list = &(struct range){area->start, area->end}, .count = 1};
        struct ranges missing = ranges_without(&whole, &this->kept);
        if (area->kind == AREA_FILE && missing.count > 0) {
            needed[area->file] = true;
        }
        ranges_free(&missing);
    }
    needed[memory->file_count] = !this->same_program;
}

static int hand_files(struct fill *this, const int *fds, const bool *needed, size_t all)
{
    int *wanted = malloc(all * sizeof *wanted), *numbers = calloc(all, sizeof *numbers), result = 0;
    size_t count = 0;

    if (!wanted || !numbers) {
        die("out of memory");
    }
    for (size_t i = 0; result == 0 && i < all; i++) {
        wanted[count] = fds[i];
        count += needed[i];
        result = needed[i] && fds[i] < 0 ? -ENOENT : 0;
    }
    result = result < 0 || count == 0 ? result : hand_over(&this->puppet->hand, wanted, count, numbers);
    for (size_t i = 0, at = 0; result == 0 && i < all; i++) {
        *(i < all - 1 ? &this->files[i] : &this->program) = needed[i] ? numbers[at++] : -1;
    }
    free(wanted);
    free(numbers);
    return result;
}

static int bring_files(struct fill *this)
{
    const size_t all = this->memory->file_count + 1;
    int *fds = malloc(all * sizeof *fds);
    bool *needed = calloc(all, sizeof *needed);

    if (!fds || !needed) {
        die("out of memory");
    }
    for (size_t i = 0; i < all; i++) {
        fds[i] = -1;
    }
    note_needed(this, needed);
    int result = open_files(this, fds);
    result = result < 0 ? result : hand_files(this, fds, needed, all);
    for (size_t i = 0; i < all; i++) {
        fd_close(&fds[i]);
    }
    free(fds);
    free(needed);
    return result;
}

static int close_files(struct fill *this)
{
    int result = 0;

    for (size_t i = 0; result == 0 && i <= this->memory->file_count; i++) {
        const int number = i < this->memory->file_count ? this->files[i] : this->program;
        if (number >= 0 && (result = inject_make_room(this->inject, 1)) == 0) {
            inject_add(this->inject, SYS_close, (uint64_t)number, 0, 0, 0, 0, 0);
        }
    }
    return result < 0 ? result : inject_run_clear(this->inject);
}

/* ---- the whole ---- */

static int fill(struct fill *this, const char **step)
{
    int result;

    *step = "clear memory";
    if ((result = move_area(this)) < 0 || (result = clear(this)) < 0 || (result = fault_at(*step)) < 0) {
        return result;
    }
    /* before anything is mapped: the kernel does not exchange a program that is */
    *step = "map memory";
    if ((result = bring_files(this)) < 0 ||
        (result = template_set_map(this->inject, this->memory, this->program)) < 0 ||
        (result = map_areas(this)) < 0 ||
        (result = remap_guard(this->inject, this->has, this->memory, &this->kept)) < 0 ||
        (result = close_files(this)) < 0 || (result = fault_at(*step)) < 0) {
        return result;
    }
    *step = "fill memory";
    result = fill_pages(this);
    return result < 0 ? result : fault_at(*step);
}

int fill_memory(const struct filling *filling, const char **step)
{
    const struct memory *memory = filling->memory, *has = filling->has;
    struct fill this = {.memory = memory,
                        .has = has,
                        .source = filling->source,
                        .written = filling->written,
                        .puppet = filling->puppet,
                        .inject = &filling->puppet->inject,
                        .program = -1,
                        .files = calloc(memory->file_count + 1, sizeof *this.files)};

    if (!this.files) {
        die("out of memory");
    }
    this.same_program =
        memory->program_device == has->program_device && memory->program_inode == has->program_inode;
    if (this.same_program) {
        this.kept = areas_common(has, memory);
    }
    find_own(&this);
    int result = fill(&this, step);
    ranges_free(&this.kept);
    free(this.files);
    return result;
}
