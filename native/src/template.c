#include "template.h"

#include <linux/prctl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "areas.h"
#include "fault.h"
#include "fd.h"
#include "pool.h"

#define PAGE_BYTES 4096u
#define TASK_END 0x7ffffffff000ULL
#define LOWEST 0x100000ULL /* far below where programs are loaded */
#define STEP 0x100000ULL
#define KERNEL_BYTES (64 * PAGE_BYTES)
#define DROPPABLE 0x08 /* MAP_DROPPABLE, since Linux 6.11 */

struct build {
    struct memory *memory;
    struct template *template;
    struct inject *inject;
    struct kernel_area own[KERNEL_AREAS];
    size_t own_count;
    int *files; /* the numbers they have inside */
    uint64_t place;
    struct ranges kept; /* what a copy of an earlier template has already */
    int failure;
};

static int done(int result, const char *step, struct err *err)
{
    result = result < 0 ? result : fault_at(step);
    return result < 0 ? err_system(err, -result, step, "template") : 0;
}

static int run(struct build *this)
{
    int result = inject_run(this->inject);

    inject_clear(this->inject);
    return result;
}

static int make_room(struct build *this, size_t calls)
{
    return this->inject->count + calls <= INJECT_CALLS ? 0 : run(this);
}

/* ---- an empty process ---- */

static bool is_free(const struct memory *memory, uint64_t start, uint64_t end)
{
    for (size_t i = 0; memory && i < memory->area_count; i++) {
        if (memory->areas[i].start < end && start < memory->areas[i].end) {
            return false;
        }
    }
    return true;
}

bool template_place_is_free(const struct memory *memory, uint64_t at)
{
    return is_free(memory, at, at + INJECT_AREA_BYTES + KERNEL_BYTES);
}

/* Where neither the program nor, below it, the engine has anything. */
uint64_t template_find_place(const struct memory *memory, const struct memory *other)
{
    uint64_t at = LOWEST;

    while (!template_place_is_free(memory, at) || !template_place_is_free(other, at)) {
        at += STEP;
    }
    return at;
}

static const struct area *find_kernel_area(const struct memory *memory, const struct kernel_area *own)
{
    for (size_t i = 0; i < memory->area_count; i++) {
        const struct area *area = &memory->areas[i];
        if (area->kind == AREA_KERNEL && strcmp(area->name, own->name) == 0) {
            return area->end - area->start == own->end - own->start ? area : NULL;
        }
    }
    return NULL;
}

/* Everything goes but the area and what is the kernel's, which moves to where the program knows it; by a detour, since
 * both places may overlap. */
static int clear(struct build *this)
{
    const uint64_t first = this->place, last = this->place + INJECT_AREA_BYTES + KERNEL_BYTES;
    uint64_t at = this->place + INJECT_AREA_BYTES, vdso = 0;

    for (size_t i = 0; i < this->own_count; i++) {
        const struct kernel_area *own = &this->own[i];
        const uint64_t size = own->end - own->start;
        inject_add(this->inject, SYS_mremap, own->start, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, at, 0);
        at += size;
    }
    inject_add(this->inject, SYS_munmap, 0, first, 0, 0, 0, 0);
    inject_add(this->inject, SYS_munmap, last, TASK_END - last, 0, 0, 0, 0);
    at = this->place + INJECT_AREA_BYTES;
    for (size_t i = 0; i < this->own_count; i++) {
        const struct kernel_area *own = &this->own[i];
        const struct area *wanted = find_kernel_area(this->memory, own);
        const uint64_t size = own->end - own->start;
        if (!wanted) {
            return -ENOEXEC;
        }
        inject_add(this->inject, SYS_mremap, at, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, wanted->start, 0);
        at += size;
        if (strcmp(own->name, "[vdso]") == 0) {
            vdso = wanted->start;
        }
    }
    inject_add(this->inject, SYS_close, 0, 0, 0, 0, 0, 0);
    int result = run(this);
    return result < 0 ? result : inject_find_entry(this->inject, vdso);
}

/* ---- areas ---- */

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

void template_add_advices(struct inject *inject, const struct area *area, uint64_t start, uint64_t size)
{
    for (size_t i = 0; i < ADVICES; i++) {
        if (area->looks & advices[i].look) {
            inject_add(inject, SYS_madvise, start, size, (uint64_t)advices[i].advice, 0, 0, 0);
        }
    }
}

_Static_assert(ADVICES < TEMPLATE_MAP_CALLS, "there is room for all");

/* What fork would leave out or wipe it is told to in the revived process only. */
void template_add_map(struct inject *inject, const struct area *area, const struct range *piece, int file)
{
    const uint64_t size = piece->end - piece->start;

    inject_add(inject, SYS_mmap, piece->start, size, (uint64_t)area->protection, (uint64_t)flags_of(area),
               (uint64_t)file, area->kind == AREA_FILE ? area->offset + (piece->start - area->start) : 0);
    template_add_advices(inject, area, piece->start, size);
}

static int map_piece(struct build *this, const struct area *area, const struct range *piece)
{
    int result = make_room(this, TEMPLATE_MAP_CALLS);

    if (result == 0) {
        template_add_map(this->inject, area, piece, area->kind == AREA_FILE ? this->files[area->file] : -1);
    }
    return result;
}

/* What the template does not have already. */
static int map_areas(struct build *this)
{
    int result = 0;

    for (size_t i = 0; result == 0 && i < this->memory->area_count; i++) {
        const struct area *area = &this->memory->areas[i];
        const struct ranges whole = {.list = &(struct range){area->start, area->end}, .count = 1};
        if (area->kind == AREA_KERNEL || area->kind == AREA_SHARED) {
            continue;
        }
        struct ranges missing = ranges_without(&whole, &this->kept);
        for (size_t j = 0; result == 0 && j < missing.count; j++) {
            result = map_piece(this, area, &missing.list[j]);
        }
        ranges_free(&missing);
    }
    return result < 0 ? result : run(this);
}

static int call_for_each(struct build *this, const struct ranges *ranges, long number, uint64_t third)
{
    int result = 0;

    for (size_t i = 0; result == 0 && i < ranges->count; i++) {
        const struct range *range = &ranges->list[i];
        if ((result = make_room(this, 1)) == 0) {
            inject_add(this->inject, number, range->start, range->end - range->start, third, 0, 0, 0);
        }
    }
    return result < 0 ? result : run(this);
}

static void change_access(void *owner, const struct area *left, const struct area *right, uint64_t start,
                          uint64_t end)
{
    struct build *this = owner;

    if (left->kind != AREA_KERNEL && left->protection != right->protection && this->failure == 0 &&
        (this->failure = make_room(this, 1)) == 0) {
        inject_add(this->inject, SYS_mprotect, start, end - start, (uint64_t)right->protection, 0, 0, 0);
    }
}

/* Of a template that is a copy of an earlier one: takes away what the process no longer has. */
static int shrink(struct build *this, const struct memory *before)
{
    struct ranges all = {0};

    for (size_t i = 0; i < before->area_count; i++) {
        if (before->areas[i].kind != AREA_KERNEL) {
            ranges_append(&all, before->areas[i].start, before->areas[i].end);
        }
    }
    struct ranges unmapped = ranges_without(&all, &this->kept);
    int result = call_for_each(this, &unmapped, SYS_munmap, 0);
    ranges_free(&all);
    ranges_free(&unmapped);
    if (result < 0 || (result = call_for_each(this, &this->memory->gone, SYS_madvise, MADV_DONTNEED)) < 0) {
        return result;
    }
    areas_each_common(before, this->memory, change_access, this);
    return this->failure < 0 ? this->failure : run(this);
}

/* ---- pages ---- */

struct ranges template_writable_areas(const struct memory *memory)
{
    struct ranges writable = {0};

    for (size_t i = 0; i < memory->area_count; i++) {
        if (memory->areas[i].kind != AREA_KERNEL && (memory->areas[i].protection & PROT_WRITE)) {
            ranges_append(&writable, memory->areas[i].start, memory->areas[i].end);
        }
    }
    return writable;
}

/* ---- what the kernel knows of the program ---- */

int template_set_map(struct inject *inject, const struct memory *memory, int program)
{
    struct prctl_mm_map map = memory->map;
    const uint64_t at = inject_data(inject);

    map.auxv = (void *)(at + sizeof map);
    map.auxv_size = (uint32_t)memory->auxv_size;
    map.exe_fd = (uint32_t)program;
    int result = subject_write(inject->subject, at, &map, sizeof map);
    if (result == 0) {
        result = subject_write(inject->subject, at + sizeof map, memory->auxv, memory->auxv_size);
    }
    if (result < 0) {
        return result;
    }
    inject_add(inject, SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, at, sizeof map, 0, 0);
    return inject_run_clear(inject);
}

/* ---- the whole ---- */

/* The files of new areas, and last the program's, where it is not the template's own. */
static int bring_files(struct build *this, int *program)
{
    const struct memory *memory = this->memory;
    int *fds = malloc((memory->file_count + 1) * sizeof *fds);
    int *numbers = malloc((memory->file_count + 1) * sizeof *numbers);
    size_t count = 0, next = 0;

    this->files = calloc(memory->file_count + 1, sizeof *this->files);
    if (!fds || !numbers || !this->files) {
        die("out of memory");
    }
    for (size_t i = 0; i < memory->file_count; i++) {
        if (memory->files[i].fd >= 0) {
            fds[count++] = memory->files[i].fd;
        }
    }
    if (memory->program >= 0) {
        fds[count++] = memory->program;
    }
    int result = hand_over(&this->template->puppet.hand, fds, count, numbers);
    for (size_t i = 0; result == 0 && i < memory->file_count; i++) {
        this->files[i] = memory->files[i].fd >= 0 ? numbers[next++] : -1;
    }
    *program = result == 0 && memory->program >= 0 ? numbers[next] : -1;
    free(fds);
    free(numbers);
    return result;
}

static int close_files(struct build *this, int program)
{
    int result = 0;

    for (size_t i = 0; result == 0 && i < this->memory->file_count; i++) {
        if (this->files[i] >= 0 && (result = make_room(this, 1)) == 0) {
            inject_add(this->inject, SYS_close, (uint64_t)this->files[i], 0, 0, 0, 0, 0);
        }
    }
    if (result == 0 && program >= 0 && (result = make_room(this, 1)) == 0) {
        inject_add(this->inject, SYS_close, (uint64_t)program, 0, 0, 0, 0, 0);
    }
    return result < 0 ? result : run(this);
}

static int fill(struct build *this, struct err *err)
{
    int program;

    return done(bring_files(this, &program), "bring files", err) < 0 ||
                   done(map_areas(this), "map areas", err) < 0 ||
                   done(template_set_map(this->inject, this->memory, program), "set map", err) < 0 ||
                   done(close_files(this, program), "close files", err) < 0
               ? -1
               : 0;
}

/* ---- from nothing, or from an earlier one ---- */

static int begin_empty(struct build *this, struct err *err)
{
    struct puppet *puppet = &this->template->puppet;

    this->place = template_find_place(this->memory, NULL);
    this->own_count = puppet_kernel_areas(this->own);
    if (puppet_make(puppet, this->place, err) < 0) {
        return -1;
    }
    return done(clear(this), "clear memory", err) < 0
               ? -1
               : done(hand_open(&puppet->hand, this->inject, puppet->subject.pidfd), "make socket", err);
}

static int begin_grown(struct build *this, const struct image_process *origin, struct err *err)
{
    struct puppet *puppet = &this->template->puppet;
    const struct birthplace pool = {.pid_ns = pool_pid_namespace(), .cgroup = -1};
    struct puppet *parent = &origin->template->puppet;

    if (done(puppet_fork(puppet, parent, &pool, CLONE_PARENT, 0), "fork template", err) < 0) {
        return -1;
    }
    if (done(puppet_own_hand(puppet, parent), "make socket", err) < 0) {
        return -1;
    }
    this->kept = areas_common(&origin->memory, this->memory);
    return done(shrink(this, &origin->memory), "change memory", err);
}

struct template *template_build(struct memory *memory, const struct image_process *origin, struct err *err)
{
    struct build this = {.memory = memory, .template = calloc(1, sizeof *this.template)};

    if (!this.template) {
        die("out of memory");
    }
    this.inject = &this.template->puppet.inject;
    this.template->puppet.hand.socket = -1;
    int result = memory->grows && !(origin && origin->template)
                     ? err_set(err, ERR_NO_IMAGE, "the state it grows from is gone")
                 : memory->grows ? begin_grown(&this, origin, err)
                                 : begin_empty(&this, err);
    result = result < 0 ? result : fill(&this, err);
    free(this.files);
    ranges_free(&this.kept);
    if (result < 0) {
        template_free(this.template);
        return NULL;
    }
    return this.template;
}

bool template_lives(const struct template *template)
{
    struct pollfd ended = {.fd = template->puppet.subject.pidfd, .events = POLLIN};

    return !template->puppet.thread.gone && poll(&ended, 1, 0) == 0;
}

void template_free(struct template *template)
{
    puppet_end(&template->puppet);
    ranges_free(&template->large);
    free(template);
}
