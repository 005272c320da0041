/* Making a revived process, and each of its threads, what it was. */
#include <errno.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "confine.h"
#include "revive.h"

#define SIGNALS 64
#define MASK_BYTES 8u

/* ---- what else a process is ---- */

int restore_signals(struct revived *revived)
{
    const struct image_process *process = revived->image;
    struct inject *inject = &revived->puppet.inject;
    const uint64_t data = inject_data(inject);
    int result = subject_write(inject->subject, data, process->actions, sizeof process->actions);

    for (int i = 0; result == 0 && i < SIGNALS; i++) {
        const struct signal_action *action = &process->actions[i];
        if (i + 1 != SIGKILL && i + 1 != SIGSTOP && (action->handler || action->flags)) {
            inject_add(inject, SYS_rt_sigaction, (uint64_t)i + 1, data + (uint64_t)i * sizeof *action, 0,
                       MASK_BYTES, 0, 0);
        }
    }
    return result < 0 ? result : inject_run_clear(inject);
}

int restore_groups(struct revived *revived)
{
    const struct image_process *process = revived->image;
    struct inject *inject = &revived->puppet.inject;

    if (process->session == process->pid) {
        inject_add(inject, SYS_setsid, 0, 0, 0, 0, 0, 0);
    }
    inject_add(inject, SYS_umask, process->umask, 0, 0, 0, 0, 0);
    return inject_run_clear(inject);
}

int restore_memory(struct revived *revived)
{
    const struct memory *memory = &revived->image->memory;
    struct inject *inject = &revived->puppet.inject;
    int result = 0;

    for (size_t i = 0; result == 0 && i < memory->area_count; i++) {
        const struct area *area = &memory->areas[i];
        const uint64_t size = area->end - area->start;
        if (inject->count + 3 > INJECT_CALLS) {
            result = inject_run_clear(inject);
        }
        if (area->looks & LOOK_WIPE_ON_FORK) {
            inject_add(inject, SYS_madvise, area->start, size, MADV_DONTNEED, 0, 0, 0);
            inject_add(inject, SYS_madvise, area->start, size, MADV_WIPEONFORK, 0, 0, 0);
        }
        if (area->looks & LOOK_NO_FORK) {
            inject_add(inject, SYS_madvise, area->start, size, MADV_DONTFORK, 0, 0, 0);
        }
    }
    return result < 0 ? result : inject_run_clear(inject);
}

void restore_limits(const struct revived *revived)
{
    for (int i = 0; i < (int)RLIM_NLIMITS; i++) {
        prlimit(revived->puppet.subject.pid, i, &revived->image->limits[i], NULL);
    }
    setpriority(PRIO_PROCESS, (id_t)revived->puppet.subject.pid, revived->image->nice);
}

/* ---- credentials: of each thread, the first last ---- */

static void add_capabilities(struct inject *inject, const struct credentials *wanted, uint64_t at)
{
    struct {
        struct __user_cap_header_struct header;
        struct __user_cap_data_struct data[2];
    } sets = {.header = {.version = _LINUX_CAPABILITY_VERSION_3}};

    for (int i = 0; i < 2; i++) {
        sets.data[i].inheritable = (uint32_t)(wanted->inheritable >> (32 * i));
        sets.data[i].permitted = (uint32_t)(wanted->permitted >> (32 * i));
        sets.data[i].effective = (uint32_t)(wanted->effective >> (32 * i));
    }
    subject_write(inject->subject, at, &sets, sizeof sets);
    inject_add(inject, SYS_capset, at, at + sizeof sets.header, 0, 0, 0, 0);
}

static int restore_credentials(struct inject *inject, const struct image_process *process)
{
    const struct credentials *wanted = &process->credentials;
    const uint64_t data = inject_data(inject), filter = data + 1024;
    const int fixed = 1 << 2; /* SECBIT_NO_SETUID_FIXUP: capabilities stay until they are set */
    int result = confine_put_filter(inject, filter);

    if (result < 0 || (wanted->group_count > 0 &&
                       (result = subject_write(inject->subject, data, wanted->groups,
                                               wanted->group_count * sizeof *wanted->groups)) < 0)) {
        return result;
    }
    inject_add(inject, SYS_prctl, PR_SET_SECCOMP, 2, filter, 0, 0, 0);
    for (int capability = 0; capability <= 63; capability++) {
        if (!(wanted->bounding & 1ULL << capability)) {
            inject_add_free(inject, SYS_prctl, PR_CAPBSET_DROP, (uint64_t)capability, 0, 0, 0, 0);
        }
    }
    inject_add(inject, SYS_prctl, PR_SET_SECUREBITS, (uint64_t)fixed, 0, 0, 0, 0);
    inject_add(inject, SYS_setgroups, wanted->group_count, data, 0, 0, 0, 0);
    inject_add(inject, SYS_setresgid, wanted->gids[0], wanted->gids[1], wanted->gids[2], 0, 0, 0);
    inject_add(inject, SYS_setresuid, wanted->uids[0], wanted->uids[1], wanted->uids[2], 0, 0, 0);
    inject_add(inject, SYS_prctl, PR_SET_SECUREBITS, wanted->securebits, 0, 0, 0, 0);
    if ((result = inject_run_clear(inject)) < 0) {
        return result;
    }
    add_capabilities(inject, wanted, data);
    if (wanted->no_new_privileges) {
        inject_add(inject, SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0);
    }
    inject_add_free(inject, SYS_prctl, PR_SET_DUMPABLE, (uint64_t)(process->dumpable == 1), 0, 0, 0, 0);
    return inject_run_clear(inject);
}

/* ---- threads again ---- */

static int restore_thread(struct puppet *puppet, const struct image_process *process,
                          const struct image_thread *thread)
{
    struct inject *inject = &puppet->inject;
    const uint64_t data = inject_data(inject);
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
    inject_add(inject, SYS_set_tid_address, thread->clear_tid, 0, 0, 0, 0, 0);
    if (thread->robust_list) {
        inject_add(inject, SYS_set_robust_list, thread->robust_list, thread->robust_length, 0, 0, 0, 0);
    }
    if (thread->rseq) {
        inject_add(inject, SYS_rseq, thread->rseq, thread->rseq_size, 0, thread->rseq_signature, 0, 0);
    }
    result = inject_run_clear(inject);
    return result < 0 ? result : restore_credentials(inject, process);
}

static int restore_registers(struct puppet *puppet, const struct image_thread *thread)
{
    struct arch_regs regs = thread->regs;
    int result;

    arch_restart_call(&regs);
    if ((result = arch_set_regs(puppet->thread.tid, &regs)) < 0 ||
        (result = arch_set_extended(puppet->thread.tid, &thread->extended)) < 0) {
        return result;
    }
    return ptrace(PTRACE_SETSIGMASK, puppet->thread.tid, MASK_BYTES, &thread->mask) < 0 ? -errno : 0;
}

int restore_threads(struct revived *revived)
{
    const struct image_process *process = revived->image;
    const struct arch_call unmap = {.number = SYS_munmap,
                                    .args = {revived->puppet.inject.area, INJECT_AREA_BYTES}};

    for (size_t i = 0; i < revived->thread_count; i++) {
        struct puppet *puppet = &revived->threads[i];
        int result = restore_thread(puppet, process, &process->threads[i + 1]);
        result = result < 0 ? result : restore_registers(puppet, &process->threads[i + 1]);
        if (result < 0) {
            return result;
        }
    }
    int result = restore_thread(&revived->puppet, process, &process->threads[0]);
    if (result == 0) {
        result = (int)inject_call(&revived->puppet.inject, &unmap);
    }
    return result < 0 ? result : restore_registers(&revived->puppet, &process->threads[0]);
}
