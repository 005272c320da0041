/* The options of TCP and UDP sockets. */
#include <linux/udp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include "fd.h"
#include "inet_socket.h"

#define BUFFER_LOCK 72 /* SO_BUF_LOCK: who chose its sizes */
#define EARLY 5        /* so many are needed before a name is bound */

static const struct {
    int level, name;
} table[] = {
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
    {IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT},
    {SOL_SOCKET, SO_ZEROCOPY},
    {IPPROTO_UDP, UDP_CORK},
    {IPPROTO_UDP, UDP_SEGMENT},
    {IPPROTO_UDP, UDP_GRO},
    {IPPROTO_TCP, TCP_INQ},
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
#define COUNT (sizeof table / sizeof *table)
_Static_assert(COUNT <= INET_OPTIONS, "there is room for all options");

static int get(int fd, int name, void *value, socklen_t size)
{
    return getsockopt(fd, SOL_SOCKET, name, value, &size) < 0 ? -errno : 0;
}

static int set(int fd, int name, const void *value, socklen_t size)
{
    return setsockopt(fd, SOL_SOCKET, name, value, size) < 0 ? -errno : 0;
}

/* A stream has them from whom it was accepted from, and cannot be given them. */
static bool is_for_multicast(size_t index)
{
    return (table[index].level == IPPROTO_IP &&
            (table[index].name == IP_MULTICAST_TTL || table[index].name == IP_MULTICAST_LOOP)) ||
           (table[index].level == IPPROTO_IPV6 &&
            (table[index].name == IPV6_MULTICAST_HOPS || table[index].name == IPV6_MULTICAST_LOOP));
}

int inet_options_get(struct inet_options *options, int fd)
{
    int type = 0, result = get(fd, SO_SNDBUF, &options->send_bytes, sizeof(int));
    socklen_t size;

    result = result < 0 ? result : get(fd, SO_RCVBUF, &options->receive_bytes, sizeof(int));
    result = result < 0 ? result : get(fd, BUFFER_LOCK, &options->locked, sizeof(int));
    result = result < 0 ? result : get(fd, SO_LINGER, &options->linger, sizeof options->linger);
    result = result < 0 ? result : get(fd, SO_SNDTIMEO, &options->send_timeout, sizeof(struct timeval));
    result = result < 0 ? result : get(fd, SO_RCVTIMEO, &options->receive_timeout, sizeof(struct timeval));
    result = result < 0 ? result : get(fd, SO_TYPE, &type, sizeof type);
    for (size_t i = 0; i < COUNT; i++) {
        size = sizeof(int);
        options->set[i].is_there =
            !(type == SOCK_STREAM && is_for_multicast(i)) &&
            getsockopt(fd, table[i].level, table[i].name, &options->set[i].value, &size) == 0;
    }
    size = sizeof options->congestion - 1;
    if (getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, options->congestion, &size) < 0) {
        options->congestion[0] = '\0';
    }
    return result;
}

static int set_from_table(const struct inet_options *options, int fd, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        int now;
        socklen_t size = sizeof now;
        if (!options->set[i].is_there || (getsockopt(fd, table[i].level, table[i].name, &now, &size) == 0 &&
                                          now == options->set[i].value)) {
            continue;
        }
        if (setsockopt(fd, table[i].level, table[i].name, &options->set[i].value, sizeof(int)) < 0) {
            return -errno;
        }
    }
    return 0;
}

int inet_options_set_early(const struct inet_options *options, int fd)
{
    return set_from_table(options, fd, 0, EARLY);
}

/* The kernel doubles the sizes it is given. Being told of one, it no longer chooses: unless it is told to go on. */
static int set_sizes(const struct inet_options *options, int fd)
{
    const int send = options->send_bytes / 2, receive = options->receive_bytes / 2;
    int locked = 0, send_now = 0, receive_now = 0, result = get(fd, BUFFER_LOCK, &locked, sizeof locked);

    result = result < 0 ? result : get(fd, SO_SNDBUF, &send_now, sizeof send_now);
    result = result < 0 ? result : get(fd, SO_RCVBUF, &receive_now, sizeof receive_now);
    if (result < 0 || (locked == options->locked && send_now == options->send_bytes &&
                       receive_now == options->receive_bytes)) {
        return result;
    }
    result = set(fd, SO_SNDBUFFORCE, &send, sizeof send);
    result = result < 0 ? result : set(fd, SO_RCVBUFFORCE, &receive, sizeof receive);
    return result < 0 ? result : set(fd, BUFFER_LOCK, &options->locked, sizeof(int));
}

static int set_congestion(const struct inet_options *options, int fd)
{
    char now[sizeof options->congestion] = "";
    socklen_t size = sizeof now - 1;

    if (!options->congestion[0] || (getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, now, &size) == 0 &&
                                    strcmp(now, options->congestion) == 0)) {
        return 0;
    }
    return setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, options->congestion,
                      (socklen_t)strlen(options->congestion)) < 0
               ? -errno
               : 0;
}

/* The first is fixed when a name is bound. */
int inet_options_set(const struct inet_options *options, int fd)
{
    int result = set_from_table(options, fd, 1, COUNT);

    result = result < 0 ? result : set_congestion(options, fd);
    result = result < 0 ? result : set_sizes(options, fd);
    result = result < 0 ? result : set(fd, SO_LINGER, &options->linger, sizeof options->linger);
    result = result < 0 ? result : set(fd, SO_SNDTIMEO, &options->send_timeout, sizeof(struct timeval));
    return result < 0 ? result : set(fd, SO_RCVTIMEO, &options->receive_timeout, sizeof(struct timeval));
}
