/* What overlayfs would not keep by itself from one upper to the next. A file that was copied up shows the inode number
 * of what it was copied from, but only once; files with several names are torn apart when one of them is written. So
 * both are put into the new upper by us, before anything is looked up there. */
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#include "copy.h"
#include "fd.h"
#include "layer.h"
#include "links.h"
#include "looks.h"
#include "move.h"
#include "root.h"
#include "sys.h"

#define ORIGIN "trusted.overlay.origin"
#define OPEN_DIRECTORY (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define BENEATH (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)

/* ---- directories on the way ---- */

/* Directories that were entered into, for their times at the end. */
struct touched {
    struct timespec times[2];
    struct touched *next;
    char path[];
};

struct carry {
    int from, to; /* the old and the new upper */
    struct touched *touched;
};

static void touch(struct carry *carry, const char *path, const struct stat *st)
{
    if (carry->touched && strcmp(carry->touched->path, path) == 0) {
        return;
    }
    struct touched *touched = malloc(sizeof *touched + strlen(path) + 1);
    if (!touched) {
        die("out of memory");
    }
    *touched = (struct touched){.times = {st->st_atim, st->st_mtim}, .next = carry->touched};
    strcpy(touched->path, path);
    carry->touched = touched;
}

static void restore_times(struct carry *carry)
{
    while (carry->touched) {
        struct touched *next = carry->touched->next;
        utimensat(carry->to, carry->touched->path, carry->touched->times, AT_SYMLINK_NOFOLLOW);
        free(carry->touched);
        carry->touched = next;
    }
}

static int make_directory(const struct carry *carry, const char *path)
{
    cleanup_fd from = sys_openat2(carry->from, path, OPEN_DIRECTORY, 0, BENEATH);

    if (from < 0 || mkdirat(carry->to, path, 0700) < 0) {
        return -errno;
    }
    cleanup_fd to = openat(carry->to, path, OPEN_DIRECTORY);
    return to < 0 ? -errno : copy_descriptor_looks(from, to);
}

/* A directory in which something is about to be made; -errno. Impure: it holds files that show another inode number
 * than their own. */
static int open_touched(struct carry *carry, const char *path)
{
    struct stat st;
    cleanup_fd from = sys_openat2(carry->from, path, OPEN_DIRECTORY, 0, BENEATH);
    cleanup_fd to = openat(carry->to, path, OPEN_DIRECTORY);

    if (from < 0 || to < 0 || fstat(from, &st) < 0 ||
        fsetxattr(to, "trusted.overlay.impure", "y", 1, 0) < 0) {
        return -errno;
    }
    touch(carry, path, &st);
    return fd_steal(&to);
}

/* The directory that will hold `path`, with all that lead to it; -errno. */
static int open_parent(struct carry *carry, const char *path, const char **name)
{
    char at[PATH_MAX];
    struct stat st;
    cleanup_fd parent = open_touched(carry, ".");

    *name = path;
    snprintf(at, sizeof at, "%s", path);
    for (char *slash = at; parent >= 0 && (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        int made = fstatat(carry->to, at, &st, AT_SYMLINK_NOFOLLOW) < 0 ? make_directory(carry, at) : 0;
        fd_close(&parent);
        parent = made < 0 ? made : open_touched(carry, at);
        *slash = '/';
        *name = path + (slash - at) + 1;
    }
    return parent < 0 ? parent : fd_steal(&parent);
}

/* ---- files ---- */

static int copy_attribute(int from, int to, const char *name)
{
    char value[4096];
    ssize_t len = fgetxattr(from, name, value, sizeof value);

    return len < 0 || fsetxattr(to, name, value, (size_t)len, 0) < 0 ? -errno : 0;
}

static int carry_file(struct carry *carry, const char *path)
{
    const char *name;
    struct stat st;
    cleanup_fd from =
        sys_openat2(carry->from, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0, BENEATH);
    cleanup_fd parent = from < 0 ? -errno : open_parent(carry, path, &name);

    if (parent < 0) {
        return parent;
    }
    cleanup_fd to = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (to < 0 || fstat(from, &st) < 0) {
        return errno == EEXIST ? 0 : -errno;
    }
    int result = copy_whole(from, to, st.st_size);
    result = result == 0 ? copy_descriptor_looks(from, to) : result;
    return result == 0 ? copy_attribute(from, to, ORIGIN) : result;
}

/* One that will be copied up, from an upper where it lies as a copy already. When it shows its own number, what it was
 * copied from has none that lasts (a base's) or several names, and the kernel's own copy goes on showing that. */
static bool shows_other_inode(const struct carry *carry, const struct description *description)
{
    struct stat st;
    bool writes = (description->flags & O_ACCMODE) != O_RDONLY || description->copy_up;

    if (!description->path || !S_ISREG(description->st.st_mode) || !writes) {
        return false;
    }
    cleanup_fd fd = sys_openat2(carry->from, description->path,
                                O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0, BENEATH);
    return fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1 &&
           st.st_ino != description->st.st_ino && fgetxattr(fd, ORIGIN, NULL, 0) > 0;
}

/* ---- files with several names ---- */

static int carry_regular(const struct carry *carry, int parent, const char *name, const char *path)
{
    struct stat st;
    cleanup_fd from =
        sys_openat2(carry->from, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0, BENEATH);
    cleanup_fd to = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (from < 0 || to < 0 || fstat(from, &st) < 0) {
        return -errno;
    }
    int result = copy_whole(from, to, st.st_size);
    return result < 0 ? result : copy_descriptor_looks(from, to);
}

/* Links and FIFOs hold no data. */
static int carry_special(const struct carry *carry, int parent, const char *name, const char *path,
                         const struct stat *st)
{
    char target[PATH_MAX];

    if (S_ISLNK(st->st_mode)) {
        ssize_t len = readlinkat(carry->from, path, target, sizeof target - 1);
        if (len < 0) {
            return -errno;
        }
        target[len] = '\0';
        if (symlinkat(target, parent, name) < 0) {
            return -errno;
        }
    } else if (mknodat(parent, name, st->st_mode, st->st_rdev) < 0) {
        return -errno;
    }
    const struct looks looks = {.mode = st->st_mode & 07777,
                                .uid = st->st_uid,
                                .gid = st->st_gid,
                                .times = {st->st_atim, st->st_mtim}};
    return looks_set_node(&looks, (struct node){parent, name});
}

static int carry_group(struct carry *carry, const struct link_name *names, size_t count)
{
    const char *first, *name;
    struct stat st;

    if (fstatat(carry->from, names[0].path, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return -errno;
    }
    cleanup_fd parent = open_parent(carry, names[0].path, &first);
    if (parent < 0) {
        return parent;
    }
    int result = S_ISREG(st.st_mode) ? carry_regular(carry, parent, first, names[0].path)
                                     : carry_special(carry, parent, first, names[0].path, &st);
    for (size_t i = 1; result == 0 && i < count; i++) {
        cleanup_fd other = open_parent(carry, names[i].path, &name);
        result = other < 0 ? other : linkat(parent, first, other, name, 0) < 0 ? -errno : 0;
    }
    return result;
}

static int carry_groups(struct carry *carry, const struct link_scan *scan)
{
    int result = 0;

    for (size_t i = 0, end; result == 0 && i < scan->name_count; i = end) {
        for (end = i; end < scan->name_count && scan->names[end].inode == scan->names[i].inode;) {
            end++;
        }
        result = carry_group(carry, scan->names + i, end - i);
    }
    return result;
}

/* ---- sockets and FIFOs ---- */

int carry_mark(struct carry *carry, const char *path, const struct held_mark *mark, uid_t uid, gid_t gid)
{
    char target[64];
    const char *name;
    cleanup_fd parent = open_parent(carry, path, &name);

    if (parent < 0) {
        return parent;
    }
    snprintf(target, sizeof target, "/" ROOT_HELD "/%u", mark->number);
    if (symlinkat(target, parent, name) < 0 || fchownat(parent, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0) {
        return -errno;
    }
    return held_mark_write(parent, name, mark);
}

/* ---- all ---- */

static int carry_descriptions(struct move *move, struct carry *carry, size_t tree)
{
    for (size_t i = 0; i < MOVE_BUCKETS; i++) {
        for (struct description *at = move->descriptions[i]; at; at = at->next_alike) {
            if (at->tree == tree && shows_other_inode(carry, at)) {
                int result = carry_file(carry, at->path);
                if (result < 0) {
                    return result;
                }
            }
        }
    }
    return 0;
}

/* The names of the groups are written beside the upper, so that whoever comes to stand on the layer finds them: each with
 * its end, and an empty one after each group. */
static int open_group_names(const char *layer, size_t tree, int flags)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/fs%zu/" LAYER_LINKS, layer, tree);
    return open(path, flags | O_NOFOLLOW | O_CLOEXEC, 0600);
}

static int write_group_names(const char *layer, size_t tree, const struct link_scan *scan)
{
    if (scan->name_count == 0) {
        return 0;
    }
    int fd = open_group_names(layer, tree, O_WRONLY | O_CREAT | O_TRUNC);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
    if (!file) {
        fd_close(&fd);
        return -errno;
    }
    for (size_t i = 0; i < scan->name_count; i++) {
        fwrite(scan->names[i].path, strlen(scan->names[i].path) + 1, 1, file);
        if (i + 1 == scan->name_count || scan->names[i + 1].inode != scan->names[i].inode) {
            fputc('\0', file);
        }
    }
    return fclose(file) == 0 ? 0 : -errno;
}

static int carry_written_groups(struct carry *carry, FILE *file)
{
    struct link_scan scan = {0};
    char *line = NULL;
    size_t cap = 0;
    int result = 0;

    for (uint64_t group = 1; getdelim(&line, &cap, '\0', file) > 0;) {
        if (!*line) {
            group++;
            continue;
        }
        scan.names = realloc(scan.names, (scan.name_count + 1) * sizeof *scan.names);
        if (!scan.names) {
            die("out of memory");
        }
        scan.names[scan.name_count++] = (struct link_name){.inode = group, .path = strdup(line)};
    }
    result = carry_groups(carry, &scan);
    for (size_t i = 0; i < scan.name_count; i++) {
        free(scan.names[i].path);
    }
    free(scan.names);
    free(line);
    return result;
}

static int carry_groups_of_tree(const char *layer, const char *head, size_t tree)
{
    int fd = open_group_names(layer, tree, O_RDONLY);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "r");

    if (!file) {
        return errno == ENOENT ? 0 : -errno;
    }
    cleanup_fd from = layer_open_upper(layer, tree), to = layer_open_upper(head, tree);
    struct carry carry = {.from = from, .to = to};
    int result = from < 0 ? from : to < 0 ? to : carry_written_groups(&carry, file);
    restore_times(&carry);
    fclose(file);
    return result;
}

bool carry_has_names(const char *layer, size_t tree_count)
{
    size_t tree = 0;
    int result = -ENOENT;

    for (; tree < tree_count && result == -ENOENT; tree++) {
        cleanup_fd names = open_group_names(layer, tree, O_RDONLY);
        result = names < 0 ? -errno : 0;
    }
    return result != -ENOENT;
}

int carry_from_layer(const char *layer, const char *head, size_t tree_count, struct err *err)
{
    for (size_t tree = 0; tree < tree_count; tree++) {
        int result = carry_groups_of_tree(layer, head, tree);
        if (result < 0) {
            return err_system(err, -result, "carry over", "%s", layer);
        }
    }
    return 0;
}

int carry_names(const char *layer, const char *into, size_t tree)
{
    struct stat st;
    cleanup_fd from = open_group_names(layer, tree, O_RDONLY);

    if (from < 0) {
        return errno == ENOENT ? 0 : -errno;
    }
    cleanup_fd to = open_group_names(into, tree, O_WRONLY | O_CREAT | O_EXCL);
    return to < 0 || fstat(from, &st) < 0 ? -errno : copy_whole(from, to, st.st_size);
}

int carry_scan(struct move *move, struct err *err)
{
    for (size_t tree = 0; tree < move->tree_count; tree++) {
        int result =
            links_scan(&move->trees[tree].links, move->trees[tree].old_upper, move->sandbox->held != NULL);
        if (result < 0) {
            return err_system(err, -result, "look for links", "%s", move->trees[tree].path);
        }
    }
    return 0;
}

int carry_over(struct move *move, struct err *err)
{
    for (size_t tree = 0; tree < move->tree_count; tree++) {
        struct move_tree *at = &move->trees[tree];
        struct carry carry = {.from = at->old_upper, .to = at->new_upper};
        int result = links_finish(&at->links, at->old_upper);
        result = result == 0 ? write_group_names(move->sandbox->head, tree, &at->links) : result;
        result = result == 0 ? carry_groups(&carry, &at->links) : result;
        result = result == 0 ? carry_descriptions(move, &carry, tree) : result;
        result = result == 0 ? held_carry(move, tree, &carry) : result;
        restore_times(&carry);
        if (result < 0) {
            return err_system(err, -result, "carry over", "%s", at->path);
        }
    }
    return 0;
}
