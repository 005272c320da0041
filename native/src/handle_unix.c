/* Unix sockets, with what is on its way in them. Both ends of a connection are kept, and joined when all are known. */
#include <fcntl.h>
#include <limits.h>
#include <linux/un.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "fd.h"
#include "handle.h"
#include "unix_socket.h"

#define PIECE_MAX (8 << 20)
#define STATE_LISTENS 10
#define PASS_PIDFD 76  /* SO_PASSPIDFD, since Linux 6.5 */
#define PASS_RIGHTS 83 /* SO_PASSRIGHTS, since Linux 6.16 */

const int unix_options[] = {SO_PASSCRED,  SO_RCVLOWAT,    SO_PRIORITY,  SO_MARK,
                            SO_KEEPALIVE, SO_PEEK_OFF,    SO_REUSEADDR, SO_BROADCAST,
                            SO_TIMESTAMP, SO_TIMESTAMPNS, PASS_PIDFD,   PASS_RIGHTS};
const size_t unix_option_count = sizeof unix_options / sizeof *unix_options;
_Static_assert(sizeof unix_options / sizeof *unix_options <= UNIX_OPTIONS, "there is room for all options");

static void forget(void *kept)
{
    struct kept_unix *this = kept;

    free(this->bytes);
    free(this->pieces);
    free(this->waiting);
    free(this->path);
    free(this);
}

/* ---- what waits ---- */

/* A path may be one byte longer than there is room for: its end. */
static socklen_t name_size(socklen_t told)
{
    return told < sizeof(struct sockaddr_un) ? told : sizeof(struct sockaddr_un);
}

static void add_piece(struct kept_unix *kept, const char *bytes, size_t size, const struct unix_name *from)
{
    kept->bytes = realloc(kept->bytes, kept->byte_count + size + 1);
    kept->pieces = realloc(kept->pieces, (kept->piece_count + 1) * sizeof *kept->pieces);
    if (!kept->bytes || !kept->pieces) {
        die("out of memory");
    }
    memcpy(kept->bytes + kept->byte_count, bytes, size);
    kept->byte_count += size;
    kept->pieces[kept->piece_count++] = (struct unix_piece){.size = size, .from = *from};
}

/* Nothing came: that is a message of no length only where messages are cut and the end was not shut. */
static bool is_end(const struct kept_unix *kept, int fd)
{
    struct pollfd events = {.fd = fd, .events = POLLIN};

    return poll(&events, 1, 0) != 1 || events.revents & (POLLHUP | POLLRDHUP) ||
           kept->shut & UNIX_RECEIVE_SHUT || kept->type == SOCK_STREAM;
}

/* 1: that was all. */
static int copy_next(struct kept_unix *kept, int fd, char *bytes)
{
    struct unix_name from = {.size = sizeof from.address};
    struct iovec piece = {.iov_base = bytes, .iov_len = PIECE_MAX};
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_name = &from.address, .msg_namelen = from.size};
    ssize_t got = recvmsg(fd, &message, MSG_PEEK | MSG_DONTWAIT);

    if (got < 0) {
        return errno == EAGAIN ? 1 : -errno;
    }
    if (got == 0 && is_end(kept, fd)) {
        return 1;
    }
    if (message.msg_flags & MSG_TRUNC) {
        return -EMSGSIZE;
    }
    from.size = kept->type == SOCK_DGRAM ? name_size(message.msg_namelen) : 0;
    add_piece(kept, bytes, (size_t)got, &from);
    return 0;
}

/* Looked at, not taken: where the next look begins is a property of the socket, which gets its own back. */
static int copy_waiting(struct kept_unix *kept, int fd)
{
    const int from_start = 0;
    int was = -1, result = 0;
    socklen_t size = sizeof was;
    cleanup_free char *bytes = malloc(PIECE_MAX);

    if (!bytes) {
        die("out of memory");
    }
    if (getsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &was, &size) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &from_start, sizeof from_start) < 0) {
        return -errno;
    }
    /* whoever finds nothing more is told of a reset, and nobody else after that */
    while (result == 0 && !(kept->was_reset && kept->byte_count >= kept->incoming)) {
        result = copy_next(kept, fd, bytes);
    }
    if (setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &was, sizeof was) < 0) {
        return -errno;
    }
    return result < 0 ? result : 0;
}

/* ---- what can be asked of it ---- */

static int get_options(struct kept_unix *kept, int fd)
{
    socklen_t size = sizeof kept->send_timeout;

    if (getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &kept->send_timeout, &size) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &kept->receive_timeout, &size) < 0) {
        return -errno;
    }
    size = sizeof(int);
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &kept->type, &size) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &kept->send_bytes, &size) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &kept->receive_bytes, &size) < 0) {
        return -errno;
    }
    for (size_t i = 0; i < unix_option_count; i++) {
        kept->set[i].is_there = getsockopt(fd, SOL_SOCKET, unix_options[i], &kept->set[i].value, &size) == 0;
        size = sizeof(int);
    }
    return 0;
}

/* By the process itself: the numbers are those that it knows. */
static int ask_credentials(struct kept_unix *kept, const struct seen *seen)
{
    struct inject *inject = seen->unit->inject;
    struct {
        socklen_t size;
        struct ucred told;
    } data = {.size = sizeof data.told};
    const uint64_t at = inject_data(inject);
    int result = subject_write(inject->subject, at, &data, sizeof data);

    inject_clear(inject);
    inject_add(inject, SYS_getsockopt, (uint64_t)seen->number, SOL_SOCKET, SO_PEERCRED,
               at + offsetof(__typeof__(data), told), at, 0);
    result = result < 0 ? result : inject_run(inject);
    inject_clear(inject);
    result = result < 0 ? result : subject_read(inject->subject, at, &data, sizeof data);
    kept->credentials = data.told;
    return result;
}

static void get_names(struct kept_unix *kept, int fd)
{
    kept->name.size = kept->peer_name.size = sizeof kept->name.address;
    if (getsockname(fd, (struct sockaddr *)&kept->name.address, &kept->name.size) < 0) {
        kept->name.size = 0;
    }
    kept->has_peer = getpeername(fd, (struct sockaddr *)&kept->peer_name.address, &kept->peer_name.size) == 0;
    kept->name.size = name_size(kept->name.size);
    kept->peer_name.size = name_size(kept->peer_name.size);
    kept->has_file = kept->name.size > sizeof(sa_family_t) && kept->name.address.sun_path[0] != '\0';
}

/* ---- where its file is ---- */

/* Nobody finds a connection by its name: the file, if it still is one, stays what it is. */
static bool is_found_by_name(const struct kept_unix *kept)
{
    return kept->has_file && (kept->type == SOCK_DGRAM || !kept->has_peer);
}

/* NULL, or why it cannot be kept. */
static const char *find_file(struct kept_unix *kept, const struct seen *seen, int fd)
{
    const struct move *move = seen->move;
    char path[PATH_MAX];
    const char *held;
    struct stat st;
    cleanup_fd place = ioctl(fd, SIOCUNIXFILE);

    if (place < 0 || fstat(place, &st) < 0) {
        return "the kernel does not tell its file";
    }
    kept->tree = move_tree_of(move, place);
    if (st.st_nlink > 1) {
        return "its file has several names";
    }
    if (kept->tree < move->tree_count) {
        kept->path = move_path_of(&move->trees[kept->tree], place, path) == 0 ? strdup(path) : NULL;
        return NULL;
    }
    if (held_find_path(move, &st, &held, &kept->tree)) {
        kept->path = held ? strdup(held) : NULL;
        return NULL;
    }
    return st.st_nlink == 0 ? NULL : "its file is not among the sandbox's files";
}

/* ---- capturing ---- */

static bool is_it(const struct seen *seen)
{
    return S_ISSOCK(seen->st.st_mode) && !seen->description;
}

/* NULL when it can be kept. */
static const char *why_not(struct kept_unix *kept, int fd)
{
    struct pollfd events = {.fd = fd, .events = POLLPRI};
    socklen_t size = 0;

    if (getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, NULL, &size) < 0 || size > 0) {
        return "it has a filter";
    }
    if (poll(&events, 1, 0) > 0 && events.revents & POLLPRI) {
        return "it holds a byte out of band";
    }
    kept->was_reset = (events.revents & POLLERR) != 0;
    if (kept->was_reset && (kept->type == SOCK_DGRAM || !kept->has_peer || kept->peer_inode != 0)) {
        return "it has an error that was not told yet";
    }
    return NULL;
}

static int ask_kernel(struct kept_unix *kept, const struct seen *seen)
{
    const struct cell *cell = seen->move->sandbox->cell;
    struct unix_told told;
    int result = unix_ask(cell->host_net ? -1 : cell->net_ns, seen->st.st_ino, &told);

    if (result == 0) {
        kept->peer_inode = told.peer;
        kept->shut = told.shut;
        kept->listens = told.state == STATE_LISTENS;
        kept->backlog = told.sent;
        kept->incoming = told.received;
        kept->outgoing = kept->listens ? 0 : told.sent;
        kept->waiting = told.waiting;
        kept->waiting_count = told.waiting_count;
    }
    return result;
}

static int look_at(struct kept_unix *kept, const struct seen *seen, int fd)
{
    int result;

    kept->inode = seen->st.st_ino;
    kept->uid = seen->st.st_uid;
    kept->gid = seen->st.st_gid;
    kept->peer = SIZE_MAX;
    get_names(kept, fd);
    if ((result = get_options(kept, fd)) < 0 || (result = ask_credentials(kept, seen)) < 0) {
        return result;
    }
    result = ask_kernel(kept, seen);
    if (result == -ENOENT) {
        return seen_refuse(seen, "it is in a network namespace of its own");
    }
    const char *reason = result < 0 ? NULL : why_not(kept, fd);
    if (result == 0 && !reason && is_found_by_name(kept)) {
        reason = find_file(kept, seen, fd);
    }
    if (result < 0 || reason) {
        return result < 0 ? result : seen_refuse(seen, reason);
    }
    if (!kept->listens && (kept->has_peer || kept->type == SOCK_DGRAM)) {
        result = copy_waiting(kept, fd);
    }
    if (result == -EMSGSIZE) {
        return seen_refuse(seen, "it holds a message that is too long");
    }
    return result == 0 && kept->piece_count > 0 && kept->set[0].value /* SO_PASSCRED */
               ? seen_refuse(seen, "it holds messages with credentials")
               : result;
}

static int capture_socket(const struct seen *seen, struct image_handle *handle)
{
    int family = 0;
    socklen_t size = sizeof family;
    cleanup_fd fd = seen_take(seen);

    if (fd < 0) {
        return fd;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) < 0 || family != AF_UNIX) {
        return seen_refuse(seen, "sockets of this family are not brought back");
    }
    struct kept_unix *kept = handle_keep(sizeof *kept);
    kept->holder = seen->image->process_count - 1;
    int result = look_at(kept, seen, fd);
    if (result != 0) {
        forget(kept);
        return result;
    }
    handle->kept = kept;
    return 0;
}

/* ---- joining ---- */

static size_t find_inode(const struct image *image, uint64_t inode)
{
    for (size_t i = 0; i < image->handle_count; i++) {
        const struct kept_unix *kept = image->handles[i].kept;
        if (image->handles[i].kind == &handle_unix && kept->inode == inode) {
            return i;
        }
    }
    return SIZE_MAX;
}

static size_t find_listener(const struct image *image, uint64_t client)
{
    for (size_t i = 0; i < image->handle_count; i++) {
        const struct kept_unix *kept = image->handles[i].kept;
        for (size_t j = 0; image->handles[i].kind == &handle_unix && j < kept->waiting_count; j++) {
            if (kept->waiting[j] == client) {
                return i;
            }
        }
    }
    return SIZE_MAX;
}

/* It is there again to make the socket once more, or its number can be taken for that. */
static bool can_act(const struct image *image, pid_t pid)
{
    bool is_free = pid > 1;

    for (size_t i = 0; i < image->process_count; i++) {
        const struct image_process *process = &image->processes[i];
        if (process->pid == pid) {
            return true;
        }
        is_free = is_free && process->group != pid && process->session != pid;
    }
    for (size_t i = 0; i < image->zombie_count; i++) {
        is_free = is_free && image->zombies[i].pid != pid;
    }
    return is_free;
}

/* What it is made of again is made in the name of who has made it. */
static bool needs_maker(const struct kept_unix *kept)
{
    return kept->listens || (kept->type == SOCK_DGRAM ? kept->credentials.pid != 0 : kept->has_peer);
}

/* Nobody has its other end open: who waits to be accepted may have shut it, as the end of the other one does. */
static bool is_waiting(const struct image *image, const struct kept_unix *kept)
{
    return kept->has_peer && kept->type != SOCK_DGRAM && kept->peer_inode == 0 &&
           (!kept->shut || find_listener(image, kept->inode) != SIZE_MAX);
}

/* One of two messages go between, of which one was connected to another since: that takes its name only, and they have none. */
static bool is_parted(const struct image *image, const struct kept_unix *kept)
{
    const struct kept_unix *peer = image->handles[kept->peer].kept;

    return kept->type == SOCK_DGRAM && kept->credentials.pid != 0 &&
           (peer->credentials.pid == 0 || peer->peer_inode != kept->inode);
}

static int join(const struct seen *seen, struct kept_unix *kept)
{
    const struct image *image = seen->image;

    for (size_t i = 0; i < kept->waiting_count; i++) {
        if (find_inode(image, kept->waiting[i]) == SIZE_MAX) {
            return seen_wait(seen, "a connection waits in it that no process has open");
        }
    }
    if (needs_maker(kept) && !can_act(image, kept->credentials.pid)) {
        return seen_refuse(seen, "it was made by a process that has ended or is outside");
    }
    kept->waits = is_waiting(image, kept);
    if (!kept->has_peer || (kept->peer_inode == 0 && !kept->waits)) {
        return 0;
    }
    kept->peer = kept->waits ? find_listener(image, kept->inode) : find_inode(image, kept->peer_inode);
    if (kept->peer == SIZE_MAX) {
        return seen_refuse(seen, "its other end is not open in a process");
    }
    if (is_parted(image, kept)) {
        return seen_refuse(seen, "it was made as one of two, and one of them is connected to another");
    }
    return kept->waits && kept->outgoing > 0
               ? seen_wait(seen, "it was not accepted yet, and has sent something")
               : 0;
}

static int complete(const struct seen *seen, struct image_handle *handle)
{
    return join(seen, handle->kept);
}

/* ---- opening ---- */

static int open_socket(const struct opening *opening, const struct image_handle *handle)
{
    (void)opening;
    (void)handle;
    return -EBADF; /* all are made together, before */
}

/* Sockets are told apart by their inodes, which here are counted by handle: these stay the same when all is made anew. */
static void pack_inode(struct pack *pack, uint64_t *inode)
{
    uint64_t number = 0;

    for (size_t i = 0; !pack->is_reading && i < pack->image->handle_count; i++) {
        const struct kept_unix *kept = pack->image->handles[i].kept;
        if (pack->image->handles[i].kind == &handle_unix && kept->inode == *inode) {
            number = i + 1;
        }
    }
    PACK(pack, number);
    pack_check(pack, number <= pack->image->handle_count, "it names what is not there");
    *inode = pack->is_reading ? number : *inode;
}

static void pack_name(struct pack *pack, struct unix_name *name)
{
    pack_address(pack, &name->address, &name->size, sizeof name->address);
}

static bool is_name(const struct unix_name *name)
{
    return name->size <= sizeof(sa_family_t) || name->address.sun_family == AF_UNIX;
}

static void pack_piece(struct pack *pack, struct unix_piece *piece)
{
    PACK(pack, piece->size);
    pack_name(pack, &piece->from);
    pack_check(pack, is_name(&piece->from), "a name is of another family");
}

static void pack_pieces(struct pack *pack, struct kept_unix *kept)
{
    pack_bytes(pack, &kept->bytes, &kept->byte_count);
    PACK_LIST(pack, kept->pieces, kept->piece_count, pack_piece);
    size_t left = kept->byte_count;
    for (size_t i = 0; i < kept->piece_count; i++) {
        pack_take(pack, &left, kept->pieces[i].size);
    }
}

static void pack_credentials(struct pack *pack, struct ucred *credentials)
{
    PACK(pack, credentials->pid);
    PACK(pack, credentials->uid);
    PACK(pack, credentials->gid);
}

static void pack_handle(struct pack *pack, struct image_handle *handle)
{
    struct kept_unix *kept = pack_kept(pack, &handle->kept, sizeof *kept);

    PACK(pack, kept->type);
    pack_check(pack, kept->type == SOCK_STREAM || kept->type == SOCK_DGRAM || kept->type == SOCK_SEQPACKET,
               "a socket that is none");
    pack_id(pack, &kept->uid);
    pack_id(pack, &kept->gid);
    pack_inode(pack, &kept->inode);
    pack_name(pack, &kept->name);
    pack_name(pack, &kept->peer_name);
    PACK(pack, kept->has_peer);
    PACK(pack, kept->listens);
    PACK(pack, kept->backlog);
    pack_credentials(pack, &kept->credentials);
    PACK(pack, kept->send_bytes);
    PACK(pack, kept->receive_bytes);
    for (size_t i = 0; i < UNIX_OPTIONS; i++) {
        PACK(pack, kept->set[i].is_there);
        PACK(pack, kept->set[i].value);
    }
    pack_raw(pack, &kept->send_timeout, sizeof kept->send_timeout);
    pack_raw(pack, &kept->receive_timeout, sizeof kept->receive_timeout);
    PACK(pack, kept->shut);
    pack_check(pack, kept->shut <= (UNIX_RECEIVE_SHUT | UNIX_SEND_SHUT), "a socket that is none");
    PACK(pack, kept->was_reset);
    pack_pieces(pack, kept);
    PACK_LIST(pack, kept->waiting, kept->waiting_count, pack_inode);
    PACK(pack, kept->incoming);
    PACK(pack, kept->outgoing);
    PACK(pack, kept->has_file);
    pack_string(pack, &kept->path);
    if (kept->path) {
        pack_tree(pack, &kept->tree);
    }
    pack_index(pack, &kept->holder, pack->image->process_count, false);
    pack_index(pack, &kept->peer, pack->image->handle_count, true);
    PACK(pack, kept->waits);
}

static const struct kept_unix *kept_of(const struct image *image, size_t handle)
{
    return handle < image->handle_count && image->handles[handle].kind == &handle_unix
               ? image->handles[handle].kept
               : NULL;
}

/* Each that waits does so in the one it names, and is named by that once. */
static bool are_waiting(const struct image *image, size_t listener)
{
    const struct kept_unix *kept = image->handles[listener].kept;

    for (size_t i = 0; i < kept->waiting_count; i++) {
        const struct kept_unix *client = kept_of(image, kept->waiting[i] - 1);
        if (!client || !client->waits || client->peer != listener || client->type != kept->type) {
            return false;
        }
    }
    return kept->waiting_count <= image->handle_count;
}

/* Two that were made together name each other; a message's way leads to any that takes messages. */
static bool fits(const struct image *image, size_t handle)
{
    const struct kept_unix *kept = image->handles[handle].kept, *peer = kept_of(image, kept->peer);

    if (!is_name(&kept->name) || (kept->has_peer && !is_name(&kept->peer_name)) ||
        kept->inode != handle + 1 || (kept->waiting_count > 0 && !kept->listens) ||
        !are_waiting(image, handle)) {
        return false;
    }
    if (kept->peer == SIZE_MAX) {
        return !kept->waits;
    }
    if (!peer || peer->type != kept->type || kept->listens) {
        return false;
    }
    if (kept->waits) {
        return peer->listens && kept->type != SOCK_DGRAM;
    }
    return kept->credentials.pid == 0 ? kept->type == SOCK_DGRAM : peer->peer == handle && peer != kept;
}

const struct handle_kind handle_unix = {.name = "unix socket",
                                        .is_it = is_it,
                                        .capture = capture_socket,
                                        .complete = complete,
                                        .open = open_socket,
                                        .pack = pack_handle,
                                        .fits = fits,
                                        .forget = forget};
