#include "sample_handles.h"

#include <fcntl.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include "inet_socket.h"
#include "sample.h"
#include "unix_socket.h"

#define PAGE 4096u

/* ---- handles and objects, from what their kinds read ---- */

static void number(struct pack *pack, int64_t value)
{
    pack_number(pack, value);
}

static void numbers(struct pack *pack, size_t count, const int64_t *list)
{
    for (size_t i = 0; i < count; i++) {
        number(pack, list[i]);
    }
}
#define NUMBERS(pack, ...)                                                                                   \
    numbers(pack, sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t), (const int64_t[]){__VA_ARGS__})

static void string(struct pack *pack, const char *value)
{
    char *copy = value ? text(value) : NULL;

    pack_string(pack, &copy);
    free(copy);
}

static void some(struct pack *pack, const char *value)
{
    char room[64] = "";

    strcpy(room, value);
    pack_text(pack, room, sizeof room);
}

static struct pack reader_of(struct pack *written, const struct image *image)
{
    return (struct pack){.is_reading = true,
                         .at = written->out.data,
                         .end = written->out.data + written->out.len,
                         .image = image,
                         .tree_count = SAMPLE_TREES};
}

static void expect_read(struct pack *reader, struct pack *written, const char *name)
{
    if (reader->failure || reader->at != reader->end) {
        fprintf(stderr, "sample: %s: %s\n", name, reader->failure ? reader->failure : "there is more");
        exit(1);
    }
    pack_free(written);
}

static void add_handle(struct image *image, size_t at, const char *kind, int flags, struct pack *written)
{
    struct pack reader = reader_of(written, image);
    struct image_handle *handle = &image->handles[at];

    *handle = (struct image_handle){.kind = handle_kind_of(kind), .flags = flags};
    handle->kind->pack(&reader, handle);
    expect_read(&reader, written, kind);
}

static void add_object(struct image *image, size_t at, const char *kind, struct pack *written)
{
    struct pack reader = reader_of(written, image);
    struct image_object *object = &image->objects[at];

    object->kind = object_kind_of(kind);
    object->kind->pack(&reader, object);
    expect_read(&reader, written, kind);
}

static void add_objects(struct image *image)
{
    struct pack pipe = {0}, shared = {0}, file = {0}, fifo = {0};

    NUMBERS(&pipe, S_IFIFO | 0600, 1000, 1000, 65536, 5);
    pack_raw(&pipe, "abcde", 5);
    NUMBERS(&pipe, 2, 3, true, 2, false, false);
    string(&pipe, NULL);
    add_object(image, PIPE, "pipe", &pipe);
    number(&shared, true);
    some(&shared, "shared");
    NUMBERS(&shared, S_IFREG | 0777, 0, 0, 3 * PAGE - 1, F_SEAL_GROW);
    add_object(image, SHARED, "memory", &shared);
    NUMBERS(&file, 1, 2 * PAGE, 0640, 1000, 1000, SAMPLE_SECONDS, 1, SAMPLE_SECONDS, 2, 0);
    add_object(image, NAMELESS, "nameless file", &file);
    NUMBERS(&fifo, S_IFIFO | 0600, 0, 0, 4096, 0, 0, true);
    string(&fifo, "run/fifo");
    number(&fifo, 1);
    add_object(image, FIFO, "pipe", &fifo);
}

static void add_files(struct image *image)
{
    struct pack file = {0}, directory = {0}, nameless = {0}, view = {0}, device = {0}, memory = {0};

    number(&file, 1);
    string(&file, "home/log");
    number(&file, 77);
    string(&file, NULL);
    NUMBERS(&file, 2, LOCK_OF_FILE, true, 0, 0, LOCK_OF_DESCRIPTION, false, 10, 5);
    add_handle(image, FILE_HANDLE, "file", O_RDWR | O_APPEND, &file);
    number(&directory, 0);
    string(&directory, "home");
    NUMBERS(&directory, 2, S_IFDIR | 0700, 0, 0, SAMPLE_SECONDS, 3, SAMPLE_SECONDS, 4, 0);
    add_handle(image, DIRECTORY, "removed directory", O_RDONLY | O_DIRECTORY, &directory);
    NUMBERS(&nameless, NAMELESS, 99, 1, LOCK_OF_FILE, false, 0, 0);
    add_handle(image, NAMELESS_HANDLE, "nameless file", O_RDWR, &nameless);
    string(&view, "/proc/5/status");
    number(&view, 12);
    add_handle(image, VIEW, "view", O_RDONLY, &view);
    string(&device, "/dev/null");
    add_handle(image, DEVICE, "device", O_RDWR, &device);
    NUMBERS(&memory, SHARED, 4);
    add_handle(image, MEMORY, "memory", O_RDWR, &memory);
}

static void add_waits(struct image *image)
{
    struct pack event = {0}, signal = {0}, timer = {0}, epoll = {0}, outer = {0}, pidfd = {0}, inotify = {0};

    NUMBERS(&event, 3, true);
    add_handle(image, EVENT, "eventfd", O_RDWR, &event);
    number(&signal, 1LL << 62);
    add_handle(image, SIGNAL, "signalfd", O_RDWR, &signal);
    NUMBERS(&timer, CLOCK_MONOTONIC, 0, 2, 10, 500, 1, 0);
    add_handle(image, TIMER, "timerfd", O_RDWR, &timer);
    NUMBERS(&epoll, 2, 7, EPOLLIN, 1234, PIPE_HANDLE, 8, EPOLLOUT, -1, TCP);
    add_handle(image, EPOLL, "epoll", O_RDWR, &epoll);
    NUMBERS(&outer, 1, 11, EPOLLIN, 0, EPOLL);
    add_handle(image, OUTER_EPOLL, "epoll", O_RDWR, &outer);
    number(&pidfd, 5);
    add_handle(image, PIDFD, "pidfd", O_RDWR, &pidfd);
    NUMBERS(&inotify, 2, 1, 0x100, 0);
    string(&inotify, "home");
    NUMBERS(&inotify, 3, 0x200, 1);
    string(&inotify, NULL);
    add_handle(image, INOTIFY, "inotify", O_RDONLY, &inotify);
}

static void add_streams(struct image *image)
{
    static const uint32_t groups[32] = {1};
    const struct sockaddr_nl name = {.nl_family = AF_NETLINK, .nl_pid = 2};
    const struct timeval none[2] = {{0}};
    struct pack stdio = {0}, pipe = {0}, master = {0}, hung_up = {0}, netlink = {0};

    some(&stdio, "command-1");
    number(&stdio, 1);
    add_handle(image, STDIO, "stdio", O_WRONLY, &stdio);
    number(&pipe, PIPE);
    add_handle(image, PIPE_HANDLE, "pipe", O_RDONLY, &pipe);
    NUMBERS(&master, 1, 0);
    add_handle(image, MASTER, "terminal", O_RDWR, &master);
    NUMBERS(&hung_up, 3, -1);
    add_handle(image, HUNG_UP, "terminal", O_RDWR, &hung_up);
    NUMBERS(&netlink, SOCK_RAW, NETLINK_ROUTE, 0, 0);
    pack_raw(&netlink, (void *)&name, sizeof name);
    pack_raw(&netlink, (void *)groups, sizeof groups);
    NUMBERS(&netlink, 0, 0, 0, 0, 1, 0, 0, 0, 0, 212992, 212992);
    pack_raw(&netlink, (void *)none, sizeof none);
    add_handle(image, NETLINK, "netlink socket", O_RDWR, &netlink);
}

/* ---- sockets ---- */

static struct unix_name unix_name_of(const char *path)
{
    struct unix_name name = {.address.sun_family = AF_UNIX, .size = sizeof(sa_family_t)};

    if (path) {
        strcpy(name.address.sun_path, path);
        name.size += (socklen_t)strlen(path) + 1;
    }
    return name;
}

static void add_unix(struct image *image, size_t at, struct kept_unix socket)
{
    socket.uid = socket.gid = SAMPLE_UID + 1000;
    socket.inode = 5000 + at;
    socket.send_bytes = socket.receive_bytes = 212992;
    image->handles[at] =
        (struct image_handle){.kind = &handle_unix, .flags = O_RDWR, .kept = kept(&socket, sizeof socket)};
}

static void add_unix_sockets(struct image *image)
{
    const struct unix_name none = unix_name_of(NULL), named = unix_name_of("/run/socket");
    const struct ucred who = {.pid = 2, .uid = 1000, .gid = 1000};
    struct kept_unix pair = {.type = SOCK_STREAM,
                             .name = none,
                             .peer_name = none,
                             .has_peer = true,
                             .credentials = who,
                             .peer = OTHER_OF_PAIR,
                             .set[0] = {.is_there = true, .value = 1}};

    pair.bytes = (uint8_t *)text("hello");
    pair.byte_count = 5;
    pair.pieces = LIST(struct unix_piece, {{.size = 5, .from = {.size = 0}}});
    pair.piece_count = 1;
    add_unix(image, PAIR, pair);
    add_unix(image, OTHER_OF_PAIR,
             (struct kept_unix){.type = SOCK_STREAM,
                                .name = none,
                                .peer_name = none,
                                .has_peer = true,
                                .credentials = who,
                                .peer = PAIR,
                                .shut = UNIX_SEND_SHUT});
    add_unix(image, LISTENER,
             (struct kept_unix){.type = SOCK_SEQPACKET,
                                .name = named,
                                .peer_name = none,
                                .listens = true,
                                .backlog = 5,
                                .credentials = who,
                                .peer = SIZE_MAX,
                                .waiting = LIST(uint64_t, {5000 + CLIENT}),
                                .waiting_count = 1,
                                .has_file = true,
                                .tree = 1,
                                .path = text("run/socket")});
    add_unix(image, CLIENT,
             (struct kept_unix){.type = SOCK_SEQPACKET,
                                .name = none,
                                .peer_name = named,
                                .has_peer = true,
                                .credentials = who,
                                .holder = 1,
                                .peer = LISTENER,
                                .waits = true});
    add_unix(image, MESSAGES,
             (struct kept_unix){
                 .type = SOCK_DGRAM, .name = unix_name_of("gone"), .peer_name = none, .peer = SIZE_MAX});
}

static struct inet_name inet_name_of(uint16_t port)
{
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct inet_name name = {.size = sizeof address};

    memcpy(&name.address, &address, sizeof address);
    return name;
}

static void add_inet(struct image *image, size_t at, struct kept_inet socket)
{
    socket.family = AF_INET;
    socket.protocol = socket.type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP;
    socket.uid = socket.gid = SAMPLE_UID;
    socket.is_bound = true;
    socket.options.set[1].is_there = true;
    strcpy(socket.options.congestion, "cubic");
    image->handles[at] = (struct image_handle){
        .kind = &handle_inet, .flags = O_RDWR | O_NONBLOCK, .kept = kept(&socket, sizeof socket)};
}

static void add_inet_sockets(struct image *image)
{
    struct kept_inet tcp = {.type = SOCK_STREAM,
                            .name = inet_name_of(4000),
                            .peer_name = inet_name_of(4001),
                            .has_peer = true,
                            .state = TCP_IS_ESTABLISHED,
                            .fate = TCP_HAS_PEER,
                            .peer = OTHER_TCP,
                            .received_count = 3,
                            .received_end = UINT32_MAX,
                            .has_scale = true,
                            .scale = 7,
                            .window = 65536};
    struct kept_inet other = tcp;

    tcp.received = (uint8_t *)text("abc");
    add_inet(image, TCP, tcp);
    other.name = inet_name_of(4001);
    other.peer_name = inet_name_of(4000);
    other.peer = TCP;
    other.received_count = 0;
    add_inet(image, OTHER_TCP, other);
    add_inet(image, TCP_LISTENER,
             (struct kept_inet){.type = SOCK_STREAM,
                                .name = inet_name_of(80),
                                .state = TCP_IS_LISTENING,
                                .listens = true,
                                .backlog = 128,
                                .peer = SIZE_MAX});
    add_inet(image, UDP,
             (struct kept_inet){.type = SOCK_DGRAM,
                                .name = inet_name_of(53),
                                .peer = SIZE_MAX,
                                .bytes = (uint8_t *)text("xy"),
                                .byte_count = 2,
                                .datagrams =
                                    LIST(struct inet_datagram,
                                         {{.size = 2, .from = inet_name_of(99)}, {.from = inet_name_of(99)}}),
                                .datagram_count = 2});
}

void sample_add_handles(struct image *image)
{
    add_objects(image);
    add_files(image);
    add_waits(image);
    add_streams(image);
    add_unix_sockets(image);
    add_inet_sockets(image);
    image->handles[STDIO].notice =
        (struct notice){.is_asked = true, .is_async = true, .signal = SIGIO, .pid = 2, .user = 1000};
}
