#include "revive.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "confine.h"
#include "fd.h"
#include "sys.h"
#include "template.h"

#define SIGNALS 64
#define MASK_BYTES 8u

static int run(struct inject *inject)
{
    int result = inject_run(inject);

    inject_clear(inject);
    return result;
}

static int failed(const struct image_process *process, int result, const char *step, struct err *err)
{
    return err_system(err, -result, step, "process %d (%s)", process->pid, process->command);
}

/* ---- forking ---- */

/* The arguments of clone3 in the data of the area, with the wanted pid behind them. */
static int put_clone(struct inject *inject, size_t offset, uint64_t flags, uint64_t exit_signal, pid_t pid)
{
    struct {
        struct clone_args args;
        pid_t pid;
    } data = {.pid = pid};
    const uint64_t at = inject_data(inject) + offset;

    data.args = (struct clone_args){
        .flags = flags,
        .exit_signal = exit_signal,
        .set_tid = at + sizeof data.args,
        .set_tid_size = 1,
    };
    int result = subject_write(inject->subject, at, &data, sizeof data);
    if (result == 0) {
        inject_add(inject, SYS_clone3, at, sizeof data.args, 0, 0, 0, 0);
    }
    return result;
}

static int fork_template(struct revived *revived, const struct stage *stage)
{
    struct puppet *template = &revived->image->template->puppet;
    struct inject *inject = &template->inject;
    int number;
    int result = hand_over(&template->hand, &stage->cell->pid_ns, 1, &number);

    if (result < 0) {
        return result;
    }
    inject_add(inject, SYS_setns, (uint64_t)number, CLONE_NEWPID, 0, 0, 0, 0);
    inject_add(inject, SYS_close, (uint64_t)number, 0, 0, 0, 0, 0);
    result = put_clone(inject, 0, CLONE_PARENT, 0, revived->image->pid);
    if (result < 0 || (result = inject_run(inject)) < 0) {
        inject_clear(inject);
        return result;
    }
    pid_t born = inject->born_count == 1 ? inject->born[0] : 0;
    inject_clear(inject);
    return born ? puppet_take(&revived->puppet, template, born) : -ECHILD;
}

/* ---- the cell ---- */

#define ENTRIES (6 + CGROUP_MAX + 1)

static int enter_cell(struct revived *revived, const struct stage *stage)
{
    const struct cell *cell = stage->cell;
    struct inject *inject = &revived->puppet.inject;
    int fds[ENTRIES] = {cell->user_ns, cell->mount_ns, cell->ipc_ns, cell->uts_ns, cell->cgroup_ns};
    int numbers[ENTRIES];
    size_t spaces = 5, count;
    static const char zero[] = "0";

    if (!cell->host_net) {
        fds[spaces++] = cell->net_ns;
    }
    count = spaces;
    for (int i = 0; i < stage->cgroup->enter_count; i++) {
        fds[count++] = stage->cgroup->enter_fds[i];
    }
    if (stage->cgroup->v2_procs >= 0) {
        fds[count++] = stage->cgroup->v2_procs;
    }
    int result = hand_over(&revived->puppet.hand, fds, count, numbers);
    const uint64_t text = inject_data(inject);
    if (result < 0 || (result = subject_write(inject->subject, text, zero, sizeof zero)) < 0) {
        return result;
    }
    for (size_t i = spaces; i < count; i++) {
        inject_add(inject, SYS_write, (uint64_t)numbers[i], text, 1, 0, 0, 0);
    }
    for (size_t i = 0; i < spaces; i++) {
        inject_add(inject, SYS_setns, (uint64_t)numbers[i], 0, 0, 0, 0, 0);
    }
    for (size_t i = 0; i < count; i++) {
        inject_add(inject, SYS_close, (uint64_t)numbers[i], 0, 0, 0, 0, 0);
    }
    return run(inject);
}

/* ---- threads ---- */

#define THREADS_AT_ONCE 64

static int make_threads(struct revived *revived)
{
    const struct image_process *process = revived->image;
    struct inject *inject = &revived->puppet.inject;
    const uint64_t flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;

    revived->threads = calloc(process->thread_count, sizeof *revived->threads);
    if (!revived->threads) {
        die("out of memory");
    }
    for (size_t from = 1; from < process->thread_count;) {
        size_t count = 0;
        int result = 0;
        for (; result == 0 && count < THREADS_AT_ONCE && from + count < process->thread_count; count++) {
            result = put_clone(inject, count * 128, flags, 0, process->threads[from + count].tid);
        }
        if (result < 0 || (result = inject_run(inject)) < 0 || inject->born_count != count) {
            inject_clear(inject);
            return result < 0 ? result : -ECHILD;
        }
        for (size_t i = 0; result == 0 && i < count; i++) {
            result = puppet_take(&revived->threads[revived->thread_count++], &revived->puppet, inject->born[i]);
        }
        inject_clear(inject);
        if (result < 0) {
            return result;
        }
        from += count;
    }
    return 0;
}

/* ---- descriptors ---- */

static int open_handle(const struct image_handle *handle, const struct stage *stage)
{
    int fd = -1;

    switch (handle->kind) {
    case HANDLE_FILE:
        fd = sys_openat2(stage->trees[handle->tree], handle->path,
                         (uint64_t)(handle->flags & ~(O_CREAT | O_EXCL | O_TRUNC | O_NOCTTY)) | O_CLOEXEC, 0,
                         RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
        if (fd >= 0 && handle->position > 0 && !(handle->flags & O_PATH) &&
            lseek(fd, handle->position, SEEK_SET) < 0) {
            fd_close(&fd);
        }
        break;
    case HANDLE_DEVICE:
        fd = open(handle->device, (handle->flags & ~(O_CREAT | O_EXCL | O_TRUNC)) | O_NOCTTY | O_CLOEXEC);
        break;
    case HANDLE_STDIO:
        return stage->stdio(stage->owner, handle->process, handle->stream);
    }
    return fd < 0 ? -errno : fd;
}

static int handle_fd(struct revival *revival, size_t handle, const struct stage *stage)
{
    if (revival->opened[handle] < 0) {
        revival->opened[handle] = open_handle(&revival->image->handles[handle], stage);
    }
    return revival->opened[handle];
}

static int by_number(const void *a, const void *b)
{
    const struct image_descriptor *left = a, *right = b;

    return (left->number > right->number) - (left->number < right->number);
}

/* They arrive with the lowest numbers, none above the one it is to have; so from the last to the first none takes the
 * place of another that has not moved yet. */
static int place_descriptors(struct revived *revived, const struct image_descriptor *sorted, const int *arrived)
{
    struct inject *inject = &revived->puppet.inject;

    for (size_t i = revived->image->descriptor_count; i-- > 0;) {
        if (inject->count + 2 > INJECT_CALLS) {
            int result = run(inject);
            if (result < 0) {
                return result;
            }
        }
        const int number = sorted[i].number;
        if (arrived[i] == number) {
            inject_add(inject, SYS_fcntl, (uint64_t)number, F_SETFD, sorted[i].close_on_exec ? FD_CLOEXEC : 0, 0,
                       0, 0);
        } else {
            inject_add(inject, SYS_dup3, (uint64_t)arrived[i], (uint64_t)number,
                       sorted[i].close_on_exec ? O_CLOEXEC : 0, 0, 0, 0);
            inject_add(inject, SYS_close, (uint64_t)arrived[i], 0, 0, 0, 0, 0);
        }
    }
    return run(inject);
}

static int bring_descriptors(struct revival *revival, struct revived *revived, const struct stage *stage)
{
    const struct image_process *process = revived->image;
    const size_t count = process->descriptor_count;
    struct image_descriptor *sorted = malloc((count + 1) * sizeof *sorted);
    int *fds = malloc((count + 1) * sizeof *fds), *arrived = malloc((count + 1) * sizeof *arrived);
    int result = 0;

    if (!sorted || !fds || !arrived) {
        die("out of memory");
    }
    memcpy(sorted, process->descriptors, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, by_number);
    for (size_t i = 0; result >= 0 && i < count; i++) {
        fds[i] = result = handle_fd(revival, sorted[i].handle, stage);
    }
    if (result >= 0) {
        result = hand_over(&revived->puppet.hand, fds, count, arrived);
    }
    if (result >= 0) {
        result = place_descriptors(revived, sorted, arrived);
    }
    free(sorted);
    free(fds);
    free(arrived);
    return result < 0 ? result : 0;
}

/* The directories come by the first free numbers. */
static int bring_places(struct revival *revival, struct revived *revived, const struct stage *stage)
{
    const size_t handles[] = {revived->image->root, revived->image->directory};
    struct inject *inject = &revived->puppet.inject;
    static const char dot[] = ".";

    for (int i = 0; i < 2; i++) {
        int number;
        if (handles[i] == SIZE_MAX) {
            continue;
        }
        int fd = handle_fd(revival, handles[i], stage);
        int result = fd < 0 ? fd : hand_over(&revived->puppet.hand, &fd, 1, &number);
        if (result == 0) {
            result = subject_write(inject->subject, inject_data(inject), dot, sizeof dot);
        }
        if (result < 0) {
            return result;
        }
        inject_add(inject, SYS_fchdir, (uint64_t)number, 0, 0, 0, 0, 0);
        if (i == 0) {
            inject_add(inject, SYS_chroot, inject_data(inject), 0, 0, 0, 0, 0);
        }
        inject_add(inject, SYS_close, (uint64_t)number, 0, 0, 0, 0, 0);
        if ((result = run(inject)) < 0) {
            return result;
        }
    }
    return 0;
}

/* ---- what else a process is ---- */

static int restore_signals(struct revived *revived)
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
    return result < 0 ? result : run(inject);
}

static int restore_groups(struct revived *revived)
{
    const struct image_process *process = revived->image;
    struct inject *inject = &revived->puppet.inject;

    if (process->session == process->pid) {
        inject_add(inject, SYS_setsid, 0, 0, 0, 0, 0, 0);
    }
    inject_add(inject, SYS_umask, process->umask, 0, 0, 0, 0, 0);
    return run(inject);
}

static void restore_limits(const struct revived *revived)
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
    if ((result = run(inject)) < 0) {
        return result;
    }
    add_capabilities(inject, wanted, data);
    if (wanted->no_new_privileges) {
        inject_add(inject, SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0);
    }
    inject_add_free(inject, SYS_prctl, PR_SET_DUMPABLE, (uint64_t)(process->dumpable == 1), 0, 0, 0, 0);
    return run(inject);
}

/* ---- threads again ---- */

static int restore_thread(struct puppet *puppet, const struct image_process *process,
                          const struct image_thread *thread)
{
    struct inject *inject = &puppet->inject;
    const uint64_t data = inject_data(inject);
    int result = subject_write(inject->subject, data, &thread->alternate_stack, sizeof thread->alternate_stack);

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
    result = run(inject);
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

static int restore_threads(struct revived *revived)
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

/* ---- the whole ---- */

/* The socket by which it is given descriptors goes out of the way of those it is to have. */
static int move_hand(struct revived *revived)
{
    const struct hand *inherited = &revived->image->template->puppet.hand;
    struct inject *inject = &revived->puppet.inject;
    int highest = (int)revived->image->descriptor_count + ENTRIES;

    for (size_t i = 0; i < revived->image->descriptor_count; i++) {
        int number = revived->image->descriptors[i].number;
        highest = number > highest ? number : highest;
    }
    size_t moved = inject_add(inject, SYS_fcntl, (uint64_t)inherited->sockets[0], F_DUPFD_CLOEXEC,
                              (uint64_t)highest + 1, 0, 0, 0);
    inject_add(inject, SYS_close, (uint64_t)inherited->sockets[0], 0, 0, 0, 0, 0);
    inject_add(inject, SYS_close, (uint64_t)inherited->sockets[1], 0, 0, 0, 0, 0);
    int result = inject_run(inject);
    revived->puppet.hand = (struct hand){.inject = inject,
                                         .socket = fcntl(inherited->socket, F_DUPFD_CLOEXEC, 0),
                                         .sockets = {(int)inject->calls[moved].result, -1}};
    inject_clear(inject);
    return result < 0 ? result : revived->puppet.hand.socket < 0 ? -errno : 0;
}

static int revive_process(struct revival *revival, struct revived *revived, const struct stage *stage,
                          struct err *err)
{
    const struct image_process *process = revived->image;
    int result;

    if ((result = fork_template(revived, stage)) < 0) {
        return failed(process, result, "fork template", err);
    }
    if ((result = move_hand(revived)) < 0 || (result = enter_cell(revived, stage)) < 0) {
        return failed(process, result, "enter cell", err);
    }
    if ((result = restore_groups(revived)) < 0 || (result = make_threads(revived)) < 0) {
        return failed(process, result, "make threads", err);
    }
    if ((result = bring_places(revival, revived, stage)) < 0 ||
        (result = bring_descriptors(revival, revived, stage)) < 0) {
        return failed(process, result, "bring descriptors", err);
    }
    hand_close(&revived->puppet.hand);
    restore_limits(revived);
    if ((result = restore_signals(revived)) < 0 || (result = restore_threads(revived)) < 0) {
        return failed(process, result, "restore threads", err);
    }
    return 0;
}

int revive(struct revival *revival, const struct image *image, const struct stage *stage, struct err *err)
{
    *revival = (struct revival){.image = image};
    revival->processes = calloc(image->process_count + 1, sizeof *revival->processes);
    revival->opened = malloc((image->handle_count + 1) * sizeof *revival->opened);
    if (!revival->processes || !revival->opened) {
        die("out of memory");
    }
    for (size_t i = 0; i < image->handle_count; i++) {
        revival->opened[i] = -1;
    }
    for (size_t i = 0; i < image->process_count; i++) {
        struct revived *revived = &revival->processes[revival->count++];
        revived->image = &image->processes[i];
        revived->puppet = (struct puppet){.subject = {.pidfd = -1, .memory = -1}, .hand = {.socket = -1}};
        if (revive_process(revival, revived, stage, err) < 0) {
            revival_end(revival);
            return -1;
        }
    }
    return 0;
}

static void let_go(struct puppet *puppet)
{
    child_unwatch(&puppet->child);
    ptrace(PTRACE_DETACH, puppet->thread.tid, 0, 0);
    puppet_end(puppet);
}

void revival_go(struct revival *revival)
{
    for (size_t i = 0; i < revival->count; i++) {
        struct revived *revived = &revival->processes[i];
        for (size_t j = 0; j < revived->thread_count; j++) {
            let_go(&revived->threads[j]);
        }
        let_go(&revived->puppet);
    }
}

void revival_end(struct revival *revival)
{
    for (size_t i = 0; i < revival->count; i++) {
        struct revived *revived = &revival->processes[i];
        for (size_t j = 0; j < revived->thread_count; j++) {
            child_unwatch(&revived->threads[j].child);
            puppet_end(&revived->threads[j]);
        }
        puppet_end(&revived->puppet);
        free(revived->threads);
    }
    for (size_t i = 0; revival->image && i < revival->image->handle_count; i++) {
        fd_close(&revival->opened[i]);
    }
    free(revival->processes);
    free(revival->opened);
    *revival = (struct revival){0};
}
