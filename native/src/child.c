#include "child.h"

#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/signalfd.h>

#include "engine.h"
#include "error.h"
#include "fd.h"
#include "freeze.h"
#include "loop.h"
#include "sys.h"

static struct child *children;
static struct source signals;

static void reap(void)
{
    for (;;) {
        siginfo_t info = {0};
        if (RETRY_EINTR(waitid(P_ALL, 0, &info, WEXITED | WSTOPPED | WNOHANG | __WALL)) < 0 ||
            info.si_pid == 0) {
            return;
        }
        struct child *child = children;
        while (child && child->pid != info.si_pid) {
            child = child->next;
        }
        if (info.si_code == CLD_TRAPPED || info.si_code == CLD_STOPPED) {
            if (child && child->stands) {
                kill(child->pid, SIGKILL);
            } else {
                freeze_release(&info);
            }
            continue;
        }
        if (child) {
            child_unwatch(child);
            child->ended(child, &info);
        }
    }
}

static void signals_ready(struct source *source, uint32_t events)
{
    struct signalfd_siginfo info;

    (void)events;
    while (read(source->fd, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo != SIGCHLD) {
            log_line("ended by signal %u", info.ssi_signo);
            loop_stop();
        }
    }
    reap();
}

bool children_await(bool (*waits)(void *owner), void *owner, uint64_t deadline)
{
    while (waits(owner) && loop_await(signals.fd, deadline)) {
        signals_ready(&signals, EPOLLIN);
    }
    return !waits(owner);
}

void children_init(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0) {
        die("signalfd: %s", strerror(errno));
    }
    loop_add(&signals, fd, EPOLLIN, signals_ready, NULL);
}

void child_watch(struct child *child, pid_t pid, void (*ended)(struct child *, const siginfo_t *),
                 void *owner)
{
    *child = (struct child){.pid = pid, .ended = ended, .owner = owner, .next = children};
    children = child;
}

void child_unwatch(struct child *child)
{
    for (struct child **link = &children; *link; link = &(*link)->next) {
        if (*link == child) {
            *link = child->next;
            child->pid = 0;
            return;
        }
    }
}

void child_kill_and_wait(struct child *child)
{
    if (child->pid > 0) {
        kill(child->pid, SIGKILL);
        RETRY_EINTR(waitpid(child->pid, NULL, __WALL));
        child_unwatch(child);
    }
}

pid_t child_fork_into(int pid_ns, int cgroup, int *pidfd)
{
    struct clone_args args = {
        .flags = CLONE_PIDFD | (cgroup >= 0 ? CLONE_INTO_CGROUP : 0),
        .pidfd = (uintptr_t)pidfd,
        .exit_signal = SIGCHLD,
        .cgroup = cgroup >= 0 ? (uint64_t)cgroup : 0,
    };

    if (setns(pid_ns, CLONE_NEWPID) < 0) {
        return -1;
    }
    pid_t pid = sys_clone3(&args);
    if (pid == 0) {
        return 0;
    }
    int failure = errno;
    if (setns(engine.pid_ns, CLONE_NEWPID) < 0) {
        die("return to the engine's pid namespace: %s", strerror(errno));
    }
    errno = failure;
    return pid;
}

void child_reset_signals(void)
{
    sigset_t none;

    for (int number = 1; number < NSIG; number++) {
        signal(number, SIG_DFL);
    }
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}
