#include "deputy.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "fd.h"
#include "handle.h"
#include "template.h"

void deputies_begin(struct deputies *deputies, struct revival *revival, const struct stage *stage)
{
    *deputies = (struct deputies){.revival = revival, .stage = stage};
    puppet_none(&deputies->other);
}

void deputies_end(struct deputies *deputies)
{
    puppet_end(&deputies->other);
    puppet_none(&deputies->other);
}

/* A copy of a template that shares its memory; it has the template's end of the socket by which it is given descriptors. */
static int make_other(struct deputies *deputies, pid_t pid)
{
    struct puppet *template = &deputies->revival->image->processes[0].template->puppet;
    const struct birthplace cell = {.pid_ns = deputies->stage->cell->pid_ns, .cgroup = -1};
    int result = puppet_fork(&deputies->other, template, &cell, CLONE_PARENT | CLONE_VM, pid);

    return result < 0 ? result
                      : hand_share(&deputies->other.hand, &template->hand, &deputies->other.inject,
                                   template->hand.sockets[0]);
}

/* The one that stands for the process; NULL with errno. */
static struct puppet *deputy_of(struct deputies *deputies, pid_t pid)
{
    for (size_t i = 0; i < deputies->revival->count; i++) {
        if (deputies->revival->processes[i].image->pid == pid) {
            return &deputies->revival->processes[i].puppet;
        }
    }
    if (deputies->other.subject.inner != pid || deputies->other.child.pid == 0) {
        deputies_end(deputies);
        int result = make_other(deputies, pid);
        if (result < 0) {
            deputies_end(deputies);
            errno = -result;
            return NULL;
        }
    }
    return &deputies->other;
}

/* What is told is the effective ids. The change takes the right to be looked at along. */
static void add_become(struct inject *inject, uid_t uid, gid_t gid)
{
    inject_add(inject, SYS_setresgid, (uint64_t)-1, gid, (uint64_t)-1, 0, 0, 0);
    inject_add(inject, SYS_setresuid, (uint64_t)-1, uid, (uint64_t)-1, 0, 0, 0);
}

static void add_become_root(struct inject *inject)
{
    inject_add_free(inject, SYS_setresuid, (uint64_t)-1, 0, (uint64_t)-1, 0, 0, 0);
    inject_add_free(inject, SYS_setresgid, (uint64_t)-1, 0, (uint64_t)-1, 0, 0, 0);
    inject_add_free(inject, SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0, 0);
}

/* Made as somebody else when that is wanted; a batch ends at its first failure. */
static int call_as(struct puppet *puppet, const struct ucred *who, const struct arch_call *call)
{
    struct inject *inject = &puppet->inject;
    const bool is_other = who->uid != 0 || who->gid != 0;

    inject_clear(inject);
    if (is_other) {
        add_become(inject, who->uid, who->gid);
    }
    inject_add(inject, call->number, call->args[0], call->args[1], call->args[2], call->args[3], 0, 0);
    int result = inject_run(inject);
    inject_clear(inject);
    if (is_other) {
        add_become_root(inject);
        int back = inject_run_clear(inject);
        result = result < 0 ? result : back;
    }
    return result;
}

static int close_inside(struct puppet *puppet, const int *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        inject_add(&puppet->inject, SYS_close, (uint64_t)numbers[i], 0, 0, 0, 0, 0);
    }
    return inject_run_clear(&puppet->inject);
}

int deputy_pair(struct deputies *deputies, const struct ucred *who, int type, int fds[2])
{
    struct puppet *puppet = deputy_of(deputies, who->pid);
    int numbers[2] = {-1, -1};

    if (!puppet) {
        return -errno;
    }
    const uint64_t at = inject_data(&puppet->inject);
    const struct arch_call call = {.number = SYS_socketpair,
                                   .args = {AF_UNIX, (uint64_t)type | SOCK_CLOEXEC, 0, at}};
    int result = call_as(puppet, who, &call);
    if (result < 0 || (result = subject_read(&puppet->subject, at, numbers, sizeof numbers)) < 0) {
        return result;
    }
    for (int i = 0; i < 2; i++) {
        fds[i] = pidfd_getfd(puppet->subject.pidfd, numbers[i], 0);
        result = fds[i] < 0 ? -errno : result;
    }
    int closed = close_inside(puppet, numbers, 2);
    return result < 0 ? result : closed;
}

int deputy_listen(struct deputies *deputies, const struct ucred *who, int fd, unsigned backlog)
{
    struct puppet *puppet = deputy_of(deputies, who->pid);
    int number = -1, result = puppet ? hand_over(&puppet->hand, &fd, 1, &number) : -errno;

    if (result < 0) {
        return result;
    }
    const struct arch_call call = {.number = SYS_listen, .args = {(uint64_t)number, backlog}};
    result = call_as(puppet, who, &call);
    int closed = close_inside(puppet, &number, 1);
    return result < 0 ? result : closed;
}

int deputy_connect(struct deputies *deputies, const struct ucred *who, int fd, int place,
                   const struct sockaddr_un *name, socklen_t size)
{
    const int fds[2] = {fd, place};
    const size_t count = place < 0 ? 1 : 2;
    struct puppet *puppet = deputy_of(deputies, who->pid);
    struct sockaddr_un to = *name;
    int numbers[2] = {-1, -1}, result = puppet ? hand_over(&puppet->hand, fds, count, numbers) : -errno;

    if (result < 0) {
        return result;
    }
    if (place >= 0) {
        size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
                           (size_t)snprintf(to.sun_path, sizeof to.sun_path, "/proc/self/fd/%d", numbers[1]));
    }
    const uint64_t at = inject_data(&puppet->inject);
    const struct arch_call call = {.number = SYS_connect, .args = {(uint64_t)numbers[0], at, size}};
    result = subject_write(&puppet->subject, at, &to, sizeof to);
    result = result < 0 ? result : call_as(puppet, who, &call);
    int closed = close_inside(puppet, numbers, count);
    return result < 0 ? result : closed;
}

int deputy_socket(struct deputies *deputies, int family, int type, int protocol)
{
    const struct opening opening = {
        .revival = deputies->revival, .revived = &deputies->revival->processes[0], .stage = deputies->stage};

    return opening_make(&opening, SYS_socket, (uint64_t)family, (uint64_t)type | SOCK_CLOEXEC,
                        (uint64_t)protocol, 0);
}
