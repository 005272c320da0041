/* System V semaphores and queues live in a namespace of the cell, whoever uses them: they are not brought back. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>

#include "capture.h"
#include "fd.h"

union semaphore_argument {
    struct seminfo *info;
};

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

int ipc_check(const struct cell *cell, struct obstacles *obstacles, struct err *err)
{
    cleanup_fd own = open("/proc/self/ns/ipc", O_RDONLY | O_CLOEXEC);

    if (own < 0 || setns(cell->ipc_ns, CLONE_NEWIPC) < 0) {
        return err_system(err, errno, "enter ipc namespace", "/");
    }
    look(obstacles);
    if (setns(own, CLONE_NEWIPC) < 0) {
        die("return to the engine's ipc namespace: %s", strerror(errno));
    }
    return 0;
}
