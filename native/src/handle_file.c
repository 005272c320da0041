/* Files and directories of the trees, by name. */
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>

#include "fd.h"
#include "handle.h"
#include "sys.h"

struct kept_file {
    size_t tree;
    char *path;
    off_t position;
};

static bool is_it(const struct seen *seen)
{
    return seen->description && !S_ISFIFO(seen->st.st_mode) && !S_ISSOCK(seen->st.st_mode);
}

static int capture_file(const struct seen *seen, struct image_handle *handle)
{
    const struct description *description = seen->description;

    if (!description->path) {
        return seen_refuse(seen, "it has no name any more");
    }
    struct kept_file *kept = handle_keep(sizeof *kept);
    kept->tree = description->tree;
    kept->path = strdup(description->path);
    kept->position = description->position;
    if (!kept->path) {
        die("out of memory");
    }
    handle->kept = kept;
    return 0;
}

static int open_file(const struct opening *opening, const struct image_handle *handle)
{
    const struct kept_file *kept = handle->kept;
    cleanup_fd fd =
        sys_openat2(opening->stage->trees[kept->tree], kept->path, (uint64_t)flags_to_open(handle->flags), 0,
                    RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);

    if (fd < 0 ||
        (kept->position > 0 && !(handle->flags & O_PATH) && lseek(fd, kept->position, SEEK_SET) < 0)) {
        return -errno;
    }
    return fd_steal(&fd);
}

static void forget(void *kept)
{
    struct kept_file *file = kept;

    free(file->path);
    free(file);
}

const struct handle_kind handle_file = {
    .name = "file", .is_it = is_it, .capture = capture_file, .open = open_file, .forget = forget};
