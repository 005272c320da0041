/* Pipes, and FIFOs of the trees, with the bytes in them. All descriptions that lead to one share it as an object. */
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "fd.h"
#include "handle.h"
#include "sys.h"

#define PACKET_BYTES 4096u /* the most a packet has */
#define LENGTH_MAX (1 << 30)

/* What one read gives. */
struct portion {
    size_t length;
    bool is_packet;
};

struct pipe {
    mode_t mode;
    uid_t uid;
    gid_t gid;
    int capacity;
    uint8_t *bytes;
    size_t byte_count;
    struct portion *pieces;
    size_t piece_count;
    bool is_fifo; /* else it never had a name */
    size_t tree;
    char *path; /* of a FIFO; NULL when its name is gone */
};

static void pipe_free(void *kept)
{
    struct pipe *pipe = kept;

    free(pipe->bytes);
    free(pipe->pieces);
    free(pipe->path);
    free(pipe);
}

/* ---- the bytes ---- */

static int make_copy(int from, int capacity, int copy[2])
{
    if (pipe2(copy, O_CLOEXEC | O_NONBLOCK) < 0) {
        return -errno;
    }
    /* room for the mark behind, which at the greatest size there is not */
    if (fcntl(copy[1], F_SETPIPE_SZ, capacity * 2) < 0 && fcntl(copy[1], F_SETPIPE_SZ, capacity) < 0) {
        return -errno;
    }
    return tee(from, copy[1], LENGTH_MAX, SPLICE_F_NONBLOCK) < 0 && errno != EAGAIN ? -errno : 0;
}

/* A read ends with a packet, or where nothing is left: the mark tells these apart. */
static int read_copy(struct pipe *pipe, const int copy[2])
{
    const bool marked = write(copy[1], "", 1) == 1;
    const size_t room = (size_t)pipe->capacity + 1;
    ssize_t got;

    pipe->bytes = handle_keep(room);
    while ((got = read(copy[0], pipe->bytes + pipe->byte_count, room - pipe->byte_count)) > 0) {
        int left = 0;
        ioctl(copy[0], FIONREAD, &left);
        const bool is_last = left == 0;
        const size_t length = (size_t)got - (is_last && marked);
        pipe->byte_count += length;
        if (length > 0) {
            pipe->pieces = realloc(pipe->pieces, (pipe->piece_count + 1) * sizeof *pipe->pieces);
            if (!pipe->pieces) {
                die("out of memory");
            }
            pipe->pieces[pipe->piece_count++] = (struct portion){.length = length, .is_packet = !is_last};
        }
        if (is_last) {
            break;
        }
    }
    return got < 0 && errno != EAGAIN ? -errno : 0;
}

/* What is in it goes through a pipe of ours; it stays as it is. */
static int copy_bytes(struct pipe *pipe, int own)
{
    cleanup_fd reader = open_once_more(own, O_RDONLY | O_NONBLOCK);
    int copy[2] = {-1, -1};

    if (reader < 0) {
        return reader;
    }
    pipe->capacity = fcntl(reader, F_GETPIPE_SZ);
    int result = pipe->capacity < 0 ? -errno : make_copy(reader, pipe->capacity, copy);
    if (result == 0) {
        result = read_copy(pipe, copy);
    }
    fd_close(&copy[0]);
    fd_close(&copy[1]);
    return result;
}

static bool has_long_packets(const struct pipe *pipe)
{
    for (size_t i = 0; i < pipe->piece_count; i++) {
        if (pipe->pieces[i].is_packet && pipe->pieces[i].length > PACKET_BYTES) {
            return true;
        }
    }
    return false;
}

/* ---- the name of a FIFO ---- */

static void set_path(struct pipe *pipe, size_t tree, const char *path)
{
    pipe->tree = tree;
    pipe->path = strdup(path);
    if (!pipe->path) {
        die("out of memory");
    }
}

/* One that was made in a tree that was left has a link in the place of its name. */
static void find_held(struct pipe *pipe, const struct move *move, const struct stat *st)
{
    const struct held *held = move->sandbox->held;

    while (held && (held->device != st->st_dev || held->inode != st->st_ino)) {
        held = held->next;
    }
    for (size_t tree = 0; held && tree < move->tree_count; tree++) {
        const struct link_scan *links = &move->trees[tree].links;
        for (size_t i = 0; i < links->mark_count; i++) {
            if (links->marks[i].inode == held->number) {
                set_path(pipe, tree, links->marks[i].path);
                return;
            }
        }
    }
}

static void find_name(struct pipe *pipe, const struct seen *seen)
{
    pipe->is_fifo = strncmp(seen->link, "pipe:[", 6) != 0;
    if (pipe->is_fifo && !seen->description) {
        find_held(pipe, seen->move, &seen->st);
    } else if (pipe->is_fifo && seen->description->path) {
        set_path(pipe, seen->description->tree, seen->description->path);
    }
}

/* ---- making ---- */

static int fill(const struct pipe *pipe, int fd)
{
    const uint8_t *at = pipe->bytes;

    if (fcntl(fd, F_SETPIPE_SZ, pipe->capacity) < 0) {
        return -errno;
    }
    for (size_t i = 0; i < pipe->piece_count; i++) {
        const struct portion *piece = &pipe->pieces[i];
        if (fcntl(fd, F_SETFL, O_NONBLOCK | (piece->is_packet ? O_DIRECT : 0)) < 0) {
            return -errno;
        }
        ssize_t wrote = write(fd, at, piece->length);
        if (wrote != (ssize_t)piece->length) {
            return wrote < 0 ? -errno : -ENOSPC;
        }
        at += wrote;
    }
    return 0;
}

static int make_pipe(const struct pipe *pipe, int fds[2])
{
    if (pipe2(fds, O_CLOEXEC) < 0) {
        return -errno;
    }
    /* to open it by /proc must be allowed to its owner inside */
    return fchown(fds[0], pipe->uid, pipe->gid) < 0 || fchmod(fds[0], pipe->mode) < 0 ? -errno
                                                                                      : fill(pipe, fds[1]);
}

static int open_fifo(const struct pipe *pipe, int tree, const char *path, int *fd)
{
    struct stat st;
    cleanup_fd found =
        sys_openat2(tree, path, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);

    if (found < 0 || fstat(found, &st) < 0) {
        return -errno;
    }
    if (!S_ISFIFO(st.st_mode)) {
        return -ESTALE;
    }
    *fd = open_once_more(found, O_RDWR | O_NONBLOCK);
    return *fd < 0 ? *fd : fill(pipe, *fd);
}

/* One without a name has one for a moment. */
static int make_nameless(const struct pipe *pipe, int tree, int *fd)
{
    static const char name[] = ".deltabox-removed";
    struct stat st;

    if (fstat(tree, &st) < 0 || mknodat(tree, name, S_IFIFO, 0) < 0) {
        return -errno;
    }
    int result = fchownat(tree, name, pipe->uid, pipe->gid, AT_SYMLINK_NOFOLLOW) < 0 ||
                         fchmodat(tree, name, pipe->mode & 07777, 0) < 0
                     ? -errno
                     : open_fifo(pipe, tree, name, fd);
    const struct timespec times[] = {st.st_atim, st.st_mtim};
    if (unlinkat(tree, name, 0) < 0 || utimensat(tree, ".", times, AT_SYMLINK_NOFOLLOW) < 0) {
        result = result < 0 ? result : -errno;
    }
    return result;
}

static int make(const struct opening *opening, const struct image_object *object, int fds[2])
{
    const struct pipe *pipe = object->kept;

    return !pipe->is_fifo ? make_pipe(pipe, fds)
           : pipe->path   ? open_fifo(pipe, opening->stage->trees[pipe->tree], pipe->path, &fds[0])
                          : make_nameless(pipe, opening->stage->trees[0], &fds[0]);
}

static void pack_portion(struct pack *pack, struct portion *portion)
{
    PACK(pack, portion->length);
    PACK(pack, portion->is_packet);
}

static void pack_pipe(struct pack *pack, struct image_object *object)
{
    struct pipe *pipe = pack_kept(pack, &object->kept, sizeof *pipe);

    PACK(pack, pipe->mode);
    pack_id(pack, &pipe->uid);
    pack_id(pack, &pipe->gid);
    PACK(pack, pipe->capacity);
    pack_check(pack, pipe->capacity > 0, "a pipe has no room");
    pack_bytes(pack, &pipe->bytes, &pipe->byte_count);
    PACK_LIST(pack, pipe->pieces, pipe->piece_count, pack_portion);
    size_t left = pipe->byte_count;
    for (size_t i = 0; i < pipe->piece_count; i++) {
        pack_take(pack, &left, pipe->pieces[i].length);
    }
    PACK(pack, pipe->is_fifo);
    pack_string(pack, &pipe->path);
    if (pipe->path) {
        pack_tree(pack, &pipe->tree);
    }
}

const struct object_kind object_pipe = {.name = "pipe", .make = make, .pack = pack_pipe, .forget = pipe_free};

/* ---- descriptions ---- */

static bool is_it(const struct seen *seen)
{
    return S_ISFIFO(seen->st.st_mode);
}

static int capture_pipe(const struct seen *seen, struct image_handle *handle)
{
    size_t *object = handle->kept = handle_keep(sizeof *object);

    *object = object_find(seen->image, &object_pipe, &seen->st);
    if (*object != SIZE_MAX) {
        return 0;
    }
    struct pipe *pipe = handle_keep(sizeof *pipe);
    *pipe = (struct pipe){.mode = seen->st.st_mode, .uid = seen->st.st_uid, .gid = seen->st.st_gid};
    *object = object_add(seen->image, &object_pipe, &seen->st, pipe);
    find_name(pipe, seen);
    cleanup_fd own = seen_take(seen);
    int result = own < 0 ? own : copy_bytes(pipe, own);
    return result == 0 && has_long_packets(pipe) ? seen_refuse(seen, "it has packets and other bytes in it")
                                                 : result;
}

/* Packets can be asked for only afterwards. */
static int open_pipe(const struct opening *opening, const struct image_handle *handle)
{
    const int *fds = opening_object(opening, *(const size_t *)handle->kept);
    const bool packets = (handle->flags & O_DIRECT) && !(handle->flags & O_PATH);
    cleanup_fd fd = fds ? open_once_more(fds[0], handle->flags & ~O_DIRECT) : -errno;

    if (fd >= 0 && packets && fcntl(fd, F_SETFL, handle->flags) < 0) {
        return -errno;
    }
    return fd_steal(&fd);
}

static void pack_handle(struct pack *pack, struct image_handle *handle)
{
    size_t *object = pack_kept(pack, &handle->kept, sizeof *object);

    pack_index(pack, object, pack->image->object_count, false);
}

static bool fits(const struct image *image, size_t handle)
{
    return object_is(image, *(const size_t *)image->handles[handle].kept, &object_pipe);
}

const struct handle_kind handle_pipe = {.name = "pipe",
                                        .is_it = is_it,
                                        .capture = capture_pipe,
                                        .open = open_pipe,
                                        .pack = pack_handle,
                                        .fits = fits};
