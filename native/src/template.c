#include "template.h"

#include <linux/prctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "fd.h"

#define PAGE_BYTES 4096u
#define TASK_END 0x7ffffffff000ULL
#define LOWEST 0x100000ULL /* far below where programs are loaded */
#define STEP 0x100000ULL
#define PIECES 1024
#define KERNEL_BYTES (64 * PAGE_BYTES)
#define POPULATE_WRITE 23 /* MADV_POPULATE_WRITE */

struct build {
    struct memory *memory;
    struct template *template;
    struct inject *inject;
    struct kernel_area own[KERNEL_AREAS];
    size_t own_count;
    int *files; /* the numbers they have inside */
    uint64_t place;
};

static int failed(int result, const char *step, struct err *err)
{
    return err_system(err, -result, step, "template");
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
    for (size_t i = 0; i < memory->area_count; i++) {
        if (memory->areas[i].start < end && start < memory->areas[i].end) {
            return false;
        }
    }
    return true;
}

/* Where neither the program nor, below it, the engine has anything. */
static uint64_t find_place(const struct memory *memory)
{
    uint64_t at = LOWEST;

    while (!is_free(memory, at, at + INJECT_AREA_BYTES + KERNEL_BYTES)) {
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

static bool has_pages(const struct memory *memory, const struct area *area)
{
    for (size_t i = 0; i < memory->run_count; i++) {
        if (memory->runs[i].start < area->end && area->start < memory->runs[i].end) {
            return true;
        }
    }
    return false;
}

/* What is to be written to must be writable for that long. */
static int first_protection(const struct memory *memory, const struct area *area)
{
    return !area->shared && has_pages(memory, area) ? area->protection | PROT_READ | PROT_WRITE
                                                    : area->protection;
}

static int flags_of(const struct area *area)
{
    return MAP_FIXED | (area->shared ? MAP_SHARED : MAP_PRIVATE) |
           (area->kind == AREA_MEMORY ? MAP_ANONYMOUS : 0) |
           (area->looks & LOOK_GROWS_DOWN ? MAP_GROWSDOWN : 0) |
           (area->looks & LOOK_NO_RESERVE ? MAP_NORESERVE : 0);
}

static int map_areas(struct build *this)
{
    int result = 0;

    for (size_t i = 0; result == 0 && i < this->memory->area_count; i++) {
        const struct area *area = &this->memory->areas[i];
        if (area->kind == AREA_KERNEL) {
            continue;
        }
        if ((result = make_room(this, 1)) == 0) {
            inject_add(this->inject, SYS_mmap, area->start, area->end - area->start,
                       (uint64_t)first_protection(this->memory, area), (uint64_t)flags_of(area),
                       area->kind == AREA_FILE ? (uint64_t)this->files[area->file] : (uint64_t)-1,
                       area->offset * (area->kind == AREA_FILE));
        }
    }
    return result < 0 ? result : run(this);
}

static const struct {
    unsigned look;
    int advice;
} advices[] = {{LOOK_NO_FORK, MADV_DONTFORK},   {LOOK_WIPE_ON_FORK, MADV_WIPEONFORK},
               {LOOK_NO_DUMP, MADV_DONTDUMP},   {LOOK_HUGE, MADV_HUGEPAGE},
               {LOOK_NO_HUGE, MADV_NOHUGEPAGE}, {LOOK_MERGEABLE, MADV_MERGEABLE},
               {LOOK_RANDOM, MADV_RANDOM},      {LOOK_SEQUENTIAL, MADV_SEQUENTIAL}};
#define ADVICES (sizeof advices / sizeof *advices)

static int finish_areas(struct build *this)
{
    int result = 0;

    for (size_t i = 0; result == 0 && i < this->memory->area_count; i++) {
        const struct area *area = &this->memory->areas[i];
        const uint64_t size = area->end - area->start;
        if (area->kind == AREA_KERNEL || (result = make_room(this, ADVICES + 1)) < 0) {
            continue;
        }
        if (first_protection(this->memory, area) != area->protection) {
            inject_add(this->inject, SYS_mprotect, area->start, size, (uint64_t)area->protection, 0, 0, 0);
        }
        for (size_t j = 0; j < ADVICES; j++) {
            if (area->looks & advices[j].look) {
                inject_add(this->inject, SYS_madvise, area->start, size, (uint64_t)advices[j].advice, 0, 0,
                           0);
            }
        }
    }
    return result < 0 ? result : run(this);
}

/* ---- pages ---- */

/* The kernel makes pages faster many at a time than one at each fault. */
static int populate(struct build *this)
{
    int result = 0;

    for (size_t i = 0; result == 0 && i < this->memory->run_count; i++) {
        const struct page_run *run_at = &this->memory->runs[i];
        if ((result = make_room(this, 1)) == 0) {
            inject_add(this->inject, SYS_madvise, run_at->start, run_at->end - run_at->start, POPULATE_WRITE,
                       0, 0, 0);
        }
    }
    return result < 0 ? result : run(this);
}

static int write_pages(struct build *this)
{
    const struct memory *memory = this->memory;
    static struct iovec remote[PIECES];

    for (size_t done = 0; done < memory->run_count;) {
        size_t count = 0, bytes = 0;
        const size_t from = memory->runs[done].at;
        while (count < PIECES && done < memory->run_count && bytes < (1u << 30)) {
            const struct page_run *run_at = &memory->runs[done++];
            remote[count++] =
                (struct iovec){.iov_base = (void *)run_at->start, .iov_len = run_at->end - run_at->start};
            bytes += run_at->end - run_at->start;
        }
        const struct iovec local = {.iov_base = memory->bytes + from, .iov_len = bytes};
        ssize_t wrote = process_vm_writev(this->template->puppet.subject.pid, &local, 1, remote, count, 0);
        if (wrote != (ssize_t)bytes) {
            return wrote < 0 ? -errno : -EFAULT;
        }
    }
    return 0;
}

/* ---- what the kernel knows of the program ---- */

static int set_map(struct build *this, int program)
{
    struct prctl_mm_map map = this->memory->map;
    const uint64_t at = inject_data(this->inject);

    map.auxv = (void *)(at + sizeof map);
    map.auxv_size = (uint32_t)this->memory->auxv_size;
    map.exe_fd = (uint32_t)program;
    int result = subject_write(this->inject->subject, at, &map, sizeof map);
    if (result == 0) {
        result = subject_write(this->inject->subject, at + sizeof map, this->memory->auxv,
                               this->memory->auxv_size);
    }
    if (result < 0) {
        return result;
    }
    inject_add(this->inject, SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, at, sizeof map, 0, 0);
    return run(this);
}

/* ---- the whole ---- */

static int close_all(struct build *this, size_t count)
{
    int result = 0;

    for (size_t i = 0; result == 0 && i < count; i++) {
        if ((result = make_room(this, 1)) == 0) {
            inject_add_free(this->inject, SYS_close, (uint64_t)this->files[i], 0, 0, 0, 0, 0);
        }
    }
    return result < 0 ? result : run(this);
}

static int fill(struct build *this, struct err *err)
{
    const struct memory *memory = this->memory;
    const size_t count = memory->file_count + 1;
    int *fds = malloc(count * sizeof *fds), result;

    this->files = calloc(count, sizeof *this->files);
    if (!fds || !this->files) {
        die("out of memory");
    }
    for (size_t i = 0; i < memory->file_count; i++) {
        fds[i] = memory->files[i].fd;
    }
    fds[count - 1] = memory->program;
    result = hand_over(&this->template->puppet.hand, fds, count, this->files);
    free(fds);
    if (result < 0 || (result = map_areas(this)) < 0) {
        return failed(result, "map memory", err);
    }
    if ((result = populate(this)) < 0 || (result = write_pages(this)) < 0) {
        return failed(result, "fill memory", err);
    }
    if ((result = finish_areas(this)) < 0 || (result = set_map(this, this->files[count - 1])) < 0) {
        return failed(result, "finish memory", err);
    }
    result = close_all(this, count);
    return result < 0 ? failed(result, "close files", err) : 0;
}

static int build(struct build *this, struct err *err)
{
    struct puppet *puppet = &this->template->puppet;
    int result;

    this->place = find_place(this->memory);
    this->own_count = puppet_kernel_areas(this->own);
    if (puppet_make(puppet, this->place, err) < 0) {
        return -1;
    }
    this->inject = &puppet->inject;
    if ((result = clear(this)) < 0) {
        return failed(result, "clear memory", err);
    }
    if ((result = hand_open(&puppet->hand, this->inject, puppet->subject.pidfd)) < 0) {
        return failed(result, "make socket", err);
    }
    return fill(this, err);
}

struct template *template_build(struct memory *memory, struct err *err)
{
    struct build this = {.memory = memory, .template = calloc(1, sizeof *this.template)};

    if (!this.template) {
        die("out of memory");
    }
    this.template->puppet.hand.socket = -1;
    int result = build(&this, err);
    free(this.files);
    if (result < 0) {
        template_free(this.template);
        return NULL;
    }
    memory_forget_content(memory);
    return this.template;
}

void template_free(struct template *template)
{
    puppet_end(&template->puppet);
    free(template);
}
