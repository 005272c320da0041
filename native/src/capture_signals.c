/* Signals that wait, and timers, which make them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "capture.h"
#include "fd.h"
#include "status.h"

#define SIGNALS 64
#define TIMERS_AT_ONCE 128
#define TRIES 8

/* ---- what waits ---- */

static void pending_add(struct pending *pending, const siginfo_t *info)
{
    pending->list = realloc(pending->list, (pending->count + 1) * sizeof *pending->list);
    if (!pending->list) {
        die("out of memory");
    }
    pending->list[pending->count++] = *info;
}

static uint64_t set_of(const struct pending *pending)
{
    uint64_t set = 0;

    for (size_t i = 0; i < pending->count; i++) {
        set |= 1ULL << (pending->list[i].si_signo - 1);
    }
    return set;
}

/* Where no room was left for more than their number the kernel delivers them as if a process without id had sent them. */
static void add_bare(struct pending *pending, uint64_t waiting)
{
    uint64_t known = set_of(pending);

    for (int number = 1; number <= SIGNALS; number++) {
        if (waiting & ~known & 1ULL << (number - 1)) {
            const siginfo_t info = {.si_signo = number, .si_code = SI_USER};
            pending_add(pending, &info);
        }
    }
}

int pending_capture(struct pending *pending, pid_t tid, const char *status, bool of_process)
{
    const char *key = of_process ? "\nShdPnd:" : "\nSigPnd:";
    const uint64_t waiting = strtoull(status_after(status, key), NULL, 16);
    struct __ptrace_peeksiginfo_args args = {.flags = of_process ? PTRACE_PEEKSIGINFO_SHARED : 0, .nr = 1};
    siginfo_t info;

    free(pending->list);
    *pending = (struct pending){0};
    for (;; args.off++) {
        long got = ptrace(PTRACE_PEEKSIGINFO, tid, &args, &info);
        if (got < 0) {
            return -errno;
        }
        if (got == 0) {
            break;
        }
        pending_add(pending, &info);
    }
    add_bare(pending, waiting);
    return 0;
}

/* ---- handlers and interval timers ---- */

static int ask_actions(struct image_process *process, struct inject *inject)
{
    const uint64_t data = inject_data(inject);

    for (int i = 0; i < SIGNALS; i++) {
        inject_add(inject, SYS_rt_sigaction, (uint64_t)i + 1, 0,
                   data + (uint64_t)i * sizeof *process->actions, 8, 0, 0);
    }
    int result = inject_run_clear(inject);
    return result < 0 ? result
                      : subject_read(inject->subject, data, process->actions, sizeof process->actions);
}

static int ask_intervals(struct image_process *process, struct inject *inject)
{
    const uint64_t data = inject_data(inject);

    for (int i = 0; i < 3; i++) {
        inject_add(inject, SYS_getitimer, (uint64_t)i, data + (uint64_t)i * sizeof *process->intervals, 0, 0,
                   0, 0);
    }
    int result = inject_run_clear(inject);
    return result < 0 ? result
                      : subject_read(inject->subject, data, process->intervals, sizeof process->intervals);
}

/* ---- POSIX timers ---- */

static void timer_add(struct image_process *process, const struct image_timer *timer)
{
    process->timers = realloc(process->timers, (process->timer_count + 1) * sizeof *process->timers);
    if (!process->timers) {
        die("out of memory");
    }
    process->timers[process->timer_count++] = *timer;
}

static pid_t inner_tid(const struct subject *subject, pid_t tid)
{
    for (size_t i = 0; i < subject->thread_count; i++) {
        if (subject->threads[i].tid == tid && !subject->threads[i].gone) {
            return subject->threads[i].inner;
        }
    }
    return 0;
}

static int parse_notify(const char *kind)
{
    return strcmp(kind, "none") == 0 ? SIGEV_NONE : strcmp(kind, "thread") == 0 ? SIGEV_THREAD : SIGEV_SIGNAL;
}

/* A clock of the time that another process has used has a number that names that process. */
static bool is_common_clock(int clock)
{
    return clock >= 0 && clock <= CLOCK_TAI;
}

static int list_timers(struct image_process *process, const struct subject *subject,
                       struct obstacles *obstacles)
{
    struct image_timer timer;
    unsigned long long value;
    char path[64], kind[16], whose[4];
    int tid;

    snprintf(path, sizeof path, "/proc/%d/timers", subject->pid);
    FILE *file = fopen(path, "re");
    if (!file) {
        return errno == ENOENT ? -ENOSYS : -errno;
    }
    process->timer_count = 0;
    while (fscanf(file, " ID: %d signal: %d/%llx notify: %15[a-z]/%3[a-z].%d ClockID: %d", &timer.id,
                  &timer.signal, &value, kind, whose, &tid, &timer.clock) == 7) {
        timer.value = value;
        timer.has_fired = false;
        timer.notify = parse_notify(kind) | (strcmp(whose, "tid") == 0 ? SIGEV_THREAD_ID : 0);
        timer.tid = strcmp(whose, "tid") == 0 ? inner_tid(subject, tid) : 0;
        if (!is_common_clock(timer.clock) || (timer.notify & SIGEV_THREAD_ID && timer.tid == 0)) {
            obstacle_add(obstacles, subject, "a timer", true,
                         is_common_clock(timer.clock) ? "its thread has ended"
                                                      : "it measures the time that another has used");
            continue;
        }
        timer_add(process, &timer);
    }
    bool whole = feof(file);
    fclose(file);
    return whole ? 0 : -ENODATA;
}

static int ask_timers(struct image_process *process, struct inject *inject)
{
    const uint64_t data = inject_data(inject);
    struct itimerspec left[TIMERS_AT_ONCE];

    for (size_t from = 0; from < process->timer_count; from += TIMERS_AT_ONCE) {
        size_t count = process->timer_count - from;
        count = count < TIMERS_AT_ONCE ? count : TIMERS_AT_ONCE;
        for (size_t i = 0; i < count; i++) {
            inject_add(inject, SYS_timer_gettime, (uint64_t)process->timers[from + i].id,
                       data + i * sizeof *left, 0, 0, 0, 0);
        }
        int result = inject_run_clear(inject);
        result = result < 0 ? result : subject_read(inject->subject, data, left, count * sizeof *left);
        if (result < 0) {
            return result;
        }
        for (size_t i = 0; i < count; i++) {
            process->timers[from + i].left = left[i];
        }
    }
    return 0;
}

/* ---- who made what waits ---- */

static struct image_timer *timer_of(struct image_process *process, const siginfo_t *info)
{
    for (size_t i = 0; info->si_code == SI_TIMER && i < process->timer_count; i++) {
        struct image_timer *timer = &process->timers[i];
        if (timer->id == info->si_timerid && timer->signal == info->si_signo) {
            return timer;
        }
    }
    return NULL;
}

/* The kernel lets a timer go on when its signal is taken: so the signal has to come from the timer again. */
static void leave_to_timers(struct image_process *process, struct pending *pending)
{
    const struct itimerval *real = &process->intervals[ITIMER_REAL];
    size_t kept = 0;

    for (size_t i = 0; i < pending->count; i++) {
        struct image_timer *timer = timer_of(process, &pending->list[i]);
        if (timer && !timer->has_fired) {
            timer->has_fired = true;
        } else if (pending->list[i].si_signo == SIGALRM && pending->list[i].si_code == SI_KERNEL &&
                   !timerisset(&real->it_value) && timerisset(&real->it_interval)) {
            process->intervals[ITIMER_REAL].it_value.tv_usec = 1;
        } else {
            pending->list[kept++] = pending->list[i];
        }
    }
    pending->count = kept;
}

/* ---- the whole ---- */

static size_t count_pending(const struct image_process *process)
{
    size_t count = process->pending.count;

    for (size_t i = 0; i < process->thread_count; i++) {
        count += process->threads[i].pending.count;
    }
    return count;
}

static const struct thread *thread_of(const struct subject *subject, pid_t inner)
{
    for (size_t i = 0; i < subject->thread_count; i++) {
        if (subject->threads[i].inner == inner && !subject->threads[i].gone) {
            return &subject->threads[i];
        }
    }
    return NULL;
}

static int look_at_pending(struct image_process *process, const struct subject *subject)
{
    const struct thread *thread = NULL;
    const char *status = NULL;

    for (size_t i = 0; i < process->thread_count; i++) {
        if (process->threads[i].ended) {
            continue;
        }
        thread = thread_of(subject, process->threads[i].tid);
        status = thread ? status_read(thread->tid) : NULL;
        int result =
            status ? pending_capture(&process->threads[i].pending, thread->tid, status, false) : -ESRCH;
        if (result < 0) {
            return result;
        }
    }
    return status ? pending_capture(&process->pending, thread->tid, status, true) : -ESRCH;
}

static bool has_timers(const struct image_process *process)
{
    bool running = process->timer_count > 0;

    for (int i = 0; i < 3; i++) {
        running = running || timerisset(&process->intervals[i].it_value) ||
                  timerisset(&process->intervals[i].it_interval);
    }
    return running;
}

/* What a timer makes wait is either seen to wait or to be left of the timer: never both or neither. */
static int look_at_timers(struct image_process *process, const struct subject *subject, struct inject *inject)
{
    for (int try = 0; try < TRIES; try++) {
        size_t before = count_pending(process);
        int result = ask_intervals(process, inject);
        if (result < 0 || !has_timers(process)) {
            return result;
        }
        if ((result = ask_timers(process, inject)) < 0 || (result = look_at_pending(process, subject)) < 0) {
            return result;
        }
        if (count_pending(process) == before) {
            return 0;
        }
    }
    return 0;
}

int signals_capture(struct image_process *process, const struct subject *subject, struct inject *inject,
                    struct obstacles *obstacles)
{
    int result = ask_actions(process, inject);

    if (result < 0 || (result = list_timers(process, subject, obstacles)) < 0 ||
        (result = look_at_timers(process, subject, inject)) < 0) {
        return result;
    }
    leave_to_timers(process, &process->pending);
    for (size_t i = 0; i < process->thread_count; i++) {
        leave_to_timers(process, &process->threads[i].pending);
    }
    return 0;
}
