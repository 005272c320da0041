#include "memory.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>

#include "fd.h"
#include "inject.h"
#include "pagemap.h"

#define PAGE_BYTES 4096u
#define REGIONS 4096
#define PIECES 1024
#define TASK_END 0x7ffffffff000ULL

static void *grown(void *list, size_t count, size_t size)
{
    if ((count & (count - 1)) == 0) {
        list = realloc(list, (count ? count * 2 : 1) * size);
        if (!list) {
            die("out of memory");
        }
    }
    return list;
}

/* ---- areas ---- */

struct line {
    unsigned long long start, end, offset, inode;
    unsigned major, minor;
    char access[5];
    const char *name;
};

static bool parse_line(char *text, struct line *line)
{
    int name = 0;

    if (sscanf(text, "%llx-%llx %4s %llx %x:%x %llu %n", &line->start, &line->end, line->access,
               &line->offset, &line->major, &line->minor, &line->inode, &name) < 7) {
        return false;
    }
    line->name = text + name;
    text[name + (int)strcspn(text + name, "\n")] = '\0';
    return true;
}

static const struct {
    char name[4];
    unsigned look;
} looks[] = {{" gd", LOOK_GROWS_DOWN},   {" lo", LOOK_LOCKED},    {" dc", LOOK_NO_FORK},
             {" wf", LOOK_WIPE_ON_FORK}, {" dd", LOOK_NO_DUMP},   {" hg", LOOK_HUGE},
             {" nh", LOOK_NO_HUGE},      {" mg", LOOK_MERGEABLE}, {" nr", LOOK_NO_RESERVE},
             {" rr", LOOK_RANDOM},       {" sr", LOOK_SEQUENTIAL}};

static unsigned parse_looks(const char *flags)
{
    unsigned found = 0;

    for (size_t i = 0; i < sizeof looks / sizeof *looks; i++) {
        found |= strstr(flags, looks[i].name) ? looks[i].look : 0;
    }
    return found;
}

/* Memory of a device, of huge pages by file system, sealed memory: each would need its own way. */
static const char *why_not(const char *flags)
{
    return strstr(flags, " io") || strstr(flags, " pf") ? "it maps a device"
           : strstr(flags, " ht")                       ? "it maps huge pages of a file system"
           : strstr(flags, " sl")                       ? "it has sealed memory"
                                                        : NULL;
}

static int find_file(struct memory *memory, const struct thread *thread, const struct line *line)
{
    const uint64_t device = makedev(line->major, line->minor);
    char path[96];

    for (size_t i = 0; i < memory->file_count; i++) {
        if (memory->files[i].inode == line->inode && memory->files[i].device == device) {
            return (int)i;
        }
    }
    snprintf(path, sizeof path, "/proc/%d/map_files/%llx-%llx", thread->tid, line->start, line->end);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    memory->files = grown(memory->files, memory->file_count, sizeof *memory->files);
    memory->files[memory->file_count] = (struct area_file){.device = device, .inode = line->inode, .fd = fd};
    return (int)memory->file_count++;
}

static bool is_kernels(const struct line *line)
{
    return strcmp(line->name, "[vdso]") == 0 || strncmp(line->name, "[vvar", 5) == 0;
}

/* 1 with a reason when it cannot be kept. */
static int add_area(struct memory *memory, const struct thread *thread, uint64_t injected,
                    const struct line *line, const char *flags, const char **reason)
{
    struct area area = {
        .start = line->start,
        .end = line->end,
        .offset = line->offset,
        .shared = line->access[3] == 's',
        .protection = (line->access[0] == 'r' ? PROT_READ : 0) | (line->access[1] == 'w' ? PROT_WRITE : 0) |
                      (line->access[2] == 'x' ? PROT_EXEC : 0),
        .looks = parse_looks(flags),
    };

    if (strcmp(line->name, "[vsyscall]") == 0 ||
        (line->start >= injected && line->end <= injected + INJECT_AREA_BYTES)) {
        return 0;
    }
    if (is_kernels(line)) {
        area.kind = AREA_KERNEL;
        snprintf(area.name, sizeof area.name, "%s", line->name);
    } else if ((*reason = why_not(flags))) {
        return 1;
    } else if (line->inode != 0) {
        area.kind = AREA_FILE;
        if (area.shared && strstr(flags, " mw")) {
            *reason = "it shares memory that can be written";
            return 1;
        }
        int file = find_file(memory, thread, line);
        if (file < 0) {
            return file;
        }
        area.file = (size_t)file;
    }
    memory->areas = grown(memory->areas, memory->area_count, sizeof *memory->areas);
    memory->areas[memory->area_count++] = area;
    return 0;
}

static int capture_areas(struct memory *memory, const struct subject *subject, const struct thread *thread,
                         uint64_t injected, struct obstacles *obstacles, struct err *err)
{
    static char head[PATH_MAX + 128], text[PATH_MAX + 128];
    const char *reason = NULL;
    struct line line = {0};
    char path[64];
    int result = 0;

    snprintf(path, sizeof path, "/proc/%d/smaps", thread->tid);
    FILE *file = fopen(path, "re");
    while (file && result == 0 && fgets(text, sizeof text, file)) {
        if (strncmp(text, "VmFlags:", 8) == 0) {
            result = add_area(memory, thread, injected, &line, text, &reason);
            if (result > 0) {
                obstacle_add(obstacles, subject, line.name[0] ? line.name : "its memory", true, "%s", reason);
                result = 0;
            }
        } else if ((text[0] >= '0' && text[0] <= '9') || (text[0] >= 'a' && text[0] <= 'f')) {
            strcpy(head, text);
            parse_line(head, &line);
        }
    }
    if (file) {
        fclose(file);
    }
    if (!file || result < 0) {
        return err_system(err, file ? -result : errno, "look at memory", "process %d", subject->inner);
    }
    return 0;
}

/* ---- pages ---- */

/* Regions do not reach across areas. */
static bool is_own(const struct memory *memory, const struct pagemap_region *region)
{
    size_t low = 0, high = memory->area_count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct area *area = &memory->areas[middle];
        if (region->start >= area->end) {
            low = middle + 1;
        } else if (region->start < area->start) {
            high = middle;
        } else {
            return area->kind != AREA_KERNEL && !area->shared;
        }
    }
    return false;
}

/* Pages that belong to the process alone: neither those of files nor the kernel's page of zeros. */
static int scan_pages(struct memory *memory, const struct thread *thread)
{
    static struct pagemap_region regions[REGIONS];
    struct pagemap_scan scan = {
        .size = sizeof scan,
        .end = TASK_END,
        .regions = (uintptr_t)regions,
        .region_max = REGIONS,
        .category_inverted = PAGEMAP_FILE | PAGEMAP_ZERO,
        .category_mask = PAGEMAP_FILE | PAGEMAP_ZERO,
        .category_anyof_mask = PAGEMAP_PRESENT | PAGEMAP_SWAPPED,
        .return_mask = PAGEMAP_PRESENT,
    };
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/pagemap", thread->tid);
    cleanup_fd fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    for (;;) {
        int found = ioctl(fd, PAGEMAP_SCAN_CALL, &scan);
        if (found < 0) {
            return -errno;
        }
        for (int i = 0; i < found; i++) {
            if (!is_own(memory, &regions[i])) {
                continue;
            }
            memory->runs = grown(memory->runs, memory->run_count, sizeof *memory->runs);
            memory->runs[memory->run_count++] =
                (struct page_run){.start = regions[i].start, .end = regions[i].end, .at = memory->byte_count};
            memory->byte_count += regions[i].end - regions[i].start;
        }
        if (found < REGIONS) {
            return 0;
        }
        scan.start = scan.walk_end;
    }
}

static int read_run(const struct memory *memory, const struct subject *subject, const struct page_run *run)
{
    const size_t bytes = run->end - run->start;
    const struct iovec local = {.iov_base = memory->bytes + run->at, .iov_len = bytes};
    const struct iovec remote = {.iov_base = (void *)run->start, .iov_len = bytes};

    if (process_vm_readv(subject->pid, &local, 1, &remote, 1, 0) == (ssize_t)bytes) {
        return 0;
    }
    /* what the process itself may not read */
    return subject_read(subject, run->start, memory->bytes + run->at, bytes);
}

static int capture_pages(struct memory *memory, const struct subject *subject, const struct thread *thread)
{
    int result = scan_pages(memory, thread);

    if (result < 0 || memory->byte_count == 0) {
        return result;
    }
    memory->bytes =
        mmap(NULL, memory->byte_count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory->bytes == MAP_FAILED) {
        memory->bytes = NULL;
        return -ENOMEM;
    }
    madvise(memory->bytes, memory->byte_count, MADV_HUGEPAGE);
    for (size_t i = 0; result == 0 && i < memory->run_count; i++) {
        result = read_run(memory, subject, &memory->runs[i]);
    }
    return result;
}

/* ---- what the kernel knows of the program ---- */

static int read_file(pid_t tid, const char *name, void *data, size_t room)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/%s", tid, name);
    cleanup_fd fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, data, room);
    return got < 0 ? -errno : (int)got;
}

/* The fields after the command, which may hold anything, number from 3. */
static int capture_map(struct memory *memory, const struct thread *thread)
{
    char text[2048], path[64];
    unsigned long long fields[53] = {0};
    int got = read_file(thread->tid, "stat", text, sizeof text - 1);

    if (got < 0) {
        return got;
    }
    text[got] = '\0';
    char *at = strrchr(text, ')');
    if (!at || strlen(at) < 4) {
        return -ENODATA;
    }
    at += 3;
    for (size_t i = 4; *at && i < 53; i++) {
        fields[i] = strtoull(at, &at, 10);
    }
    memory->map = (struct prctl_mm_map){
        .start_code = fields[26],
        .end_code = fields[27],
        .start_stack = fields[28],
        .start_data = fields[45],
        .end_data = fields[46],
        .start_brk = fields[47],
        .arg_start = fields[48],
        .arg_end = fields[49],
        .env_start = fields[50],
        .env_end = fields[51],
    };
    got = read_file(thread->tid, "auxv", memory->auxv, sizeof memory->auxv);
    if (got < 0) {
        return got;
    }
    memory->auxv_size = (size_t)got;
    snprintf(path, sizeof path, "/proc/%d/exe", thread->tid);
    memory->program = open(path, O_RDONLY | O_CLOEXEC);
    return memory->program < 0 ? -errno : 0;
}

/* ---- the whole ---- */

int memory_capture(struct memory *memory, const struct subject *subject, const struct thread *thread,
                   uint64_t injected, struct obstacles *obstacles, struct err *err)
{
    int result;

    memory->program = -1;
    if (capture_areas(memory, subject, thread, injected, obstacles, err) < 0) {
        return -1;
    }
    if (obstacles->count > 0) {
        return 0; /* for nothing */
    }
    if ((result = capture_map(memory, thread)) < 0 || (result = capture_pages(memory, subject, thread)) < 0) {
        return err_system(err, -result, "copy memory", "process %d", subject->inner);
    }
    return 0;
}

void memory_forget_content(struct memory *memory)
{
    for (size_t i = 0; i < memory->file_count; i++) {
        fd_close(&memory->files[i].fd);
    }
    fd_close(&memory->program);
    if (memory->bytes) {
        munmap(memory->bytes, memory->byte_count);
        memory->bytes = NULL;
    }
}

void memory_free(struct memory *memory)
{
    memory_forget_content(memory);
    free(memory->areas);
    free(memory->files);
    free(memory->runs);
    *memory = (struct memory){.program = -1};
}
