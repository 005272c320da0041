/* Making each thread of a revived process what it was. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "revive.h"

#define OF_PROCESS 1 /* of ioprio_set, which means threads */
#define ALL_SIGNALS (~0ULL)

/* ---- its turn ---- */

static int restore_turn(const struct turn *turn, pid_t tid)
{
    struct scheduling scheduling = turn->scheduling;
    uint64_t processors[sizeof turn->processors / sizeof *turn->processors] = {0};

    scheduling.size = sizeof scheduling;
    scheduling.nice = turn->nice;
    if (setpriority(PRIO_PROCESS, (id_t)tid, turn->nice) < 0 ||
        syscall(SYS_sched_setattr, tid, &scheduling, 0) < 0 ||
        syscall(SYS_ioprio_set, OF_PROCESS, tid, turn->io_priority) < 0) {
        return -errno;
    }
    long size = syscall(SYS_sched_getaffinity, tid, sizeof processors, processors);
    if (turn->processors_size > 0 &&
        (size < 0 || memcmp(processors, turn->processors, sizeof processors) != 0) &&
        syscall(SYS_sched_setaffinity, tid, turn->processors_size, turn->processors) < 0) {
        return -errno;
    }
    return 0;
}

/* ---- what it tells the kernel itself ---- */

static int restore_own(struct puppet *puppet, const struct image_thread *thread)
{
    struct inject *inject = &puppet->inject;
    const uint64_t data = inject_data(inject) + INJECT_DATA_BYTES - RESTORE_DATA_BYTES / 2;
    int result =
        subject_write(inject->subject, data, &thread->alternate_stack, sizeof thread->alternate_stack);

    if (result == 0) {
        result = subject_write(inject->subject, data + 64, thread->name, sizeof thread->name);
    }
    if (result < 0) {
        return result;
    }
    if (!(thread->alternate_stack.ss_flags & SS_DISABLE)) {
        inject_add(inject, SYS_sigaltstack, data, 0, 0, 0, 0, 0);
    }
    inject_add(inject, SYS_prctl, PR_SET_NAME, data + 64, 0, 0, 0, 0);
    inject_add(inject, SYS_prctl, PR_SET_PDEATHSIG, (uint64_t)thread->parent_death_signal, 0, 0, 0, 0);
    inject_add(inject, SYS_prctl, PR_SET_TSC, (uint64_t)thread->time_stamps, 0, 0, 0, 0);
    if (thread->turn.timer_slack > 0) {
        inject_add(inject, SYS_prctl, PR_SET_TIMERSLACK, thread->turn.timer_slack, 0, 0, 0, 0);
    }
    inject_add(inject, SYS_personality, thread->personality, 0, 0, 0, 0, 0);
    inject_add(inject, SYS_set_tid_address, thread->clear_tid, 0, 0, 0, 0, 0);
    if (thread->robust_list) {
        inject_add(inject, SYS_set_robust_list, thread->robust_list, thread->robust_length, 0, 0, 0, 0);
    }
    if (thread->rseq) {
        inject_add(inject, SYS_rseq, thread->rseq, thread->rseq_size, 0, thread->rseq_signature, 0, 0);
    }
    return 0;
}

/* What it is to do is added to the batch. A change of ids makes the kernel forget some of what a thread has told it: so they
 * come first. */
static int restore_state(const struct revived *revived, struct puppet *puppet,
                         const struct image_thread *thread)
{
    int result = restore_turn(&thread->turn, puppet->thread.tid);

    result = result < 0 ? result : restore_credentials(revived, &puppet->inject, &thread->credentials);
    return result < 0 ? result : restore_own(puppet, thread);
}

/* ---- where it goes on ---- */

static int restore_registers(struct puppet *puppet, const struct image_thread *thread)
{
    struct arch_regs regs = thread->regs;
    int result;

    if (arch_restarts_call(&regs) && (result = inject_interrupt(&puppet->inject)) < 0) {
        return result;
    }
    if ((result = arch_set_regs(puppet->thread.tid, &regs)) < 0 ||
        (result = arch_set_extended(puppet->thread.tid, &thread->extended)) < 0 ||
        (thread->dispatch.mode && (result = thread_set_dispatch(&puppet->thread, &thread->dispatch)) < 0)) {
        return result;
    }
    return restore_mask(puppet, thread->mask);
}

/* One that others have outlived ends again when it is let go. */
static int restore_end(const struct puppet *puppet)
{
    const struct arch_call call = {.number = SYS_exit};
    struct arch_regs regs = puppet->thread.regs;

    arch_prepare_call(&regs, puppet->inject.kernel_entry, &call);
    return arch_set_regs(puppet->thread.tid, &regs);
}

/* From here on no signal of ours gets through: only single calls are made. */
static int block_all(struct puppet *puppet, const struct image_thread *thread)
{
    int result = restore_mask(puppet, ALL_SIGNALS);

    return result < 0 ? result : restore_pending(puppet, &thread->pending, false);
}

static int restore_other(const struct revived *revived, struct puppet *puppet,
                         const struct image_thread *thread)
{
    int result = restore_state(revived, puppet, thread);

    result = result < 0 ? result : inject_run_clear(&puppet->inject);
    result = result < 0 ? result : block_all(puppet, thread);
    return result < 0 ? result : restore_registers(puppet, thread);
}

static int restore_first(struct revived *revived, const struct image_thread *first)
{
    struct puppet *puppet = &revived->puppet;
    const struct arch_call unmap = {.number = SYS_munmap, .args = {puppet->inject.area, INJECT_AREA_BYTES}};
    int result = first->ended ? 0 : restore_state(revived, puppet, first);

    if (result < 0 || (result = restore_process(revived)) < 0 || (result = block_all(puppet, first)) < 0 ||
        (result = restore_pending(puppet, &revived->image->pending, true)) < 0 ||
        (result = restore_running_timers(revived)) < 0 ||
        (result = (int)inject_call(&puppet->inject, &unmap)) < 0) {
        return result;
    }
    return first->ended ? restore_end(puppet) : restore_registers(puppet, first);
}

int restore_threads(struct revived *revived)
{
    const struct image_process *process = revived->image;
    int result = restore_timers(revived);

    for (size_t i = 0; result == 0 && i < revived->thread_count; i++) {
        result = restore_other(revived, &revived->threads[i], &process->threads[i + 1]);
    }
    return result < 0 ? result : restore_first(revived, &process->threads[0]);
}
