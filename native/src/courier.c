#include "courier.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "confine.h"
#include "fd.h"
#include "loop.h"
#include "pass.h"
#include "sys.h"
#include "tree.h"

#define SOCKET_FD 3

struct courier {
    struct child child;
    struct source source;
    int socket; /* -1 once it has been heard */
    bool reaped;
    courier_done *done;
    void *owner;
    const struct sandbox *sandbox;
    struct courier *next;
};

static struct courier *couriers;

/* ---- inside ---- */

static int open_beneath(const char *path, int flags, mode_t mode)
{
    /* /proc/PID/fd and the like would lead to things by descriptor, not by path */
    int fd = sys_openat2(AT_FDCWD, path, (uint64_t)flags | O_CLOEXEC, flags & O_CREAT ? mode : 0,
                         RESOLVE_NO_MAGICLINKS);
    return fd < 0 ? -errno : fd;
}

static int make_parents(const char *path)
{
    char copy[PATH_MAX];

    if (snprintf(copy, sizeof copy, "%s", path) >= (int)sizeof copy) {
        return -ENAMETOOLONG;
    }
    for (char *slash = copy + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        if (mkdir(copy, 0755) < 0 && errno != EEXIST) {
            return -errno;
        }
        *slash = '/';
    }
    return 0;
}

static int make_directory(const struct errand_args *args)
{
    struct stat st;
    int result = args->parents ? make_parents(args->path) : 0;

    if (result < 0 || mkdir(args->path, args->mode) == 0) {
        return result;
    }
    if (errno == EEXIST && args->parents && stat(args->path, &st) == 0 && S_ISDIR(st.st_mode)) {
        return 0;
    }
    return -errno;
}

static int remove_path(const struct errand_args *args)
{
    if (args->recursive) {
        struct stat st;
        return lstat(args->path, &st) < 0 ? -errno : tree_remove(AT_FDCWD, args->path);
    }
    if (unlink(args->path) == 0 || (errno == EISDIR && rmdir(args->path) == 0)) {
        return 0;
    }
    return -errno;
}

/* Returns 0, a descriptor (open) or -errno. */
static int run_errand(const struct errand_args *args)
{
    int result;

    switch (args->errand) {
    case ERRAND_OPEN:
        result = open_beneath(args->path, args->flags, args->mode);
        if (result == -ENOENT && args->parents && (result = make_parents(args->path)) == 0) {
            result = open_beneath(args->path, args->flags, args->mode);
        }
        return result;
    case ERRAND_MKDIR:
        return make_directory(args);
    case ERRAND_REMOVE:
        return remove_path(args);
    case ERRAND_RENAME:
        return rename(args->path, args->other) < 0 ? -errno : 0;
    case ERRAND_SYMLINK:
        return symlink(args->other, args->path) < 0 ? -errno : 0;
    }
    return -EINVAL;
}

__attribute__((noreturn)) static void courier_main(const struct sandbox *sandbox,
                                                   const struct errand_args *args, int socket)
{
    const char *step = "enter namespaces";
    int result;

    child_reset_signals();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    result = cell_enter(sandbox->cell);
    /* Nothing of the engine's may be reached through /proc/self/fd. */
    if (result == 0 && (dup3(socket, SOCKET_FD, O_CLOEXEC) < 0 || close_range(SOCKET_FD + 1, ~0U, 0) < 0)) {
        _exit(1);
    }
    socket = result == 0 ? SOCKET_FD : socket;
    if (result == 0) {
        close(0);
        close(1);
        close(2);
        umask(022);
        result = confine_helper(&step);
    }
    if (result == 0) {
        step = "";
        result = run_errand(args);
    }
    pass_send(socket, result < 0 ? -result : 0, step, &result,
              args->errand == ERRAND_OPEN && result >= 0 ? 1 : 0);
    _exit(0);
}

/* ---- outside ---- */

static void courier_free(struct courier *courier)
{
    if (!courier->reaped || courier->socket >= 0) {
        return;
    }
    for (struct courier **link = &couriers; *link; link = &(*link)->next) {
        if (*link == courier) {
            *link = courier->next;
            break;
        }
    }
    free(courier);
}

static void courier_ready(struct source *source, uint32_t events)
{
    struct courier *courier = source->owner;
    struct outcome outcome;
    int fd;

    (void)events;
    pass_receive(courier->socket, &outcome, &fd, 1);
    loop_remove(&courier->source);
    fd_close(&courier->socket);
    courier->done(courier->owner, outcome.num, outcome.step, fd);
    courier_free(courier);
}

static void courier_ended(struct child *child, const siginfo_t *info)
{
    struct courier *courier = child->owner;

    (void)info;
    courier->reaped = true;
    courier_free(courier);
}

int courier_send(struct sandbox *sandbox, const struct errand_args *args, courier_done *done, void *owner,
                 struct err *err)
{
    int pair[2];

    int result = pass_pair(pair);
    if (result < 0) {
        return err_system(err, -result, "socketpair", "%s", args->path);
    }
    cleanup_fd ours = pair[0], theirs = pair[1];
    pid_t pid = fork();
    if (pid == 0) {
        courier_main(sandbox, args, theirs);
    }
    if (pid < 0) {
        return err_system(err, errno, "fork", "%s", args->path);
    }
    struct courier *courier = calloc(1, sizeof *courier);
    if (!courier) {
        die("out of memory");
    }
    courier->socket = fd_steal(&ours);
    courier->done = done;
    courier->owner = owner;
    courier->sandbox = sandbox;
    courier->next = couriers;
    couriers = courier;
    child_watch(&courier->child, pid, courier_ended, courier);
    loop_add(&courier->source, courier->socket, EPOLLIN, courier_ready, courier);
    return 0;
}

bool couriers_finish(const struct sandbox *sandbox, uint64_t deadline)
{
    for (struct courier *courier = couriers, *next; courier; courier = next) {
        next = courier->next;
        if (courier->sandbox != sandbox || courier->socket < 0) {
            continue;
        }
        if (!loop_await(courier->socket, deadline)) {
            return false;
        }
        courier_ready(&courier->source, 0);
    }
    return true;
}
