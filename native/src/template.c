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
#include "remap.h"

#define PAGE_BYTES 4096u
#define TASK_END 0x7ffffffff000ULL
#define LOWEST 0x100000ULL /* far below where programs are loaded */
#define STEP 0x100000ULL
#define KERNEL_BYTES (64 * PAGE_BYTES)

struct build {
    struct memory *memory;
    struct template *template;
    struct inject *inject;
    struct kernel_area own[KERNEL_AREAS];
    size_t own_count;
    int *files; /* the numbers they have inside */
    uint64_t place;
    const struct memory *before; /* of the earlier template that it is a copy of; NULL */
    struct ranges kept;          /* what a copy of an earlier template has already */
};

static int done(int result, const char *step, struct err *err)
{
    result = result < 0 ? result : fault_at(step);
    return result < 0 ? err_system(err, -result, step, "template") : 0;
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

/* The first place from there on; areas are ascending. */
static uint64_t next_place(const struct memory *memory, uint64_t at)
{
    for (size_t i = 0; memory && i < memory->area_count; i++) {
        const struct area *area = &memory->areas[i];
        if (area->start < at + INJECT_AREA_BYTES + KERNEL_BYTES && at < area->end) {
            at = LOWEST + (area->end - LOWEST + STEP - 1) / STEP * STEP;
        }
    }
    return at;
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
        at = next_place(other, next_place(memory, at));
    }
    return at;
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
        const struct area *wanted = remap_kernel_area(this->memory, own->name, own->end - own->start);
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
    int result = inject_run_clear(this->inject);
    return result < 0 ? result : inject_find_entry(this->inject, vdso);
}

/* ---- areas ---- */

/* Of a template that is a copy of an earlier one: takes away what the process no longer has. */
static int shrink(const struct build *this)
{
    struct inject *inject = this->inject;
    int result = remap_clear(inject, this->before, &this->kept);

    result = result < 0 ? result : remap_each(inject, &this->memory->gone, SYS_madvise, MADV_DONTNEED);
    return result < 0 ? result : remap_protect(inject, this->before, this->memory);
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
        if (this->files[i] >= 0 && (result = inject_make_room(this->inject, 1)) == 0) {
            inject_add(this->inject, SYS_close, (uint64_t)this->files[i], 0, 0, 0, 0, 0);
        }
    }
    if (result == 0 && program >= 0 && (result = inject_make_room(this->inject, 1)) == 0) {
        inject_add(this->inject, SYS_close, (uint64_t)program, 0, 0, 0, 0, 0);
    }
    return result < 0 ? result : inject_run_clear(this->inject);
}

static int fill(struct build *this, struct err *err)
{
    int program;

    return done(bring_files(this, &program), "bring files", err) < 0 ||
                   done(remap_map(this->inject, this->memory, &this->kept, this->files), "map areas", err) <
                       0 ||
                   done(remap_guard(this->inject, this->before, this->memory, &this->kept), "guard areas",
                        err) < 0 ||
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
    this->before = &origin->memory;
    this->kept = areas_common(this->before, this->memory);
    return done(shrink(this), "change memory", err);
}

struct template *template_build(struct memory *memory, const struct image_process *origin, struct err *err)
{
    struct build this = {.memory = memory, .template = calloc(1, sizeof *this.template)};

    if (!this.template) {
        die("out of memory");
    }
    this.inject = &this.template->puppet.inject;
    this.template->puppet.hand = HAND_NONE;
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
    struct pollfd ended = {.fd = template ? template->puppet.subject.pidfd : -1, .events = POLLIN};

    return template && !template->puppet.thread.gone && RETRY_EINTR(poll(&ended, 1, 0)) == 0;
}

bool template_stands(const struct template *template)
{
    struct arch_regs regs;

    return template_lives(template) && arch_get_regs(template->puppet.thread.tid, &regs) == 0;
}

void template_free(struct template *template)
{
    puppet_end(&template->puppet);
    ranges_free(&template->large);
    free(template);
}
