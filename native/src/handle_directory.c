/* Directories that were removed while somebody was in them. */
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "fd.h"
#include "handle.h"

#define DEPTH_MAX (PATH_MAX / 2) /* as deep as a name can lead */

struct kept_directory {
    size_t tree;
    char *above; /* the nearest one that was not removed */
    unsigned depth;
    struct stat st;
    struct kept_locks locks;
};

static bool is_it(const struct seen *seen)
{
    return seen->description && !seen->description->path && S_ISDIR(seen->st.st_mode);
}

static int capture_directory(const struct seen *seen, struct image_handle *handle)
{
    struct kept_directory *kept = handle->kept = handle_keep(sizeof *kept);
    char path[PATH_MAX];
    int result = removed_directory_above(seen->move, seen->description, path, &kept->depth);

    kept->tree = seen->description->tree;
    kept->st = seen->description->st;
    kept->locks = locks_keep(seen->description);
    if (result == 0 && !(kept->above = strdup(path))) {
        die("out of memory");
    }
    return result;
}

static int open_directory(const struct opening *opening, const struct image_handle *handle)
{
    const struct kept_directory *kept = handle->kept;
    cleanup_fd fd = removed_directory_make(opening->stage->trees[kept->tree], kept->above, kept->depth,
                                           &kept->st, flags_to_open(handle->flags));
    int result = fd < 0 ? fd : locks_take_again(&kept->locks, fd);

    return result < 0 ? result : fd_steal(&fd);
}

static void forget(void *kept)
{
    struct kept_directory *directory = kept;

    free(directory->above);
    free(directory->locks.list);
    free(directory);
}

static void pack_handle(struct pack *pack, struct image_handle *handle)
{
    struct kept_directory *kept = pack_kept(pack, &handle->kept, sizeof *kept);
    struct stat *st = &kept->st;

    pack_tree(pack, &kept->tree);
    pack_string(pack, &kept->above);
    pack_check(pack, kept->above != NULL, "a directory has no place");
    PACK(pack, kept->depth);
    pack_check(pack, kept->depth > 0 && kept->depth <= DEPTH_MAX, "a directory is too deep");
    PACK(pack, st->st_mode);
    pack_id(pack, &st->st_uid);
    pack_id(pack, &st->st_gid);
    PACK(pack, st->st_atim.tv_sec);
    PACK(pack, st->st_atim.tv_nsec);
    PACK(pack, st->st_mtim.tv_sec);
    PACK(pack, st->st_mtim.tv_nsec);
    locks_pack(pack, &kept->locks);
}

const struct handle_kind handle_directory = {.name = "removed directory",
                                             .is_it = is_it,
                                             .capture = capture_directory,
                                             .open = open_directory,
                                             .pack = pack_handle,
                                             .forget = forget};
