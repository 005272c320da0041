#include "revive.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "fd.h"
#include "sys.h"
#include "template.h"
#include "terminal.h"

static int failed(const struct image_process *process, int result, const char *step, struct err *err)
{
    return err_system(err, -result, step, "process %d (%s)", process->pid, process->command);
}

/* ---- forking ---- */

static int fork_template(struct revived *revived, const struct stage *stage)
{
    return puppet_fork(&revived->puppet, &revived->image->template->puppet, stage->cell->pid_ns, CLONE_PARENT,
                       revived->image->pid);
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
    return inject_run_clear(inject);
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
            result = puppet_add_clone(inject, count * 128, flags, 0, process->threads[from + count].tid);
        }
        if (result < 0 || (result = inject_run(inject)) < 0 || inject->born_count != count) {
            inject_clear(inject);
            return result < 0 ? result : -ECHILD;
        }
        for (size_t i = 0; result == 0 && i < count; i++) {
            result = puppet_take(&revived->threads[revived->thread_count++], &revived->puppet,
                                 inject->born[i], true);
        }
        inject_clear(inject);
        if (result < 0) {
            return result;
        }
        from += count;
    }
    return 0;
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
    if ((result = restore_groups(revived)) < 0 || (result = terminal_take_control(revival, revived)) < 0 ||
        (result = restore_filters(revived)) < 0 || (result = make_threads(revived)) < 0) {
        return failed(process, result, "make threads", err);
    }
    if ((result = bring_open(revival, revived, stage)) < 0 || (result = bring_places(revival, revived)) < 0 ||
        (result = bring_descriptors(revival, revived, stage)) < 0) {
        return failed(process, result, "bring descriptors", err);
    }
    if ((result = terminal_set_foreground(revival, revived)) < 0) {
        return failed(process, result, "set foreground", err);
    }
    hand_close(&revived->puppet.hand);
    if ((result = restore_memory(revived)) < 0 || (result = restore_signals(revived)) < 0 ||
        (result = restore_threads(revived)) < 0) {
        return failed(process, result, "restore threads", err);
    }
    return 0;
}

int revive(struct revival *revival, const struct image *image, const struct stage *stage, struct err *err)
{
    *revival = (struct revival){.image = image};
    revival->processes = calloc(image->process_count + 1, sizeof *revival->processes);
    revival->opened = malloc((image->handle_count + 1) * sizeof *revival->opened);
    revival->finished = calloc(image->handle_count + 1, sizeof *revival->finished);
    revival->made = calloc(image->object_count + 1, sizeof *revival->made);
    if (!revival->processes || !revival->opened || !revival->finished || !revival->made) {
        die("out of memory");
    }
    for (size_t i = 0; i < image->handle_count; i++) {
        revival->opened[i] = -1;
    }
    int result = terminals_make(revival, stage);
    if (result < 0) {
        revival_end(revival);
        return err_system(err, -result, "make terminals", "image %s", image->id);
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
    if ((result = bring_settle(revival)) < 0 || (result = terminals_finish(revival)) < 0) {
        revival_end(revival);
        return err_system(err, -result, "settle descriptors", "%s", image->id);
    }
    return 0;
}

static void let_go(struct puppet *puppet)
{
    child_unwatch(&puppet->child);
    if (puppet->thread.stop_pending) {
        syscall(SYS_tgkill, puppet->subject.pid, puppet->thread.tid, SIGSTOP);
    }
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

/* The end of the first thread is not told before those of the others are taken. */
static void end_process(struct revived *revived)
{
    if (revived->puppet.child.pid > 0) {
        kill(revived->puppet.child.pid, SIGKILL);
    }
    for (size_t i = 0; i < revived->thread_count; i++) {
        struct child *child = &revived->threads[i].child;
        if (child->pid > 0) {
            RETRY_EINTR(waitpid(child->pid, NULL, __WALL));
            child_unwatch(child);
        }
        puppet_end(&revived->threads[i]);
    }
    puppet_end(&revived->puppet);
}

void revival_end(struct revival *revival)
{
    for (size_t i = 0; i < revival->count; i++) {
        struct revived *revived = &revival->processes[i];
        end_process(revived);
        free(revived->threads);
    }
    for (size_t i = 0; revival->image && i < revival->image->handle_count; i++) {
        fd_close(&revival->opened[i]);
    }
    for (size_t i = 0; revival->image && i < revival->image->object_count; i++) {
        if (revival->made[i].is_made) {
            fd_close(&revival->made[i].fds[0]);
            fd_close(&revival->made[i].fds[1]);
        }
    }
    terminals_forget(revival);
    free(revival->processes);
    free(revival->opened);
    free(revival->finished);
    free(revival->made);
    *revival = (struct revival){0};
}
