/* A TCP or UDP socket, as an image keeps it. */
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "image.h"
#include "move.h"
#include "revive.h"

#define INET_OPTIONS 64

/* The kernel's numbers. */
enum tcp_state {
    TCP_IS_ESTABLISHED = 1,
    TCP_IS_SYN_SENT,
    TCP_IS_SYN_RECEIVED,
    TCP_IS_FIN_WAIT1,
    TCP_IS_FIN_WAIT2,
    TCP_IS_TIME_WAIT,
    TCP_IS_CLOSED,
    TCP_IS_CLOSE_WAIT,
    TCP_IS_LAST_ACK,
    TCP_IS_LISTENING,
    TCP_IS_CLOSING,
};

struct inet_name {
    struct sockaddr_storage address;
    socklen_t size;
};

/* What has become of the other end of a connection. */
enum tcp_fate {
    TCP_NO_CONNECTION,
    TCP_HAS_PEER,   /* the handle `peer` */
    TCP_WAITS,      /* to be accepted by `peer`, which listens */
    TCP_PEER_SHUT,  /* it was closed, and this one was told */
    TCP_PEER_LOST,  /* it is not there, and this one does not know */
    TCP_OVER,       /* there is no connection any more */
    TCP_PEER_ALIEN, /* it is outside: the connection is reset */
};

struct inet_datagram {
    size_t size;
    struct inet_name from;
};

struct inet_options {
    struct {
        bool is_there;
        int value;
    } set[INET_OPTIONS];
    int send_bytes, receive_bytes, locked;
    struct linger linger;
    struct timeval send_timeout, receive_timeout;
    char congestion[16];
};

struct kept_inet {
    int family, type, protocol;
    uid_t uid;
    gid_t gid;
    uint64_t inode;
    struct inet_name name, peer_name;
    bool is_bound, listens, has_peer;
    int backlog;
    unsigned waiting; /* connections that wait to be accepted */
    struct inet_options options;
    /* of a TCP connection */
    enum tcp_state state;
    enum tcp_fate fate;
    size_t peer;
    size_t holder; /* a process that has it */
    bool receive_shut;
    uint8_t *received, *sent; /* what nobody has read, and what the other end has not acknowledged */
    size_t received_count, sent_count;
    uint32_t received_end, sent_begin; /* in the numbers of the streams, with the ends of them */
    bool has_time_stamps, has_sack, has_scale;
    unsigned scale; /* of its own window */
    unsigned segment;
    unsigned window, window_limit, window_clamp; /* what it has room for now, and may have */
    unsigned largest_window;                     /* of the other end's */
    /* of UDP */
    uint8_t *bytes;
    size_t byte_count;
    struct inet_datagram *datagrams;
    size_t datagram_count;
};

/* inet_options.c; each 0 or -errno. */
int inet_options_get(struct inet_options *options, int fd);
/* Those that have to be there before a name is bound. */
int inet_options_set_early(const struct inet_options *options, int fd);
int inet_options_set(const struct inet_options *options, int fd);

/* inet_capture.c: what is in a TCP connection or waits in a UDP socket. 0 or -errno; -EPERM: the engine may not look. */
int tcp_look_inside(struct kept_inet *kept, int fd);
int udp_look_inside(struct kept_inet *kept, int fd);
/* The other end, as the network namespace of a process tells it. Its state; 0: it is not there, or -errno. */
struct tcp_told {
    uint64_t inode; /* 0: no process has it open */
    unsigned long to_send, received;
};
int tcp_ask_peer(const struct kept_inet *kept, pid_t tid, struct tcp_told *told);
bool inet_is_same(const struct inet_name *a, const struct inet_name *b);

/* inet_make.c: all those of an image, whose processes stand and have nothing open. 0 or -errno. */
int inet_make(struct revival *revival, const struct stage *stage);
/* tcp_make.c: two ends of a connection, as they were; a part that is not there stays NULL. */
struct tcp_end {
    const struct kept_inet *kept;
    int fd;
};
int tcp_connect_ends(struct tcp_end ends[2]);
/* An end whose other is nobody's. `other`: a fresh socket, which is closed. */
int tcp_connect_alone(const struct kept_inet *kept, int fd, int other);
/* Binds it whatever else is bound there. */
int tcp_bind(const struct kept_inet *kept, int fd);
