/* Shared mappings. A private one may stay: the layer under it is frozen. A shared one of a file that lies in the old
 * upper must go over to the file's copy in the new one, or what is written would be lost to one side. */
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "fd.h"
#include "move.h"
#include "sys.h"

struct line {
    uint64_t start, end, offset, inode;
    char access[5];
    char name[PATH_MAX];
};

static bool parse_line(const char *text, struct line *line)
{
    unsigned long long start, end, offset, inode;
    int name = 0;

    if (sscanf(text, "%llx-%llx %4s %llx %*x:%*x %llu %n", &start, &end, line->access, &offset, &inode,
               &name) < 5) {
        return false;
    }
    line->start = start;
    line->end = end;
    line->offset = offset;
    line->inode = inode;
    snprintf(line->name, sizeof line->name, "%s", text + name);
    line->name[strcspn(line->name, "\n")] = '\0';
    return true;
}

/* What madvise has set, by the kernel's names for it. */
static const struct {
    char name[4];
    int advice;
} advices[] = {{" rr", MADV_RANDOM},   {" sr", MADV_SEQUENTIAL}, {" dc", MADV_DONTFORK},
               {" dd", MADV_DONTDUMP}, {" hg", MADV_HUGEPAGE},   {" nh", MADV_NOHUGEPAGE}};
#define ADVICES (sizeof advices / sizeof *advices)

_Static_assert(ADVICES + 1 == MAPPING_LOOKS, "one call for each, one for the lock");

void maps_add_looks(struct inject *inject, const struct mapping *mapping)
{
    const uint64_t start = mapping->start, length = mapping->end - mapping->start;

    for (size_t i = 0; i < ADVICES; i++) {
        if (mapping->advices & (1U << i)) {
            inject_add(inject, SYS_madvise, start, length, (uint64_t)advices[i].advice, 0, 0, 0);
        }
    }
    if (mapping->locked) {
        inject_add(inject, SYS_mlock, start, length, 0, 0, 0, 0);
    }
}

/* A file of the old upper has its name there as well. */
static bool in_upper(const struct move_tree *tree, const char *path)
{
    struct stat st;

    if (!path) {
        return false;
    }
    cleanup_fd fd = sys_openat2(tree->old_upper, path, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0,
                                RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
    return fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/* Memory without a file has a name too; what is what is seen by the mount it leads to, never by the name. */
static bool is_shared_file(const struct line *line)
{
    return line->access[3] == 's' && line->inode != 0 && line->name[0] == '/';
}

static void link_of(const struct unit *unit, const struct line *line, char path[96])
{
    snprintf(path, 96, "/proc/%d/map_files/%llx-%llx", unit->thread->tid, (unsigned long long)line->start,
             (unsigned long long)line->end);
}

/* By its name only: what more is to be known of a mapping the kernel tells slowly, of all at once. One that was taken
 * away need not have been the only one. */
static bool may_have_to_move(const struct move *move, const struct unit *unit, const struct line *line)
{
    char path[96], name[PATH_MAX];

    if (!is_shared_file(line)) {
        return false;
    }
    link_of(unit, line, path);
    cleanup_fd fd = open(path, O_PATH | O_CLOEXEC);
    size_t tree = fd < 0 ? 0 : move_tree_of(move, fd);
    ssize_t len = fd < 0 || tree == move->tree_count ? 0 : readlink(path, name, sizeof name - 1);
    if (fd < 0 || len <= 0 || fd_is_among_last(fd)) {
        return fd < 0 || len < 0 || fd_is_among_last(fd);
    }
    name[len] = '\0';
    return strcmp(name + len - (len < 10 ? len : 10), " (deleted)") == 0 ||
           in_upper(&move->trees[tree], move_path_inside(&move->trees[tree], name));
}

static struct mapping *mapping_add(struct move *move)
{
    if (move->mapping_count % 32 == 0) {
        move->mappings = realloc(move->mappings, (move->mapping_count + 32) * sizeof *move->mappings);
        if (!move->mappings) {
            die("out of memory");
        }
    }
    return &move->mappings[move->mapping_count++];
}

static unsigned advices_in(const char *flags)
{
    unsigned found = 0;

    for (size_t i = 0; i < ADVICES; i++) {
        found |= strstr(flags, advices[i].name) ? 1U << i : 0;
    }
    return found;
}

static int collect_mapping(struct move *move, size_t index, const struct line *line, const char *flags,
                           struct err *err)
{
    const struct unit *unit = &move->units[index];
    struct description *description;
    char path[96];

    if (!is_shared_file(line)) {
        return 0;
    }
    link_of(unit, line, path);
    /* one that is only read now may become writable later */
    bool writable = strstr(flags, " mw") != NULL;
    if (move_open_description(move, path, writable ? O_RDWR : O_RDONLY, &description) < 0) {
        return err_system(err, errno, "look at mapping", "process %d at %llx", unit->subject->inner,
                          (unsigned long long)line->start);
    }
    if (!description ||
        (description->path && !in_upper(&move->trees[description->tree], description->path))) {
        return 0;
    }
    if (strstr(flags, " sl")) {
        obstacle_add(&move->obstacles, unit->subject, description->was, true, "its mapping is sealed");
        return 0;
    }
    description->copy_up = true;
    *mapping_add(move) = (struct mapping){
        .unit = index,
        .start = line->start,
        .end = line->end,
        .offset = line->offset,
        .protection = (line->access[0] == 'r' ? PROT_READ : 0) | (line->access[1] == 'w' ? PROT_WRITE : 0) |
                      (line->access[2] == 'x' ? PROT_EXEC : 0),
        .advices = advices_in(flags),
        .locked = strstr(flags, " lo") != NULL,
        .description = description,
    };
    return 0;
}

static FILE *open_list(const struct unit *unit, const char *name, struct err *err)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/%s", unit->thread->tid, name);
    FILE *file = fopen(path, "re");
    if (!file) {
        err_system(err, errno, "read mappings", "process %d", unit->subject->inner);
    }
    return file;
}

static int collect_mappings(struct move *move, size_t index, struct err *err)
{
    static struct line line, next;
    static char text[PATH_MAX * 4 + 128];
    int result = 0;
    FILE *file = open_list(&move->units[index], "smaps", err);

    while (file && result == 0 && fgets(text, sizeof text, file)) {
        if (strncmp(text, "VmFlags:", 8) == 0) {
            result = collect_mapping(move, index, &line, text, err);
        } else if (parse_line(text, &next)) {
            line = next;
        }
    }
    if (!file) {
        return -1;
    }
    fclose(file);
    return result;
}

int maps_collect(struct move *move, size_t index, struct err *err)
{
    static struct line line;
    static char text[PATH_MAX * 4 + 128];
    struct unit *unit = &move->units[index];
    bool found = false;
    FILE *file = open_list(unit, "maps", err);

    while (file && fgets(text, sizeof text, file)) {
        if (!parse_line(text, &line)) {
            continue;
        }
        if (strcmp(line.name, "[vdso]") == 0) {
            unit->vdso = line.start;
        }
        found = found || may_have_to_move(move, unit, &line);
    }
    if (!file) {
        return -1;
    }
    fclose(file);
    return found ? collect_mappings(move, index, err) : 0;
}
