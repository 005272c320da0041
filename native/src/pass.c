#include "pass.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "fd.h"

int pass_pair(int pair[2])
{
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0 ? -errno : 0;
}

void pass_send(int socket, int num, const char *step, const int *fds, int fd_count)
{
    struct outcome outcome = {.num = num};
    struct iovec part = {.iov_base = &outcome, .iov_len = sizeof outcome};
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int) * PASS_MAX_FDS)];
    } control = {0};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

    snprintf(outcome.step, sizeof outcome.step, "%s", step);
    if (fd_count > 0) {
        size_t len = sizeof(int) * (size_t)fd_count;
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(len);
        struct cmsghdr *header = &control.header;
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(len);
        memcpy(CMSG_DATA(header), fds, len);
    }
    RETRY_EINTR(sendmsg(socket, &message, MSG_NOSIGNAL));
}

void pass_receive(int socket, struct outcome *outcome, int *fds, int fd_count)
{
    struct iovec part = {.iov_base = outcome, .iov_len = sizeof *outcome};
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int) * PASS_MAX_FDS)];
    } control = {0};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};

    for (int i = 0; i < fd_count; i++) {
        fds[i] = -1;
    }
    ssize_t got = RETRY_EINTR(recvmsg(socket, &message, MSG_CMSG_CLOEXEC));
    if (got != sizeof *outcome) {
        *outcome = (struct outcome){.num = ECHILD};
        snprintf(outcome->step, sizeof outcome->step, "helper process");
    }
    outcome->step[sizeof outcome->step - 1] = '\0';
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) {
        return;
    }
    int count = (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    int received[PASS_MAX_FDS];
    memcpy(received, CMSG_DATA(header), sizeof(int) * (size_t)count);
    for (int i = 0; i < count; i++) {
        if (i < fd_count) {
            fds[i] = received[i];
        } else {
            close(received[i]);
        }
    }
}
