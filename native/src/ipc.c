/* What processes share by number or name lives in a namespace of the cell, whoever uses it. Of it memory is brought back
 * (segment.c); semaphores and queues of System V, and those of POSIX, are not. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <unistd.h>

#include "capture.h"
#include "fd.h"
#include "segment.h"

union semaphore_argument {
    struct seminfo *info;
};

/* It is kept: to unmount it takes the kernel longer than all else here. */
static int mount_queues(struct cell *cell)
{
    cleanup_fd fs = cell->queues < 0 ? fsopen("mqueue", FSOPEN_CLOEXEC) : -1;

    if (fs >= 0 && fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0) {
        cell->queues = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY);
    }
    return cell->queues;
}

/* In the namespace. Those with a name, whether open or not. 0 or -errno. */
static int look_at_queues(struct cell *cell, struct obstacles *obstacles)
{
    const int mount = mount_queues(cell);
    int list = mount < 0 ? -1 : openat(mount, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *queues = list < 0 ? NULL : fdopendir(list);
    struct dirent *entry;

    if (!queues) {
        int failure = errno;
        fd_close(&list);
        return failure == ENODEV ? 0 : -failure; /* a kernel without them */
    }
    while ((entry = readdir(queues))) {
        char object[NAME_MAX + 24];
        if (entry->d_name[0] != '.') {
            snprintf(object, sizeof object, "message queue /%s", entry->d_name);
            obstacle_add(obstacles, NULL, object, true, "it is not brought back");
        }
    }
    closedir(queues);
    return 0;
}

/* In the namespace. */
static void look(struct obstacles *obstacles)
{
    static const char reason[] = "it is not brought back";
    struct seminfo semaphores = {0};
    struct msginfo queues = {0};

    if (semctl(0, 0, SEM_INFO, (union semaphore_argument){.info = &semaphores}) >= 0 &&
        semaphores.semusz > 0) {
        obstacle_add(obstacles, NULL, "System V semaphores", true, "%s", reason);
    }
    if (msgctl(0, MSG_INFO, (struct msqid_ds *)(void *)&queues) >= 0 && queues.msgpool > 0) {
        obstacle_add(obstacles, NULL, "System V message queues", true, "%s", reason);
    }
}

int ipc_enter(const struct cell *cell)
{
    int own = open("/proc/self/ns/ipc", O_RDONLY | O_CLOEXEC);

    if (own >= 0 && setns(cell->ipc_ns, CLONE_NEWIPC) < 0) {
        const int failure = -errno;
        close(own);
        return failure;
    }
    return own < 0 ? -errno : own;
}

void ipc_leave(int own)
{
    if (setns(own, CLONE_NEWIPC) < 0) {
        die("return to the engine's ipc namespace: %s", strerror(errno));
    }
    close(own);
}

int ipc_capture(struct image *image, struct cell *cell, struct obstacles *obstacles, struct err *err)
{
    int own = ipc_enter(cell), result;
    const char *step = "look at message queues";

    if (own < 0) {
        return err_system(err, -own, "enter ipc namespace", "/");
    }
    look(obstacles);
    if ((result = look_at_queues(cell, obstacles)) == 0) {
        step = "look at System V memory";
        result = segments_capture(image, obstacles);
    }
    ipc_leave(own);
    return result < 0 ? err_system(err, -result, step, "/") : 0;
}
