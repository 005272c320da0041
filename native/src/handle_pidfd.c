/* Descriptors of processes. */
#include <fcntl.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>

#include "fd.h"
#include "handle.h"
#include "sys.h"

#define OF_THREAD O_EXCL

static bool is_it(const struct seen *seen)
{
    return strcmp(seen->link, "anon_inode:[pidfd]") == 0;
}

/* The last of the ids that it has in the namespaces is its own; -1 when it has ended and was waited for. */
static pid_t inner_pid(const struct seen *seen)
{
    const char *at = strstr(seen->fdinfo, "NSpid:");
    pid_t last = -1;
    int used;

    for (at = at ? at + strlen("NSpid:") : ""; sscanf(at, " %d%n", &last, &used) == 1; at += used) {
        if (at[used] == '\n' || at[used] == '\0') {
            break;
        }
    }
    return last;
}

static bool is_captured(const struct image *image, pid_t pid)
{
    for (size_t i = 0; i < image->process_count; i++) {
        if (image->processes[i].pid == pid) {
            return true;
        }
    }
    return false;
}

static bool leads_inside(const struct image *image, pid_t pid)
{
    return pid == 1 || pid == -1 || is_captured(image, pid);
}

static int capture_pidfd(const struct seen *seen, struct image_handle *handle)
{
    pid_t *pid = handle->kept = handle_keep(sizeof *pid);

    *pid = inner_pid(seen);
    return seen->flags & OF_THREAD ? seen_refuse(seen, "it is that of a thread") : 0;
}

static int complete(const struct seen *seen, struct image_handle *handle)
{
    return leads_inside(seen->image, *(const pid_t *)handle->kept)
               ? 0
               : seen_refuse(seen, "the process that it leads to is not brought back");
}

/* One that ended at once. */
static int open_ended(void)
{
    int fd = -1;
    struct clone_args args = {.flags = CLONE_PIDFD, .pidfd = (uintptr_t)&fd};
    pid_t pid = sys_clone3(&args);

    if (pid == 0) {
        _exit(0);
    }
    if (pid < 0) {
        return -errno;
    }
    RETRY_EINTR(waitpid(pid, NULL, __WALL));
    return fd;
}

static int open_running(const struct opening *opening, pid_t pid)
{
    if (pid == 1) {
        return pidfd_open(opening->stage->cell->init.pid, 0);
    }
    for (size_t i = 0; i < opening->revival->count; i++) {
        const struct revived *revived = &opening->revival->processes[i];
        if (revived->image->pid == pid && revived->puppet.child.pid > 0) {
            return pidfd_open(revived->puppet.child.pid, 0);
        }
    }
    errno = ESRCH;
    return -1;
}

static int open_pidfd(const struct opening *opening, const struct image_handle *handle)
{
    const pid_t pid = *(const pid_t *)handle->kept;
    cleanup_fd fd = pid == -1 ? open_ended() : open_running(opening, pid);

    if (fd < 0 || fcntl(fd, F_SETFL, handle->flags & O_NONBLOCK) < 0) {
        return -errno;
    }
    return fd_steal(&fd);
}

static void pack_handle(struct pack *pack, struct image_handle *handle)
{
    pid_t *pid = pack_kept(pack, &handle->kept, sizeof *pid);

    PACK(pack, *pid);
}

static bool fits(const struct image *image, size_t handle)
{
    return leads_inside(image, *(const pid_t *)image->handles[handle].kept);
}

const struct handle_kind handle_pidfd = {.name = "pidfd",
                                         .is_it = is_it,
                                         .capture = capture_pidfd,
                                         .complete = complete,
                                         .open = open_pidfd,
                                         .pack = pack_handle,
                                         .fits = fits};
