/* What the kernel tells of a unix socket: its other end, what waits in it, what is shut. */
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <sched.h>
#include <string.h>

#include "fd.h"
#include "unix_socket.h"

/* In the network namespace: a socket tells of its own only. */
static int open_diagnosis(int space)
{
    if (space < 0) {
        int own = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
        return own < 0 ? -errno : own;
    }
    cleanup_fd back = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (back < 0 || setns(space, CLONE_NEWNET) < 0) {
        return -errno;
    }
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    int failure = fd < 0 ? -errno : 0;
    if (setns(back, CLONE_NEWNET) < 0) {
        die("return to the engine's network namespace: %s", strerror(errno));
    }
    return failure < 0 ? failure : fd;
}

static void parse_waiting(const struct rtattr *attribute, struct unix_told *told)
{
    const size_t count = RTA_PAYLOAD(attribute) / sizeof(uint32_t);

    told->waiting = calloc(count + 1, sizeof *told->waiting);
    if (!told->waiting) {
        die("out of memory");
    }
    for (; told->waiting_count < count; told->waiting_count++) {
        uint32_t inode;
        memcpy(&inode, (const char *)RTA_DATA(attribute) + told->waiting_count * sizeof inode, sizeof inode);
        told->waiting[told->waiting_count] = inode;
    }
}

static void parse_attribute(const struct rtattr *attribute, struct unix_told *told)
{
    const void *data = RTA_DATA(attribute);
    const size_t size = RTA_PAYLOAD(attribute);
    struct unix_diag_rqlen lengths;
    uint32_t peer;

    if (attribute->rta_type == UNIX_DIAG_PEER && size >= sizeof peer) {
        memcpy(&peer, data, sizeof peer);
        told->peer = peer;
        told->has_peer = true;
    } else if (attribute->rta_type == UNIX_DIAG_SHUTDOWN && size >= 1) {
        told->shut = *(const uint8_t *)data;
    } else if (attribute->rta_type == UNIX_DIAG_RQLEN && size >= sizeof lengths) {
        memcpy(&lengths, data, sizeof lengths);
        told->received = lengths.udiag_rqueue;
        told->sent = lengths.udiag_wqueue;
    } else if (attribute->rta_type == UNIX_DIAG_ICONS && !told->waiting) {
        parse_waiting(attribute, told);
    }
}

static int parse_answer(const struct nlmsghdr *header, size_t size, struct unix_told *told)
{
    if (!NLMSG_OK(header, size) || header->nlmsg_type == NLMSG_ERROR) {
        return -ENOENT;
    }
    const struct unix_diag_msg *message = NLMSG_DATA(header);
    size_t left = header->nlmsg_len - NLMSG_LENGTH(sizeof *message);
    told->state = message->udiag_state;
    for (const struct rtattr *at = (const void *)(message + 1); RTA_OK(at, left); at = RTA_NEXT(at, left)) {
        parse_attribute(at, told);
    }
    return 0;
}

int unix_ask(int space, uint64_t inode, struct unix_told *told)
{
    struct {
        struct nlmsghdr header;
        struct unix_diag_req request;
    } question = {
        .header = {.nlmsg_len = sizeof question,
                   .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                   .nlmsg_flags = NLM_F_REQUEST},
        .request = {.sdiag_family = AF_UNIX,
                    .udiag_states = ~0U,
                    .udiag_ino = (uint32_t)inode,
                    .udiag_show = UDIAG_SHOW_PEER | UDIAG_SHOW_ICONS | UDIAG_SHOW_RQLEN,
                    .udiag_cookie = {~0U, ~0U}},
    };
    _Alignas(struct nlmsghdr) static char answer[65536];
    cleanup_fd fd = open_diagnosis(space);

    *told = (struct unix_told){0};
    if (fd < 0) {
        return fd;
    }
    if (send(fd, &question, sizeof question, 0) < 0) {
        return -errno;
    }
    ssize_t got = recv(fd, answer, sizeof answer, MSG_DONTWAIT);
    return got < 0 ? -errno : parse_answer((const void *)answer, (size_t)got, told);
}
