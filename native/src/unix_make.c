/* The unix sockets of an image, all together, because one needs others: connections first, by listeners that are gone
 * again before the real ones take their names; then names, what listens, who waits there, and what waits to be received. */
#include <fcntl.h>
#include <string.h>

#include "deputy.h"
#include "fd.h"
#include "handle.h"
#include "unix_name.h"

struct making {
    struct revival *revival;
    struct deputies deputies;
    struct names names;
    struct bound *bound; /* by handle */
};

static bool is_unix(const struct making *making, size_t handle)
{
    return making->revival->image->handles[handle].kind == &handle_unix;
}

static const struct kept_unix *kept_of(const struct making *making, size_t handle)
{
    return making->revival->image->handles[handle].kept;
}

static const struct kept_unix *peer_of(const struct making *making, const struct kept_unix *kept)
{
    return kept->peer == SIZE_MAX || kept->waits ? NULL : kept_of(making, kept->peer);
}

static bool is_named(const struct unix_name *name)
{
    return name->size > sizeof(sa_family_t);
}

/* What somebody has made as one end of two; what is a message's way only is no such. */
static bool is_end(const struct kept_unix *kept)
{
    return !kept->listens && kept->credentials.pid != 0 && !kept->waits;
}

/* ---- options ---- */

/* The kernel doubles what it is given. */
static int set_bytes(int fd, int option, int bytes)
{
    const int half = bytes / 2;

    return setsockopt(fd, SOL_SOCKET, option, &half, sizeof half) < 0 ? -errno : 0;
}

static int set_options(const struct kept_unix *kept, int fd)
{
    int result = set_bytes(fd, SO_SNDBUFFORCE, kept->send_bytes);

    result = result < 0 ? result : set_bytes(fd, SO_RCVBUFFORCE, kept->receive_bytes);
    for (size_t i = 0; result == 0 && i < unix_option_count; i++) {
        int now;
        socklen_t size = sizeof now;
        if (kept->set[i].is_there &&
            (getsockopt(fd, SOL_SOCKET, unix_options[i], &now, &size) < 0 ||
             (now != kept->set[i].value &&
              setsockopt(fd, SOL_SOCKET, unix_options[i], &kept->set[i].value, sizeof(int)) < 0))) {
            return -errno;
        }
    }
    if (result == 0 &&
        (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &kept->send_timeout, sizeof kept->send_timeout) < 0 ||
         setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &kept->receive_timeout, sizeof kept->receive_timeout) < 0)) {
        return -errno;
    }
    return result;
}

/* ---- connections ---- */

static int make_socket(struct making *making, const struct kept_unix *kept)
{
    return deputy_socket(&making->deputies, AF_UNIX, kept->type, 0);
}

/* `server` gets the name of a listener that is there for this alone. What each end is told of is who has called listen or
 * connect for the other. */
static int connect_ends(struct making *making, const struct kept_unix *server,
                        const struct unix_name *server_name, const struct ucred *connects,
                        const struct kept_unix *client, const struct unix_name *client_name,
                        const struct ucred *listens, int *server_fd, int *client_fd)
{
    struct bound bound, other;
    const struct kept_unix *any = server ? server : client;
    cleanup_fd listener = make_socket(making, any), fd = make_socket(making, any);
    int result = listener < 0 ? listener : fd < 0 ? fd : 0;

    bound_none(&bound);
    bound_none(&other);
    result = result < 0 ? result : name_bind(&making->names, listener, server_name, 0, NULL, &bound);
    result = result < 0 ? result : deputy_listen(&making->deputies, listens, listener, 1);
    result = result < 0 ? result : name_bind(&making->names, fd, client_name, 0, NULL, &other);
    result = result < 0 ? result
                        : deputy_connect(&making->deputies, connects, fd, bound.place, &server_name->address,
                                         server_name->size);
    bound_free(&bound);
    bound_free(&other);
    if (result < 0) {
        return result;
    }
    *server_fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (*server_fd < 0) {
        return -errno;
    }
    *client_fd = fd_steal(&fd);
    return 0;
}

/* Both ends, also when one of them is nobody's any more: that one is said to be made like the other. */
static int make_ends(struct making *making, const struct kept_unix *kept, const struct kept_unix *peer,
                     int fds[2])
{
    const struct unix_name *peer_name = peer ? &peer->name : &kept->peer_name;
    const struct ucred *peer_credentials = peer ? &peer->credentials : &kept->credentials;

    if (kept->type != SOCK_DGRAM && is_named(&kept->name)) {
        return connect_ends(making, kept, &kept->name, &kept->credentials, peer, peer_name, peer_credentials,
                            &fds[0], &fds[1]);
    }
    if (kept->type != SOCK_DGRAM && is_named(peer_name)) {
        return connect_ends(making, peer, peer_name, peer_credentials, kept, &kept->name, &kept->credentials,
                            &fds[1], &fds[0]);
    }
    return deputy_pair(&making->deputies, &kept->credentials, kept->type, fds);
}

/* ---- what waits to be received ---- */

static int send_piece(int by, const uint8_t *at, size_t size, const struct sockaddr_un *to, socklen_t to_size)
{
    for (size_t done = 0; done < size || size == 0;) {
        ssize_t sent = sendto(by, at + done, size - done, MSG_DONTWAIT | MSG_NOSIGNAL,
                              (const struct sockaddr *)to, to_size);
        if (sent < 0) {
            return -errno;
        }
        done += (size_t)sent;
        if (size == 0) {
            break;
        }
    }
    return 0;
}

static int make_roomy(int fd)
{
    return set_bytes(fd, SO_SNDBUFFORCE, 64 << 20);
}

static int fill_from_peer(const struct kept_unix *kept, int by)
{
    const uint8_t *at = kept->bytes;
    int result = make_roomy(by);

    for (size_t i = 0; result == 0 && i < kept->piece_count; i++) {
        result = send_piece(by, at, kept->pieces[i].size, NULL, 0);
        at += kept->pieces[i].size;
    }
    return result;
}

/* The end that nobody has goes, and the other is told as it was. */
static int close_other(const struct kept_unix *kept, int own, int other)
{
    if (kept->was_reset && send(own, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        close(other);
        return -errno;
    }
    close(other);
    return 0;
}

static int make_connection(struct making *making, size_t handle)
{
    const struct kept_unix *kept = kept_of(making, handle), *peer = peer_of(making, kept);
    int *const opened = making->revival->opened, fds[2] = {-1, -1};
    int result = make_ends(making, kept, peer, fds);

    opened[handle] = fds[0];
    if (peer) {
        opened[kept->peer] = fds[1];
    }
    result = result < 0 ? result : fill_from_peer(kept, fds[1]);
    if (result == 0 && peer) {
        return fill_from_peer(peer, fds[0]);
    }
    if (!peer && fds[1] >= 0) {
        int closed = close_other(kept, fds[0], fds[1]);
        result = result < 0 ? result : closed;
    }
    return result;
}

/* ---- names, and what listens ---- */

/* The program may have made room for fewer when they waited already. */
static unsigned most_waiting(const struct kept_unix *kept)
{
    return kept->waiting_count > kept->backlog ? (unsigned)kept->waiting_count : kept->backlog;
}

/* The real names; what is connected has its own already. */
static int make_named(struct making *making, size_t handle)
{
    const struct kept_unix *kept = kept_of(making, handle);
    int *fd = &making->revival->opened[handle];

    if (*fd < 0 && (*fd = make_socket(making, kept)) < 0) {
        return *fd;
    }
    if (is_end(kept) && kept->type != SOCK_DGRAM) {
        return 0;
    }
    int result = name_bind(&making->names, *fd, &kept->name, kept->tree, kept->path, &making->bound[handle]);
    return result < 0 || !kept->listens
               ? result
               : deputy_listen(&making->deputies, &kept->credentials, *fd, most_waiting(kept));
}

static size_t find_waiting(const struct making *making, size_t listener, uint64_t inode)
{
    for (size_t i = 0; i < making->revival->image->handle_count; i++) {
        const struct kept_unix *kept = kept_of(making, i);
        if (is_unix(making, i) && kept->waits && kept->peer == listener && kept->inode == inode) {
            return i;
        }
    }
    return SIZE_MAX;
}

/* They connect again, in the order in which they wait; nobody waits for room. */
static int make_waiting(struct making *making, size_t handle)
{
    const struct kept_unix *kept = kept_of(making, handle);
    int result = 0;

    for (size_t i = 0; result == 0 && i < kept->waiting_count; i++) {
        size_t client = find_waiting(making, handle, kept->waiting[i]);
        if (client == SIZE_MAX) {
            return -ENOENT;
        }
        const struct image_process *process =
            &making->revival->image->processes[kept_of(making, client)->holder];
        const struct credentials *credentials = &process->threads[0].credentials;
        const struct ucred who = {
            .pid = process->pid, .uid = credentials->uids[1], .gid = credentials->gids[1]};
        const int fd = making->revival->opened[client];
        result = fcntl(fd, F_SETFL, O_NONBLOCK) < 0
                     ? -errno
                     : deputy_connect(&making->deputies, &who, fd, making->bound[handle].place,
                                      &kept->name.address, kept->name.size);
    }
    return result < 0 || most_waiting(kept) == kept->backlog
               ? result
               : deputy_listen(&making->deputies, &kept->credentials, making->revival->opened[handle],
                               kept->backlog);
}

/* ---- datagrams ---- */

/* Where messages are sent to. */
static socklen_t address_of(const struct unix_name *name, const struct bound *bound,
                            struct sockaddr_un *address)
{
    *address = name->address;
    if (bound->place < 0) {
        return name->size;
    }
    int len = snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d", bound->place);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len);
}

static bool is_same_name(const struct unix_name *a, const struct unix_name *b)
{
    return a->size == b->size && memcmp(&a->address, &b->address, a->size) == 0;
}

/* One that has the name, or another that is given it; -errno. */
static int sender_of(struct making *making, const struct unix_name *name)
{
    const struct kept_unix any = {.type = SOCK_DGRAM};
    struct bound bound;

    for (size_t i = 0; is_named(name) && i < making->revival->image->handle_count; i++) {
        const struct kept_unix *kept = kept_of(making, i);
        if (is_unix(making, i) && kept->type == SOCK_DGRAM && is_same_name(&kept->name, name)) {
            return fcntl(making->revival->opened[i], F_DUPFD_CLOEXEC, 0);
        }
    }
    cleanup_fd fd = make_socket(making, &any);
    int result = fd < 0 ? fd : name_bind(&making->names, fd, name, 0, NULL, &bound);
    if (result < 0) {
        return result;
    }
    bound_free(&bound);
    return fd_steal(&fd);
}

static int fill_datagrams(struct making *making, size_t handle)
{
    const struct kept_unix *kept = kept_of(making, handle);
    const uint8_t *at = kept->bytes;
    struct sockaddr_un address;
    const socklen_t size = address_of(&kept->name, &making->bound[handle], &address);
    int result = 0;

    for (size_t i = 0; result == 0 && i < kept->piece_count; i++) {
        cleanup_fd sender = sender_of(making, &kept->pieces[i].from);
        result = sender < 0 ? sender : make_roomy(sender);
        result = result < 0 ? result : send_piece(sender, at, kept->pieces[i].size, &address, size);
        at += kept->pieces[i].size;
    }
    return result;
}

/* To its peer, or to one that is gone again. */
static int connect_datagrams(struct making *making, size_t handle)
{
    const struct kept_unix *kept = kept_of(making, handle);
    const int fd = making->revival->opened[handle];
    const struct kept_unix any = {.type = SOCK_DGRAM};
    struct sockaddr_un address;
    struct bound bound;
    socklen_t size;

    if (kept->peer != SIZE_MAX) {
        size = address_of(&kept_of(making, kept->peer)->name, &making->bound[kept->peer], &address);
        return connect(fd, (const struct sockaddr *)&address, size) < 0 ? -errno : 0;
    }
    cleanup_fd gone = make_socket(making, &any);
    int result = gone < 0 ? gone : name_bind(&making->names, gone, &kept->peer_name, 0, NULL, &bound);
    if (result < 0) {
        return result;
    }
    size = address_of(&kept->peer_name, &bound, &address);
    result = connect(fd, (const struct sockaddr *)&address, size) < 0 ? -errno : 0;
    bound_free(&bound);
    return result;
}

static bool is_datagrams(const struct kept_unix *kept)
{
    return kept->type == SOCK_DGRAM && !is_end(kept);
}

/* ---- the whole ---- */

static int how_to_shut(unsigned shut)
{
    return shut == (UNIX_RECEIVE_SHUT | UNIX_SEND_SHUT) ? SHUT_RDWR
           : shut == UNIX_SEND_SHUT                     ? SHUT_WR
                                                        : SHUT_RD;
}

static int finish(struct making *making, size_t handle)
{
    const struct image_handle *image = &making->revival->image->handles[handle];
    const struct kept_unix *kept = image->kept;
    const int fd = making->revival->opened[handle];
    int result = set_options(kept, fd);

    result = result < 0 ? result : name_settle(&making->bound[handle]);
    if (result == 0 && kept->shut && (kept->peer != SIZE_MAX || is_datagrams(kept)) &&
        shutdown(fd, how_to_shut(kept->shut)) < 0) {
        return -errno;
    }
    return result < 0                                          ? result
           : fchown(fd, kept->uid, kept->gid) < 0              ? -errno
           : fcntl(fd, F_SETFL, image->flags & O_NONBLOCK) < 0 ? -errno
                                                               : 0;
}

static bool is_unopened_end(const struct making *making, size_t handle)
{
    return is_end(kept_of(making, handle)) && making->revival->opened[handle] < 0;
}

static bool is_any(const struct making *making, size_t handle)
{
    (void)making;
    (void)handle;
    return true;
}

static bool listens(const struct making *making, size_t handle)
{
    return kept_of(making, handle)->listens;
}

static bool has_datagrams(const struct making *making, size_t handle)
{
    return is_datagrams(kept_of(making, handle));
}

static bool sends_datagrams(const struct making *making, size_t handle)
{
    return has_datagrams(making, handle) && kept_of(making, handle)->has_peer;
}

static const struct {
    bool (*concerns)(const struct making *making, size_t handle);
    int (*run)(struct making *making, size_t handle);
} phases[] = {
    {is_unopened_end, make_connection},
    {is_any, make_named},
    {listens, make_waiting},
    {has_datagrams, fill_datagrams},
    {sends_datagrams, connect_datagrams},
    {is_any, finish},
};

static int make_all(struct making *making)
{
    int result = 0;

    for (size_t phase = 0; phase < sizeof phases / sizeof *phases; phase++) {
        for (size_t i = 0; result == 0 && i < making->revival->image->handle_count; i++) {
            if (is_unix(making, i) && phases[phase].concerns(making, i)) {
                result = phases[phase].run(making, i);
            }
        }
    }
    return result;
}

int unix_make(struct revival *revival, const struct stage *stage)
{
    const size_t count = revival->image->handle_count;
    struct making making = {.revival = revival};

    if (revival->count == 0) {
        return 0;
    }
    making.bound = malloc((count + 1) * sizeof *making.bound);
    if (!making.bound) {
        die("out of memory");
    }
    for (size_t i = 0; i < count; i++) {
        bound_none(&making.bound[i]);
    }
    deputies_begin(&making.deputies, revival, stage);
    names_begin(&making.names, stage->trees);
    int result = make_all(&making);
    names_end(&making.names);
    deputies_end(&making.deputies);
    for (size_t i = 0; i < count; i++) {
        bound_free(&making.bound[i]);
    }
    free(making.bound);
    return result;
}
