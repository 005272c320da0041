#include "tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "error.h"
#include "fd.h"

#define OPEN_DIRECTORY (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

/* One directory on the way down. The way back up goes through "..", so depth costs memory, not descriptors. */
struct level {
    struct level *above;
    DIR *dir; /* open on the deepest level only, and on its parents while their entries are unread */
    char name[];
};

static DIR *open_entries(int fd)
{
    DIR *dir = fdopendir(fd);

    if (!dir) {
        die("fdopendir: %s", strerror(errno));
    }
    return dir;
}

static struct level *level_push(struct level *above, const char *name, int fd)
{
    struct level *level = malloc(sizeof *level + strlen(name) + 1);

    if (!level) {
        die("out of memory");
    }
    level->above = above;
    strcpy(level->name, name);
    level->dir = open_entries(fd);
    return level;
}

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Removes entries until a subdirectory is met, which it opens: its descriptor, -1 at the end, or -errno - 1. */
static int remove_entries(struct level *level, char name[256])
{
    int fd = dirfd(level->dir);
    struct dirent *entry;

    while ((entry = readdir(level->dir))) {
        if (is_dots(entry->d_name)) {
            continue;
        }
        if (entry->d_type != DT_DIR && unlinkat(fd, entry->d_name, 0) == 0) {
            continue;
        }
        if (entry->d_type != DT_DIR && errno != EISDIR && errno != EPERM) {
            return -errno - 1;
        }
        int sub = openat(fd, entry->d_name, OPEN_DIRECTORY);
        if (sub < 0) {
            return -errno - 1;
        }
        strcpy(name, entry->d_name);
        return sub;
    }
    return -1;
}

/* Goes from an emptied directory to the one above and removes it there. */
static int remove_level(struct level **level, int top_dir)
{
    struct level *done = *level, *above = done->above;
    int up = above ? openat(dirfd(done->dir), "..", OPEN_DIRECTORY) : top_dir;
    int result = (above && up < 0) || unlinkat(up, done->name, AT_REMOVEDIR) < 0 ? -errno : 0;

    closedir(done->dir);
    free(done);
    *level = above;
    if (above && up >= 0) {
        above->dir = open_entries(up); /* read from the start: what was removed is no longer in it */
    }
    return result;
}

static void levels_free(struct level *level)
{
    while (level) {
        struct level *above = level->above;
        if (level->dir) {
            closedir(level->dir);
        }
        free(level);
        level = above;
    }
}

int tree_remove(int dir, const char *name)
{
    int fd = openat(dir, name, OPEN_DIRECTORY);
    char entry[256];

    if (fd < 0) {
        return errno == ENOENT                      ? 0
               : errno == ENOTDIR || errno == ELOOP ? (unlinkat(dir, name, 0) < 0 ? -errno : 0)
                                                    : -errno;
    }
    struct level *level = level_push(NULL, name, fd);
    int result = 0;
    while (level && result == 0) {
        int sub = remove_entries(level, entry);
        if (sub >= 0) {
            closedir(level->dir);
            level->dir = NULL;
            level = level_push(level, entry, sub);
        } else if (sub == -1) {
            result = remove_level(&level, dir);
        } else {
            result = sub + 1;
        }
    }
    levels_free(level);
    return result;
}

static void add(struct tree_size *size, const struct stat *st)
{
    size->bytes += (uint64_t)st->st_blocks * 512;
    size->files++;
}

/* Recursive on purpose up to a bound: what lies deeper than any tool can write paths to is not measured. */
static int measure(int dir_fd, unsigned depth, struct tree_size *size)
{
    DIR *dir = fdopendir(dir_fd);
    struct dirent *entry;
    int result = 0;

    while (result == 0 && dir && (entry = readdir(dir))) {
        struct stat st;
        if (is_dots(entry->d_name) || fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
            continue;
        }
        add(size, &st);
        if (S_ISDIR(st.st_mode) && depth > 0) {
            int sub = openat(dirfd(dir), entry->d_name, OPEN_DIRECTORY);
            result = sub < 0 ? (errno == ENOENT ? 0 : -errno) : measure(sub, depth - 1, size);
        }
    }
    if (dir) {
        closedir(dir);
    }
    return result;
}

int tree_measure(int dir, const char *name, struct tree_size *size)
{
    const unsigned max_depth = 512;
    int fd = openat(dir, name, OPEN_DIRECTORY);

    return fd < 0 ? -errno : measure(fd, max_depth, size);
}
