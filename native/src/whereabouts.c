#include "whereabouts.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/sysmacros.h>

#include "fd.h"
#include "sys.h"
#include "template.h"

/* ---- identity ---- */

void whereabouts_forget(struct whereabouts *where)
{
    if (where->is_known && !where->path) {
        fd_close(&where->content.fd);
    }
    free(where->path);
    looks_free(&where->looks);
    *where = (struct whereabouts){.content.fd = -1};
}

static void begin(struct whereabouts *where)
{
    whereabouts_forget(where);
    if (getrandom(&where->identity, sizeof where->identity, 0) != (ssize_t)sizeof where->identity) {
        die("no random numbers: %s", strerror(errno));
    }
}

/* Where one without a name is its own template tells. */
static void inherit(struct whereabouts *where, const struct whereabouts *before)
{
    *where = (struct whereabouts){.identity = before->identity, .content.fd = -1};
    if (before->is_known && before->path) {
        where->is_known = true;
        where->tree = before->tree;
        where->path = strdup(before->path);
        where->size = before->size;
        where->changed = before->changed;
        if (!where->path) {
            die("out of memory");
        }
    }
}

static const struct area_file *find_same(const struct memory *before, const struct area_file *file)
{
    for (size_t i = 0; before && i < before->file_count; i++) {
        if (before->files[i].inode == file->inode && before->files[i].device == file->device) {
            return &before->files[i];
        }
    }
    return NULL;
}

void whereabouts_identify(struct memory *memory, const struct memory *before)
{
    for (size_t i = 0; i < memory->file_count; i++) {
        const struct area_file *same = find_same(before, &memory->files[i]);
        if (same) {
            inherit(&memory->files[i].where, &same->where);
        } else {
            begin(&memory->files[i].where);
        }
    }
    if (before && before->program_inode == memory->program_inode &&
        before->program_device == memory->program_device) {
        inherit(&memory->program_where, &before->program_where);
    } else {
        begin(&memory->program_where);
    }
}

/* ---- finding ---- */

static bool is_same_file(const struct stat *a, const struct stat *b)
{
    return S_ISREG(b->st_mode) && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static int open_in(int tree, const char *path)
{
    return sys_openat2(tree, path, O_RDONLY | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK | O_CLOEXEC, 0,
                       RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
}

static bool is_at(int tree, const char *path, const struct stat *st)
{
    struct stat found;
    cleanup_fd fd = *path ? open_in(tree, path) : -1;

    return fd >= 0 && fstat(fd, &found) == 0 && is_same_file(st, &found);
}

/* The name is that in a tree which may stand nowhere any more, or in all of what the sandbox sees. */
static void find_name(struct whereabouts *where, const char *name, const struct stat *st,
                      const struct base *base, const int *trees)
{
    for (size_t i = 0; i < base->tree_count && !where->path; i++) {
        const size_t length = strcmp(base->trees[i].path, "/") == 0 ? 0 : strlen(base->trees[i].path);
        const bool is_below = strncmp(name, base->trees[i].path, length) == 0 && name[length] == '/';
        const char *const candidates[] = {name + 1, is_below ? name + length + 1 : ""};
        for (size_t j = 0; j < 2 && !where->path; j++) {
            if (is_at(trees[i], candidates[j], st)) {
                where->path = strdup(candidates[j]);
                where->tree = i;
            }
        }
    }
}

/* Takes `fd` over where that is all there is of the file. 0 or -errno. */
static int find(struct whereabouts *where, int *fd, const struct base *base, const int *trees)
{
    char link[64], name[PATH_MAX];
    struct stat st;

    snprintf(link, sizeof link, "/proc/self/fd/%d", *fd);
    const ssize_t length = readlink(link, name, sizeof name - 1);
    if (length < 0 || fstat(*fd, &st) < 0) {
        return -errno;
    }
    name[length] = '\0';
    if (name[0] == '/') {
        find_name(where, name, &st, base, trees);
    }
    if (where->path) {
        where->size = (uint64_t)st.st_size;
        where->changed = st.st_mtim;
    } else {
        const int result = looks_get(&where->looks, *fd);
        if (result < 0) {
            return result;
        }
        where->content = (struct content){fd_steal(fd), st.st_size};
    }
    where->is_known = true;
    return 0;
}

static int open_of_template(const struct image_process *process, const char *name)
{
    char path[96];

    snprintf(path, sizeof path, "/proc/%d/%s", process->template->puppet.subject.pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* The mapping that a place lies in, as the template has it: it may be one with its neighbours. */
struct line {
    unsigned long long start, end, inode;
    unsigned major, minor;
};

static int look_up(const struct image_process *process, uint64_t at, struct line *line)
{
    char path[64], text[PATH_MAX + 128];
    bool is_found = false;

    snprintf(path, sizeof path, "/proc/%d/maps", process->template->puppet.subject.pid);
    FILE *file = fopen(path, "re");
    if (!file) {
        return -errno;
    }
    while (!is_found && fgets(text, sizeof text, file)) {
        is_found = sscanf(text, "%llx-%llx %*4s %*x %x:%x %llu", &line->start, &line->end, &line->major,
                          &line->minor, &line->inode) == 5 &&
                   line->start <= at && at < line->end;
    }
    fclose(file);
    return is_found ? 0 : -ENOENT;
}

static const struct area *area_of(const struct memory *memory, size_t file)
{
    for (size_t i = 0; i < memory->area_count; i++) {
        if (memory->areas[i].kind == AREA_FILE && memory->areas[i].file == file) {
            return &memory->areas[i];
        }
    }
    return NULL;
}

static int open_mapped(const struct image_process *process, size_t file)
{
    const struct area *area = area_of(&process->memory, file);
    struct line line;
    char name[64];
    int result = area ? look_up(process, area->start, &line) : -ENOENT;

    if (result < 0) {
        return result;
    }
    snprintf(name, sizeof name, "map_files/%llx-%llx", line.start, line.end);
    return open_of_template(process, name);
}

static int find_file(struct image_process *process, size_t file, const struct base *base, const int *trees)
{
    cleanup_fd fd = open_mapped(process, file);
    return fd < 0 ? fd : find(&process->memory.files[file].where, &fd, base, trees);
}

static int find_all(struct image_process *process, const struct base *base, const int *trees)
{
    struct memory *memory = &process->memory;
    int result = 0;

    for (size_t i = 0; result == 0 && i < memory->file_count; i++) {
        result = memory->files[i].where.is_known ? 0 : find_file(process, i, base, trees);
    }
    if (result == 0 && !memory->program_where.is_known) {
        cleanup_fd fd = open_of_template(process, "exe");
        result = fd < 0 ? fd : find(&memory->program_where, &fd, base, trees);
    }
    return result;
}

int whereabouts_find(struct image *image, const struct base *base, const int *trees, struct err *err)
{
    for (size_t i = 0; i < image->process_count; i++) {
        const int result = find_all(&image->processes[i], base, trees);
        if (result < 0) {
            return err_system(err, -result, "find what is mapped", "process %d", image->processes[i].pid);
        }
    }
    return 0;
}

/* Of all that its processes map and execute. */
static bool holds_for_all(const struct image *image, bool (*holds)(const struct whereabouts *))
{
    for (size_t i = 0; i < image->process_count; i++) {
        const struct memory *memory = &image->processes[i].memory;
        for (size_t j = 0; j < memory->file_count; j++) {
            if (!holds(&memory->files[j].where)) {
                return false;
            }
        }
        if (!holds(&memory->program_where)) {
            return false;
        }
    }
    return true;
}

static bool is_known(const struct whereabouts *where)
{
    return where->is_known;
}

bool whereabouts_are_known(const struct image *image)
{
    return holds_for_all(image, is_known);
}

static bool has_name(const struct whereabouts *where)
{
    return where->path != NULL;
}

bool whereabouts_have_names(const struct image *image)
{
    return holds_for_all(image, has_name);
}

/* ---- opening ---- */

int whereabouts_open(struct whereabouts *where, const int *trees, struct err *err)
{
    struct stat st;

    if (!where->path) { /* nobody may have it open for writing when it is executed */
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", where->content.fd);
        int content = open(link, O_RDONLY | O_CLOEXEC);
        if (content < 0) {
            return err_system(err, errno, "open what was mapped", "a file without a name");
        }
        fd_close(&where->content.fd);
        return content;
    }
    cleanup_fd fd = open_in(trees[where->tree], where->path);
    if (fd < 0 || fstat(fd, &st) < 0) {
        return err_system(err, errno, "open what was mapped", "%s", where->path);
    }
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != where->size ||
        st.st_mtim.tv_sec != where->changed.tv_sec || st.st_mtim.tv_nsec != where->changed.tv_nsec) {
        return err_set(err, ERR_NO_IMAGE, "%.150s, which its processes map, has changed since", where->path);
    }
    return fd_steal(&fd);
}

int whereabouts_open_mapped(const struct image_process *process, uint64_t device, uint64_t inode,
                            struct err *err)
{
    const struct memory *memory = &process->memory;
    int fd = -ENOENT;

    for (size_t i = 0; fd == -ENOENT && i < memory->file_count; i++) {
        if (memory->files[i].device == device && memory->files[i].inode == inode) {
            fd = open_mapped(process, i);
        }
    }
    return fd < 0 ? err_system(err, -fd, "open what is mapped", "process %d", process->pid) : fd;
}

int whereabouts_look(struct image_process *process)
{
    struct memory *memory = &process->memory;
    struct stat st;

    for (size_t i = 0; i < memory->file_count; i++) {
        const struct area *area = area_of(memory, i);
        struct line line;
        if (memory->files[i].inode) {
            continue;
        }
        const int result = area ? look_up(process, area->start, &line) : -ENOENT;
        if (result < 0) {
            return result;
        }
        memory->files[i].device = makedev(line.major, line.minor);
        memory->files[i].inode = line.inode;
    }
    if (memory->program_inode) {
        return 0;
    }
    cleanup_fd fd = open_of_template(process, "exe");
    if (fd < 0 || fstat(fd, &st) < 0) {
        return fd < 0 ? fd : -errno;
    }
    memory->program_device = st.st_dev;
    memory->program_inode = st.st_ino;
    return 0;
}
