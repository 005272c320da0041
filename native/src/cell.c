#include "cell.h"

#include <fcntl.h>
#include <grp.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "engine.h"
#include "fd.h"
#include "pass.h"
#include "pool.h"
#include "root.h"
#include "sys.h"

/* ---- the init: pid 1 of a sandbox. It holds the namespaces, reaps orphans and ends with the engine. ---- */

static int loopback_up(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    cleanup_fd fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    return fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) < 0 ? -errno : 0;
}

/* A new instance whose root belongs to the sandbox's root: so it is made inside its user namespace. */
static int make_devpts(void)
{
    cleanup_fd fs = fsopen("devpts", FSOPEN_CLOEXEC);

    if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "mode", "620", 0) < 0 ||
        fsconfig(fs, FSCONFIG_SET_STRING, "gid", "5", 0) < 0 ||
        fsconfig(fs, FSCONFIG_SET_STRING, "ptmxmode", "666", 0) < 0 ||
        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
        return -errno;
    }
    int mount = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
    return mount < 0 ? -errno : mount;
}

static int become_sandbox_root(void)
{
    if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0) {
        return -errno;
    }
    return 0;
}

static void init_fail(int socket, int result, const char *step)
{
    if (result < 0) {
        pass_send(socket, -result, step, NULL, 0);
        _exit(1);
    }
}

/* What the engine knows is nothing to keep until the end, which would take as long as all its pages; nor does the engine
 * write to a page that is not its own alone as fast. Nothing can be allocated after this. */
static void forget_heap(void)
{
    if (engine.heap && brk(engine.heap) < 0) {
        _exit(1);
    }
}

__attribute__((noreturn)) static void init_main(int socket, bool host_net)
{
    char byte;

    /* Nothing of the engine's may be open in a process that a sandbox can see. */
    if (dup2(socket, 3) < 0 || fcntl(3, F_SETFD, FD_CLOEXEC) < 0 || close_range(4, ~0U, 0) < 0) {
        _exit(1);
    }
    socket = 3;
    int null = open("/dev/null", O_RDWR);
    if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0 || close(null) < 0) {
        init_fail(socket, -errno, "init: /dev/null");
    }
    child_reset_signals();
    /* With SIGCHLD ignored the kernel reaps every orphan that comes to this process. */
    signal(SIGCHLD, SIG_IGN);
    if (RETRY_EINTR(read(socket, &byte, 1)) != 1) { /* until the id maps are written */
        _exit(1);
    }
    init_fail(socket, become_sandbox_root(), "init: become root");
    /* After the change of user, which clears both: die with the engine, and stay out of reach of the sandbox. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_DUMPABLE, 0);
    prctl(PR_SET_NAME, "deltabox-init");
    setsid();
    if (!host_net) {
        init_fail(socket, loopback_up(), "init: loopback");
    }
    int pts = make_devpts();
    init_fail(socket, pts, "init: devpts");
    pass_send(socket, 0, "", &pts, 1);
    close(pts);
    forget_heap();
    while (RETRY_EINTR(read(socket, &byte, 1)) > 0) {
    }
    _exit(0);
}

/* ---- making one ---- */

/* The ids of the pool's user namespace, as they are. */
static int write_id_map(pid_t pid, const char *name)
{
    char path[64], text[64];

    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    snprintf(text, sizeof text, "0 0 %u\n", ID_RANGE);
    cleanup_fd fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* By the number of /proc's namespace, which is the engine's. */
static pid_t pidfd_number(int pidfd)
{
    char path[64], text[512];

    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", pidfd);
    cleanup_fd fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    text[got > 0 ? got : 0] = '\0';
    const char *at = strstr(text, "\nPid:");
    return at ? (pid_t)strtol(at + 5, NULL, 10) : -1;
}

static int open_namespace(pid_t pid, const char *name)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/ns/%s", pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int open_namespaces(struct cell *cell, pid_t pid, struct err *err)
{
    const struct {
        const char *name;
        int *fd;
    } all[] = {{"user", &cell->user_ns},    {"mnt", &cell->mount_ns}, {"pid", &cell->pid_ns},
               {"net", &cell->net_ns},      {"ipc", &cell->ipc_ns},   {"uts", &cell->uts_ns},
               {"cgroup", &cell->cgroup_ns}};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        *all[i].fd = open_namespace(pid, all[i].name);
        if (*all[i].fd < 0) {
            return err_system(err, -*all[i].fd, "open namespaces", "cell");
        }
    }
    return 0;
}

__attribute__((noreturn)) static void maker_fail(int socket, int num, const char *step)
{
    pass_send(socket, num, step, NULL, 0);
    _exit(1);
}

/* In a child of the engine: the namespaces are made by a process of the pool, so that they lie below it; their init is
 * nevertheless the engine's child. */
__attribute__((noreturn)) static void maker_main(int result_socket, int socket, bool host_net)
{
    int pidfd = -1;
    struct clone_args args = {
        .flags = CLONE_PIDFD | CLONE_PARENT | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC |
                 CLONE_NEWUTS | CLONE_NEWCGROUP | (host_net ? 0 : CLONE_NEWNET),
        .pidfd = (uintptr_t)&pidfd,
    };
    int result = pool_enter();

    if (result < 0) {
        maker_fail(result_socket, -result, "enter pool");
    }
    /* or the files of its children in /proc would not be its own */
    prctl(PR_SET_DUMPABLE, 1);
    pid_t pid = sys_clone3(&args);
    if (pid == 0) {
        init_main(socket, host_net);
    }
    if (pid < 0) {
        maker_fail(result_socket, errno, "make namespaces");
    }
    /* clone told its number in the pool */
    pid = pidfd_number(pidfd);
    if ((result = write_id_map(pid, "uid_map")) < 0 || (result = write_id_map(pid, "gid_map")) < 0) {
        maker_fail(result_socket, -result, "map user ids");
    }
    pass_send(result_socket, 0, "", &pidfd, 1);
    _exit(0);
}

static int start_init(struct cell *cell, int socket, void (*ended)(struct child *, const siginfo_t *),
                      struct err *err)
{
    int pair[2], pidfd = -1;
    struct outcome outcome;
    struct child maker = {0};

    int result = pass_pair(pair);
    if (result < 0) {
        return err_system(err, -result, "socketpair", "cell");
    }
    cleanup_fd ours = pair[0], theirs = pair[1];
    pid_t pid = pool_fork(-1, &pidfd);
    if (pid == 0) {
        maker_main(theirs, socket, cell->host_net);
    }
    if (pid < 0) {
        return err_system(err, errno, "fork", "cell");
    }
    cleanup_fd maker_pidfd = pidfd;
    (void)maker_pidfd;
    fd_close(&theirs);
    pass_receive(ours, &outcome, &cell->init_pidfd, 1);
    child_watch(&maker, pid, NULL, NULL);
    child_kill_and_wait(&maker);
    if (outcome.num) {
        return err_system(err, outcome.num, outcome.step, "cell");
    }
    pid = pidfd_number(cell->init_pidfd);
    child_watch(&cell->init, pid, ended, cell);
    return open_namespaces(cell, pid, err);
}

static int wait_for_init(struct cell *cell, struct err *err)
{
    struct outcome outcome;

    if (write(cell->init_socket, "g", 1) != 1) {
        return err_system(err, errno, "start init", "cell");
    }
    pass_receive(cell->init_socket, &outcome, &cell->pts_mount, 1);
    return outcome.num ? err_system(err, outcome.num, outcome.step, "cell") : 0;
}

static int make_mount(const char *type, uint64_t attributes)
{
    cleanup_fd fs = fsopen(type, FSOPEN_CLOEXEC);

    if (fs < 0 || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
        return -errno;
    }
    int mount = fsmount(fs, FSMOUNT_CLOEXEC, (unsigned)attributes);
    return mount < 0 ? -errno : mount;
}

__attribute__((noreturn)) static void mount_kernel_views(const struct cell *cell, int socket)
{
    const uint64_t safe = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    int fds[2];

    /* sysfs shows the network namespace of the process that mounts it, proc its pid namespace. */
    if (setns(cell->init_pidfd, CLONE_NEWNET) < 0) {
        pass_send(socket, errno, "enter network namespace", NULL, 0);
        _exit(1);
    }
    fds[0] = make_mount("proc", safe);
    fds[1] = make_mount("sysfs", safe | MOUNT_ATTR_RDONLY);
    if (fds[0] < 0 || fds[1] < 0) {
        pass_send(socket, fds[0] < 0 ? -fds[0] : -fds[1], fds[0] < 0 ? "mount proc" : "mount sysfs", NULL, 0);
        _exit(1);
    }
    pass_send(socket, 0, "", fds, 2);
    _exit(0);
}

/* The engine's root mounts proc and sysfs, from inside the cell's pid and network namespaces: the kernel does not let
 * a user namespace mount them where the host hides parts of its own. */
static int take_kernel_views(struct cell *cell, struct err *err)
{
    int pair[2], fds[2], pidfd = -1;
    struct outcome outcome;
    struct child helper = {0};

    int result = pass_pair(pair);
    if (result < 0) {
        return err_system(err, -result, "socketpair", "cell");
    }
    cleanup_fd ours = pair[0], theirs = pair[1];
    pid_t pid = cell_fork(cell, -1, &pidfd);
    if (pid == 0) {
        mount_kernel_views(cell, theirs);
    }
    if (pid < 0) {
        return err_system(err, errno, "fork", "cell");
    }
    cleanup_fd helper_pidfd = pidfd;
    (void)helper_pidfd;
    fd_close(&theirs);
    pass_receive(ours, &outcome, fds, 2);
    child_watch(&helper, pid, NULL, NULL);
    child_kill_and_wait(&helper);
    cell->proc_mount = fds[0];
    cell->sys_mount = fds[1];
    return outcome.num ? err_system(err, outcome.num, outcome.step, "cell") : 0;
}

static void ended_unnoticed(struct child *child, const siginfo_t *info)
{
    (void)child;
    (void)info;
}

static int create(struct cell *cell, bool host_net, struct err *err)
{
    int pair[2];

    *cell = (struct cell){.init_pidfd = -1,
                          .init_socket = -1,
                          .user_ns = -1,
                          .mount_ns = -1,
                          .pid_ns = -1,
                          .net_ns = -1,
                          .ipc_ns = -1,
                          .uts_ns = -1,
                          .cgroup_ns = -1,
                          .proc_mount = -1,
                          .sys_mount = -1,
                          .pts_mount = -1,
                          .pts = -1,
                          .queues = -1,
                          .bare_root = -1,
                          .host_net = host_net};
    int result = pass_pair(pair);
    if (result < 0) {
        return err_system(err, -result, "socketpair", "cell");
    }
    cell->init_socket = pair[0];
    result = start_init(cell, pair[1], ended_unnoticed, err);
    close(pair[1]);
    if (result < 0 || wait_for_init(cell, err) < 0 || take_kernel_views(cell, err) < 0) {
        cell_destroy(cell);
        return -1;
    }
    cell->pts = openat(cell->pts_mount, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (cell->pts < 0) {
        err_system(err, errno, "open devpts", "cell");
        cell_destroy(cell);
        return -1;
    }
    if (root_prepare(cell, err) < 0) {
        cell_destroy(cell);
        return -1;
    }
    fd_close(&cell->proc_mount);
    fd_close(&cell->sys_mount);
    fd_close(&cell->pts_mount);
    return 0;
}

void cell_release(struct cell *cell)
{
    fd_close(&cell->init_pidfd);
    fd_close(&cell->init_socket);
    fd_close(&cell->user_ns);
    fd_close(&cell->mount_ns);
    fd_close(&cell->pid_ns);
    fd_close(&cell->net_ns);
    fd_close(&cell->ipc_ns);
    fd_close(&cell->uts_ns);
    fd_close(&cell->cgroup_ns);
    fd_close(&cell->proc_mount);
    fd_close(&cell->sys_mount);
    fd_close(&cell->pts_mount);
    fd_close(&cell->pts);
    fd_close(&cell->queues);
    fd_close(&cell->bare_root);
}

void cell_destroy(struct cell *cell)
{
    child_kill_and_wait(&cell->init);
    cell_release(cell);
}

int cell_set_hostname(const struct cell *cell, const char *hostname, struct err *err)
{
    if (setns(cell->init_pidfd, CLONE_NEWUTS) < 0) {
        return err_system(err, errno, "enter uts namespace", "%s", hostname);
    }
    int failure = sethostname(hostname, strlen(hostname)) < 0 ? errno : 0;
    if (setns(engine.uts_ns, CLONE_NEWUTS) < 0) {
        die("return to the engine's uts namespace: %s", strerror(errno));
    }
    return failure ? err_system(err, failure, "set hostname", "%s", hostname) : 0;
}

int cell_enter(const struct cell *cell)
{
    int flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP |
                (cell->host_net ? 0 : CLONE_NEWNET);

    return setns(cell->init_pidfd, flags) < 0 ? -errno : 0;
}

pid_t cell_fork(const struct cell *cell, int cgroup_fd, int *pidfd)
{
    return child_fork_into(cell->init_pidfd, cgroup_fd, pidfd);
}

int cell_new(struct cell **cell, bool host_net, struct err *err)
{
    *cell = malloc(sizeof **cell);
    if (!*cell) {
        die("out of memory");
    }
    if (create(*cell, host_net, err) < 0) {
        free(*cell);
        *cell = NULL;
        return -1;
    }
    return 0;
}
