/* The kernel keeps a name as it was given, and makes the file where that leads. So the name is bound in an empty directory
 * that is the root for that moment, and the file is moved from there. */
#include "unix_name.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/random.h>

#include "fd.h"
#include "root.h"
#include "sys.h"
#include "tree.h"

#define OPEN_DIRECTORY (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define BENEATH (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
#define PLACE_BYTES 48
#define FOR_ALL 0777

void names_begin(struct names *names, const int *trees)
{
    *names = (struct names){.scratch = -1, .trees = trees};
}

void names_end(struct names *names)
{
    fd_close(&names->scratch);
}

void bound_none(struct bound *bound)
{
    *bound = (struct bound){.place = -1, .parent = -1};
}

void bound_free(struct bound *bound)
{
    fd_close(&bound->place);
    fd_close(&bound->parent);
}

static int open_scratch(struct names *names)
{
    cleanup_fd context = names->scratch >= 0 ? -1 : fsopen("tmpfs", FSOPEN_CLOEXEC);

    if (names->scratch >= 0) {
        return 0;
    }
    if (context < 0 || fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
        return -errno;
    }
    names->scratch = fsmount(context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    return names->scratch < 0 ? -errno : 0;
}

/* ---- an empty root ---- */

/* Walks the name as the kernel will, making what is missing: a step up from the top stays there. A name that is not
 * absolute begins as deep as it goes up. The directories are in `begin` and `end`. */
static int make_way(int root, const char *name, int *begin, int *end, const char **last)
{
    char part[NAME_MAX + 1];
    const char *at = name, *slash = strrchr(name, '/');
    int depth = 0;

    *last = slash ? slash + 1 : name;
    *begin = fcntl(root, F_DUPFD_CLOEXEC, 0);
    for (const char *up = name; *begin >= 0 && name[0] != '/' && (up = strstr(up, "..")); up += 2) {
        int below = mkdirat(*begin, "d", 0700) < 0 ? -1 : openat(*begin, "d", OPEN_DIRECTORY);
        fd_close(begin);
        *begin = below;
        depth++;
    }
    *end = *begin < 0 ? -1 : fcntl(*begin, F_DUPFD_CLOEXEC, 0);
    while (*end >= 0 && at < *last) {
        size_t len = strcspn(at, "/");
        snprintf(part, sizeof part, "%.*s", (int)len, at);
        at += len + 1;
        depth += strcmp(part, "..") == 0 ? -1 : len > 0 && strcmp(part, ".") != 0;
        if (len == 0 || depth < 0) {
            depth = depth < 0 ? 0 : depth;
            continue;
        }
        int next = mkdirat(*end, part, 0700) < 0 && errno != EEXIST
                       ? -1
                       : sys_openat2(*end, part, OPEN_DIRECTORY, 0, RESOLVE_NO_SYMLINKS);
        fd_close(end);
        *end = next;
    }
    return *begin < 0 || *end < 0 ? -errno : 0;
}

static int bind_inside(int root, int begin, int fd, const struct unix_name *name)
{
    if (fchdir(root) < 0 || chroot(".") < 0 || fchdir(begin) < 0) {
        int failure = -errno;
        root_back_to_own_namespace();
        return failure;
    }
    const mode_t mask = umask(0777 & ~FOR_ALL);
    const int result = bind(fd, (const struct sockaddr *)&name->address, name->size) < 0 ? -errno : 0;
    umask(mask);
    root_back_to_own_namespace();
    return result;
}

/* The name as a text: the kernel's may fill all the room. */
static int bind_in(int root, int fd, const struct unix_name *name, struct bound *bound, int *parent,
                   char last[NAME_MAX + 1])
{
    char text[sizeof name->address.sun_path + 1] = {0};
    const char *end_of_name;
    cleanup_fd begin = -1, end = -1;
    struct unix_name given = *name;

    if (given.size > sizeof given.address) {
        given.size = sizeof given.address;
    }
    memcpy(text, given.address.sun_path, given.size - offsetof(struct sockaddr_un, sun_path));
    int result = make_way(root, text, &begin, &end, &end_of_name);
    result = result < 0 ? result : bind_inside(root, begin, fd, &given);
    if (result < 0) {
        return result;
    }
    bound->place = openat(end, end_of_name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (bound->place < 0) {
        return -errno;
    }
    snprintf(last, NAME_MAX + 1, "%s", end_of_name);
    *parent = fd_steal(&end);
    return 0;
}

/* ---- where it is to be found ---- */

static int open_parent(int tree, const char *path, struct bound *bound)
{
    char parent[PATH_MAX];
    const char *slash = strrchr(path, '/');

    snprintf(parent, sizeof parent, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    snprintf(bound->last, sizeof bound->last, "%s", slash ? slash + 1 : path);
    bound->parent = sys_openat2(tree, parent, OPEN_DIRECTORY, 0, BENEATH);
    if (bound->parent < 0 || fstatat(bound->parent, bound->last, &bound->looks, AT_SYMLINK_NOFOLLOW) < 0) {
        return -errno;
    }
    return S_ISSOCK(bound->looks.st_mode) ? 0 : -ENOTSOCK;
}

static int keep_times(int dir, const struct stat *st)
{
    const struct timespec times[] = {st->st_atim, st->st_mtim};

    return futimens(dir, times) < 0 ? -errno : 0;
}

static int move_to_place(const struct bound *bound, int from, const char *last)
{
    struct stat st;

    return fstat(bound->parent, &st) < 0 || renameat(from, last, bound->parent, bound->last) < 0
               ? -errno
               : keep_times(bound->parent, &st);
}

/* A directory whose name nobody inside can have foreseen. */
static int make_place(int dir, char place[PLACE_BYTES])
{
    uint64_t number;

    if (getrandom(&number, sizeof number, 0) != sizeof number) {
        return -EIO;
    }
    snprintf(place, PLACE_BYTES, ".deltabox-socket-%016llx", (unsigned long long)number);
    return mkdirat(dir, place, 0700) < 0 ? -errno : 0;
}

/* On the mount on which the file is to be: a rename does not leave it. */
static int bind_in_tree(int tree, int fd, const struct unix_name *name, const char *path, struct bound *bound)
{
    char last[NAME_MAX + 1], place[PLACE_BYTES];
    struct stat st;
    cleanup_fd parent = -1;
    int result = open_parent(tree, path, bound);

    if (result < 0 || fstat(tree, &st) < 0) {
        return result < 0 ? result : -errno;
    }
    if ((result = make_place(tree, place)) < 0) {
        return result;
    }
    cleanup_fd root = openat(tree, place, OPEN_DIRECTORY);
    result = root < 0 ? -errno : bind_in(root, fd, name, bound, &parent, last);
    result = result < 0 ? result : move_to_place(bound, parent, last);
    int removed = tree_remove(tree, place);
    result = result < 0 ? result : removed;
    cleanup_fd top = openat(tree, ".", OPEN_DIRECTORY);
    return result < 0 ? result : top < 0 ? -errno : keep_times(top, &st);
}

static int bind_aside(struct names *names, int fd, const struct unix_name *name, struct bound *bound)
{
    char last[NAME_MAX + 1], place[PLACE_BYTES];
    cleanup_fd parent = -1;
    int result = open_scratch(names);

    if (result < 0 || (result = make_place(names->scratch, place)) < 0) {
        return result;
    }
    cleanup_fd root = openat(names->scratch, place, OPEN_DIRECTORY);
    result = root < 0 ? -errno : bind_in(root, fd, name, bound, &parent, last);
    int removed = tree_remove(names->scratch, place);
    return result < 0 ? result : removed;
}

int name_bind(struct names *names, int fd, const struct unix_name *name, size_t tree, const char *path,
              struct bound *bound)
{
    bound_none(bound);
    if (name->size <= sizeof(sa_family_t)) {
        return 0;
    }
    if (name->address.sun_path[0] == '\0') {
        return bind(fd, (const struct sockaddr *)&name->address, name->size) < 0 ? -errno : 0;
    }
    return path ? bind_in_tree(names->trees[tree], fd, name, path, bound)
                : bind_aside(names, fd, name, bound);
}

int name_settle(const struct bound *bound)
{
    const struct timespec times[] = {bound->looks.st_atim, bound->looks.st_mtim};

    if (bound->parent < 0) {
        return 0;
    }
    return fchownat(bound->parent, bound->last, bound->looks.st_uid, bound->looks.st_gid,
                    AT_SYMLINK_NOFOLLOW) < 0 ||
                   fchmodat(bound->parent, bound->last, bound->looks.st_mode & 07777, 0) < 0 ||
                   utimensat(bound->parent, bound->last, times, AT_SYMLINK_NOFOLLOW) < 0
               ? -errno
               : 0;
}
