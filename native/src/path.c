#include "path.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <string.h>

#include "error.h"
#include "fd.h"
#include "sys.h"

#define RESOLVE (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV)

/* The longest beginning of `path` that ends at a slash and that the kernel takes. */
static size_t piece_length(const char *path)
{
    size_t len = strlen(path);

    if (len < PATH_MAX) {
        return len;
    }
    for (len = PATH_MAX - 1; len > 0 && path[len] != '/'; len--) {
    }
    return len;
}

int path_open(int root, const char *path, int flags)
{
    cleanup_fd at = -1;
    char piece[PATH_MAX];

    for (;;) {
        while (*path == '/') {
            path++;
        }
        size_t len = piece_length(path);
        memcpy(piece, path, len);
        piece[len] = '\0';
        bool last = path[len] == '\0';
        int fd =
            sys_openat2(at < 0 ? root : at, len ? piece : ".",
                        (uint64_t)(last ? flags : O_PATH | O_DIRECTORY) | O_NOFOLLOW | O_CLOEXEC, 0, RESOLVE);
        if (fd < 0) {
            return -errno;
        }
        if (last) {
            return fd;
        }
        fd_close(&at);
        at = fd;
        path += len;
    }
}

int path_open_directory(int root, const char *path)
{
    return path_open(root, path, O_RDONLY | O_DIRECTORY | O_NOATIME);
}

char *path_copy(const char *path)
{
    char *copy = strdup(path);

    if (!copy) {
        die("out of memory");
    }
    return copy;
}

char *path_join(const char *path, const char *name)
{
    size_t len = strlen(path), name_len = strlen(name);

    if (len + 1 + name_len > PATH_LIMIT) {
        return NULL;
    }
    char *joined = malloc(len + name_len + 2);
    if (!joined) {
        die("out of memory");
    }
    memcpy(joined, path, len);
    joined[len] = '/';
    memcpy(joined + len + 1, name, name_len + 1);
    return joined;
}

const char *path_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}
