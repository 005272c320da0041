/* What is on its way in TCP connections, which are put into repair for that, and what waits in UDP sockets. */
#include <arpa/inet.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "fd.h"
#include "inet_socket.h"

#define DATAGRAM_MAX 65536
#define SCALE_BITS 4

/* ---- TCP ---- */

static int set(int fd, int name, int value)
{
    return setsockopt(fd, IPPROTO_TCP, name, &value, sizeof value) < 0 ? -errno : 0;
}

static int get(int fd, int name, void *value)
{
    socklen_t size = sizeof(int);

    return getsockopt(fd, IPPROTO_TCP, name, value, &size) < 0 ? -errno : 0;
}

/* Of what is to be sent the kernel shows all at once, of what was received what one look has room for. */
static int copy_queue(int fd, int queue, size_t room, uint8_t **bytes, size_t *count, uint32_t *number)
{
    int result = set(fd, TCP_REPAIR_QUEUE, queue);

    result = result < 0 ? result : get(fd, TCP_QUEUE_SEQ, number);
    if (result < 0 || room == 0) {
        return result;
    }
    *bytes = malloc(room);
    if (!*bytes) {
        die("out of memory");
    }
    ssize_t got = recv(fd, *bytes, room, MSG_PEEK | MSG_DONTWAIT);
    *count = got > 0 ? (size_t)got : 0;
    return got < 0 && errno != EAGAIN ? -errno : 0;
}

static int copy_queues(struct kept_inet *kept, int fd)
{
    int waiting = 0, outgoing = 0;
    uint32_t sent_end;

    if (ioctl(fd, SIOCINQ, &waiting) < 0 || ioctl(fd, SIOCOUTQ, &outgoing) < 0) {
        return -errno;
    }
    int result = copy_queue(fd, TCP_RECV_QUEUE, (size_t)waiting, &kept->received, &kept->received_count,
                            &kept->received_end);
    if (result == 0 && kept->received_count != (size_t)waiting) {
        return -EIO;
    }
    result = result < 0 ? result
                        : copy_queue(fd, TCP_SEND_QUEUE, (size_t)outgoing, &kept->sent, &kept->sent_count,
                                     &sent_end);
    kept->sent_begin = result < 0 ? 0 : sent_end - (uint32_t)outgoing;
    return result < 0 ? result : get(fd, TCP_MAXSEG, &kept->segment);
}

static int get_windows(struct kept_inet *kept, int fd)
{
    struct tcp_repair_window windows;
    socklen_t size = sizeof windows;

    if (getsockopt(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, &windows, &size) < 0) {
        return -errno;
    }
    kept->window = windows.rcv_wnd;
    kept->largest_window = windows.max_window;
    return get(fd, TCP_WINDOW_CLAMP, &kept->window_clamp);
}

static int get_scales(struct kept_inet *kept, int fd)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof info;

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0) {
        return -errno;
    }
    kept->has_time_stamps = info.tcpi_options & TCPI_OPT_TIMESTAMPS;
    kept->has_sack = info.tcpi_options & TCPI_OPT_SACK;
    kept->has_scale = info.tcpi_options & TCPI_OPT_WSCALE;
    kept->scale = info.tcpi_rcv_wscale;
    kept->window_limit = info.tcpi_rcv_ssthresh;
    return 0;
}

/* In repair a socket neither sends nor is heard of. What that changes for good is put right again. */
int tcp_look_inside(struct kept_inet *kept, int fd)
{
    const int none = -1;
    int reuse = 0, offset = -1, result = get_scales(kept, fd);
    socklen_t size = sizeof reuse;

    if (result < 0 || getsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse, &size) < 0) {
        return result < 0 ? result : -errno;
    }
    const bool has_offset = getsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &offset, &size) == 0 && offset >= 0;
    if ((has_offset && setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &none, sizeof none) < 0) ||
        (result = set(fd, TCP_REPAIR, TCP_REPAIR_ON)) < 0) {
        return result < 0 ? result : -errno;
    }
    result = copy_queues(kept, fd);
    result = result < 0 ? result : get_windows(kept, fd);
    int back = set(fd, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP);
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof reuse) < 0 ||
        (has_offset && setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset) < 0)) {
        back = -errno;
    }
    return result < 0 ? result : back;
}

/* ---- the other end ---- */

struct point {
    struct in6_addr address;
    unsigned port;
};

static void add_mapped(struct in6_addr *address, uint32_t four)
{
    *address = (struct in6_addr){0};
    address->s6_addr[10] = address->s6_addr[11] = 0xff;
    memcpy(address->s6_addr + 12, &four, sizeof four);
}

static struct point point_of(const struct inet_name *name)
{
    const struct sockaddr_in *four = (const void *)&name->address;
    const struct sockaddr_in6 *six = (const void *)&name->address;
    struct point point = {.address = six->sin6_addr, .port = ntohs(four->sin_port)};

    if (name->address.ss_family == AF_INET) {
        add_mapped(&point.address, four->sin_addr.s_addr);
    }
    return point;
}

static bool is_same_point(const struct point *a, const struct point *b)
{
    return a->port == b->port && memcmp(&a->address, &b->address, sizeof a->address) == 0;
}

bool inet_is_same(const struct inet_name *a, const struct inet_name *b)
{
    const struct point left = point_of(a), right = point_of(b);

    return is_same_point(&left, &right);
}

/* As /proc writes it: words in the order of the machine. */
static bool parse_point(const char *text, struct point *point)
{
    uint32_t words[4];

    if (sscanf(text, "%8x%8x%8x%8x:%x", &words[0], &words[1], &words[2], &words[3], &point->port) == 5) {
        memcpy(&point->address, words, sizeof words);
        return true;
    }
    if (sscanf(text, "%8x:%x", &words[0], &point->port) == 2) {
        add_mapped(&point->address, words[0]);
        return true;
    }
    return false;
}

static int search_table(const char *path, const struct point *from, const struct point *to,
                        struct tcp_told *told)
{
    FILE *file = fopen(path, "re");
    char line[512], local[64], remote[64];
    struct point at[2];
    int state = 0;

    while (file && state == 0 && fgets(line, sizeof line, file)) {
        unsigned long long inode;
        unsigned now;
        if (sscanf(line, " %*u: %63s %63s %x %lx:%lx %*s %*s %*u %*u %llu", local, remote, &now,
                   &told->to_send, &told->received, &inode) == 6 &&
            parse_point(local, &at[0]) && parse_point(remote, &at[1]) && is_same_point(&at[0], from) &&
            is_same_point(&at[1], to)) {
            told->inode = inode;
            state = (int)now;
        }
    }
    if (file) {
        fclose(file);
    }
    return state;
}

int tcp_ask_peer(const struct kept_inet *kept, pid_t tid, struct tcp_told *told)
{
    static const char *const tables[] = {"tcp", "tcp6"};
    const struct point from = point_of(&kept->peer_name), to = point_of(&kept->name);
    char path[64];
    int state = 0;

    *told = (struct tcp_told){0};
    for (int i = 0; state == 0 && i < 2; i++) {
        snprintf(path, sizeof path, "/proc/%d/net/%s", tid, tables[i]);
        state = search_table(path, &from, &to, told);
    }
    return state;
}

/* ---- UDP ---- */

static void add_datagram(struct kept_inet *kept, const uint8_t *bytes, size_t size,
                         const struct inet_name *from)
{
    kept->bytes = realloc(kept->bytes, kept->byte_count + size + 1);
    kept->datagrams = realloc(kept->datagrams, (kept->datagram_count + 1) * sizeof *kept->datagrams);
    if (!kept->bytes || !kept->datagrams) {
        die("out of memory");
    }
    memcpy(kept->bytes + kept->byte_count, bytes, size);
    kept->byte_count += size;
    kept->datagrams[kept->datagram_count++] = (struct inet_datagram){.size = size, .from = *from};
}

/* Looked at, not taken: where the next look begins is a property of the socket, which gets its own back. */
int udp_look_inside(struct kept_inet *kept, int fd)
{
    const int from_start = 0;
    int was = -1, result = 0;
    socklen_t size = sizeof was;
    static uint8_t bytes[DATAGRAM_MAX];

    if (getsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &was, &size) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &from_start, sizeof from_start) < 0) {
        return -errno;
    }
    while (result == 0) {
        struct inet_name from = {.size = sizeof from.address};
        ssize_t got = recvfrom(fd, bytes, sizeof bytes, MSG_PEEK | MSG_DONTWAIT,
                               (struct sockaddr *)&from.address, &from.size);
        if (got < 0) {
            result = errno == EAGAIN ? 1 : -errno;
        } else {
            add_datagram(kept, bytes, (size_t)got, &from);
        }
    }
    if (setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &was, sizeof was) < 0) {
        return -errno;
    }
    return result < 0 ? result : 0;
}
