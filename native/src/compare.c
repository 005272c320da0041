#include "compare.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "fd.h"
#include "run.h"

/* ---- attributes ---- */

/* The attributes that can be seen inside: nobody there may look at trusted ones. */
static ssize_t list_xattrs(struct node node, char names[XATTR_LIST_MAX])
{
    static char all[XATTR_LIST_MAX];
    ssize_t len = name_xattrs(node.dir, node.name, all, sizeof all), kept = 0;

    for (const char *name = all; len > 0 && name < all + len; name += strlen(name) + 1) {
        if (strncmp(name, "trusted.", strlen("trusted.")) != 0) {
            strcpy(names + kept, name);
            kept += (ssize_t)strlen(name) + 1;
        }
    }
    return len < 0 && errno != ENOTSUP ? -1 : kept;
}

static bool same_xattrs(struct node left, struct node right)
{
    static char left_names[XATTR_LIST_MAX], right_names[XATTR_LIST_MAX];
    static char left_value[XATTR_SIZE_MAX], right_value[XATTR_SIZE_MAX];
    ssize_t len = list_xattrs(left, left_names);

    if (len < 0 || list_xattrs(right, right_names) != len) {
        return false;
    }
    for (const char *name = left_names; name < left_names + len; name += strlen(name) + 1) {
        ssize_t size = name_xattr(left.dir, left.name, name, left_value, sizeof left_value);
        if (size < 0 || name_xattr(right.dir, right.name, name, right_value, sizeof right_value) != size ||
            memcmp(left_value, right_value, (size_t)size) != 0) {
            return false;
        }
    }
    return true;
}

static bool same_target(struct node left, struct node right)
{
    char a[PATH_MAX], b[PATH_MAX];
    ssize_t len = readlinkat(left.dir, left.name, a, sizeof a);

    return len >= 0 && readlinkat(right.dir, right.name, b, sizeof b) == len &&
           memcmp(a, b, (size_t)len) == 0;
}

bool same_looks(struct node left, const struct stat *left_st, struct node right, const struct stat *right_st)
{
    if (left_st->st_mode != right_st->st_mode || left_st->st_uid != right_st->st_uid ||
        left_st->st_gid != right_st->st_gid || left_st->st_rdev != right_st->st_rdev) {
        return false;
    }
    if (S_ISSOCK(left_st->st_mode) || S_ISFIFO(left_st->st_mode)) {
        return true; /* either may be a link that stands for it, with attributes of its own */
    }
    return (!S_ISLNK(left_st->st_mode) || same_target(left, right)) && same_xattrs(left, right);
}

/* ---- content ---- */

/* Where the next data at or after `at` begins, `size` when there is none. */
static off_t next_data(int file, off_t at, off_t size)
{
    off_t data = lseek(file, at, SEEK_DATA);

    return data < 0 && errno != ENXIO ? at : data < 0 || data > size ? size : data;
}

static bool read_fully(int file, char *buffer, size_t len, off_t at)
{
    for (size_t done = 0; done < len;) {
        ssize_t got = RETRY_EINTR(pread(file, buffer + done, len - done, at + (off_t)done));
        if (got <= 0) {
            return false;
        }
        done += (size_t)got;
    }
    return true;
}

bool same_content(struct node left, struct node right, off_t size)
{
    static char a[256 * 1024], b[sizeof a];
    const int how = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    cleanup_fd first = openat(left.dir, left.name, how), second = openat(right.dir, right.name, how);

    if (first < 0 || second < 0) {
        return false;
    }
    for (off_t at = 0; at < size;) {
        off_t in_first = next_data(first, at, size), in_second = next_data(second, at, size);
        at = in_first < in_second ? in_first : in_second;
        size_t len = (size_t)(size - at) < sizeof a ? (size_t)(size - at) : sizeof a;
        if (!read_fully(first, a, len, at) || !read_fully(second, b, len, at) || memcmp(a, b, len) != 0) {
            return false;
        }
        at += (off_t)len;
    }
    return true;
}
