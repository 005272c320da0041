#include "areas.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

#include "fd.h"
#include "inject.h"
#include "root.h"

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

struct line {
    unsigned long long start, end, offset, inode;
    unsigned major, minor;
    char access[5];
    unsigned key; /* that protects it */
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
} looks[] = {{" gd", LOOK_GROWS_DOWN},   {" lo", LOOK_LOCKED},     {" dc", LOOK_NO_FORK},
             {" wf", LOOK_WIPE_ON_FORK}, {" dd", LOOK_NO_DUMP},    {" hg", LOOK_HUGE},
             {" nh", LOOK_NO_HUGE},      {" mg", LOOK_MERGEABLE},  {" nr", LOOK_NO_RESERVE},
             {" rr", LOOK_RANDOM},       {" sr", LOOK_SEQUENTIAL}, {" lf", LOOK_LOCKED_LATER},
             {" dp", LOOK_DROPPABLE}};

static unsigned parse_looks(const char *flags)
{
    unsigned found = 0;

    for (size_t i = 0; i < sizeof looks / sizeof *looks; i++) {
        found |= strstr(flags, looks[i].name) ? looks[i].look : 0;
    }
    return found;
}

/* Memory of a device, of huge pages by file system, sealed memory: each would need its own way. The kernel itself has a key
 * for what may only be executed. */
static const char *why_not(const struct line *line, const char *flags)
{
    return line->key != 0 && line->access[0] == 'r'       ? "it has a memory protection key"
           : strstr(flags, " io") || strstr(flags, " pf") ? "it maps a device"
           : strstr(flags, " ht")                         ? "it maps huge pages of a file system"
           : strstr(flags, " sl")                         ? "it has sealed memory"
           : strstr(flags, " ss")                         ? "it has a shadow stack"
                                                          : NULL;
}

/* Files are told apart by device and inode; opened only where somebody has to map them anew. */
static size_t find_file(struct memory *memory, const struct line *line)
{
    const uint64_t device = makedev(line->major, line->minor);

    for (size_t i = 0; i < memory->file_count; i++) {
        if (memory->files[i].inode == line->inode && memory->files[i].device == device) {
            return i;
        }
    }
    memory->files = grown(memory->files, memory->file_count, sizeof *memory->files);
    memory->files[memory->file_count] =
        (struct area_file){.device = device, .inode = line->inode, .where.content.fd = -1, .fd = -1};
    return memory->file_count++;
}

static bool is_kernels(const struct line *line)
{
    return strcmp(line->name, "[vdso]") == 0 || strncmp(line->name, "[vvar", 5) == 0;
}

/* What has no file system's file behind it. */
static bool is_memory(const struct line *line)
{
    return strncmp(line->name, "/memfd:", 7) == 0 || strcmp(line->name, "/dev/zero (deleted)") == 0 ||
           strncmp(line->name, "/SYSV", 5) == 0;
}

/* It is another one after a rollback, and whoever only reads it is to see that. */
static bool is_generation(const struct line *line)
{
    return strcmp(line->name, "/" ROOT_HELD "/" ROOT_GENERATION) == 0 && line->access[1] != 'w';
}

/* 1 with a reason when it cannot be kept. */
static int add_area(struct memory *memory, uint64_t injected, const struct line *line, const char *flags,
                    const char **reason)
{
    struct area area = {
        .start = line->start,
        .end = line->end,
        .offset = line->offset,
        .shared = line->access[3] == 's',
        .protection = (line->access[0] == 'r' ? PROT_READ : 0) | (line->access[1] == 'w' ? PROT_WRITE : 0) |
                      (line->access[2] == 'x' ? PROT_EXEC : 0),
        .looks = parse_looks(flags),
        .watched = strstr(flags, " uw") != NULL,
    };

    if (strcmp(line->name, "[vsyscall]") == 0) {
        return 0;
    }
    if (line->start >= injected && line->end <= injected + INJECT_AREA_BYTES) {
        /* what was mapped last is locked only where all that comes is */
        memory->locks_future = area.looks & LOOK_LOCKED ? MCL_FUTURE : 0;
        memory->locks_future |= area.looks & LOOK_LOCKED_LATER ? MCL_ONFAULT : 0;
        return 0;
    }
    if (is_kernels(line)) {
        area.kind = AREA_KERNEL;
        snprintf(area.name, sizeof area.name, "%s", line->name);
    } else if ((*reason = why_not(line, flags))) {
        return 1;
    } else if (line->inode != 0 || is_memory(line)) { /* the first of System V has the number 0 */
        area.may_write = strstr(flags, " mw") != NULL;
        if (!area.shared && is_memory(line)) {
            *reason = "it maps a copy of shared memory";
            return 1;
        }
        const bool is_shared = area.shared && (area.may_write || is_memory(line));
        area.kind = is_shared || is_generation(line) ? AREA_SHARED : AREA_FILE;
        if (area.kind == AREA_FILE) {
            area.file = find_file(memory, line);
        }
    }
    memory->areas = grown(memory->areas, memory->area_count, sizeof *memory->areas);
    memory->areas[memory->area_count++] = area;
    return 0;
}

int areas_capture(struct memory *memory, const struct subject *subject, const struct thread *thread,
                  uint64_t injected, struct obstacles *obstacles, struct err *err)
{
    static char head[PATH_MAX + 128], text[PATH_MAX + 128];
    const char *reason = NULL;
    struct line line = {.name = ""};
    char path[64];
    int result = 0;

    snprintf(path, sizeof path, "/proc/%d/smaps", thread->tid);
    FILE *file = fopen(path, "re");
    while (file && result == 0 && fgets(text, sizeof text, file)) {
        if (strncmp(text, "VmFlags:", 8) == 0) {
            result = add_area(memory, injected, &line, text, &reason);
            if (result > 0) {
                obstacle_add(obstacles, subject, line.name[0] ? line.name : "its memory", true, "%s", reason);
                result = 0;
            }
        } else if ((text[0] >= '0' && text[0] <= '9') || (text[0] >= 'a' && text[0] <= 'f')) {
            strcpy(head, text);
            line.key = 0;
            parse_line(head, &line);
        } else if (strncmp(text, "ProtectionKey:", 14) == 0) {
            line.key = (unsigned)strtoul(text + 14, NULL, 10);
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

static struct ranges find_private(const struct memory *memory, bool with_watched)
{
    struct ranges found = {0};

    for (size_t i = 0; i < memory->area_count; i++) {
        const struct area *area = &memory->areas[i];
        if (area->kind < AREA_SHARED && !area->shared && (with_watched || !area->watched)) {
            ranges_append(&found, area->start, area->end);
        }
    }
    return found;
}

struct ranges areas_private(const struct memory *memory)
{
    return find_private(memory, true);
}

struct ranges areas_unwatched(const struct memory *memory)
{
    return find_private(memory, false);
}

/* Of less it is not worth while to tell. */
#define PLAIN_BYTES (1ULL << 20)

struct ranges areas_plain(const struct memory *memory)
{
    struct ranges plain = {0};

    for (size_t i = 0; i < memory->area_count; i++) {
        const struct area *area = &memory->areas[i];
        if (area->kind == AREA_MEMORY && !area->shared && area->end - area->start >= PLAIN_BYTES) {
            ranges_append(&plain, area->start, area->end);
        }
    }
    return plain;
}

/* ---- two states of a process ---- */

static bool is_compatible(const struct memory *a, const struct area *left, const struct memory *b,
                          const struct area *right)
{
    if (left->kind != right->kind || left->kind == AREA_SHARED || left->shared != right->shared ||
        left->looks != right->looks) {
        return false;
    }
    if (left->kind != AREA_FILE) {
        return left->kind == AREA_MEMORY || strcmp(left->name, right->name) == 0;
    }
    const struct area_file *one = &a->files[left->file], *other = &b->files[right->file];
    return one->device == other->device && one->inode == other->inode &&
           left->offset - left->start == right->offset - right->start;
}

void areas_each_common(const struct memory *a, const struct memory *b,
                       void (*each)(void *owner, const struct area *left, const struct area *right,
                                    uint64_t start, uint64_t end),
                       void *owner)
{
    for (size_t i = 0, j = 0; i < a->area_count && j < b->area_count;) {
        const struct area *left = &a->areas[i], *right = &b->areas[j];
        const uint64_t start = left->start > right->start ? left->start : right->start;
        const uint64_t end = left->end < right->end ? left->end : right->end;
        if (start < end && is_compatible(a, left, b, right)) {
            each(owner, left, right, start, end);
        }
        if (left->end < right->end) {
            i++;
        } else {
            j++;
        }
    }
}

static void append_common(void *owner, const struct area *left, const struct area *right, uint64_t start,
                          uint64_t end)
{
    (void)left;
    (void)right;
    ranges_append(owner, start, end);
}

struct ranges areas_common(const struct memory *a, const struct memory *b)
{
    struct ranges common = {0};

    areas_each_common(a, b, append_common, &common);
    return common;
}

/* ---- their files ---- */

int areas_open_files(struct memory *memory, const struct thread *thread, const struct ranges *kept)
{
    for (size_t i = 0; i < memory->area_count; i++) {
        const struct area *area = &memory->areas[i];
        const struct ranges whole = {.list = &(struct range){area->start, area->end}, .count = 1};
        char path[96];
        if (area->kind != AREA_FILE || memory->files[area->file].fd >= 0) {
            continue;
        }
        struct ranges missing = ranges_without(&whole, kept);
        const bool is_needed = missing.count > 0;
        ranges_free(&missing);
        if (!is_needed) {
            continue;
        }
        snprintf(path, sizeof path, "/proc/%d/map_files/%llx-%llx", thread->tid,
                 (unsigned long long)area->start, (unsigned long long)area->end);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0) {
            return -errno;
        }
        memory->files[area->file].fd = fd;
    }
    return 0;
}
