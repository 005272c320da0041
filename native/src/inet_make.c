/* The TCP and UDP sockets of an image, all together: what has a name first, then connections, then who waits to be accepted,
 * and what waits to be received. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <string.h>

#include "deputy.h"
#include "fd.h"
#include "handle.h"
#include "inet_socket.h"

#define ROOM (64 << 20)

struct making {
    struct revival *revival;
    struct deputies deputies;
};

static bool is_inet(const struct making *making, size_t handle)
{
    return making->revival->image->handles[handle].kind == &handle_inet;
}

static const struct kept_inet *kept_of(const struct making *making, size_t handle)
{
    return making->revival->image->handles[handle].kept;
}

static int fd_of(const struct making *making, size_t handle)
{
    return making->revival->opened[handle];
}

static int make_socket(struct making *making, size_t handle)
{
    const struct kept_inet *kept = kept_of(making, handle);
    int fd = deputy_socket(&making->deputies, kept->family, kept->type, kept->protocol);

    making->revival->opened[handle] = fd;
    return fd < 0 ? fd : 0;
}

/* ---- names ---- */

static int bind_it(struct making *making, size_t handle)
{
    const struct kept_inet *kept = kept_of(making, handle);
    const int fd = fd_of(making, handle);

    if (kept->type == SOCK_STREAM) {
        return tcp_bind(kept, fd);
    }
    int result = inet_options_set_early(&kept->options, fd);
    return result == 0 && kept->is_bound &&
                   bind(fd, (const struct sockaddr *)&kept->name.address, kept->name.size) < 0
               ? -errno
               : result;
}

/* With room for all who wait, also when the program has made room for fewer since. */
static int listen_on(struct making *making, size_t handle)
{
    const struct kept_inet *kept = kept_of(making, handle);
    const int most = kept->backlog > (int)kept->waiting ? kept->backlog : (int)kept->waiting;
    int result = inet_options_set(&kept->options, fd_of(making, handle));

    return result < 0 ? result : listen(fd_of(making, handle), most) < 0 ? -errno : 0;
}

/* ---- connections ---- */

static int connect_ends(struct making *making, size_t handle)
{
    const struct kept_inet *kept = kept_of(making, handle);

    if (handle > kept->peer) {
        return 0; /* with the other end */
    }
    struct tcp_end ends[2] = {{.kept = kept, .fd = fd_of(making, handle)},
                              {.kept = kept_of(making, kept->peer), .fd = fd_of(making, kept->peer)}};
    return tcp_connect_ends(ends);
}

static int connect_alone(struct making *making, size_t handle)
{
    const struct kept_inet *kept = kept_of(making, handle);
    int other = deputy_socket(&making->deputies, kept->family, kept->type, kept->protocol);

    return other < 0 ? other : tcp_connect_alone(kept, fd_of(making, handle), other);
}

/* By a handshake: the listener is there. */
static int connect_and_wait(struct making *making, size_t handle)
{
    const struct kept_inet *kept = kept_of(making, handle);
    const struct timeval limit = {.tv_sec = 1};
    const int fd = fd_of(making, handle);
    int result = tcp_bind(kept, fd);

    if (result < 0) {
        return result;
    }
    return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0 ||
                   connect(fd, (const struct sockaddr *)&kept->peer_name.address, kept->peer_name.size) < 0 ||
                   (kept->receive_shut && shutdown(fd, SHUT_RD) < 0)
               ? -errno
               : 0;
}

/* ---- datagrams ---- */

static bool is_any_address(const struct inet_name *name)
{
    const struct sockaddr_in *four = (const void *)&name->address;
    const struct sockaddr_in6 *six = (const void *)&name->address;

    return name->address.ss_family == AF_INET ? four->sin_addr.s_addr == INADDR_ANY
                                              : IN6_IS_ADDR_UNSPECIFIED(&six->sin6_addr);
}

static bool is_port_of(const struct inet_name *a, const struct inet_name *b)
{
    return ((const struct sockaddr_in *)&a->address)->sin_port ==
           ((const struct sockaddr_in *)&b->address)->sin_port;
}

/* One that is bound to it, or another that is; -errno. */
static int sender_of(struct making *making, const struct inet_name *name)
{
    for (size_t i = 0; i < making->revival->image->handle_count; i++) {
        const struct kept_inet *kept = kept_of(making, i);
        if (is_inet(making, i) && kept->type == SOCK_DGRAM && kept->is_bound &&
            is_port_of(&kept->name, name) &&
            (is_any_address(&kept->name) || inet_is_same(&kept->name, name))) {
            return fcntl(fd_of(making, i), F_DUPFD_CLOEXEC, 0);
        }
    }
    cleanup_fd fd = deputy_socket(&making->deputies, name->address.ss_family, SOCK_DGRAM, IPPROTO_UDP);
    if (fd >= 0 && bind(fd, (const struct sockaddr *)&name->address, name->size) < 0) {
        return -errno;
    }
    return fd_steal(&fd);
}

/* What is bound to all addresses is sent to by one that the sender can reach. */
static void find_address(const struct kept_inet *kept, const struct inet_name *from, struct inet_name *to)
{
    struct sockaddr_in *four = (void *)&to->address;
    struct sockaddr_in6 *six = (void *)&to->address;
    const struct sockaddr_in6 *from_six = (const void *)&from->address;

    *to = kept->name;
    if (!is_any_address(to)) {
        return;
    }
    if (to->address.ss_family == AF_INET) {
        four->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    } else if (IN6_IS_ADDR_V4MAPPED(&from_six->sin6_addr)) {
        inet_pton(AF_INET6, "::ffff:127.0.0.1", &six->sin6_addr);
    } else {
        six->sin6_addr = in6addr_loopback;
    }
}

/* A sender of the older family knows only the older form. */
static int send_datagram(int sender, const uint8_t *bytes, size_t size, const struct inet_name *to)
{
    const struct sockaddr_in6 *six = (const void *)&to->address;
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = six->sin6_port};
    const void *address = &to->address;
    socklen_t address_size = to->size, domain_size = sizeof(int);
    int domain = 0;

    if (getsockopt(sender, SOL_SOCKET, SO_DOMAIN, &domain, &domain_size) < 0) {
        return -errno;
    }
    if (domain == AF_INET && to->address.ss_family == AF_INET6) {
        memcpy(&four.sin_addr, six->sin6_addr.s6_addr + 12, sizeof four.sin_addr);
        address = &four;
        address_size = sizeof four;
    }
    return sendto(sender, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL, address, address_size) < 0 ? -errno : 0;
}

static int fill_datagrams(struct making *making, size_t handle)
{
    const struct kept_inet *kept = kept_of(making, handle);
    const uint8_t *at = kept->bytes;
    const int room = ROOM;

    if (kept->datagram_count > 0 &&
        setsockopt(fd_of(making, handle), SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) < 0) {
        return -errno;
    }
    for (size_t i = 0; i < kept->datagram_count; i++) {
        const struct inet_datagram *datagram = &kept->datagrams[i];
        struct inet_name to;
        cleanup_fd sender = sender_of(making, &datagram->from);
        find_address(kept, &datagram->from, &to);
        int result = sender < 0 ? sender : send_datagram(sender, at, datagram->size, &to);
        if (result < 0) {
            return result;
        }
        at += datagram->size;
    }
    return 0;
}

static int connect_datagrams(struct making *making, size_t handle)
{
    const struct kept_inet *kept = kept_of(making, handle);

    return connect(fd_of(making, handle), (const struct sockaddr *)&kept->peer_name.address,
                   kept->peer_name.size) < 0
               ? -errno
               : 0;
}

/* ---- the whole ---- */

static int finish(struct making *making, size_t handle)
{
    const struct image_handle *image = &making->revival->image->handles[handle];
    const struct kept_inet *kept = image->kept;
    const int fd = fd_of(making, handle);
    int result = inet_options_set(&kept->options, fd);

    if (result == 0 && kept->listens && listen(fd, kept->backlog) < 0) {
        return -errno;
    }
    if (result == 0 &&
        (fchown(fd, kept->uid, kept->gid) < 0 || fcntl(fd, F_SETFL, image->flags & O_NONBLOCK) < 0)) {
        return -errno;
    }
    return result;
}

static bool is_any(const struct kept_inet *kept)
{
    (void)kept;
    return true;
}

static bool is_unconnected(const struct kept_inet *kept)
{
    return kept->fate == TCP_NO_CONNECTION;
}

static bool listens(const struct kept_inet *kept)
{
    return kept->listens;
}

static bool has_peer(const struct kept_inet *kept)
{
    return kept->fate == TCP_HAS_PEER;
}

static bool is_alone(const struct kept_inet *kept)
{
    return kept->fate == TCP_PEER_SHUT || kept->fate == TCP_PEER_LOST || kept->fate == TCP_PEER_ALIEN ||
           kept->fate == TCP_OVER;
}

static bool waits(const struct kept_inet *kept)
{
    return kept->fate == TCP_WAITS;
}

static bool is_datagrams(const struct kept_inet *kept)
{
    return kept->type == SOCK_DGRAM;
}

static bool is_connected_datagrams(const struct kept_inet *kept)
{
    return kept->type == SOCK_DGRAM && kept->has_peer;
}

static const struct {
    bool (*concerns)(const struct kept_inet *kept);
    int (*run)(struct making *making, size_t handle);
} phases[] = {
    {is_any, make_socket},
    {is_unconnected, bind_it},
    {listens, listen_on},
    {has_peer, connect_ends},
    {is_alone, connect_alone},
    {waits, connect_and_wait},
    {is_datagrams, fill_datagrams},
    {is_connected_datagrams, connect_datagrams},
    {is_any, finish},
};

int inet_make(struct revival *revival, const struct stage *stage)
{
    struct making making = {.revival = revival};
    int result = 0;

    deputies_begin(&making.deputies, revival, stage);
    for (size_t phase = 0; phase < sizeof phases / sizeof *phases; phase++) {
        for (size_t i = 0; result == 0 && revival->count > 0 && i < revival->image->handle_count; i++) {
            const struct kept_inet *kept = kept_of(&making, i);
            if (is_inet(&making, i) && phases[phase].concerns(kept)) {
                result = phases[phase].run(&making, i);
            }
        }
    }
    deputies_end(&making.deputies);
    return result;
}
