/* Files and directories of the trees, by name. */
#include <fcntl.h>
#include <limits.h>
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
    char *unread; /* of a directory that is being read: the next name, empty at the end */
    struct kept_locks locks;
};

static bool is_it(const struct seen *seen)
{
    return seen->description && seen->description->path && !S_ISFIFO(seen->st.st_mode) &&
           !S_ISSOCK(seen->st.st_mode);
}

static char *copy_of(const char *text)
{
    char *copy = strdup(text);

    if (!copy) {
        die("out of memory");
    }
    return copy;
}

static int capture_file(const struct seen *seen, struct image_handle *handle)
{
    const struct description *description = seen->description;
    struct kept_file *kept = handle->kept = handle_keep(sizeof *kept);
    char name[NAME_MAX + 1];
    int result = 0;

    kept->tree = description->tree;
    kept->path = copy_of(description->path);
    kept->position = description->position;
    kept->locks = locks_keep(description);
    if (S_ISDIR(description->st.st_mode) && kept->position > 0 && !(handle->flags & O_PATH)) {
        result = directory_unread(description, name);
        kept->unread = result < 0 ? NULL : copy_of(name);
    }
    return result;
}

/* Offsets in a merged directory are those of one opening. */
static int go_on_reading(const struct kept_file *kept, int fd)
{
    int found = *kept->unread ? directory_seek(fd, kept->unread) : 0;

    return found == 0 ? directory_to_end(fd) : found < 0 ? found : 0;
}

/* A FIFO in the place of the file would be waited for: what an image says of a name is not trusted. */
static int open_at_once(int tree, const char *path, int flags)
{
    const bool waits = !(flags & (O_NONBLOCK | O_PATH));
    cleanup_fd fd = sys_openat2(tree, path, (uint64_t)(flags | (waits ? O_NONBLOCK : 0)), 0,
                                RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);

    return fd < 0 || (waits && fcntl(fd, F_SETFL, flags) < 0) ? -errno : fd_steal(&fd);
}

static int open_file(const struct opening *opening, const struct image_handle *handle)
{
    const struct kept_file *kept = handle->kept;
    cleanup_fd fd = open_at_once(opening->stage->trees[kept->tree], kept->path, flags_to_open(handle->flags));
    int result = fd < 0 ? fd : 0;

    if (result == 0 && kept->unread) {
        result = go_on_reading(kept, fd);
    } else if (result == 0 && kept->position > 0 && !(handle->flags & O_PATH)) {
        result = lseek(fd, kept->position, SEEK_SET) < 0 ? -errno : 0;
    }
    result = result < 0 ? result : locks_take_again(&kept->locks, fd);
    return result < 0 ? result : fd_steal(&fd);
}

static void forget(void *kept)
{
    struct kept_file *file = kept;

    free(file->path);
    free(file->unread);
    free(file->locks.list);
    free(file);
}

static void pack_handle(struct pack *pack, struct image_handle *handle)
{
    struct kept_file *kept = pack_kept(pack, &handle->kept, sizeof *kept);

    pack_tree(pack, &kept->tree);
    pack_string(pack, &kept->path);
    pack_check(pack, kept->path != NULL, "a file has no name");
    PACK(pack, kept->position);
    pack_check(pack, kept->position >= 0, "a position that is none");
    pack_string(pack, &kept->unread);
    locks_pack(pack, &kept->locks);
}

const struct handle_kind handle_file = {.name = "file",
                                        .is_it = is_it,
                                        .capture = capture_file,
                                        .open = open_file,
                                        .pack = pack_handle,
                                        .forget = forget};

/* ---- locks ---- */

struct kept_locks locks_keep(const struct description *description)
{
    struct kept_locks kept = {.list = handle_keep((description->lock_count + 1) * sizeof *kept.list)};

    for (size_t i = 0; i < description->lock_count; i++) {
        if (description->locks[i].kind != LOCK_OF_PROCESS) {
            kept.list[kept.count++] = description->locks[i];
        }
    }
    return kept;
}

int locks_take_again(const struct kept_locks *locks, int fd)
{
    int result = 0;

    for (size_t i = 0; result == 0 && i < locks->count; i++) {
        result = lock_take(&locks->list[i], fd);
    }
    return result;
}

static void pack_lock(struct pack *pack, struct lock *lock)
{
    PACK(pack, lock->kind);
    pack_check(pack, lock->kind == LOCK_OF_FILE || lock->kind == LOCK_OF_DESCRIPTION,
               "a lock of another kind");
    PACK(pack, lock->write);
    PACK(pack, lock->start);
    PACK(pack, lock->length);
}

void locks_pack(struct pack *pack, struct kept_locks *locks)
{
    PACK_LIST(pack, locks->list, locks->count, pack_lock);
}
