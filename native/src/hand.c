#include "hand.h"

#include <fcntl.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "fd.h"

/* What the injected calls point to, in the data of the area. */
#define FDS_PER_MESSAGE 240
#define CONTROL_BYTES CMSG_SPACE(FDS_PER_MESSAGE * sizeof(int))
#define MESSAGE_BYTES 2048 /* msghdr, iovec, a byte, control */
#define MESSAGES (INJECT_DATA_BYTES / MESSAGE_BYTES)

struct message {
    struct msghdr header;
    struct iovec piece;
    char byte[8];
    char control[CONTROL_BYTES];
};

_Static_assert(sizeof(struct message) <= MESSAGE_BYTES, "a message fits its part of the data");

/* A socket pair made by the process; the engine takes its end out. */
int hand_open(struct hand *hand, struct inject *inject, int pidfd)
{
    *hand = HAND_NONE;
    hand->inject = inject;
    inject_clear(inject);
    inject_add(inject, SYS_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, inject_data(inject), 0, 0);
    int result = inject_run(inject);
    inject_clear(inject);
    if (result == 0) {
        result = subject_read(inject->subject, inject_data(inject), hand->sockets, sizeof hand->sockets);
    }
    if (result < 0) {
        return result;
    }
    hand->queue = pidfd_getfd(pidfd, hand->sockets[0], 0);
    hand->socket = hand->queue < 0 ? -1 : pidfd_getfd(pidfd, hand->sockets[1], 0);
    return hand->socket < 0 ? -errno : 0;
}

int hand_share(struct hand *hand, const struct hand *from, struct inject *inject, int number)
{
    *hand = (struct hand){.inject = inject,
                          .socket = fcntl(from->socket, F_DUPFD_CLOEXEC, 0),
                          .queue = fcntl(from->queue, F_DUPFD_CLOEXEC, 0),
                          .sockets = {number, -1}};
    return hand->socket < 0 || hand->queue < 0 ? -errno : 0;
}

void hand_forget(struct hand *hand)
{
    fd_close(&hand->socket);
    fd_close(&hand->queue);
}

void hand_add_close(struct hand *hand)
{
    hand_forget(hand);
    for (int i = 0; i < 2; i++) {
        if (hand->sockets[i] >= 0) {
            inject_add_free(hand->inject, SYS_close, (uint64_t)hand->sockets[i], 0, 0, 0, 0, 0);
        }
    }
    hand->sockets[0] = hand->sockets[1] = -1;
}

void hand_close(struct hand *hand)
{
    hand_add_close(hand);
    if (!hand->inject->thread->gone) {
        inject_run(hand->inject);
    }
    inject_clear(hand->inject);
}

static int send_descriptors(const struct hand *hand, const int *fds, size_t count)
{
    char control[CONTROL_BYTES] = {0}, byte = 0;
    struct iovec piece = {.iov_base = &byte, .iov_len = 1};
    struct msghdr header = {.msg_iov = &piece,
                            .msg_iovlen = 1,
                            .msg_control = control,
                            .msg_controllen = CMSG_SPACE(count * sizeof(int))};
    struct cmsghdr *attached = (struct cmsghdr *)(void *)control;

    attached->cmsg_level = SOL_SOCKET;
    attached->cmsg_type = SCM_RIGHTS;
    attached->cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(attached), fds, count * sizeof *fds);
    return sendmsg(hand->socket, &header, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int prepare_message(struct hand *hand, size_t index)
{
    const uint64_t at = inject_data(hand->inject) + index * MESSAGE_BYTES;
    const struct message message = {
        .header = {.msg_iov = (void *)(at + offsetof(struct message, piece)),
                   .msg_iovlen = 1,
                   .msg_control = (void *)(at + offsetof(struct message, control)),
                   .msg_controllen = CONTROL_BYTES},
        .piece = {.iov_base = (void *)(at + offsetof(struct message, byte)), .iov_len = 1},
    };

    inject_add(hand->inject, SYS_recvmsg, (uint64_t)hand->sockets[0], at, MSG_CMSG_CLOEXEC | MSG_DONTWAIT, 0,
               0, 0);
    return subject_write(hand->inject->subject, at, &message, sizeof message);
}

/* The numbers the kernel gave, from the control data in the process; it is frozen, but what lies there is checked. */
static int take_numbers(const struct hand *hand, size_t index, int *numbers, size_t count)
{
    const uint64_t at = inject_data(hand->inject) + index * MESSAGE_BYTES + offsetof(struct message, control);
    char control[CONTROL_BYTES];
    const struct cmsghdr *attached = (const struct cmsghdr *)(void *)control;

    int result = subject_read(hand->inject->subject, at, control, sizeof control);
    if (result < 0) {
        return result;
    }
    if (attached->cmsg_len != CMSG_LEN(count * sizeof(int)) || attached->cmsg_type != SCM_RIGHTS) {
        return -EMFILE; /* the kernel leaves out what the process has no room for */
    }
    memcpy(numbers, control + sizeof *attached, count * sizeof(int));
    return 0;
}

/* What a process has not received because it was killed would be received by the next that has the same socket. */
static void empty(const struct hand *hand)
{
    char control[CONTROL_BYTES], byte;
    struct iovec piece = {.iov_base = &byte, .iov_len = 1};

    for (;;) {
        struct msghdr header = {
            .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
        if (recvmsg(hand->queue, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) <= 0) {
            return;
        }
        const struct cmsghdr *attached = CMSG_FIRSTHDR(&header);
        const size_t count = attached ? (attached->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(attached) + i * sizeof fd, sizeof fd);
            fd_close(&fd);
        }
    }
}

static size_t message_size(size_t left)
{
    return left < FDS_PER_MESSAGE ? left : FDS_PER_MESSAGE;
}

int hand_over(struct hand *hand, const int *fds, size_t count, int *numbers)
{
    for (size_t done = 0; done < count;) {
        size_t messages = 0, from = done;
        int result = 0;
        inject_clear(hand->inject);
        for (; result == 0 && messages < MESSAGES && from < count; messages++) {
            size_t size = message_size(count - from);
            result = send_descriptors(hand, fds + from, size);
            result = result == 0 ? prepare_message(hand, messages) : result;
            from += size;
        }
        result = result == 0 ? inject_run(hand->inject) : result;
        inject_clear(hand->inject);
        for (size_t i = 0; result == 0 && i < messages; i++) {
            size_t size = message_size(count - done);
            result = take_numbers(hand, i, numbers + done, size);
            done += size;
        }
        if (result < 0) {
            empty(hand);
            return result;
        }
    }
    return 0;
}
