/* One thread of a frozen process. */
#include <linux/capability.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "fd.h"
#include "freeze.h"
#include "status.h"

/* The end of a process is left for the loop to reap: only then is that of an API process told, or the real parent
 * notified. That of a thread is seen here, as another of its process may wait for it in execve. */
bool thread_has_ended(pid_t pid, pid_t tid)
{
    char status[4096];
    siginfo_t info;

    if (proc_read(tid, "status", status, sizeof status) >= 0 && status_state(status) != 'Z' &&
        status_state(status) != 'X') {
        return false;
    }
    if (tid != pid) {
        waitid(P_PID, (id_t)tid, &info, WEXITED | WNOHANG | __WALL);
    }
    return true;
}

int thread_look(struct thread *thread)
{
    char status[4096];
    ssize_t got = proc_read(thread->tid, "status", status, sizeof status);

    if (got <= 0) {
        return got < 0 ? (int)got : -ESRCH;
    }
    thread->inner = (pid_t)status_last_number(status, "\nNSpid:");
    thread->pending = status_mask(status, "\nSigPnd:") | status_mask(status, "\nShdPnd:");
    return 0;
}

bool thread_was_killed(struct thread *thread)
{
    struct arch_regs regs;

    thread->gone = thread->gone || arch_get_regs(thread->tid, &regs) < 0;
    return thread->gone;
}

/* Since Linux 6.4. */
#define SET_CALL_DISPATCH 0x4210
#define GET_CALL_DISPATCH 0x4211

int thread_get_dispatch(const struct thread *thread, struct call_dispatch *dispatch)
{
    *dispatch = (struct call_dispatch){0};
    if (ptrace(GET_CALL_DISPATCH, thread->tid, sizeof *dispatch, dispatch) == 0) {
        return 0;
    }
    return errno == EIO || errno == EINVAL ? 0 : -errno;
}

int thread_set_dispatch(const struct thread *thread, const struct call_dispatch *dispatch)
{
    return ptrace(SET_CALL_DISPATCH, thread->tid, sizeof *dispatch, dispatch) < 0 ? -errno : 0;
}

bool thread_is_capable(const struct thread *thread, int capability)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = thread->tid};
    struct __user_cap_data_struct data[2];

    return syscall(SYS_capget, &header, data) == 0 &&
           (data[capability / 32].effective & (1U << (capability % 32))) != 0;
}

struct thread *subject_thread(const struct subject *subject)
{
    for (size_t i = 0; i < subject->thread_count; i++) {
        if (!subject->threads[i].gone) {
            return &subject->threads[i];
        }
    }
    return NULL;
}
