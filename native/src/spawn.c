#include "spawn.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>

#include "confine.h"
#include "fd.h"
#include "passwd.h"

#define PASSWD_MAX (1 << 20)
#define REPORT_FD 3

__attribute__((noreturn)) static void fail(int num, const char *step)
{
    struct spawn_failure failure = {.num = num};

    snprintf(failure.step, sizeof failure.step, "%s", step);
    RETRY_EINTR(write(REPORT_FD, &failure, sizeof failure));
    _exit(127);
}

static void arrange_descriptors(const struct spawn *spawn)
{
    int report = fcntl(spawn->report, F_DUPFD_CLOEXEC, 10), stdio[3];

    for (int i = 0; i < 3; i++) { /* out of the way of 0-3 first */
        stdio[i] = spawn->stdio[i] < 0 ? -1 : fcntl(spawn->stdio[i], F_DUPFD_CLOEXEC, 10);
    }
    if (report < 0 || dup3(report, REPORT_FD, O_CLOEXEC) < 0) {
        _exit(127);
    }
    for (int i = 0; i < 3; i++) {
        if (spawn->stdio[i] >= 0 && (stdio[i] < 0 || dup2(stdio[i], i) < 0)) {
            fail(errno, "stdio");
        }
    }
}

/* What nobody feeds or reads is the sandbox's own null device; pipes and terminals belong to the user who runs, or
 * /dev/stdout could not be opened. */
static void finish_descriptors(const struct spawn *spawn, const struct identity *identity)
{
    for (int i = 0; i < 3; i++) {
        if (spawn->stdio[i] >= 0) {
            if (fchown(i, identity->uid, (gid_t)-1) < 0) {
                fail(errno, "stdio");
            }
            continue;
        }
        int null = open("/dev/null", O_RDWR | O_NOCTTY);
        if (null < 0 || (null != i && (dup2(null, i) < 0 || close(null) < 0))) {
            fail(errno, "stdio");
        }
    }
}

/* The sandbox's own user list, read inside it as its root: the C library's look-up would load its plugins. */
static void find_user(const char *user, struct identity *identity)
{
    struct stat st;
    ssize_t got = 0;
    char *text = malloc(PASSWD_MAX);

    *identity = (struct identity){0, 0};
    if (!user) {
        free(text);
        return;
    }
    int fd = open("/etc/passwd", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (text && fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        got = RETRY_EINTR(read(fd, text, PASSWD_MAX));
    }
    fd_close(&fd);
    if (!text || !passwd_find(text, got > 0 ? (size_t)got : 0, user, identity)) {
        fail(ENOENT, "user");
    }
    free(text);
}

static const char *find_variable(char **env, const char *name)
{
    size_t len = strlen(name);

    for (; *env; env++) {
        if (strncmp(*env, name, len) == 0 && (*env)[len] == '=') {
            return *env + len + 1;
        }
    }
    return NULL;
}

/* A file that was just written may still be open for writing in a child of the engine that was forked meanwhile and has
 * not closed what it does not need; that does not last. */
static void exec_when_free(const char *program, const struct spawn *spawn)
{
    const struct timespec moment = {.tv_nsec = 1000000};

    for (int tries = 0; tries < 50; tries++) {
        execve(program, spawn->argv, spawn->env);
        if (errno != ETXTBSY) {
            return;
        }
        nanosleep(&moment, NULL);
    }
}

/* What execvp does, with the new environment's PATH. Returns the errno to report. */
static int exec_program(const struct spawn *spawn)
{
    const char *path = find_variable(spawn->env, "PATH"), *name = spawn->argv[0];
    int failure = ENOENT;
    char candidate[PATH_MAX];

    if (strchr(name, '/')) {
        exec_when_free(name, spawn);
        return errno;
    }
    for (path = path ? path : "/usr/bin:/bin"; *path; path += strspn(path, ":")) {
        int len = (int)strcspn(path, ":");
        if (snprintf(candidate, sizeof candidate, "%.*s/%s", len, path, name) < (int)sizeof candidate) {
            exec_when_free(candidate, spawn);
            if (errno == EACCES) {
                failure = EACCES;
            } else if (errno != ENOENT && errno != ENOTDIR) {
                return errno;
            }
        }
        path += len;
    }
    return failure;
}

__attribute__((noreturn)) static void spawn_child(const struct spawn *spawn)
{
    struct identity identity;
    const char *step;
    int result;

    child_reset_signals();
    arrange_descriptors(spawn);
    if ((result = cgroup_enter(&spawn->sandbox->cgroup)) < 0) {
        fail(-result, "enter cgroup");
    }
    if (setsid() < 0 || (spawn->terminal && ioctl(0, TIOCSCTTY, 0) < 0)) {
        fail(errno, "session");
    }
    if ((result = cell_enter(spawn->sandbox->cell)) < 0) {
        fail(-result, "enter namespaces");
    }
    if (close_range(REPORT_FD + 1, ~0U, 0) < 0) {
        fail(errno, "close descriptors");
    }
    umask(022);
    find_user(spawn->user, &identity);
    finish_descriptors(spawn, &identity);
    if ((result = confine_process(&identity, &step)) < 0) {
        fail(-result, step);
    }
    if (chdir(spawn->cwd) < 0) {
        fail(errno, "chdir");
    }
    pid_t pid = getpid();
    if (write(REPORT_FD, &pid, sizeof pid) != sizeof pid) {
        _exit(127);
    }
    fail(exec_program(spawn), "exec");
}

pid_t spawn_process(const struct spawn *spawn, int *pidfd)
{
    pid_t pid = cell_fork(spawn->sandbox->cell, spawn->sandbox->cgroup.v2_fd, pidfd);

    if (pid == 0) {
        spawn_child(spawn);
    }
    return pid;
}
