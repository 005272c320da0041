/* TCP connections whose ends are made one by one, in repair: without a handshake, and with what they have received. What
 * had not arrived is sent once more, and what was shut is shut again. */
#include <linux/tcp.h>
#include <string.h>

#include "fd.h"
#include "inet_socket.h"

#define OPTION_SEGMENT 2
#define OPTION_SCALE 3
#define OPTION_SACK 4
#define OPTION_TIME_STAMPS 8
#define ROOM (256 << 10)

static int set(int fd, int name, int value)
{
    return setsockopt(fd, IPPROTO_TCP, name, &value, sizeof value) < 0 ? -errno : 0;
}

int tcp_bind(const struct kept_inet *kept, int fd)
{
    int result = inet_options_set_early(&kept->options, fd);

    if (result < 0 || !kept->is_bound) {
        return result;
    }
    result = set(fd, TCP_REPAIR, TCP_REPAIR_ON);
    if (result == 0 && bind(fd, (const struct sockaddr *)&kept->name.address, kept->name.size) < 0) {
        return -errno;
    }
    result = result < 0 ? result : set(fd, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP);
    return result < 0 ? result : inet_options_set_early(&kept->options, fd); /* repair leaves one of them */
}

/* ---- making ends ---- */

/* Where the numbers of the stream into an end begin. */
static uint32_t begin_of(int end)
{
    return (uint32_t)(end + 1) << 24;
}

static int set_numbers(const struct tcp_end ends[2], int at)
{
    const uint32_t sent = begin_of(!at) + (uint32_t)ends[!at].kept->received_count;
    int result = set(ends[at].fd, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE);

    result = result < 0 ? result : set(ends[at].fd, TCP_QUEUE_SEQ, (int)sent);
    result = result < 0 ? result : set(ends[at].fd, TCP_REPAIR_QUEUE, TCP_RECV_QUEUE);
    return result < 0 ? result : set(ends[at].fd, TCP_QUEUE_SEQ, (int)begin_of(at));
}

static int agree(const struct tcp_end *end, const struct tcp_end *other)
{
    const struct kept_inet *kept = end->kept;
    struct tcp_repair_opt options[4];
    size_t count = 0;

    options[count++] = (struct tcp_repair_opt){.opt_code = OPTION_SEGMENT, .opt_val = kept->segment};
    if (kept->has_scale) {
        options[count++] = (struct tcp_repair_opt){.opt_code = OPTION_SCALE,
                                                   .opt_val = other->kept->scale | kept->scale << 16};
    }
    if (kept->has_sack) {
        options[count++] = (struct tcp_repair_opt){.opt_code = OPTION_SACK};
    }
    if (kept->has_time_stamps) {
        options[count++] = (struct tcp_repair_opt){.opt_code = OPTION_TIME_STAMPS};
    }
    return setsockopt(end->fd, IPPROTO_TCP, TCP_REPAIR_OPTIONS, options,
                      (socklen_t)(count * sizeof *options)) < 0
               ? -errno
               : 0;
}

static int set_windows(const struct tcp_end ends[2], int at, unsigned window)
{
    const struct kept_inet *kept = ends[at].kept, *other = ends[!at].kept;
    const uint32_t arrived = begin_of(at) + (uint32_t)kept->received_count;
    const struct tcp_repair_window windows = {
        .snd_wl1 = arrived,
        .snd_wnd = other->window,
        .max_window = other->window > kept->largest_window ? other->window : kept->largest_window,
        .rcv_wnd = window,
        .rcv_wup = arrived,
    };

    return setsockopt(ends[at].fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, &windows, sizeof windows) < 0 ? -errno : 0;
}

/* How far the window may open is learned from what arrives, or said here: from the window of the moment. */
static int open_window(const struct tcp_end ends[2], int at)
{
    const struct kept_inet *kept = ends[at].kept;
    int result = set_windows(ends, at, kept->window_limit);

    result = result < 0 ? result : set(ends[at].fd, TCP_WINDOW_CLAMP, (int)kept->window_clamp);
    return result < 0 ? result : set_windows(ends, at, kept->window);
}

static int make_roomy(int fd, int option, size_t bytes)
{
    const int room = (int)(4 * bytes < 1 << 29 ? 4 * bytes + ROOM : 1 << 29);

    return bytes > 0 && setsockopt(fd, SOL_SOCKET, option, &room, sizeof room) < 0 ? -errno : 0;
}

static int send_all(int fd, const uint8_t *bytes, size_t count)
{
    for (size_t done = 0; done < count;) {
        ssize_t sent = send(fd, bytes + done, count - done, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent <= 0) {
            return sent < 0 ? -errno : -EIO;
        }
        done += (size_t)sent;
    }
    return 0;
}

/* It takes for sent and received what it is told. */
static int make_end(const struct tcp_end ends[2], int at)
{
    const struct tcp_end *end = &ends[at];
    const struct kept_inet *kept = end->kept;
    int result = inet_options_set_early(&kept->options, end->fd);

    result = result < 0 ? result : make_roomy(end->fd, SO_RCVBUFFORCE, kept->received_count);
    result = result < 0 ? result : set(end->fd, TCP_REPAIR, TCP_REPAIR_ON);
    if (result == 0 && bind(end->fd, (const struct sockaddr *)&kept->name.address, kept->name.size) < 0) {
        return -errno;
    }
    result = result < 0 ? result : set_numbers(ends, at);
    if (result == 0 &&
        connect(end->fd, (const struct sockaddr *)&kept->peer_name.address, kept->peer_name.size) < 0) {
        return -errno;
    }
    result = result < 0 ? result : agree(end, &ends[!at]);
    result = result < 0 ? result : set(end->fd, TCP_REPAIR_QUEUE, TCP_RECV_QUEUE);
    result = result < 0 ? result : send_all(end->fd, kept->received, kept->received_count);
    return result < 0 ? result : open_window(ends, at);
}

/* ---- what had not arrived, and what was shut ---- */

static int send_rest(const struct tcp_end *end, const struct tcp_end *other)
{
    const struct kept_inet *kept = end->kept;
    size_t arrived = (uint32_t)(other->kept->received_end - kept->sent_begin);

    if (kept->sent_count <= arrived) {
        return 0;
    }
    int result = make_roomy(end->fd, SO_SNDBUFFORCE, kept->sent_count);
    return result < 0 ? result : send_all(end->fd, kept->sent + arrived, kept->sent_count - arrived);
}

static bool has_shut(const struct kept_inet *kept)
{
    return kept->state == TCP_IS_FIN_WAIT1 || kept->state == TCP_IS_FIN_WAIT2 ||
           kept->state == TCP_IS_LAST_ACK || kept->state == TCP_IS_CLOSING;
}

static bool was_told(const struct kept_inet *kept)
{
    return kept->state == TCP_IS_CLOSE_WAIT || kept->state == TCP_IS_LAST_ACK ||
           kept->state == TCP_IS_CLOSING;
}

static int shut(const struct tcp_end *end)
{
    if (has_shut(end->kept) && shutdown(end->fd, SHUT_WR) < 0) {
        return -errno;
    }
    return end->kept->receive_shut && !was_told(end->kept) && shutdown(end->fd, SHUT_RD) < 0 ? -errno : 0;
}

int tcp_connect_ends(struct tcp_end ends[2])
{
    int result = make_end(ends, 0);

    result = result < 0 ? result : make_end(ends, 1);
    for (int i = 0; result == 0 && i < 2; i++) {
        result = set(ends[i].fd, TCP_REPAIR, TCP_REPAIR_OFF);
    }
    for (int i = 0; result == 0 && i < 2; i++) {
        result = send_rest(&ends[i], &ends[!i]);
    }
    for (int i = 0; result == 0 && i < 2; i++) {
        result = shut(&ends[i]);
    }
    return result;
}

/* ---- without another end ---- */

/* Of a connection that is over nobody is told any more where it led to: any port will do. */
static int find_other(const struct kept_inet *kept, struct inet_name *name)
{
    if (kept->has_peer) {
        *name = kept->peer_name;
        return 0;
    }
    cleanup_fd other = socket(kept->family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *name = kept->name;
    ((struct sockaddr_in *)&name->address)->sin_port = 0;
    return bind(other, (const struct sockaddr *)&name->address, name->size) < 0 ||
                   getsockname(other, (struct sockaddr *)&name->address, &name->size) < 0
               ? -errno
               : 0;
}

static int close_reset(const struct kept_inet *kept, int fd, int other)
{
    const struct linger at_once = {.l_onoff = 1};
    int told;
    socklen_t size = sizeof told;

    if (setsockopt(other, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) < 0) {
        close(other);
        return -errno;
    }
    close(other);
    return kept->fate == TCP_OVER && getsockopt(fd, SOL_SOCKET, SO_ERROR, &told, &size) < 0 ? -errno : 0;
}

int tcp_connect_alone(const struct kept_inet *kept, int fd, int other)
{
    struct kept_inet own = *kept, gone = *kept;

    own.sent_count = gone.sent_count = gone.received_count = 0;
    gone.state = TCP_IS_ESTABLISHED;
    gone.receive_shut = false;
    if (kept->fate == TCP_OVER) {
        own.state = TCP_IS_ESTABLISHED;
        own.receive_shut = false;
    }
    int result = find_other(kept, &own.peer_name);
    gone.name = own.peer_name;
    gone.peer_name = own.name;
    struct tcp_end ends[2] = {{.kept = &own, .fd = fd}, {.kept = &gone, .fd = other}};
    result = result < 0 ? result : tcp_connect_ends(ends);
    if (result < 0) {
        close(other);
        return result;
    }
    if (kept->fate == TCP_OVER || kept->fate == TCP_PEER_ALIEN) {
        return close_reset(kept, fd, other);
    }
    if (kept->fate == TCP_PEER_LOST) {
        result = set(other, TCP_REPAIR, TCP_REPAIR_ON); /* it goes without a word */
    }
    close(other);
    return result;
}
