/* What a thread is beside what all threads of its process are. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "capture.h"
#include "fd.h"
#include "restarts.h"
#include "status.h"

#define OF_PROCESS 1 /* of ioprio_get, which means threads */

/* What only the thread itself can tell. */
static int ask_thread(struct image_thread *image, struct inject *inject)
{
    struct {
        stack_t alternate_stack;
        uint64_t clear_tid;
        int parent_death_signal, time_stamps;
    } data;
    const uint64_t at = inject_data(inject);

    inject_clear(inject);
    inject_add(inject, SYS_sigaltstack, 0, at, 0, 0, 0, 0);
    inject_add(inject, SYS_prctl, PR_GET_TID_ADDRESS, at + offsetof(typeof(data), clear_tid), 0, 0, 0, 0);
    inject_add(inject, SYS_prctl, PR_GET_PDEATHSIG, at + offsetof(typeof(data), parent_death_signal), 0, 0, 0,
               0);
    inject_add(inject, SYS_prctl, PR_GET_TSC, at + offsetof(typeof(data), time_stamps), 0, 0, 0, 0);
    size_t bits = inject_add(inject, SYS_prctl, PR_GET_SECUREBITS, 0, 0, 0, 0, 0);
    size_t slack = inject_add(inject, SYS_prctl, PR_GET_TIMERSLACK, 0, 0, 0, 0, 0);
    int result = inject_run(inject);
    image->credentials.securebits = (unsigned)inject->calls[bits].result;
    image->turn.timer_slack = (uint64_t)inject->calls[slack].result;
    inject_clear(inject);
    if (result < 0 || (result = subject_read(inject->subject, at, &data, sizeof data)) < 0) {
        return result;
    }
    image->alternate_stack = data.alternate_stack;
    image->clear_tid = data.clear_tid;
    image->parent_death_signal = data.parent_death_signal;
    image->time_stamps = data.time_stamps;
    return 0;
}

/* While it stands it may have been given another turn than its own. */
static int look_at_turn(struct turn *turn, const struct thread *thread)
{
    turn->scheduling = thread->urgency.usual;
    if (!thread->urgency.raised &&
        syscall(SYS_sched_getattr, thread->tid, &turn->scheduling, sizeof turn->scheduling, 0) < 0) {
        return -errno;
    }
    errno = 0;
    turn->nice = getpriority(PRIO_PROCESS, (id_t)thread->tid);
    turn->io_priority = (int)syscall(SYS_ioprio_get, OF_PROCESS, thread->tid);
    long size = syscall(SYS_sched_getaffinity, thread->tid, sizeof turn->processors, turn->processors);
    turn->processors_size = size < 0 ? 0 : (size_t)size;
    return errno ? -errno : 0;
}

static ssize_t read_line(pid_t tid, const char *name, char *line, size_t room)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/%s", tid, name);
    cleanup_fd fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? 0 : read(fd, line, room - 1);
    line[got > 0 ? got : 0] = '\0';
    line[strcspn(line, "\n")] = '\0';
    return got;
}

static int look_at_thread(struct image_thread *image, const struct thread *thread)
{
    struct __ptrace_rseq_configuration rseq;
    const char *status = status_read(thread->tid);
    char personality[32];
    int result;

    image->tid = thread->inner;
    image->regs = thread->regs;
    if (arch_gone_on_ip(&image->regs)) {
        arch_name_call(&image->regs, restarts_number(thread->tid, &image->regs));
    }
    image->mask = thread->mask;
    image->dispatch = thread->dispatch;
    if (ptrace(PTRACE_GET_RSEQ_CONFIGURATION, thread->tid, sizeof rseq, &rseq) == sizeof rseq) {
        image->rseq = rseq.rseq_abi_pointer;
        image->rseq_size = rseq.rseq_abi_size;
        image->rseq_signature = rseq.signature;
    }
    syscall(SYS_get_robust_list, thread->tid, &image->robust_list, &image->robust_length);
    if (!status || read_line(thread->tid, "comm", image->name, sizeof image->name) <= 0 ||
        read_line(thread->tid, "personality", personality, sizeof personality) <= 0) {
        return -ESRCH;
    }
    image->personality = (unsigned)strtoul(personality, NULL, 16);
    if ((result = credentials_capture(&image->credentials, thread->tid, status)) < 0 ||
        (result = pending_capture(&image->pending, thread->tid, status, false)) < 0 ||
        (result = look_at_turn(&image->turn, thread)) < 0) {
        return result;
    }
    return arch_get_extended(thread->tid, &image->extended);
}

static int capture_thread(struct image_thread *image, struct thread *thread, struct inject *owner)
{
    static struct inject borrowed;
    int result;

    if (owner->thread == thread) {
        result = ask_thread(image, owner);
    } else {
        result = inject_borrow(&borrowed, owner, thread);
        if (result == 0) {
            result = ask_thread(image, &borrowed);
            int returned = inject_return(&borrowed);
            result = result < 0 ? result : returned;
        }
    }
    return result < 0 ? result : look_at_thread(image, thread);
}

/* Which cannot be put back. */
static bool is_refused(const struct image_thread *image, const struct subject *subject,
                       struct obstacles *obstacles)
{
    char object[32];
    const char *reason = arch_is_foreign(&image->regs)           ? "it runs 32-bit code"
                         : arch_has_segments(&image->regs)       ? "it uses memory segments of its own"
                         : image->credentials.group_count > 2048 ? "it is in more groups than can be kept"
                                                                 : NULL;

    if (reason) {
        snprintf(object, sizeof object, "thread %d", image->tid);
        obstacle_add(obstacles, subject, object, true, "%s", reason);
    }
    return reason != NULL;
}

static bool has_first(const struct subject *subject)
{
    for (size_t i = 0; i < subject->thread_count; i++) {
        if (subject->threads[i].tid == subject->pid && !subject->threads[i].gone) {
            return true;
        }
    }
    return false;
}

int threads_capture(struct image_process *process, const struct subject *subject, struct inject *inject,
                    struct obstacles *obstacles)
{
    process->threads = calloc(subject->thread_count + 1, sizeof *process->threads);
    if (!process->threads) {
        die("out of memory");
    }
    if (!has_first(subject)) {
        process->threads[process->thread_count++] = (struct image_thread){.tid = process->pid, .ended = true};
    }
    for (int others = 0; others < 2; others++) {
        for (size_t i = 0; i < subject->thread_count; i++) {
            struct thread *thread = &subject->threads[i];
            if (thread->gone || (thread->tid != subject->pid) != (others == 1)) {
                continue;
            }
            struct image_thread *image = &process->threads[process->thread_count++];
            int result = capture_thread(image, thread, inject);
            if (result < 0) {
                return result;
            }
            is_refused(image, subject, obstacles);
        }
    }
    return 0;
}
