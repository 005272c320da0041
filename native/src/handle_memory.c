/* Memory that several can map: that of memfd_create, and what a process shares with its children. It is kept once in an
 * image; all that share it in a revival share a copy of it. */
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include "copy.h"
#include "fd.h"
#include "handle.h"

#define NAME "/memfd:"
#define NAME_BYTES 249 /* the most the kernel takes */
#define SHARED_NAME "/dev/zero"

struct shared_memory {
    bool has_name; /* of memfd_create */
    char name[NAME_BYTES + 1];
    struct stat st;
    int seals;
    struct content content;
};

struct kept_memory {
    size_t object;
    off_t position;
};

/* ---- the memory ---- */

static void memory_forget(void *kept)
{
    struct shared_memory *memory = kept;

    fd_close(&memory->content.fd);
    free(memory);
}

/* A mapping of ours has a file behind it, which outlives it. */
static int make_nameless(size_t size)
{
    char path[64];
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (at == MAP_FAILED) {
        return -errno;
    }
    snprintf(path, sizeof path, "/proc/self/map_files/%lx-%lx", (unsigned long)at, (unsigned long)at + size);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    int failure = -errno;
    munmap(at, size);
    return fd < 0 ? failure : fd;
}

static int make_named(const struct opening *opening, const struct shared_memory *memory)
{
    const uint64_t name = opening_data(opening, memory->name, strlen(memory->name) + 1);

    return name == 0 ? -EFAULT
                     : opening_make(opening, SYS_memfd_create, name, MFD_CLOEXEC | MFD_ALLOW_SEALING, 0, 0);
}

static int make(const struct opening *opening, const struct image_object *object, int fds[2])
{
    const struct shared_memory *memory = object->kept;
    const struct stat *st = &memory->st;

    fds[0] = memory->has_name ? make_named(opening, memory) : make_nameless((size_t)st->st_size);
    int result = fds[0] < 0 ? fds[0] : copy_whole(memory->content.fd, fds[0], st->st_size);
    return result < 0                                                                              ? result
           : fchown(fds[0], st->st_uid, st->st_gid) < 0 || fchmod(fds[0], st->st_mode & 07777) < 0 ? -errno
                                                                                                   : 0;
}

/* Some seals keep it from being mapped, and are put on when it is. */
static int seal(const struct image_object *object, const int fds[2])
{
    const struct shared_memory *memory = object->kept;

    return memory->has_name && fcntl(fds[0], F_ADD_SEALS, memory->seals) < 0 ? -errno : 0;
}

static void pack_memory(struct pack *pack, struct image_object *object)
{
    struct shared_memory *memory = pack_kept(pack, &object->kept, sizeof *memory);

    memory->content.fd = pack->is_reading ? -1 : memory->content.fd;
    PACK(pack, memory->has_name);
    pack_text(pack, memory->name, sizeof memory->name);
    PACK(pack, memory->st.st_mode);
    pack_id(pack, &memory->st.st_uid);
    pack_id(pack, &memory->st.st_gid);
    PACK(pack, memory->st.st_size);
    pack_check(pack, memory->st.st_size >= 0, "memory has no size");
    PACK(pack, memory->seals);
    memory->content.size = memory->st.st_size;
}

static struct content *content_of(void *kept)
{
    return &((struct shared_memory *)kept)->content;
}

const struct object_kind object_memory = {.name = "memory",
                                          .make = make,
                                          .settle = seal,
                                          .pack = pack_memory,
                                          .content = content_of,
                                          .forget = memory_forget};

static int keep_content(struct shared_memory *memory, int own)
{
    struct statfs fs;
    cleanup_fd from = open_once_more(own, O_RDONLY);

    if (from < 0 || fstatfs(from, &fs) < 0 || fstat(from, &memory->st) < 0) {
        return from < 0 ? from : -errno;
    }
    if (fs.f_type != TMPFS_MAGIC) {
        return SEEN_OBSTACLE;
    }
    memory->seals = memory->has_name ? fcntl(from, F_GET_SEALS) : 0;
    memory->content = (struct content){memfd_create("deltabox", MFD_CLOEXEC), memory->st.st_size};
    return memory->seals < 0 || memory->content.fd < 0
               ? -errno
               : copy_whole(from, memory->content.fd, memory->st.st_size);
}

static int keep(const struct seen *seen, int own, size_t *object)
{
    *object = object_find(seen->image, &object_memory, &seen->st);
    if (*object != SIZE_MAX) {
        return 0;
    }
    struct shared_memory *memory = handle_keep(sizeof *memory);
    *memory =
        (struct shared_memory){.content.fd = -1, .has_name = strncmp(seen->link, NAME, strlen(NAME)) == 0};
    if (memory->has_name) {
        snprintf(memory->name, sizeof memory->name, "%s", seen->link + strlen(NAME));
        char *end = strstr(memory->name, " (deleted)");
        *(end ? end : memory->name + strlen(memory->name)) = '\0';
    }
    *object = object_add(seen->image, &object_memory, &seen->st, memory);
    int result = keep_content(memory, own);
    return result == SEEN_OBSTACLE ? seen_refuse(seen, "it is memory of huge pages") : result;
}

/* ---- descriptions ---- */

static bool is_it(const struct seen *seen)
{
    return !seen->description && S_ISREG(seen->st.st_mode) && strncmp(seen->link, NAME, strlen(NAME)) == 0;
}

static int capture_memory(const struct seen *seen, struct image_handle *handle)
{
    struct kept_memory *kept = handle->kept = handle_keep(sizeof *kept);
    cleanup_fd own = seen_take(seen);

    kept->position = seen->position;
    return own < 0 ? own : keep(seen, own, &kept->object);
}

static int open_memory(const struct opening *opening, const struct image_handle *handle)
{
    const struct kept_memory *kept = handle->kept;
    const int *fds = opening_object(opening, kept->object);
    cleanup_fd fd = fds ? open_once_more(fds[0], handle->flags) : -errno;

    if (fd >= 0 && !(handle->flags & O_PATH) && lseek(fd, kept->position, SEEK_SET) < 0) {
        return -errno;
    }
    return fd_steal(&fd);
}

static void pack_handle(struct pack *pack, struct image_handle *handle)
{
    struct kept_memory *kept = pack_kept(pack, &handle->kept, sizeof *kept);

    pack_index(pack, &kept->object, pack->image->object_count, false);
    PACK(pack, kept->position);
    pack_check(pack, kept->position >= 0, "a position that is none");
}

static bool fits(const struct image *image, size_t handle)
{
    const struct kept_memory *kept = image->handles[handle].kept;

    return object_is(image, kept->object, &object_memory);
}

const struct handle_kind handle_memory = {.name = "memory",
                                          .is_it = is_it,
                                          .capture = capture_memory,
                                          .open = open_memory,
                                          .pack = pack_handle,
                                          .fits = fits};

/* ---- mappings ---- */

static size_t find_handle(const struct image *image, size_t object, int flags)
{
    for (size_t i = 0; i < image->handle_count; i++) {
        const struct image_handle *handle = &image->handles[i];
        if (handle->kind == &handle_memory && handle->flags == flags &&
            ((const struct kept_memory *)handle->kept)->object == object) {
            return i;
        }
    }
    return SIZE_MAX;
}

int memory_handle(const struct seen *seen, int own, size_t *handle)
{
    size_t object;
    const bool is_memory = strncmp(seen->link, NAME, strlen(NAME)) == 0 ||
                           strncmp(seen->link, SHARED_NAME, strlen(SHARED_NAME)) == 0;
    int result = is_memory ? keep(seen, own, &object)
                           : seen_refuse(seen, "it is shared with what is not a file of the trees");

    if (result != 0) {
        return result;
    }
    *handle = find_handle(seen->image, object, seen->flags);
    if (*handle == SIZE_MAX) {
        struct kept_memory *kept = handle_keep(sizeof *kept);
        kept->object = object;
        *handle = handle_add(
            seen->image, &(struct image_handle){.kind = &handle_memory, .flags = seen->flags, .kept = kept});
    }
    return 0;
}
