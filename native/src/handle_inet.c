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
    if (!((kept->type == SOCK_STREAM && kept->protocol == IPPROTO_TCP) ||
          (kept->type == SOCK_DGRAM && kept->protocol == IPPROTO_UDP))) {
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

const struct handle_kind handle_inet = {.name = "inet socket",
                                        .is_it = is_it,
                                        .capture = capture_socket,
                                        .complete = complete,
                                        .complete_all = complete_all,
                                        .open = open_socket,
                                        .forget = forget};
