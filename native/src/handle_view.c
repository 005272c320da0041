/* Files of /proc and /sys, and that of the generation: what they tell is told anew. */
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>

#include "fd.h"
#include "handle.h"
#include "root.h"

struct kept_view {
    char *path;
    off_t position;
};

static bool is_below(const char *path, const char *top)
{
    const size_t length = strlen(top);

    return strncmp(path, top, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

static bool is_generation(const char *path)
{
    return strcmp(path, "/" ROOT_HELD "/" ROOT_GENERATION) == 0;
}

/* Whoever opens another file might have to wait for it. */
static bool is_view(const char *path)
{
    return strlen(path) < PATH_MAX && !strstr(path, "/../") &&
           (is_below(path, "/proc") || is_below(path, "/sys") || is_generation(path));
}

static bool is_it(const struct seen *seen)
{
    char link[64];
    struct statfs fs;

    snprintf(link, sizeof link, "/proc/%d/fd/%d", seen->unit->thread->tid, seen->number);
    if (seen->description || statfs(link, &fs) < 0) {
        return false;
    }
    return is_below(seen->link, "/proc")  ? fs.f_type == PROC_SUPER_MAGIC
           : is_below(seen->link, "/sys") ? fs.f_type == SYSFS_MAGIC
                                          : is_generation(seen->link) && fs.f_type == TMPFS_MAGIC;
}

static int capture_view(const struct seen *seen, struct image_handle *handle)
{
    struct kept_view *kept = handle->kept = handle_keep(sizeof *kept);

    kept->path = strdup(seen->link);
    kept->position = seen->position;
    if (!kept->path) {
        die("out of memory");
    }
    return 0;
}

/* That of a process is there only if the process is. */
static int complete(const struct seen *seen, struct image_handle *handle)
{
    const struct kept_view *kept = handle->kept;
    pid_t pid = 0;

    if (sscanf(kept->path, "/proc/%d", &pid) != 1 || pid == 1) {
        return 0;
    }
    for (size_t i = 0; i < seen->image->process_count; i++) {
        if (seen->image->processes[i].pid == pid) {
            return 0;
        }
    }
    return seen_refuse(seen, "the process that it tells about is not brought back");
}

static int open_view(const struct opening *opening, const struct image_handle *handle)
{
    const struct kept_view *kept = handle->kept;

    return opening_inside(opening, kept->path, handle->flags);
}

/* Going to a place of it makes its text. */
static int settle(const struct image_handle *handle, int fd)
{
    const struct kept_view *kept = handle->kept;

    return kept->position > 0 && !(handle->flags & O_PATH) && lseek(fd, kept->position, SEEK_SET) < 0 ? -errno
                                                                                                      : 0;
}

static void forget(void *kept)
{
    struct kept_view *view = kept;

    free(view->path);
    free(view);
}

static void pack_handle(struct pack *pack, struct image_handle *handle)
{
    struct kept_view *kept = pack_kept(pack, &handle->kept, sizeof *kept);

    pack_string(pack, &kept->path);
    pack_check(pack, kept->path && is_view(kept->path), "a view that is none");
    PACK(pack, kept->position);
    pack_check(pack, kept->position >= 0, "a position that is none");
}

const struct handle_kind handle_view = {.name = "view",
                                        .is_it = is_it,
                                        .capture = capture_view,
                                        .complete = complete,
                                        .open = open_view,
                                        .pack = pack_handle,
                                        .settle = settle,
                                        .forget = forget};
