/* Shared mappings. A private one may stay: the layer under it is frozen. A shared one of a file that lies in the old
 * upper must go over to the file's copy in the new one, or what is written would be lost to one side. */
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

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

/* True when the file could be mapped for writing: a mapping that is only read now may become writable later. */
static bool may_be_written(pid_t pid, const struct line *line)
{
    char path[64], text[PATH_MAX + 128], begin[48];
    bool inside = false, found = false;

    snprintf(path, sizeof path, "/proc/%d/smaps", pid);
    snprintf(begin, sizeof begin, "%08llx-%08llx ", (unsigned long long)line->start,
             (unsigned long long)line->end);
    FILE *file = fopen(path, "re");
    while (file && !found && fgets(text, sizeof text, file)) {
        if (strncmp(text, begin, strlen(begin)) == 0) {
            inside = true;
        } else if (inside && strncmp(text, "VmFlags:", 8) == 0) {
            found = true;
        }
    }
    if (file) {
        fclose(file);
    }
    return found && strstr(text, " mw") != NULL;
}

/* A file of the old upper has its name there as well. */
static bool in_upper(const struct move_tree *tree, const struct description *description)
{
    struct stat st;

    if (!description->path) {
        return false;
    }
    cleanup_fd fd = sys_openat2(tree->old_upper, description->path, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0,
                                RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
    return fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/* Memory without a file has a name too. */
static bool is_shared_file(const struct line *line)
{
    return line->access[3] == 's' && line->inode != 0 && line->name[0] == '/' &&
           strncmp(line->name, "/memfd:", 7) != 0 && strncmp(line->name, "/SYSV", 5) != 0 &&
           strncmp(line->name, "/dev/zero", 9) != 0;
}

static bool may_be_nameless(const struct description *description)
{
    return !description->path && description->st.st_nlink == 0;
}

static int collect_mapping(struct move *move, size_t index, const struct line *line, struct err *err)
{
    const struct unit *unit = &move->units[index];
    struct description *description;
    char path[96];

    if (!is_shared_file(line)) {
        return 0;
    }
    snprintf(path, sizeof path, "/proc/%d/map_files/%llx-%llx", unit->thread->tid,
             (unsigned long long)line->start, (unsigned long long)line->end);
    bool writable = line->access[1] == 'w' || may_be_written(unit->thread->tid, line);
    if (move_open_description(move, path, writable ? O_RDWR : O_RDONLY, &description) < 0) {
        return err_system(err, errno, "look at mapping", "process %d at %llx", unit->subject->inner,
                          (unsigned long long)line->start);
    }
    if (!description ||
        (!may_be_nameless(description) && !in_upper(&move->trees[description->tree], description))) {
        return 0;
    }
    description->copy_up = true;
    if (move->mapping_count % 32 == 0) {
        move->mappings = realloc(move->mappings, (move->mapping_count + 32) * sizeof *move->mappings);
        if (!move->mappings) {
            die("out of memory");
        }
    }
    move->mappings[move->mapping_count++] = (struct mapping){
        .unit = index,
        .start = line->start,
        .end = line->end,
        .offset = line->offset,
        .protection = (line->access[0] == 'r' ? PROT_READ : 0) | (line->access[1] == 'w' ? PROT_WRITE : 0) |
                      (line->access[2] == 'x' ? PROT_EXEC : 0),
        .description = description,
    };
    return 0;
}

int maps_collect(struct move *move, size_t index, struct err *err)
{
    static struct line line;
    static char text[PATH_MAX * 4 + 128];
    struct unit *unit = &move->units[index];
    char path[64];
    int result = 0;

    snprintf(path, sizeof path, "/proc/%d/maps", unit->thread->tid);
    FILE *file = fopen(path, "re");
    if (!file) {
        return err_system(err, errno, "read mappings", "process %d", unit->subject->inner);
    }
    while (result == 0 && fgets(text, sizeof text, file)) {
        if (!parse_line(text, &line)) {
            continue;
        }
        if (strcmp(line.name, "[vdso]") == 0) {
            unit->vdso = line.start;
        }
        result = collect_mapping(move, index, &line, err);
    }
    fclose(file);
    return result;
}
