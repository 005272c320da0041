#include "pool.h"

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "cgroup.h"
#include "child.h"
#include "engine.h"
#include "fd.h"
#include "sys.h"

static struct {
    struct child holder;
    int user_ns, pid_ns;
} pool = {.user_ns = -1, .pid_ns = -1};

/* Everything in a pid namespace ends with its first process. */
__attribute__((noreturn)) static void hold(void)
{
    child_reset_signals();
    signal(SIGCHLD, SIG_IGN);
    close_range(0, ~0U, 0);
    prctl(PR_SET_NAME, "deltabox-pool");
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        pause();
    }
}

static void holder_ended(struct child *child, const siginfo_t *info)
{
    (void)child;
    die("the pool's holder ended (%d %d)", info->si_code, info->si_status);
}

static int write_id_map(pid_t pid, const char *name)
{
    char path[64], text[64];

    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    snprintf(text, sizeof text, "0 %u %u\n", engine.uid_base, ID_RANGE);
    cleanup_fd fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

static int open_namespace(pid_t pid, const char *name)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/ns/%s", pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int pool_init(struct err *err)
{
    struct clone_args args = {.flags = CLONE_NEWUSER | CLONE_NEWPID, .exit_signal = SIGCHLD};
    int result;
    pid_t pid = sys_clone3(&args);

    if (pid == 0) {
        hold();
    }
    if (pid < 0) {
        return err_system(err, errno, "make namespaces", "pool");
    }
    child_watch(&pool.holder, pid, holder_ended, NULL);
    if ((result = write_id_map(pid, "uid_map")) < 0 || (result = write_id_map(pid, "gid_map")) < 0) {
        return err_system(err, -result, "map user ids", "%u-%u", engine.uid_base,
                          engine.uid_base + ID_RANGE - 1);
    }
    pool.user_ns = open_namespace(pid, "user");
    pool.pid_ns = open_namespace(pid, "pid");
    result = pool.user_ns < 0 ? pool.user_ns : pool.pid_ns;
    return result < 0 ? err_system(err, -result, "open namespaces", "pool") : 0;
}

void pool_end(void)
{
    pid_t ended;

    kill(pool.holder.pid, SIGKILL);
    /* It cannot end before all that was in its namespace is waited for, which is ours to do. */
    do {
        ended = waitpid(-1, NULL, __WALL);
    } while (ended >= 0 ? ended != pool.holder.pid : errno == EINTR);
    child_unwatch(&pool.holder);
    fd_close(&pool.user_ns);
    fd_close(&pool.pid_ns);
    cgroup_remove_pool();
}

int pool_user_namespace(void)
{
    return pool.user_ns;
}

int pool_pid_namespace(void)
{
    return pool.pid_ns;
}

pid_t pool_fork(int cgroup, int *pidfd)
{
    return child_fork_into(pool.pid_ns, cgroup, pidfd);
}

int pool_enter(void)
{
    if (setns(pool.user_ns, CLONE_NEWUSER) < 0 || setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 ||
        setresuid(0, 0, 0) < 0) {
        return -errno;
    }
    return 0;
}
