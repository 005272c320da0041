/* TCP sockets that listen, and TCP and UDP sockets that are bound or not yet in use. */
#include <fcntl.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "fd.h"
#include "handle.h"

#define STATE_LISTENS 10
#define STATE_CLOSED 7
#define BUFFER_LOCK 72 /* SO_BUF_LOCK: who chose its sizes */
#define LOCKED_SEND 1
#define LOCKED_RECEIVE 2

/* Those above are needed before a name is bound. */
static const struct {
    int level, name;
} options[] = {
    {IPPROTO_IPV6, IPV6_V6ONLY},
    {SOL_SOCKET, SO_REUSEADDR},
    {SOL_SOCKET, SO_REUSEPORT},
    {IPPROTO_IP, IP_FREEBIND},
    {IPPROTO_IP, IP_TRANSPARENT},
    {SOL_SOCKET, SO_KEEPALIVE},
    {SOL_SOCKET, SO_BROADCAST},
    {SOL_SOCKET, SO_OOBINLINE},
    {SOL_SOCKET, SO_PRIORITY},
    {SOL_SOCKET, SO_MARK},
    {SOL_SOCKET, SO_RCVLOWAT},
    {SOL_SOCKET, SO_DONTROUTE},
    {SOL_SOCKET, SO_TIMESTAMP},
    {SOL_SOCKET, SO_TIMESTAMPNS},
    {SOL_SOCKET, SO_RXQ_OVFL},
    {SOL_SOCKET, SO_PEEK_OFF},
    {IPPROTO_IP, IP_TOS},
    {IPPROTO_IP, IP_TTL},
    {IPPROTO_IP, IP_MTU_DISCOVER},
    {IPPROTO_IP, IP_RECVERR},
    {IPPROTO_IP, IP_PKTINFO},
    {IPPROTO_IP, IP_RECVTTL},
    {IPPROTO_IP, IP_RECVTOS},
    {IPPROTO_IP, IP_MULTICAST_TTL},
    {IPPROTO_IP, IP_MULTICAST_LOOP},
    {IPPROTO_IPV6, IPV6_UNICAST_HOPS},
    {IPPROTO_IPV6, IPV6_RECVPKTINFO},
    {IPPROTO_IPV6, IPV6_RECVHOPLIMIT},
    {IPPROTO_IPV6, IPV6_MTU_DISCOVER},
    {IPPROTO_IPV6, IPV6_RECVERR},
    {IPPROTO_IPV6, IPV6_TCLASS},
    {IPPROTO_IPV6, IPV6_RECVTCLASS},
    {IPPROTO_IPV6, IPV6_MULTICAST_HOPS},
    {IPPROTO_IPV6, IPV6_MULTICAST_LOOP},
    {IPPROTO_TCP, TCP_NODELAY},
    {IPPROTO_TCP, TCP_CORK},
    {IPPROTO_TCP, TCP_KEEPIDLE},
    {IPPROTO_TCP, TCP_KEEPINTVL},
    {IPPROTO_TCP, TCP_KEEPCNT},
    {IPPROTO_TCP, TCP_SYNCNT},
    {IPPROTO_TCP, TCP_LINGER2},
    {IPPROTO_TCP, TCP_DEFER_ACCEPT},
    {IPPROTO_TCP, TCP_USER_TIMEOUT},
    {IPPROTO_TCP, TCP_FASTOPEN},
    {IPPROTO_TCP, TCP_NOTSENT_LOWAT},
};
#define OPTIONS (sizeof options / sizeof *options)

struct kept_socket {
    int family, type, protocol;
    uid_t uid;
    gid_t gid;
    struct sockaddr_storage name;
    socklen_t name_size;
    bool is_bound, listens;
    int backlog;
    struct {
        bool is_there;
        int value;
    } set[OPTIONS];
    int send_bytes, receive_bytes, locked;
    struct linger linger;
    struct timeval send_timeout, receive_timeout;
};

/* ---- capturing ---- */

static bool is_it(const struct seen *seen)
{
    int family = 0;
    socklen_t size = sizeof family;
    cleanup_fd fd = S_ISSOCK(seen->st.st_mode) && !seen->description ? seen_take(seen) : -1;

    return fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) == 0 &&
           (family == AF_INET || family == AF_INET6);
}

static int get(int fd, int name, void *value, socklen_t size)
{
    return getsockopt(fd, SOL_SOCKET, name, value, &size) < 0 ? -errno : 0;
}

static int get_all(struct kept_socket *kept, int fd)
{
    int result = get(fd, SO_DOMAIN, &kept->family, sizeof(int));

    result = result < 0 ? result : get(fd, SO_TYPE, &kept->type, sizeof(int));
    result = result < 0 ? result : get(fd, SO_PROTOCOL, &kept->protocol, sizeof(int));
    result = result < 0 ? result : get(fd, SO_SNDBUF, &kept->send_bytes, sizeof(int));
    result = result < 0 ? result : get(fd, SO_RCVBUF, &kept->receive_bytes, sizeof(int));
    result = result < 0 ? result : get(fd, BUFFER_LOCK, &kept->locked, sizeof(int));
    result = result < 0 ? result : get(fd, SO_LINGER, &kept->linger, sizeof kept->linger);
    result = result < 0 ? result : get(fd, SO_SNDTIMEO, &kept->send_timeout, sizeof kept->send_timeout);
    result = result < 0 ? result : get(fd, SO_RCVTIMEO, &kept->receive_timeout, sizeof kept->receive_timeout);
    for (size_t i = 0; i < OPTIONS; i++) {
        socklen_t size = sizeof(int);
        kept->set[i].is_there =
            getsockopt(fd, options[i].level, options[i].name, &kept->set[i].value, &size) == 0;
    }
    return result;
}

static bool find_name(struct kept_socket *kept, int fd)
{
    kept->name_size = sizeof kept->name;
    if (getsockname(fd, (struct sockaddr *)&kept->name, &kept->name_size) < 0) {
        return false;
    }
    /* the port is at the same place in both families */
    kept->is_bound = ((const struct sockaddr_in *)&kept->name)->sin_port != 0;
    return true;
}

static const char *why_not_tcp(struct kept_socket *kept, int fd, int events)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof info;

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0) {
        return "the kernel tells nothing of it";
    }
    kept->listens = info.tcpi_state == STATE_LISTENS;
    kept->backlog = (int)info.tcpi_sacked;
    if (kept->listens) {
        return info.tcpi_unacked > 0 ? "a connection waits to be accepted" : NULL;
    }
    return info.tcpi_state != STATE_CLOSED || events & (POLLIN | POLLRDHUP | POLLERR)
               ? "TCP connections are not brought back"
               : NULL;
}

static bool is_of_cell(const struct seen *seen, int fd)
{
    struct stat own, cell;
    cleanup_fd space = ioctl(fd, SIOCGSKNS);

    return space >= 0 && fstat(space, &own) == 0 && fstat(seen->move->sandbox->cell->net_ns, &cell) == 0 &&
           own.st_ino == cell.st_ino && own.st_dev == cell.st_dev;
}

static const char *why_not(const struct seen *seen, struct kept_socket *kept, int fd)
{
    struct pollfd events = {.fd = fd, .events = POLLIN | POLLRDHUP};
    struct sockaddr_storage peer;
    socklen_t size = 0;
    char device[16];

    if (seen->move->sandbox->cell->host_net) {
        return "it is in the host's network";
    }
    if (!is_of_cell(seen, fd)) {
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
    if (!find_name(kept, fd) || poll(&events, 1, 0) < 0) {
        return "the kernel tells nothing of it";
    }
    if (kept->type == SOCK_STREAM) {
        return why_not_tcp(kept, fd, events.revents);
    }
    size = sizeof peer;
    if (getpeername(fd, (struct sockaddr *)&peer, &size) == 0) {
        return "a connected UDP socket is not brought back";
    }
    return events.revents & (POLLIN | POLLERR | POLLRDHUP) ? "nobody has read yet what it has received"
                                                           : NULL;
}

static int capture_socket(const struct seen *seen, struct image_handle *handle)
{
    cleanup_fd fd = seen_take(seen);

    if (fd < 0) {
        return fd;
    }
    struct kept_socket *kept = handle_keep(sizeof *kept);
    kept->uid = seen->st.st_uid;
    kept->gid = seen->st.st_gid;
    int result = get_all(kept, fd);
    const char *reason = result < 0 ? "the kernel tells nothing of it" : why_not(seen, kept, fd);
    if (reason) {
        free(kept);
        return seen_refuse(seen, reason);
    }
    handle->kept = kept;
    return 0;
}

/* ---- making ---- */

static int set_options(const struct kept_socket *kept, int fd)
{
    for (size_t i = 0; i < OPTIONS; i++) {
        int now;
        socklen_t size = sizeof now;
        if (!kept->set[i].is_there || (getsockopt(fd, options[i].level, options[i].name, &now, &size) == 0 &&
                                       now == kept->set[i].value)) {
            continue;
        }
        if (setsockopt(fd, options[i].level, options[i].name, &kept->set[i].value, sizeof(int)) < 0) {
            return -errno;
        }
    }
    return 0;
}

static int set(int fd, int name, const void *value, socklen_t size)
{
    return setsockopt(fd, SOL_SOCKET, name, value, size) < 0 ? -errno : 0;
}

/* The kernel doubles the sizes it is given, and goes on choosing those that nobody chose. */
static int set_rest(const struct kept_socket *kept, int fd)
{
    const int send = kept->send_bytes / 2, receive = kept->receive_bytes / 2;
    int result = kept->locked & LOCKED_SEND ? set(fd, SO_SNDBUFFORCE, &send, sizeof send) : 0;

    if (result == 0 && kept->locked & LOCKED_RECEIVE) {
        result = set(fd, SO_RCVBUFFORCE, &receive, sizeof receive);
    }
    result = result < 0 ? result : set(fd, SO_LINGER, &kept->linger, sizeof kept->linger);
    result = result < 0 ? result : set(fd, SO_SNDTIMEO, &kept->send_timeout, sizeof kept->send_timeout);
    return result < 0 ? result : set(fd, SO_RCVTIMEO, &kept->receive_timeout, sizeof kept->receive_timeout);
}

static int open_socket(const struct opening *opening, const struct image_handle *handle)
{
    const struct kept_socket *kept = handle->kept;
    cleanup_fd fd = opening_make(opening, SYS_socket, (uint64_t)kept->family,
                                 (uint64_t)kept->type | SOCK_CLOEXEC, (uint64_t)kept->protocol, 0);
    int result = fd < 0 ? fd : set_options(kept, fd);

    result = result < 0 ? result : set_rest(kept, fd);
    if (result < 0) {
        return result;
    }
    if ((kept->is_bound && bind(fd, (const struct sockaddr *)&kept->name, kept->name_size) < 0) ||
        (kept->listens && listen(fd, kept->backlog) < 0) || fchown(fd, kept->uid, kept->gid) < 0 ||
        fcntl(fd, F_SETFL, handle->flags & O_NONBLOCK) < 0) {
        return -errno;
    }
    return fd_steal(&fd);
}

const struct handle_kind handle_inet = {
    .name = "inet socket", .is_it = is_it, .capture = capture_socket, .open = open_socket};
