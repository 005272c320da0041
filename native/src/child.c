#include "child.h"

#include <dirent.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include "engine.h"
#include "error.h"
#include "fd.h"
#include "freeze.h"
#include "loop.h"
#include "status.h"
#include "sys.h"

static struct child *children;
static struct source signals;

static struct child *find(pid_t pid)
{
    struct child *child = children;

    while (child && child->pid != pid) {
        child = child->next;
    }
    return child;
}

static void reap(void)
{
    for (;;) {
        siginfo_t info = {0};
        if (RETRY_EINTR(waitid(P_ALL, 0, &info, WEXITED | WSTOPPED | WNOHANG | __WALL)) < 0 ||
            info.si_pid == 0) {
            return;
        }
        struct child *child = find(info.si_pid);
        if (info.si_code == CLD_TRAPPED || info.si_code == CLD_STOPPED) {
            /* What stands is not to run; of what nobody knows only those may that live in a sandbox. */
            if ((child && child->stands) || !freeze_release(&info)) {
                kill(info.si_pid, SIGKILL);
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

/* Of one that is traced and only stands waitpid would tell that it does. */
static void reap_zombie(pid_t pid)
{
    char text[1024];
    const char *end = proc_read(pid, "stat", text, sizeof text) > 0 ? strrchr(text, ')') : NULL;

    if (end && strncmp(end, ") Z", 3) == 0 && !find(pid)) {
        waitpid(pid, NULL, WNOHANG | __WALL);
    }
}

static void reap_children(pid_t pid, pid_t tid)
{
    char path[64];
    int child;

    snprintf(path, sizeof path, "/proc/%d/task/%d/children", pid, tid);
    FILE *file = fopen(path, "re");
    while (file && fscanf(file, "%d", &child) == 1) {
        reap_zombie(child);
    }
    if (file) {
        fclose(file);
    }
}

/* What we trace or have for a child and do not know of, because what made it was killed at that moment: its threads, its
 * children, and ours in its namespace. It cannot end before we have seen them end. */
static void reap_strays(pid_t pid)
{
    char path[64];
    struct dirent *entry;

    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    while (tasks && (entry = readdir(tasks))) {
        const pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (tid > 0 && tid != pid) {
            reap_zombie(tid);
        }
        if (tid > 0) {
            reap_children(pid, tid);
        }
    }
    if (tasks) {
        closedir(tasks);
    }
    reap_children(getpid(), getpid());
}

#define STRAY_MS 5

void child_kill_and_wait(struct child *child)
{
    if (child->pid <= 0) {
        return;
    }
    kill(child->pid, SIGKILL);
    struct pollfd ended = {.fd = pidfd_open(child->pid, 0), .events = POLLIN}; /* a thread has none */
    while (ended.fd >= 0 && RETRY_EINTR(poll(&ended, 1, STRAY_MS)) == 0) {
        reap_strays(child->pid);
    }
    fd_close(&ended.fd);
    RETRY_EINTR(waitpid(child->pid, NULL, __WALL));
    child_unwatch(child);
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
    /* as the kernel has it; the library would ask for more than nothing */
    const struct {
        uint64_t handler, flags, restorer, mask;
    } untouched = {0};
    sigset_t none;

    for (int number = 1; number < NSIG; number++) {
        syscall(SYS_rt_sigaction, number, &untouched, NULL, sizeof untouched.mask);
    }
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}
