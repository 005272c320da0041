/* A unix socket, as an image keeps it. */
#pragma once

#include <linux/un.h>
#include <sys/socket.h>

#include "image.h"
#include "revive.h"

#define UNIX_RECEIVE_SHUT 1
#define UNIX_SEND_SHUT 2
#define UNIX_OPTIONS 16

struct unix_name {
    struct sockaddr_un address;
    socklen_t size; /* of a socket without a name that of the family alone */
};

/* A part of a stream, or a message. */
struct unix_piece {
    size_t size;
    struct unix_name from; /* of a datagram */
};

struct kept_unix {
    int type;
    uid_t uid;
    gid_t gid;
    uint64_t inode, peer_inode; /* peer 0: nobody has it open */
    struct unix_name name, peer_name;
    bool has_peer; /* may be gone */
    bool listens;
    unsigned backlog;
    struct ucred credentials; /* as SO_PEERCRED tells inside; pid 0: none */
    int send_bytes, receive_bytes;
    struct {
        bool is_there;
        int value;
    } set[UNIX_OPTIONS];
    struct timeval send_timeout, receive_timeout;
    unsigned shut;
    bool was_reset; /* and was not told of it */
    uint8_t *bytes; /* that wait to be received */
    size_t byte_count;
    struct unix_piece *pieces;
    size_t piece_count;
    uint64_t *waiting; /* of one that listens: who waits to be accepted, in their order */
    size_t waiting_count;
    size_t incoming; /* bytes that wait to be received */
    size_t outgoing; /* bytes that the other end has not received */
    bool has_file;   /* its name is that of a file */
    size_t tree;
    char *path;    /* where that is now, in the tree */
    size_t holder; /* a process that has it */
    size_t peer;   /* handle; SIZE_MAX: none */
    bool waits;    /* to be accepted by its peer, which listens */
};

/* Those that are brought back with the numbers that they have at the kinds of sockets. */
extern const int unix_options[];
extern const size_t unix_option_count;

/* unix_told.c: what the kernel tells of a socket beyond what can be asked of itself; `space` is its network
 * namespace, -1 the engine's own. 0; -ENOENT: it is none of that namespace's. */
struct unix_told {
    uint64_t peer;
    bool has_peer;
    unsigned shut, state;
    uint32_t received, sent; /* of one that listens: how many wait, and how many may */
    uint64_t *waiting;       /* to be freed */
    size_t waiting_count;
};
int unix_ask(int space, uint64_t inode, struct unix_told *told);

/* unix_make.c: all those of an image, whose processes stand and have nothing open. 0 or -errno. */
int unix_make(struct revival *revival, const struct stage *stage);
