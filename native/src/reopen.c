/* Opening in the new trees what takes an old description's place: the same file, flags, offset and locks. */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#include "copy.h"
#include "fd.h"
#include "move.h"
#include "root.h"
#include "sys.h"

#define TMPFILE_BIT (O_TMPFILE & ~O_DIRECTORY)
#define NOT_AGAIN (O_CREAT | O_EXCL | O_TRUNC | O_NOCTTY | O_CLOEXEC)
#define ENTRIES_BYTES 65536

struct entry {
    uint64_t inode;
    int64_t next; /* where the one after it begins */
    unsigned short length;
    unsigned char type;
    char name[];
};

/* O_TMPFILE holds the bit of O_DIRECTORY. */
static int flags_again(const struct description *description)
{
    int flags = description->flags & ~NOT_AGAIN;

    return S_ISDIR(description->st.st_mode) ? flags : flags & ~O_TMPFILE;
}

/* The way to a descriptor's file is a link. */
static int open_by_descriptor(int fd, const struct description *description)
{
    char link[32];

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    return open(link, (flags_again(description) & ~O_NOFOLLOW) | O_CLOEXEC);
}

/* ---- directories that are being read ---- */

static ssize_t read_entries(int fd, void *entries)
{
    return syscall(SYS_getdents64, fd, entries, ENTRIES_BYTES);
}

int directory_seek(int fd, const char *name)
{
    static char entries[ENTRIES_BYTES];
    off_t before = 0;
    ssize_t got;

    if (lseek(fd, 0, SEEK_SET) < 0) {
        return -errno;
    }
    while ((got = read_entries(fd, entries)) > 0) {
        for (char *at = entries; at < entries + got;) {
            const struct entry *entry = (const struct entry *)(void *)at;
            if (strcmp(entry->name, name) == 0) {
                return lseek(fd, before, SEEK_SET) < 0 ? -errno : 1;
            }
            before = entry->next;
            at += entry->length;
        }
    }
    return got < 0 ? -errno : 0;
}

/* Offsets in a merged directory number the entries as they were when it was opened. So the place to go on at is found
 * by the first name that has not been read yet and still exists. */
static int go_on_reading(const struct description *description)
{
    static char entries[ENTRIES_BYTES];
    int result = 0;
    ssize_t got = 0;

    while (result == 0 && (got = read_entries(description->old, entries)) > 0) {
        for (char *at = entries; result == 0 && at < entries + got;) {
            const struct entry *entry = (const struct entry *)(void *)at;
            result = directory_seek(description->new, entry->name);
            at += entry->length;
        }
    }
    int error = got < 0 ? -errno : 0;
    lseek(description->old, description->position, SEEK_SET);
    if (result == 0 && error == 0) {
        error = directory_to_end(description->new); /* nothing is left */
    }
    return result < 0 ? result : error;
}

int directory_unread(const struct description *description, char name[NAME_MAX + 1])
{
    static char entries[ENTRIES_BYTES];
    ssize_t got = lseek(description->old, description->position, SEEK_SET) < 0
                      ? -1
                      : read_entries(description->old, entries);
    const int failure = got < 0 ? -errno : 0;

    lseek(description->old, description->position, SEEK_SET);
    name[0] = '\0';
    if (got > 0) {
        const struct entry *entry = (const struct entry *)(void *)entries;
        snprintf(name, NAME_MAX + 1, "%.255s", entry->name);
    }
    return failure;
}

int directory_to_end(int fd)
{
    static char entries[ENTRIES_BYTES];
    ssize_t got;

    while ((got = read_entries(fd, entries)) > 0) {
        /* only its place matters */
    }
    return got < 0 ? -errno : 0;
}

/* ---- directories without a name ---- */

int removed_directory_above(const struct move *move, const struct description *description,
                            char path[PATH_MAX], unsigned *depth)
{
    const struct move_tree *tree = &move->trees[description->tree];
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", description->old);
    cleanup_fd at = open(link, O_PATH | O_DIRECTORY | O_CLOEXEC);

    /* the link count of a removed directory that lay in a layer is what it was */
    for (*depth = 0; at >= 0 && move_path_of(tree, at, path) < 0; ++*depth) {
        if (errno != ENOENT) {
            return -errno;
        }
        int above = openat(at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
        close(at);
        at = above;
    }
    return at < 0 ? -errno : *depth == 0 ? -ENOENT : 0;
}

/* Makes directories in one another and removes them again: what is left is one without a name, whose ".." leads where
 * that of the old one did. Returns its descriptor or -errno. */
static int make_removed(int above, unsigned depth, const struct stat *looks, int flags)
{
    static const char name[] = ".deltabox-removed";
    int result;

    if (mkdirat(above, name, 0700) < 0) {
        return -errno;
    }
    cleanup_fd made = openat(above, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (made < 0 || fchown(made, looks->st_uid, looks->st_gid) < 0 ||
        fchmod(made, looks->st_mode & 07777) < 0) {
        result = -errno;
    } else if (depth > 1) {
        result = make_removed(made, depth - 1, looks, flags);
    } else {
        result = openat(made, ".", flags | O_CLOEXEC);
        result = result < 0 ? -errno : result;
    }
    if (unlinkat(above, name, AT_REMOVEDIR) < 0 && result >= 0) {
        close(result);
        return -errno;
    }
    return result;
}

int removed_directory_make(int tree, const char *path, unsigned depth, const struct stat *looks, int flags)
{
    struct stat st;
    cleanup_fd above = sys_openat2(tree, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0,
                                   RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);

    if (above < 0 || fstat(above, &st) < 0) {
        return -errno;
    }
    int result = make_removed(above, depth, looks, flags);
    const struct timespec times[] = {st.st_atim, st.st_mtim};
    futimens(above, times);
    return result;
}

static int reopen_removed_directory(const struct move *move, struct description *description)
{
    char path[PATH_MAX];
    unsigned depth;
    int result = removed_directory_above(move, description, path, &depth);

    if (result == 0) {
        result = removed_directory_make(move->trees[description->tree].new, path, depth, &description->st,
                                        flags_again(description));
    }
    if (result < 0) {
        return result;
    }
    description->new = result;
    return 0;
}

/* ---- files ---- */

static int open_new(const struct move *move, const struct description *description, int flags)
{
    const struct move_tree *tree = &move->trees[description->tree];
    int fd = sys_openat2(tree->new, description->path, (uint64_t)flags | O_CLOEXEC, 0,
                         RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);

    return fd < 0 ? -errno : fd;
}

static bool is_same_file(const struct description *description)
{
    struct stat st;

    return fstat(description->new, &st) == 0 && st.st_mode == description->st.st_mode &&
           (!S_ISREG(st.st_mode) || st.st_size == description->st.st_size);
}

static int reopen_named(const struct move *move, struct description *description)
{
    if (description->copy_up && (description->flags & O_ACCMODE) == O_RDONLY) {
        int fd = open_new(move, description, O_WRONLY);
        if (fd < 0) {
            return fd;
        }
        close(fd);
    }
    int fd = open_new(move, description, flags_again(description));
    if (fd < 0) {
        return fd;
    }
    description->new = fd;
    if (!is_same_file(description)) {
        return -ESTALE;
    }
    if ((description->flags & O_PATH) || description->position == 0) {
        return locks_take(description);
    }
    if (S_ISDIR(description->st.st_mode)) {
        return go_on_reading(description);
    }
    return lseek(fd, description->position, SEEK_SET) < 0 ? -errno : locks_take(description);
}

/* ---- files whose name is gone ---- */

/* One that was linked elsewhere before: every name of a file of the upper lies in the upper. */
static bool find_in_directory(const struct move_tree *tree, const char *path, struct description *description)
{
    int fd = openat(tree->old_upper, *path ? path : ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;

    while (dir && !description->path && (entry = readdir(dir))) {
        char *candidate = NULL;
        struct stat st;
        if (entry->d_type == DT_DIR ||
            asprintf(&candidate, "%s%s%s", path, *path ? "/" : "", entry->d_name) < 0) {
            continue;
        }
        if (fstatat(tree->old, candidate, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            st.st_ino == description->st.st_ino && st.st_dev == description->st.st_dev) {
            description->path = candidate;
        } else {
            free(candidate);
        }
    }
    if (dir) {
        closedir(dir);
    } else {
        fd_close(&fd);
    }
    return description->path != NULL;
}

static bool find_other_name(const struct move *move, struct description *description)
{
    const struct move_tree *tree = &move->trees[description->tree];
    bool found = false;

    for (size_t i = 0; !found && i < tree->links.directory_count; i++) {
        const char *path = links_directory(&tree->links, i);
        found = path && find_in_directory(tree, path, description);
    }
    return found;
}

static int reopen_copy(int copy, struct description *description)
{
    description->new = open_by_descriptor(copy, description);
    if (description->new < 0 ||
        (!(description->flags & O_PATH) && lseek(description->new, description->position, SEEK_SET) < 0)) {
        return -errno;
    }
    return locks_take(description);
}

/* A file that never had a name may get one yet, in the tree where it then lies. */
static int make_nameless(const struct move *move, struct description *description)
{
    const struct move_tree *tree = &move->trees[description->tree];
    char directory[PATH_MAX], link[32];

    snprintf(directory, sizeof directory, "%s", description->was);
    *strrchr(directory, '/') = '\0';
    const char *inside = move_path_inside(tree, *directory ? directory : "/");
    if (!inside) {
        return -ENOENT;
    }
    cleanup_fd parent = sys_openat2(tree->new, inside, O_PATH | O_DIRECTORY | O_CLOEXEC, 0,
                                    RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
    /* its directory may be gone, and it may be linked anywhere */
    cleanup_fd made = openat(parent < 0 ? tree->new : parent, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    snprintf(link, sizeof link, "/proc/self/fd/%d", description->old);
    cleanup_fd from = made < 0 ? -1 : open(link, O_RDONLY | O_CLOEXEC);
    if (from < 0) {
        return -errno;
    }
    int result = copy_whole(from, made, description->st.st_size);
    result = result == 0 ? copy_descriptor_looks(from, made) : result;
    if (result < 0) {
        return result;
    }
    return reopen_copy(made, description);
}

/* A mount of that file and nothing else. */
static int mount_alone(const struct move *move, int fd)
{
    if (setns(move->sandbox->cell->mount_ns, CLONE_NEWNS) < 0) {
        return -errno;
    }
    int mount = open_tree(fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    int failure = mount < 0 ? -errno : 0;
    root_back_to_own_namespace();
    return mount < 0 ? failure : mount;
}

/* One that had a name stays the same file. While it can be written through the old tree, that could not be made
 * read-only. */
static int reopen_alone(const struct move *move, struct description *description)
{
    bool writes = !(description->flags & O_PATH) && (description->flags & O_ACCMODE) != O_RDONLY;

    if (!writes || description->copy_up) { /* memory alone does not count as writing through the tree */
        return 0;
    }
    cleanup_fd mount = mount_alone(move, description->old);
    if (mount < 0) {
        return mount;
    }
    description->new = open_by_descriptor(mount, description);
    if (description->new < 0 || lseek(description->new, description->position, SEEK_SET) < 0) {
        return -errno;
    }
    description->alone = true;
    return locks_pass(description, description->old, description->new);
}

/* The flag is that of the first opening only; the name that the kernel makes up stays. */
static bool never_had_name(const struct description *description)
{
    const char *name = strrchr(description->was, '/');
    char made_up[48];

    snprintf(made_up, sizeof made_up, "/#%llu (deleted)", (unsigned long long)description->inode);
    return (description->flags & TMPFILE_BIT) || (name && strcmp(name, made_up) == 0);
}

static struct description *find_sibling(const struct move *move, const struct description *description)
{
    for (size_t i = 0; i < MOVE_BUCKETS; i++) {
        for (struct description *at = move->descriptions[i]; at; at = at->next_alike) {
            if (at != description && at->st.st_ino == description->st.st_ino &&
                at->st.st_dev == description->st.st_dev && never_had_name(at) && !(at->flags & O_PATH)) {
                return at;
            }
        }
    }
    return NULL;
}

/* All that are open on it see the same copy. One that is not known as such was opened through another, or is mapped. */
static int reopen_nameless(const struct move *move, struct description *description)
{
    struct description *sibling = find_sibling(move, description);

    if (sibling && sibling->new < 0 && !never_had_name(description)) {
        int result = make_nameless(move, sibling);
        if (result < 0) {
            return result;
        }
    }
    if (description->new >= 0) {
        return 0; /* made for a sibling already */
    }
    if (sibling && sibling->new >= 0) {
        return reopen_copy(sibling->new, description);
    }
    return never_had_name(description) ? make_nameless(move, description) : reopen_alone(move, description);
}

/* What is neither moved nor copied stays where it is, and can only be read. */
static int reopen(struct move *move, struct description *description, struct err *err)
{
    mode_t mode = description->st.st_mode;
    int result;

    if (S_ISSOCK(mode) || S_ISFIFO(mode)) {
        return 0; /* the object behind it is not the tree's */
    }
    if (description->path ||
        (S_ISREG(mode) && description->st.st_nlink > 0 && find_other_name(move, description))) {
        result = reopen_named(move, description);
    } else if (S_ISDIR(mode)) {
        result = reopen_removed_directory(move, description);
    } else if (S_ISREG(mode) && description->st.st_nlink == 0) {
        result = reopen_nameless(move, description);
    } else if (S_ISREG(mode) && (description->flags & O_ACCMODE) != O_RDONLY) {
        obstacle_add(&move->obstacles, move_subject_of(move, description), description->was, true,
                     "none of the names that the file has is found");
        return 0;
    } else {
        return 0;
    }
    result = fd_is_among_last(description->new) ? -EMFILE : result;
    return result < 0 ? err_system(err, -result, "open again", "%.180s", description->was) : 0;
}

int move_reopen(struct move *move, struct err *err)
{
    return move_each(move, reopen, err);
}

static int close_new(struct move *move, struct description *description, struct err *err)
{
    (void)move;
    (void)err;
    if (description->alone && locks_pass(description, description->new, description->old) < 0) {
        log_line("lock %s again: %s", description->was, strerror(errno));
    }
    fd_close(&description->new);
    return 0;
}

void move_close_new(struct move *move)
{
    move_each(move, close_new, NULL);
}

static int close_all(struct move *move, struct description *description, struct err *err)
{
    (void)move;
    (void)err;
    fd_close(&description->new);
    fd_close(&description->old);
    return 0;
}

void move_close_all(struct move *move)
{
    move_each(move, close_all, NULL);
    for (size_t i = 0; i < move->left_count; i++) {
        fd_close(&move->lefts[i].description->old);
    }
}
