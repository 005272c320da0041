/* Handlers, signals that wait, and timers of a revived process. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <time.h>

#include "revive.h"

#define SIGNALS 64
#define MASK_BYTES 8u
#define RESTORE_TIMER_IDS 77 /* PR_TIMER_CREATE_RESTORE_IDS, since Linux 6.16 */
#define CREATE_TRIES 65536
#define NSEC_PER_SEC 1000000000LL

int restore_signals(struct revived *revived)
{
    const struct image_process *process = revived->image;
    struct inject *inject = &revived->puppet.inject;
    const uint64_t data = inject_data(inject);
    int result = subject_write(inject->subject, data, process->actions, sizeof process->actions);

    for (int i = 0; result == 0 && i < SIGNALS; i++) {
        const struct signal_action *action = &process->actions[i];
        if (i + 1 != SIGKILL && i + 1 != SIGSTOP && (action->handler || action->flags || action->mask)) {
            inject_add(inject, SYS_rt_sigaction, (uint64_t)i + 1, data + (uint64_t)i * sizeof *action, 0,
                       MASK_BYTES, 0, 0);
        }
    }
    return result < 0 ? result : inject_run_clear(inject);
}

/* ---- what waits ---- */

int restore_mask(const struct puppet *puppet, uint64_t mask)
{
    return ptrace(PTRACE_SETSIGMASK, puppet->thread.tid, MASK_BYTES, &mask) < 0 ? -errno : 0;
}

/* By single calls, which need no signal of ours. SIGSTOP takes effect when the thread is let go. */
int restore_pending(struct puppet *puppet, const struct pending *pending, bool of_process)
{
    struct inject *inject = &puppet->inject;
    const uint64_t data = inject_data(inject), pid = (uint64_t)puppet->subject.inner;
    int result = 0;

    for (size_t i = 0; result == 0 && i < pending->count; i++) {
        const siginfo_t *info = &pending->list[i];
        const uint64_t number = (uint64_t)info->si_signo;
        const struct arch_call to_process = {.number = SYS_rt_sigqueueinfo, .args = {pid, number, data}};
        const struct arch_call to_thread = {.number = SYS_rt_tgsigqueueinfo,
                                            .args = {pid, (uint64_t)puppet->thread.inner, number, data}};
        if (info->si_signo == SIGSTOP) {
            puppet->thread.stop_pending = true;
            continue;
        }
        result = subject_write(inject->subject, data, info, sizeof *info);
        result = result < 0 ? result : (int)inject_call(inject, of_process ? &to_process : &to_thread);
    }
    return result;
}

/* ---- timers ---- */

struct event {
    uint64_t value;
    int signal, notify;
    pid_t tid;
    int id;
};

/* Kernels that are not told the number give one after the other. */
static int create_timer(struct inject *inject, const struct image_timer *timer)
{
    struct event event = {timer->value, timer->signal, timer->notify, timer->tid, timer->id};
    const uint64_t data = inject_data(inject), id = data + 64;

    for (int try = 0; try < CREATE_TRIES; try++) {
        int result = subject_write(inject->subject, data, &event, sizeof event);
        result = result < 0 ? result : subject_write(inject->subject, id, &timer->id, sizeof timer->id);
        if (result < 0) {
            return result;
        }
        inject_add_free(inject, SYS_prctl, RESTORE_TIMER_IDS, 1, 0, 0, 0, 0);
        inject_add(inject, SYS_timer_create, (uint64_t)timer->clock, data, id, 0, 0, 0);
        inject_add_free(inject, SYS_prctl, RESTORE_TIMER_IDS, 0, 0, 0, 0, 0);
        result = inject_run_clear(inject);
        result = result < 0 ? result : subject_read(inject->subject, id, &event.id, sizeof event.id);
        if (result < 0 || event.id == timer->id) {
            return result;
        }
        inject_add(inject, SYS_timer_delete, (uint64_t)event.id, 0, 0, 0, 0, 0);
        if ((result = inject_run_clear(inject)) < 0) {
            return result;
        }
    }
    return -EAGAIN;
}

int restore_timers(struct revived *revived)
{
    int result = 0;

    for (size_t i = 0; result == 0 && i < revived->image->timer_count; i++) {
        result = create_timer(&revived->puppet.inject, &revived->image->timers[i]);
    }
    return result;
}

static bool is_set(const struct timespec *time)
{
    return time->tv_sec != 0 || time->tv_nsec != 0;
}

static int64_t nsec_of(const struct timespec *time)
{
    return (int64_t)time->tv_sec * NSEC_PER_SEC + time->tv_nsec;
}

/* One whose signal waits runs out at once, and then on as if it had run out when it did: the kernel counts from there. */
static int first_end(const struct image_timer *timer, struct itimerspec *setting)
{
    struct timespec now;

    *setting = timer->left;
    if (!timer->has_fired) {
        return 0;
    }
    setting->it_value = (struct timespec){.tv_nsec = 1};
    if (!is_set(&timer->left.it_interval) || timer->clock == CLOCK_PROCESS_CPUTIME_ID ||
        timer->clock == CLOCK_THREAD_CPUTIME_ID || clock_gettime(timer->clock, &now) < 0) {
        return 0;
    }
    int64_t at = nsec_of(&now) - (nsec_of(&timer->left.it_interval) - nsec_of(&timer->left.it_value));
    if (at <= 0) {
        return 0;
    }
    setting->it_value = (struct timespec){.tv_sec = at / NSEC_PER_SEC, .tv_nsec = at % NSEC_PER_SEC};
    return TIMER_ABSTIME;
}

static int start_timer(struct inject *inject, const struct image_timer *timer)
{
    const uint64_t data = inject_data(inject);
    struct itimerspec setting;
    const int flags = first_end(timer, &setting);
    const struct arch_call call = {.number = SYS_timer_settime,
                                   .args = {(uint64_t)timer->id, (uint64_t)flags, data}};
    int result = subject_write(inject->subject, data, &setting, sizeof setting);

    return result < 0 || !is_set(&setting.it_value) ? result : (int)inject_call(inject, &call);
}

int restore_running_timers(struct revived *revived)
{
    const struct image_process *process = revived->image;
    struct inject *inject = &revived->puppet.inject;
    const uint64_t data = inject_data(inject);
    int result = 0;

    for (uint64_t i = 0; result == 0 && i < 3; i++) {
        const struct itimerval *interval = &process->intervals[i];
        const struct arch_call call = {.number = SYS_setitimer, .args = {i, data, 0}};
        if (timerisset(&interval->it_value) || timerisset(&interval->it_interval)) {
            result = subject_write(inject->subject, data, interval, sizeof *interval);
            result = result < 0 ? result : (int)inject_call(inject, &call);
        }
    }
    for (size_t i = 0; result == 0 && i < process->timer_count; i++) {
        result = start_timer(inject, &process->timers[i]);
    }
    return result;
}
