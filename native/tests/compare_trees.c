#include "compare_trees.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "check.h"
#include "links.h"
#include "looks.h"
#include "stacks.h"

#define ORIGIN "trusted.overlay.origin"

/* ---- ids ---- */

static bool is_moved(const struct moved *moved, uint32_t from, uint32_t to)
{
    return from - moved->from == to - moved->to || (moved->is_view && from == to);
}

static bool is_moved_at(const struct moved *moved, const uint8_t *from, const uint8_t *to)
{
    uint32_t ids[2];

    memcpy(&ids[0], from, sizeof ids[0]);
    memcpy(&ids[1], to, sizeof ids[1]);
    return is_moved(moved, ids[0], ids[1]) || (ids[0] == UINT32_MAX && ids[1] == UINT32_MAX);
}

/* ---- attributes ---- */

struct attributes {
    char names[4096], *list[64];
    size_t count;
};

static int by_text(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

/* Those that travel; XFS has lists of access rights once more. */
static void list_attributes(const char *path, bool is_view, bool all, struct attributes *attributes)
{
    const ssize_t length = llistxattr(path, attributes->names, sizeof attributes->names);

    CHECK(length >= 0);
    attributes->count = 0;
    for (char *name = attributes->names; name < attributes->names + length; name += strlen(name) + 1) {
        const bool is_of_overlay = strncmp(name, "trusted.overlay.", strlen("trusted.overlay.")) == 0;
        if (strncmp(name, "trusted.SGI_", strlen("trusted.SGI_")) == 0 ||
            (!all && !is_view && is_of_overlay && !speaks_of_place(name) && strcmp(name, ORIGIN) != 0)) {
            continue;
        }
        attributes->list[attributes->count++] = name;
    }
    qsort(attributes->list, attributes->count, sizeof *attributes->list, by_text);
}

static bool is_same_value(const struct moved *moved, const char *name, const uint8_t *from, const uint8_t *to,
                          ssize_t size)
{
    bool same = true;

    if (strncmp(name, "system.posix_acl_", strlen("system.posix_acl_")) == 0) {
        for (ssize_t at = 4; at < size; at += 8) {
            same =
                same && memcmp(from + at, to + at, 4) == 0 && is_moved_at(moved, from + at + 4, to + at + 4);
        }
        return same;
    }
    if (strcmp(name, "security.capability") == 0 && size == 24) {
        return memcmp(from, to, 20) == 0 && is_moved_at(moved, from + 20, to + 20);
    }
    return memcmp(from, to, (size_t)size) == 0;
}

static bool are_same_attributes(const struct moved *moved, const char *from, const char *to)
{
    static struct attributes before, now;
    static uint8_t values[2][65536];

    list_attributes(from, moved->is_view, false, &before);
    list_attributes(to, moved->is_view, true, &now);
    bool same = before.count == now.count;
    for (size_t i = 0; same && i < before.count; i++) {
        const char *name = before.list[i];
        ssize_t size = lgetxattr(from, name, values[0], sizeof values[0]);
        size = strcmp(name, ORIGIN) == 0 ? 0 : size;
        same = strcmp(name, now.list[i]) == 0 && lgetxattr(to, name, values[1], sizeof values[1]) == size &&
               is_same_value(moved, name, values[0], values[1], size);
    }
    return same;
}

/* ---- content ---- */

static bool are_same_holes(int from, int to)
{
    off_t at = 0, other = 0;

    for (int whence = SEEK_DATA; at >= 0 && at == other;
         whence = whence == SEEK_DATA ? SEEK_HOLE : SEEK_DATA) {
        at = lseek(from, at, whence);
        other = lseek(to, other, whence);
    }
    return at == other;
}

static bool are_same_data(int from, int to)
{
    static uint8_t parts[2][65536];
    ssize_t got;

    do {
        got = read(from, parts[0], sizeof parts[0]);
        if (got < 0 || read(to, parts[1], sizeof parts[1]) != got ||
            memcmp(parts[0], parts[1], (size_t)got) != 0) {
            return false;
        }
    } while (got > 0);
    return true;
}

static bool has_same_content(const struct moved *moved, const struct stat *st, const char *from,
                             const char *to)
{
    char targets[2][4096] = {"", ""};

    if (S_ISLNK(st->st_mode)) {
        return readlink(from, targets[0], sizeof targets[0]) == readlink(to, targets[1], sizeof targets[1]) &&
               memcmp(targets[0], targets[1], sizeof targets[0]) == 0;
    }
    if (!S_ISREG(st->st_mode)) {
        return true;
    }
    const int fds[] = {open(from, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC),
                       open(to, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC)};
    CHECK(fds[0] >= 0 && fds[1] >= 0);
    bool same = moved->is_view || are_same_holes(fds[0], fds[1]);
    CHECK(lseek(fds[0], 0, SEEK_SET) == 0 && lseek(fds[1], 0, SEEK_SET) == 0);
    same = same && are_same_data(fds[0], fds[1]);
    close(fds[0]);
    close(fds[1]);
    return same;
}

/* ---- files ---- */

static bool is_whiteout(const struct stat *st)
{
    return S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0);
}

static bool is_same_time(const struct timespec *left, const struct timespec *right)
{
    return left->tv_sec == right->tv_sec && left->tv_nsec == right->tv_nsec;
}

/* Who looked at it by another name before, or read a link, has changed its time of access. */
static bool are_same_stats(const struct moved *moved, const struct stat *from, const struct stat *to)
{
    if (is_whiteout(from)) {
        return is_whiteout(to);
    }
    return from->st_mode == to->st_mode && from->st_rdev == to->st_rdev &&
           is_moved(moved, from->st_uid, to->st_uid) && is_moved(moved, from->st_gid, to->st_gid) &&
           (S_ISDIR(from->st_mode) || (from->st_size == to->st_size && from->st_nlink == to->st_nlink)) &&
           is_same_time(&from->st_mtim, &to->st_mtim) &&
           (moved->is_view || S_ISLNK(from->st_mode) || from->st_nlink > 1 ||
            is_same_time(&from->st_atim, &to->st_atim));
}

/* What is one file there is one here, and what is not is not. */
static bool is_same_file(struct moved *moved, const struct stat *from, const struct stat *to)
{
    if (S_ISDIR(from->st_mode) || from->st_nlink < 2 || is_whiteout(from) || moved->is_view) {
        return true;
    }
    for (size_t i = 0; i < moved->inode_count; i++) {
        const bool is_from = moved->inodes[i].from == from->st_ino, is_to = moved->inodes[i].to == to->st_ino;
        if (is_from || is_to) {
            return is_from && is_to;
        }
    }
    moved->inodes = realloc(moved->inodes, (moved->inode_count + 1) * sizeof *moved->inodes);
    CHECK(moved->inodes != NULL);
    moved->inodes[moved->inode_count++] = (struct pair_of_inodes){from->st_ino, to->st_ino};
    return true;
}

static bool is_same(struct moved *moved, const struct record *from, const struct record *to)
{
    if (from->broken || to->broken) {
        return from->broken == to->broken;
    }
    if (!are_same_stats(moved, &from->st, &to->st) || !is_same_file(moved, &from->st, &to->st)) {
        return false;
    }
    char paths[2][4200];
    snprintf(paths[0], sizeof paths[0], "from/%s", from->path);
    snprintf(paths[1], sizeof paths[1], "to/%s", to->path);
    return is_whiteout(&from->st) || (are_same_attributes(moved, paths[0], paths[1]) &&
                                      has_same_content(moved, &from->st, paths[0], paths[1]));
}

/* Two directories under names that paths can begin with. */
static void show(int from, int to, int links)
{
    char path[40];

    CHECK(fchdir(links) == 0);
    unlink("from");
    unlink("to");
    snprintf(path, sizeof path, "/proc/self/fd/%d", from);
    CHECK(symlink(path, "from") == 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", to);
    CHECK(symlink(path, "to") == 0);
}

void expect_moved(struct moved *moved, int from, int to)
{
    char directory[] = "/tmp/deltabox-test-XXXXXX";
    const int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const int links = mkdtemp(directory) ? open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    struct snapshot before = snapshot_take(from), now = snapshot_take(to);

    CHECK(here >= 0 && links >= 0);
    show(from, to, links);
    for (size_t i = 0; i < before.count; i++) {
        const struct record *one = &before.list[i], *other = snapshot_find(&now, one->path);
        if (!other || !is_same(moved, one, other)) {
            fprintf(stderr, "%s%s:\n%s\n%s\n", moved->is_view ? "in view, " : "", one->path, one->looks,
                    other ? other->looks : "is not there");
            exit(1);
        }
    }
    CHECK(before.count == now.count);
    snapshot_free(&before);
    snapshot_free(&now);
    CHECK(unlink("from") == 0 && unlink("to") == 0 && fchdir(here) == 0 && rmdir(directory) == 0);
    close(here);
    close(links);
}

void moved_free(struct moved *moved)
{
    free(moved->inodes);
    *moved = (struct moved){0};
}
