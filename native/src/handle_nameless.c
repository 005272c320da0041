/* Files of the trees whose name is gone, and those that never had one. All descriptions of one share it as an object,
 * whose content lies in a nameless file beside the layer that is frozen. */
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>

#include "copy.h"
#include "fd.h"
#include "handle.h"
#include "looks.h"
#include "sys.h"

struct nameless {
    size_t tree;
    struct content content;
    struct looks looks; /* of the content, when it is packed */
};

struct kept_nameless {
    size_t object;
    off_t position;
    struct kept_locks locks;
};

/* ---- the file ---- */

static int copy(int from, int to, off_t size)
{
    int result = copy_whole(from, to, size);

    return result < 0 ? result : copy_descriptor_looks(from, to);
}

static int make(const struct opening *opening, const struct image_object *object, int fds[2])
{
    const struct nameless *file = object->kept;
    int result;

    fds[0] = openat(opening->stage->trees[file->tree], ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    result = fds[0] < 0 ? -errno : copy(file->content.fd, fds[0], file->content.size);
    return result;
}

static void nameless_free(void *kept)
{
    struct nameless *file = kept;

    fd_close(&file->content.fd);
    looks_free(&file->looks);
    free(file);
}

static void pack_file(struct pack *pack, struct image_object *object)
{
    struct nameless *file = pack_kept(pack, &object->kept, sizeof *file);

    if (pack->is_reading) {
        file->content.fd = -1;
    } else {
        looks_free(&file->looks);
        const int result = looks_get(&file->looks, file->content.fd);
        pack_check(pack, result == 0, "what a file looks like is not known");
    }
    pack_tree(pack, &file->tree);
    PACK(pack, file->content.size);
    pack_check(pack, file->content.size >= 0, "a file has no size");
    looks_pack(pack, &file->looks);
}

static struct content *content_of(void *kept)
{
    return &((struct nameless *)kept)->content;
}

static int look_alike(void *kept)
{
    const struct nameless *file = kept;

    return looks_set(&file->looks, file->content.fd);
}

const struct object_kind object_nameless = {.name = "nameless file",
                                            .make = make,
                                            .pack = pack_file,
                                            .content = content_of,
                                            .filled = look_alike,
                                            .forget = nameless_free};

static int keep(const struct seen *seen, struct nameless *file)
{
    const struct description *description = seen->description;
    cleanup_fd from = open_once_more(description->old, O_RDONLY);

    file->tree = description->tree;
    file->content.size = description->st.st_size;
    file->content.fd =
        from < 0 ? from
                 : openat(seen->move->trees[file->tree].old_upper, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    return from < 0 ? from : file->content.fd < 0 ? -errno : copy(from, file->content.fd, file->content.size);
}

/* ---- descriptions ---- */

static bool is_it(const struct seen *seen)
{
    return seen->description && !seen->description->path && S_ISREG(seen->st.st_mode);
}

static int capture_nameless(const struct seen *seen, struct image_handle *handle)
{
    const struct description *description = seen->description;
    struct kept_nameless *kept = handle->kept = handle_keep(sizeof *kept);
    const struct stat *st = &description->st;

    kept->position = description->position;
    kept->locks = locks_keep(description);
    kept->object = object_find(seen->image, &object_nameless, st);
    if (kept->object != SIZE_MAX) {
        return 0;
    }
    /* what can only be read may as well have no name at all */
    if (st->st_nlink > 0 && (seen->flags & O_ACCMODE) != O_RDONLY) {
        return seen_refuse(seen, "none of the names that the file has is found");
    }
    struct nameless *file = handle_keep(sizeof *file);
    file->content.fd = -1;
    kept->object = object_add(seen->image, &object_nameless, st, file);
    return keep(seen, file);
}

static int open_nameless(const struct opening *opening, const struct image_handle *handle)
{
    const struct kept_nameless *kept = handle->kept;
    const int *fds = opening_object(opening, kept->object);
    const int flags = handle->flags & ~O_TMPFILE;
    cleanup_fd fd = fds ? open_once_more(fds[0], flags) : -errno;
    int result = fd;

    if (result >= 0 && !(flags & O_PATH)) {
        result = lseek(fd, kept->position, SEEK_SET) < 0 ? -errno : locks_take_again(&kept->locks, fd);
    }
    return result < 0 ? result : fd_steal(&fd);
}

static void forget(void *kept)
{
    struct kept_nameless *nameless = kept;

    free(nameless->locks.list);
    free(nameless);
}

static void pack_handle(struct pack *pack, struct image_handle *handle)
{
    struct kept_nameless *kept = pack_kept(pack, &handle->kept, sizeof *kept);

    pack_index(pack, &kept->object, pack->image->object_count, false);
    PACK(pack, kept->position);
    pack_check(pack, kept->position >= 0, "a position that is none");
    locks_pack(pack, &kept->locks);
}

static bool fits(const struct image *image, size_t handle)
{
    const struct kept_nameless *kept = image->handles[handle].kept;

    return object_is(image, kept->object, &object_nameless);
}

const struct handle_kind handle_nameless = {.name = "nameless file",
                                            .is_it = is_it,
                                            .capture = capture_nameless,
                                            .open = open_nameless,
                                            .pack = pack_handle,
                                            .fits = fits,
                                            .forget = forget};
