/* Netlink sockets that ask for, or wait for news of, interfaces, routes, sockets and devices. What they have been asked was
 * answered; what nobody has read yet is waited for. */
#include <fcntl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "fd.h"
#include "handle.h"

#define GROUP_WORDS 32

static const struct {
    int level, name;
} options[] = {
    {SOL_NETLINK, NETLINK_PKTINFO},    {SOL_NETLINK, NETLINK_BROADCAST_ERROR},
    {SOL_NETLINK, NETLINK_NO_ENOBUFS}, {SOL_NETLINK, NETLINK_CAP_ACK},
    {SOL_NETLINK, NETLINK_EXT_ACK},    {SOL_NETLINK, NETLINK_GET_STRICT_CHK},
    {SOL_SOCKET, SO_PASSCRED},         {SOL_SOCKET, SO_PRIORITY},
    {SOL_SOCKET, SO_RCVLOWAT},
};
#define OPTIONS (sizeof options / sizeof *options)

struct kept_netlink {
    int type, protocol;
    uid_t uid;
    gid_t gid;
    struct sockaddr_nl name;
    uint32_t groups[GROUP_WORDS];
    int set[OPTIONS];
    int send_bytes, receive_bytes;
    struct timeval send_timeout, receive_timeout;
};

/* ---- capturing ---- */

static bool is_it(const struct seen *seen)
{
    int family = 0;
    socklen_t size = sizeof family;
    cleanup_fd fd = S_ISSOCK(seen->st.st_mode) && !seen->description ? seen_take(seen) : -1;

    return fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) == 0 && family == AF_NETLINK;
}

static int get(int fd, int name, void *value, socklen_t size)
{
    return getsockopt(fd, SOL_SOCKET, name, value, &size) < 0 ? -errno : 0;
}

static int get_all(struct kept_netlink *kept, int fd)
{
    socklen_t size = sizeof kept->groups;
    int result = get(fd, SO_TYPE, &kept->type, sizeof(int));

    result = result < 0 ? result : get(fd, SO_PROTOCOL, &kept->protocol, sizeof(int));
    result = result < 0 ? result : get(fd, SO_SNDBUF, &kept->send_bytes, sizeof(int));
    result = result < 0 ? result : get(fd, SO_RCVBUF, &kept->receive_bytes, sizeof(int));
    result = result < 0 ? result : get(fd, SO_SNDTIMEO, &kept->send_timeout, sizeof(struct timeval));
    result = result < 0 ? result : get(fd, SO_RCVTIMEO, &kept->receive_timeout, sizeof(struct timeval));
    if (result < 0 || getsockopt(fd, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, kept->groups, &size) < 0 ||
        size > sizeof kept->groups) {
        return result < 0 ? result : -EINVAL;
    }
    size = sizeof kept->name;
    if (getsockname(fd, (struct sockaddr *)&kept->name, &size) < 0) {
        return -errno;
    }
    for (size_t i = 0; i < OPTIONS; i++) {
        size = sizeof(int);
        if (getsockopt(fd, options[i].level, options[i].name, &kept->set[i], &size) < 0) {
            return -errno;
        }
    }
    return 0;
}

static bool is_known(int protocol)
{
    return protocol == NETLINK_ROUTE || protocol == NETLINK_SOCK_DIAG || protocol == NETLINK_KOBJECT_UEVENT;
}

static int check(const struct seen *seen, const struct kept_netlink *kept, int fd)
{
    struct pollfd events = {.fd = fd, .events = POLLIN};
    struct sockaddr_nl peer = {0};
    socklen_t size = 0, peer_size = sizeof peer;

    if (seen->move->sandbox->cell->host_net || !seen_is_of_cell(seen, fd)) {
        return seen_refuse(seen, "it is in a network namespace of its own, or the host's");
    }
    if (!is_known(kept->protocol)) {
        return seen_refuse(seen, "netlink sockets of this protocol are not brought back");
    }
    if (getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, NULL, &size) < 0 || size > 0) {
        return seen_refuse(seen, "it has a filter");
    }
    if (getpeername(fd, (struct sockaddr *)&peer, &peer_size) < 0 || peer.nl_pid || peer.nl_groups) {
        return seen_refuse(seen, "it is connected to another one");
    }
    return poll(&events, 1, 0) > 0 && events.revents & (POLLIN | POLLERR)
               ? seen_wait(seen, "nobody has read yet what it has received")
               : 0;
}

static int capture_socket(const struct seen *seen, struct image_handle *handle)
{
    cleanup_fd fd = seen_take(seen);

    if (fd < 0) {
        return fd;
    }
    struct kept_netlink *kept = handle_keep(sizeof *kept);
    kept->uid = seen->st.st_uid;
    kept->gid = seen->st.st_gid;
    int result = get_all(kept, fd);
    result = result < 0 ? result : check(seen, kept, fd);
    if (result != 0) {
        free(kept);
        return result;
    }
    handle->kept = kept;
    return 0;
}

/* ---- opening ---- */

static int set(int fd, int name, const void *value, socklen_t size)
{
    return setsockopt(fd, SOL_SOCKET, name, value, size) < 0 ? -errno : 0;
}

/* The kernel doubles the sizes it is given. */
static int set_all(const struct kept_netlink *kept, int fd)
{
    const int send = kept->send_bytes / 2, receive = kept->receive_bytes / 2;
    int result = set(fd, SO_SNDBUFFORCE, &send, sizeof send);

    result = result < 0 ? result : set(fd, SO_RCVBUFFORCE, &receive, sizeof receive);
    result = result < 0 ? result : set(fd, SO_SNDTIMEO, &kept->send_timeout, sizeof(struct timeval));
    result = result < 0 ? result : set(fd, SO_RCVTIMEO, &kept->receive_timeout, sizeof(struct timeval));
    for (size_t i = 0; result == 0 && i < OPTIONS; i++) {
        if (kept->set[i] &&
            setsockopt(fd, options[i].level, options[i].name, &kept->set[i], sizeof(int)) < 0) {
            return -errno;
        }
    }
    for (int group = 1; result == 0 && group <= GROUP_WORDS * 32; group++) {
        if (kept->groups[(group - 1) / 32] >> (group - 1) % 32 & 1 &&
            setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) < 0) {
            return -errno;
        }
    }
    return result;
}

static int open_socket(const struct opening *opening, const struct image_handle *handle)
{
    const struct kept_netlink *kept = handle->kept;
    const struct sockaddr_nl name = {.nl_family = AF_NETLINK, .nl_pid = kept->name.nl_pid};
    cleanup_fd fd = opening_make(opening, SYS_socket, AF_NETLINK, (uint64_t)kept->type | SOCK_CLOEXEC,
                                 (uint64_t)kept->protocol, 0);

    if (fd < 0) {
        return fd;
    }
    if ((name.nl_pid && bind(fd, (const struct sockaddr *)&name, sizeof name) < 0) ||
        fchown(fd, kept->uid, kept->gid) < 0 || fcntl(fd, F_SETFL, handle->flags & O_NONBLOCK) < 0) {
        return -errno;
    }
    int result = set_all(kept, fd);
    return result < 0 ? result : fd_steal(&fd);
}

static void pack_handle(struct pack *pack, struct image_handle *handle)
{
    struct kept_netlink *kept = pack_kept(pack, &handle->kept, sizeof *kept);

    PACK(pack, kept->type);
    PACK(pack, kept->protocol);
    pack_check(pack, is_known(kept->protocol) && (kept->type == SOCK_RAW || kept->type == SOCK_DGRAM),
               "a socket that is none");
    pack_id(pack, &kept->uid);
    pack_id(pack, &kept->gid);
    pack_raw(pack, &kept->name, sizeof kept->name);
    pack_raw(pack, kept->groups, sizeof kept->groups);
    for (size_t i = 0; i < OPTIONS; i++) {
        PACK(pack, kept->set[i]);
    }
    PACK(pack, kept->send_bytes);
    PACK(pack, kept->receive_bytes);
    pack_raw(pack, &kept->send_timeout, sizeof kept->send_timeout);
    pack_raw(pack, &kept->receive_timeout, sizeof kept->receive_timeout);
}

const struct handle_kind handle_netlink = {.name = "netlink socket",
                                           .is_it = is_it,
                                           .capture = capture_socket,
                                           .open = open_socket,
                                           .pack = pack_handle};
