#include "urgency.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RESET_ON_FORK 1u

void urgency_raise(struct urgency *urgency, pid_t tid)
{
    const struct scheduling urgent = {
        .size = sizeof urgent, .policy = SCHED_RR, .flags = RESET_ON_FORK, .priority = 1};

    if (urgency->raised) {
        return;
    }
    urgency->raised = syscall(SYS_sched_getattr, tid, &urgency->usual, sizeof urgency->usual, 0) == 0 &&
                      syscall(SYS_sched_setattr, tid, &urgent, 0) == 0;
}

void urgency_drop(struct urgency *urgency, pid_t tid)
{
    if (urgency->raised) {
        syscall(SYS_sched_setattr, tid, &urgency->usual, 0);
        urgency->raised = false;
    }
}

void urgency_keep_off(pid_t tid)
{
    const int here = sched_getcpu();
    cpu_set_t allowed;

    if (here < 0 || sched_getaffinity(tid, sizeof allowed, &allowed) < 0) {
        return;
    }
    CPU_CLR((size_t)here, &allowed);
    if (CPU_COUNT(&allowed) > 0) {
        sched_setaffinity(tid, sizeof allowed, &allowed);
    }
}
