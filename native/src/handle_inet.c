/* TCP and UDP sockets. Connections come back when both ends are in the sandbox, each joined to the other when all are
 * known; those to the outside are reset. */
#include <fcntl.h>
#include <linux/tcp.h>
#include <poll.h>
#include <string.h>

#include "fd.h"
#include "handle.h"
#include "inet_socket.h"

static void forget(void *kept)
{
    struct kept_inet *this = kept;

    free(this->received);
    free(this->sent);
    free(this->bytes);
    free(this->datagrams);
    free(this);
}

/* ---- capturing ---- */

static bool is_it(const struct seen *seen)
{
    int family = 0;
    socklen_t size = sizeof family;
    cleanup_fd fd = S_ISSOCK(seen->st.st_mode) && !seen->description ? seen_take(seen) : -1;

    return fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) == 0 &&
           (family == AF_INET || family == AF_INET6);
}

static int get(int fd, int name, int *value)
{
    socklen_t size = sizeof *value;

    return getsockopt(fd, SOL_SOCKET, name, value, &size) < 0 ? -errno : 0;
}

static int get_all(struct kept_inet *kept, int fd)
{
    int result = get(fd, SO_DOMAIN, &kept->family);

    result = result < 0 ? result : get(fd, SO_TYPE, &kept->type);
    result = result < 0 ? result : get(fd, SO_PROTOCOL, &kept->protocol);
    result = result < 0 ? result : inet_options_get(&kept->options, fd);
    kept->name.size = kept->peer_name.size = sizeof kept->name.address;
    if (result < 0 || getsockname(fd, (struct sockaddr *)&kept->name.address, &kept->name.size) < 0) {
        return result < 0 ? result : -errno;
    }
    /* the port is at the same place in both families */
    kept->is_bound = ((const struct sockaddr_in *)&kept->name.address)->sin_port != 0;
    kept->has_peer = getpeername(fd, (struct sockaddr *)&kept->peer_name.address, &kept->peer_name.size) == 0;
    return 0;
}

/* Of multicast groups a socket does not tell which it has joined; the network does, of all together. */
static bool has_groups(pid_t tid)
{
    static const char *const own[] = {"010000E0", "ff020000000000000000000000000001",
                                      "ff010000000000000000000000000001"};
    static const char *const tables[] = {"igmp", "igmp6"};
    char path[64], line[256], group[64];
    bool found = false;

    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "/proc/%d/net/%s", tid, tables[i]);
        FILE *file = fopen(path, "re");
        while (file && fgets(line, sizeof line, file)) {
            bool is_group = i == 0 ? sscanf(line, "\t\t\t\t%63s", group) == 1 && line[0] == '\t'
                                   : sscanf(line, "%*s %*s %63s", group) == 1;
            bool is_own = false;
            for (size_t j = 0; is_group && j < sizeof own / sizeof *own; j++) {
                is_own = is_own || strcmp(group, own[j]) == 0;
            }
            found = found || (is_group && !is_own);
        }
        if (file) {
            fclose(file);
        }
    }
    return found;
}

static bool is_kept(const struct kept_inet *kept)
{
    return (kept->family == AF_INET || kept->family == AF_INET6) &&
           ((kept->type == SOCK_STREAM && kept->protocol == IPPROTO_TCP) ||
            (kept->type == SOCK_DGRAM && kept->protocol == IPPROTO_UDP));
}

/* NULL when it can be kept. */
static const char *why_not(const struct seen *seen, const struct kept_inet *kept, int fd)
{
    struct pollfd events = {.fd = fd, .events = POLLPRI};
    socklen_t size = 0;
    char device[16], layer[16] = "";

    if (seen->move->sandbox->cell->host_net) {
        return "it is in the host's network";
    }
    if (!seen_is_of_cell(seen, fd)) {
        return "it is in a network namespace of its own";
    }
    if (!is_kept(kept)) {
        return "sockets of this protocol are not brought back";
    }
    if (getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, NULL, &size) < 0 || size > 0) {
        return "it has a filter";
    }
    size = sizeof device;
    if (getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, &size) == 0 && size > 0) {
        return "it is bound to a device";
    }
    size = sizeof layer - 1;
    if (getsockopt(fd, IPPROTO_TCP, TCP_ULP, layer, &size) == 0 && size > 0 && layer[0]) {
        return "the kernel does the work of another protocol on it";
    }
    if (kept->type == SOCK_DGRAM && has_groups(seen->unit->thread->tid)) {
        return "multicast groups have been joined";
    }
    if (poll(&events, 1, 0) > 0 && events.revents & (POLLPRI | POLLERR)) {
        return events.revents & POLLERR ? "it has an error that was not told yet"
                                        : "it holds a byte out of band";
    }
    return NULL;
}

/* In which state it is, and whether it has been in another. */
static int look_at_state(struct kept_inet *kept, int fd)
{
    struct pollfd events = {.fd = fd, .events = POLLRDHUP};
    struct tcp_info info = {0};
    socklen_t size = sizeof info;

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0 || poll(&events, 1, 0) < 0) {
        return -errno;
    }
    kept->state = info.tcpi_state;
    kept->listens = kept->state == TCP_IS_LISTENING;
    kept->backlog = (int)info.tcpi_sacked;
    kept->waiting = kept->listens ? info.tcpi_unacked : 0;
    kept->receive_shut = (events.revents & POLLRDHUP) != 0;
    if (kept->state == TCP_IS_CLOSED) {
        kept->fate = kept->receive_shut ? TCP_OVER : TCP_NO_CONNECTION;
    }
    return 0;
}

static bool is_connected(const struct kept_inet *kept)
{
    return kept->type == SOCK_STREAM && !kept->listens &&
           (kept->state != TCP_IS_CLOSED || kept->fate == TCP_OVER);
}

static int look_inside(struct kept_inet *kept, const struct seen *seen, int fd)
{
    if (kept->type == SOCK_DGRAM) {
        return udp_look_inside(kept, fd);
    }
    int result = look_at_state(kept, fd);
    if (result < 0) {
        return result;
    }
    if (kept->state == TCP_IS_SYN_SENT || kept->state == TCP_IS_SYN_RECEIVED) {
        return seen_wait(seen, "it is being connected");
    }
    result = is_connected(kept) ? tcp_look_inside(kept, fd) : 0;
    return result == -EPERM ? seen_refuse(seen, "TCP connections cannot be looked into here") : result;
}

static int capture_socket(const struct seen *seen, struct image_handle *handle)
{
    cleanup_fd fd = seen_take(seen);

    if (fd < 0) {
        return fd;
    }
    struct kept_inet *kept = handle_keep(sizeof *kept);
    kept->uid = seen->st.st_uid;
    kept->gid = seen->st.st_gid;
    kept->inode = seen->st.st_ino;
    kept->peer = SIZE_MAX;
    kept->holder = seen->image->process_count - 1;
    int result = get_all(kept, fd);
    const char *reason = result < 0 ? NULL : why_not(seen, kept, fd);
    if (result == 0) {
        result = reason ? seen_refuse(seen, reason) : look_inside(kept, seen, fd);
    }
    if (result != 0) {
        forget(kept);
        return result;
    }
    handle->kept = kept;
    return 0;
}

/* ---- joining ---- */

static const struct kept_inet *kept_of(const struct image *image, size_t handle)
{
    return image->handles[handle].kind == &handle_inet ? image->handles[handle].kept : NULL;
}

static size_t find_peer(const struct image *image, const struct kept_inet *kept)
{
    for (size_t i = 0; i < image->handle_count; i++) {
        const struct kept_inet *other = kept_of(image, i);
        if (other && other != kept && is_connected(other) && other->has_peer &&
            inet_is_same(&other->name, &kept->peer_name) && inet_is_same(&other->peer_name, &kept->name)) {
            return i;
        }
    }
    return SIZE_MAX;
}

/* Bound to the address, or to all of them. */
static bool listens_at(const struct kept_inet *listener, const struct inet_name *name, bool exactly)
{
    const struct sockaddr_in *own = (const void *)&listener->name.address, *at = (const void *)&name->address;

    return listener->listens && listener->waiting > 0 &&
           (exactly ? inet_is_same(&listener->name, name) : own->sin_port == at->sin_port);
}

static size_t find_listener(const struct image *image, const struct kept_inet *kept)
{
    for (int exactly = 1; exactly >= 0; exactly--) {
        for (size_t i = 0; i < image->handle_count; i++) {
            const struct kept_inet *other = kept_of(image, i);
            if (other && listens_at(other, &kept->peer_name, exactly)) {
                return i;
            }
        }
    }
    return SIZE_MAX;
}

/* 0, SEEN_OBSTACLE or -errno. */
static int find_fate(const struct seen *seen, struct kept_inet *kept)
{
    struct tcp_told told;

    if (inet_is_same(&kept->name, &kept->peer_name)) {
        return seen_refuse(seen, "it is connected to itself");
    }
    kept->peer = find_peer(seen->image, kept);
    if (kept->peer != SIZE_MAX) {
        kept->fate = TCP_HAS_PEER;
        return 0;
    }
    const int state = tcp_ask_peer(kept, seen->unit->thread->tid, &told);
    const bool is_told =
        kept->state == TCP_IS_CLOSE_WAIT || kept->state == TCP_IS_LAST_ACK || kept->state == TCP_IS_CLOSING;
    if (state == TCP_IS_SYN_RECEIVED) {
        return seen_wait(seen, "it is being connected");
    }
    if (state != 0 && told.inode != 0) {
        kept->fate = TCP_PEER_ALIEN;
        return 0;
    }
    if (state == TCP_IS_ESTABLISHED || state == TCP_IS_CLOSE_WAIT) {
        kept->fate = TCP_WAITS;
        kept->peer = find_listener(seen->image, kept);
        return kept->peer == SIZE_MAX ? seen_wait(seen, "its other end is not open in a process")
               : kept->sent_count > 0 || told.received > 0
                   ? seen_wait(seen, "it was not accepted yet, and has sent something")
                   : 0;
    }
    kept->fate = is_told ? TCP_PEER_SHUT : TCP_PEER_LOST;
    return kept->sent_count > 0 || told.to_send > 1
               ? seen_wait(seen, "something is on its way to or from an end that was closed")
               : 0;
}

static size_t count_waiting(const struct image *image, const struct kept_inet *listener)
{
    size_t count = 0;

    for (size_t i = 0; i < image->handle_count; i++) {
        const struct kept_inet *other = kept_of(image, i);
        count += other && other->fate == TCP_WAITS && kept_of(image, other->peer) == listener;
    }
    return count;
}

static int complete(const struct seen *seen, struct image_handle *handle)
{
    struct kept_inet *kept = handle->kept;

    if (is_connected(kept) && kept->fate != TCP_OVER) {
        return find_fate(seen, kept);
    }
    return 0;
}

/* When it is known of all what they wait for. */
static int complete_all(const struct seen *seen, struct image_handle *handle)
{
    const struct kept_inet *kept = handle->kept;

    return kept->waiting > count_waiting(seen->image, kept)
               ? seen_wait(seen, "a connection waits in it that no process has open")
               : 0;
}

/* ---- opening ---- */

static int open_socket(const struct opening *opening, const struct image_handle *handle)
{
    (void)opening;
    (void)handle;
    return -EBADF; /* all are made together, before */
}

static void pack_name(struct pack *pack, struct inet_name *name)
{
    pack_address(pack, &name->address, &name->size, sizeof name->address);
}

static bool is_name(const struct inet_name *name)
{
    return name->address.ss_family == AF_INET    ? name->size >= sizeof(struct sockaddr_in)
           : name->address.ss_family == AF_INET6 ? name->size >= sizeof(struct sockaddr_in6)
                                                 : false;
}

static void pack_options(struct pack *pack, struct inet_options *options)
{
    for (size_t i = 0; i < INET_OPTIONS; i++) {
        PACK(pack, options->set[i].is_there);
        PACK(pack, options->set[i].value);
    }
    PACK(pack, options->send_bytes);
    PACK(pack, options->receive_bytes);
    PACK(pack, options->locked);
    pack_raw(pack, &options->linger, sizeof options->linger);
    pack_raw(pack, &options->send_timeout, sizeof options->send_timeout);
    pack_raw(pack, &options->receive_timeout, sizeof options->receive_timeout);
    pack_text(pack, options->congestion, sizeof options->congestion);
}

static void pack_connection(struct pack *pack, struct kept_inet *kept)
{
    PACK(pack, kept->state);
    PACK(pack, kept->fate);
    pack_check(pack, kept->state <= TCP_IS_CLOSING && kept->fate <= TCP_PEER_ALIEN,
               "a state that TCP has not");
    pack_index(pack, &kept->peer, pack->image->handle_count, true);
    pack_index(pack, &kept->holder, pack->image->process_count, true);
    PACK(pack, kept->receive_shut);
    pack_bytes(pack, &kept->received, &kept->received_count);
    pack_bytes(pack, &kept->sent, &kept->sent_count);
    PACK(pack, kept->received_end);
    PACK(pack, kept->sent_begin);
    PACK(pack, kept->has_time_stamps);
    PACK(pack, kept->has_sack);
    PACK(pack, kept->has_scale);
    PACK(pack, kept->scale);
    PACK(pack, kept->segment);
    PACK(pack, kept->window);
    PACK(pack, kept->window_limit);
    PACK(pack, kept->window_clamp);
    PACK(pack, kept->largest_window);
}

static void pack_datagram(struct pack *pack, struct inet_datagram *datagram)
{
    PACK(pack, datagram->size);
    pack_name(pack, &datagram->from);
    pack_check(pack, is_name(&datagram->from), "a name is none");
}

static void pack_datagrams(struct pack *pack, struct kept_inet *kept)
{
    pack_bytes(pack, &kept->bytes, &kept->byte_count);
    PACK_LIST(pack, kept->datagrams, kept->datagram_count, pack_datagram);
    size_t left = kept->byte_count;
    for (size_t i = 0; i < kept->datagram_count; i++) {
        pack_take(pack, &left, kept->datagrams[i].size);
    }
}

static void pack_handle(struct pack *pack, struct image_handle *handle)
{
    struct kept_inet *kept = pack_kept(pack, &handle->kept, sizeof *kept);

    PACK(pack, kept->family);
    PACK(pack, kept->type);
    PACK(pack, kept->protocol);
    pack_check(pack, is_kept(kept), "a socket that is none");
    pack_id(pack, &kept->uid);
    pack_id(pack, &kept->gid);
    pack_name(pack, &kept->name);
    pack_name(pack, &kept->peer_name);
    PACK(pack, kept->is_bound);
    PACK(pack, kept->listens);
    PACK(pack, kept->has_peer);
    PACK(pack, kept->backlog);
    PACK(pack, kept->waiting);
    pack_options(pack, &kept->options);
    pack_connection(pack, kept);
    pack_datagrams(pack, kept);
}

static bool is_of(const struct kept_inet *kept, const struct inet_name *name)
{
    return is_name(name) && name->address.ss_family == kept->family;
}

/* Two ends name each other; who waits names who listens. */
static bool fits(const struct image *image, size_t handle)
{
    const struct kept_inet *kept = image->handles[handle].kept;
    const struct kept_inet *peer = kept->peer == SIZE_MAX ? NULL : kept_of(image, kept->peer);

    if (!is_of(kept, &kept->name) || (kept->has_peer && !is_of(kept, &kept->peer_name)) ||
        (kept->fate != TCP_NO_CONNECTION && (kept->type != SOCK_STREAM || kept->listens))) {
        return false;
    }
    switch (kept->fate) {
    case TCP_HAS_PEER:
        return kept->has_peer && peer && peer != kept && peer->fate == TCP_HAS_PEER && peer->peer == handle;
    case TCP_WAITS:
        return kept->has_peer && peer && peer->listens;
    case TCP_NO_CONNECTION:
    case TCP_PEER_SHUT:
    case TCP_PEER_LOST:
    case TCP_OVER:
    case TCP_PEER_ALIEN:
        break;
    }
    return true;
}

const struct handle_kind handle_inet = {.name = "inet socket",
                                        .is_it = is_it,
                                        .capture = capture_socket,
                                        .complete = complete,
                                        .complete_all = complete_all,
                                        .open = open_socket,
                                        .pack = pack_handle,
                                        .fits = fits,
                                        .forget = forget};
