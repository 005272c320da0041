#include "copy.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/xattr.h>

#include "fd.h"
#include "looks.h"

/* Flags a program without special rights can set. */
#define FLAGS_CARRIED (FS_SYNC_FL | FS_NODUMP_FL | FS_NOATIME_FL | FS_DIRSYNC_FL)

struct node_path node_path(struct node node)
{
    struct node_path path;

    snprintf(path.text, sizeof path.text, "/proc/self/fd/%d/%s", node.dir, node.name);
    return path;
}

/* ---- attributes ---- */

/* What the new node inherited from its directory and the old one does not have. Some file systems list one attribute
 * under two names. */
static int drop_others(const char *from, const char *to)
{
    static char names[XATTR_LIST_MAX];
    ssize_t len = llistxattr(to, names, sizeof names);

    for (const char *name = names; len > 0 && name < names + len; name += strlen(name) + 1) {
        if (lgetxattr(from, name, NULL, 0) < 0 && lremovexattr(to, name) < 0 && errno != ENODATA) {
            return -errno;
        }
    }
    return 0;
}

static int copy_xattrs(struct node from_node, struct node to_node)
{
    static char names[XATTR_LIST_MAX], value[XATTR_SIZE_MAX];
    const struct node_path from = node_path(from_node), to = node_path(to_node);
    ssize_t len = llistxattr(from.text, names, sizeof names);

    if (len < 0) {
        return errno == ENOTSUP ? 0 : -errno;
    }
    for (const char *name = names; name < names + len; name += strlen(name) + 1) {
        if (speaks_of_place(name)) {
            continue;
        }
        ssize_t size = lgetxattr(from.text, name, value, sizeof value);
        if (size < 0 || lsetxattr(to.text, name, value, (size_t)size, 0) < 0) {
            return -errno;
        }
    }
    return drop_others(from.text, to.text);
}

int set_overlay_xattr(struct node node, const char *name, const char *value)
{
    return lsetxattr(node_path(node).text, name, value, strlen(value), 0) < 0 ? -errno : 0;
}

/* File systems without flags have none to carry. */
static void copy_flags(struct node from, struct node to)
{
    const int how = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    cleanup_fd source = openat(from.dir, from.name, how | O_NOATIME), target = openat(to.dir, to.name, how);
    int flags, have;

    if (source >= 0 && target >= 0 && ioctl(source, FS_IOC_GETFLAGS, &flags) == 0 &&
        (flags & FLAGS_CARRIED) && ioctl(target, FS_IOC_GETFLAGS, &have) == 0) {
        have |= flags & FLAGS_CARRIED;
        ioctl(target, FS_IOC_SETFLAGS, &have);
    }
}

/* The owner first, as changing it takes set-id bits and capabilities away; the times last. */
int copy_looks(struct node from, struct node to, const struct stat *st)
{
    const struct timespec times[] = {st->st_atim, st->st_mtim};

    if (fchownat(to.dir, to.name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0 ||
        (!S_ISLNK(st->st_mode) && fchmodat(to.dir, to.name, st->st_mode & 07777, 0) < 0)) {
        return -errno;
    }
    int result = copy_xattrs(from, to);
    if (result < 0) {
        return result;
    }
    if (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode)) {
        copy_flags(from, to);
    }
    return utimensat(to.dir, to.name, times, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

/* ---- by descriptor, for what may have no name ---- */

int copy_descriptor_looks(int from, int to)
{
    struct looks looks = {0};
    int result = looks_get(&looks, from);

    result = result < 0 ? result : looks_set(&looks, to);
    looks_free(&looks);
    return result;
}

/* ---- content ---- */

/* From one file system to another the kernel moves pages, but shares nothing. */
static int send_range(int from, int to, off_t begin, off_t end)
{
    off_t in = begin;

    if (lseek(to, begin, SEEK_SET) < 0) {
        return -errno;
    }
    while (in < end) {
        ssize_t sent = RETRY_EINTR(sendfile(to, from, &in, (size_t)(end - in)));
        if (sent <= 0) {
            return sent < 0 ? -errno : -EIO;
        }
    }
    return 0;
}

static int copy_range(int from, int to, off_t begin, off_t end)
{
    off_t in = begin, out = begin;

    while (in < end) {
        ssize_t copied = RETRY_EINTR(copy_file_range(from, &in, to, &out, (size_t)(end - in), 0));
        if (copied < 0 && errno == EXDEV) {
            return send_range(from, to, in, end);
        }
        if (copied <= 0) {
            return copied < 0 ? -errno : -EIO; /* it does not end before its size */
        }
    }
    return 0;
}

static int copy_data(int from, int to, off_t size)
{
    if (ioctl(to, FICLONE, from) == 0) {
        return 0;
    }
    for (off_t begin = 0; begin < size;) {
        begin = lseek(from, begin, SEEK_DATA);
        if (begin < 0) {
            return errno == ENXIO ? 0 : -errno;
        }
        off_t end = lseek(from, begin, SEEK_HOLE);
        if (end < 0) {
            return -errno;
        }
        int result = copy_range(from, to, begin, end < size ? end : size);
        if (result < 0) {
            return result;
        }
        begin = end;
    }
    return 0;
}

int copy_whole(int from, int to, off_t size)
{
    int result = copy_data(from, to, size);

    return result < 0 ? result : ftruncate(to, size) < 0 ? -errno : 0;
}

int copy_content(int data, struct node to, off_t size)
{
    cleanup_fd file = openat(to.dir, to.name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (file < 0) {
        return -errno;
    }
    int result = copy_data(data, file, size);
    if (result < 0) {
        return result;
    }
    return ftruncate(file, size) < 0 ? -errno : 0;
}

int copy_special(struct node from, struct node to, const struct stat *st)
{
    char target[PATH_MAX];

    if (!S_ISLNK(st->st_mode)) {
        return mknodat(to.dir, to.name, st->st_mode & S_IFMT, st->st_rdev) < 0 ? -errno : 0;
    }
    ssize_t len = readlinkat(from.dir, from.name, target, sizeof target - 1);
    if (len < 0) {
        return -errno;
    }
    target[len] = '\0';
    return symlinkat(target, to.dir, to.name) < 0 ? -errno : 0;
}
