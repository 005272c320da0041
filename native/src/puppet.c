#include "puppet.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "cgroup.h"
#include "fd.h"
#include "pass.h"
#include "pool.h"
#include "sys.h"

#define RSEQ_UNREGISTER 1

/* ---- the process ---- */

/* The kernel writes to these on its own, and they are about to vanish. */
static void forget_thread_memory(void)
{
    if (__rseq_size > 0) {
        syscall(SYS_rseq, (char *)__builtin_thread_pointer() + __rseq_offset,
                __rseq_size < 32 ? 32 : __rseq_size, RSEQ_UNREGISTER, RSEQ_SIG);
    }
    syscall(SYS_set_robust_list, NULL, 24);
    syscall(SYS_set_tid_address, NULL);
}

__attribute__((noreturn)) static void puppet_main(int socket)
{
    char byte;

    child_reset_signals();
    int result = pool_enter();
    if (result == 0 && (dup2(socket, 0) < 0 || close_range(1, ~0U, 0) < 0)) {
        _exit(1);
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NAME, "deltabox-puppet");
    prctl(PR_SET_DUMPABLE, 1);
    forget_thread_memory();
    pass_send(0, result < 0 ? -result : 0, "enter pool", NULL, 0);
    while (RETRY_EINTR(read(0, &byte, 1)) > 0) {
    }
    _exit(1);
}

/* ---- taking it ---- */

int puppet_await(pid_t pid)
{
    siginfo_t info = {0};

    if (RETRY_EINTR(waitid(P_PID, (id_t)pid, &info, WSTOPPED | WEXITED | WNOWAIT | __WALL)) < 0) {
        return -errno;
    }
    if (info.si_code != CLD_TRAPPED && info.si_code != CLD_STOPPED) {
        return -ESRCH;
    }
    RETRY_EINTR(waitid(P_PID, (id_t)pid, &info, WSTOPPED | __WALL));
    return 0;
}

static void puppet_ended(struct child *child, const siginfo_t *info)
{
    struct puppet *puppet = child->owner;

    (void)info;
    puppet->thread.gone = true;
}

static int open_puppet(struct puppet *puppet, pid_t pid)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/mem", pid);
    child_watch(&puppet->child, pid, puppet_ended, puppet);
    puppet->child.stands = true;
    puppet->thread =
        (struct thread){.tid = pid, .stands = true, .follows = PTRACE_O_TRACEFORK | PTRACE_O_TRACECLONE};
    puppet->subject = (struct subject){.pid = pid, .inner = pid, .command = "template"};
    puppet->subject.pidfd = pidfd_open(pid, 0); /* a thread has none */
    puppet->subject.memory = open(path, O_RDWR | O_CLOEXEC);
    return puppet->subject.memory < 0 ? -errno : 0;
}

static int seize(struct puppet *puppet)
{
    pid_t pid = puppet->thread.tid;

    if (ptrace(PTRACE_SEIZE, pid, 0, FREEZE_OPTIONS | puppet->thread.follows) < 0 ||
        ptrace(PTRACE_INTERRUPT, pid, 0, 0) < 0) {
        return -errno;
    }
    return puppet_await(pid);
}

size_t puppet_kernel_areas(struct kernel_area areas[KERNEL_AREAS])
{
    FILE *file = fopen("/proc/self/maps", "re");
    char text[4400];
    size_t count = 0;

    while (file && count < KERNEL_AREAS && fgets(text, sizeof text, file)) {
        unsigned long long start, end;
        char name[16] = "";
        if (sscanf(text, "%llx-%llx %*s %*x %*s %*u %15s", &start, &end, name) == 3 &&
            (strcmp(name, "[vdso]") == 0 || strncmp(name, "[vvar", 5) == 0)) {
            areas[count] = (struct kernel_area){.start = start, .end = end};
            strcpy(areas[count++].name, name);
        }
    }
    if (file) {
        fclose(file);
    }
    return count;
}

static uint64_t own_vdso(void)
{
    struct kernel_area areas[KERNEL_AREAS];
    size_t count = puppet_kernel_areas(areas);

    for (size_t i = 0; i < count; i++) {
        if (strcmp(areas[i].name, "[vdso]") == 0) {
            return areas[i].start;
        }
    }
    return 0;
}

static int make_puppet(struct puppet *puppet, uint64_t at)
{
    int pair[2], pidfd = -1, result;
    struct outcome outcome;

    const int cgroup = cgroup_of_pool();
    if (cgroup < -1 || (result = pass_pair(pair)) < 0) {
        return cgroup < -1 ? cgroup : result;
    }
    cleanup_fd ours = pair[0], theirs = pair[1];
    pid_t pid = pool_fork(cgroup, &pidfd);
    if (pid == 0) {
        puppet_main(theirs);
    }
    if (pid < 0) {
        return -errno;
    }
    fd_close(&pidfd);
    fd_close(&theirs);
    result = open_puppet(puppet, pid);
    pass_receive(ours, &outcome, NULL, 0);
    result = outcome.num ? -outcome.num : result;
    result = result < 0 ? result : seize(puppet);
    result = result < 0 ? result : thread_look(&puppet->thread);
    puppet->subject.inner = puppet->thread.inner;
    return result < 0 ? result
                      : inject_begin_at(&puppet->inject, &puppet->subject, &puppet->thread, own_vdso(), at);
}

void puppet_none(struct puppet *puppet)
{
    *puppet = (struct puppet){.subject = {.pidfd = -1, .memory = -1}, .hand = HAND_NONE};
}

int puppet_make(struct puppet *puppet, uint64_t at, struct err *err)
{
    puppet_none(puppet);
    int result = make_puppet(puppet, at);
    if (result < 0) {
        puppet_end(puppet);
        return err_system(err, -result, "make process", "template");
    }
    return 0;
}

int puppet_take(struct puppet *puppet, const struct puppet *parent, pid_t pid, bool is_thread)
{
    puppet_none(puppet);
    int result = open_puppet(puppet, pid);
    if (result < 0 || (result = puppet_await(pid)) < 0 || (result = thread_look(&puppet->thread)) < 0) {
        return result;
    }
    puppet->subject.inner = is_thread ? parent->subject.inner : puppet->thread.inner;
    inject_adopt(&puppet->inject, &parent->inject, &puppet->subject, &puppet->thread);
    return arch_get_regs(pid, &puppet->thread.regs);
}

#define MASK_BYTES 8u
#define EVENT_OF(status) ((status) >> 16)

/* Runs on, with the signal unless it is 0, to the next stop or its end. */
static int run_on(struct puppet *puppet, int signal, int *status)
{
    const pid_t pid = puppet->thread.tid;

    return ptrace(PTRACE_CONT, pid, 0, signal) < 0 || RETRY_EINTR(waitpid(pid, status, __WALL)) < 0 ? -errno
                                                                                                    : 0;
}

static bool stands(int status)
{
    return WIFSTOPPED(status) && EVENT_OF(status) == PTRACE_EVENT_STOP;
}

/* Signals are let in; the status of what comes then. */
static int deliver(struct puppet *puppet, int signal, int *status)
{
    const pid_t pid = puppet->thread.tid;
    const uint64_t none = 0;

    if (ptrace(PTRACE_SETSIGMASK, pid, MASK_BYTES, &none) < 0 || kill(pid, signal) < 0 ||
        (signal != SIGKILL && ptrace(PTRACE_CONT, pid, 0, 0) < 0) ||
        RETRY_EINTR(waitpid(pid, status, __WALL)) < 0) {
        return -errno;
    }
    if (!WIFSTOPPED(*status)) {
        return 0;
    }
    if (WSTOPSIG(*status) != signal || EVENT_OF(*status) != 0) {
        return -EPROTO;
    }
    return run_on(puppet, signal, status);
}

static int exit_with(struct puppet *puppet, int code, int *status)
{
    const pid_t pid = puppet->thread.tid;
    const struct arch_call call = {.number = SYS_exit_group, .args = {(uint64_t)code}};
    struct arch_regs regs = puppet->thread.regs;

    arch_prepare_call(&regs, puppet->inject.kernel_entry, &call);
    int result = arch_set_regs(pid, &regs);
    if (result < 0) {
        return result;
    }
    return run_on(puppet, 0, status);
}

int puppet_exit(struct puppet *puppet, int status)
{
    const struct rlimit no_core = {1, 1}; /* which is less than any, also for those that a program takes */
    int got = 0;

    prlimit(puppet->thread.tid, RLIMIT_CORE, &no_core, NULL);
    int result = WIFSIGNALED(status) ? deliver(puppet, WTERMSIG(status), &got)
                                     : exit_with(puppet, WEXITSTATUS(status), &got);
    if (result == 0 && (WIFEXITED(got) || WIFSIGNALED(got))) {
        child_unwatch(&puppet->child);
    }
    puppet_end(puppet);
    return result < 0 ? result : got == status ? 0 : -EPROTO;
}

int puppet_stop(struct puppet *puppet, int signal)
{
    const uint64_t all = ~(1ULL << (puppet->inject.trap - 1));
    int status = 0, result = deliver(puppet, signal, &status);

    if (result == 0 && ptrace(PTRACE_SETSIGMASK, puppet->thread.tid, MASK_BYTES, &all) < 0) {
        result = -errno;
    }
    return result < 0 ? result : stands(status) && WSTOPSIG(status) == signal ? 0 : -EPROTO;
}

/* It is told of the end of its stop, then of the signal, which is not let through; and nothing of it runs in between. */
int puppet_go_on(struct puppet *puppet)
{
    const pid_t pid = puppet->thread.tid;
    const uint64_t none = 0, all = ~(1ULL << (puppet->inject.trap - 1));
    int status = 0;

    if (ptrace(PTRACE_SETSIGMASK, pid, MASK_BYTES, &none) < 0 || kill(pid, SIGCONT) < 0) {
        return -errno;
    }
    int result = run_on(puppet, 0, &status);
    if (result == 0 && stands(status)) {
        result = run_on(puppet, 0, &status);
    }
    if (result == 0 && !(WIFSTOPPED(status) && EVENT_OF(status) == 0 && WSTOPSIG(status) == SIGCONT)) {
        return -EPROTO;
    }
    if (result < 0 || ptrace(PTRACE_INTERRUPT, pid, 0, 0) < 0 || (result = run_on(puppet, 0, &status)) < 0 ||
        ptrace(PTRACE_SETSIGMASK, pid, MASK_BYTES, &all) < 0) {
        return result < 0 ? result : -errno;
    }
    return stands(status) ? 0 : -EPROTO;
}

void puppet_end(struct puppet *puppet)
{
    child_kill_and_wait(&puppet->child);
    hand_forget(&puppet->hand);
    fd_close(&puppet->subject.pidfd);
    fd_close(&puppet->subject.memory);
}

/* ---- forking ---- */

static int add_clone(struct inject *inject, size_t offset, uint64_t flags, uint64_t exit_signal, pid_t pid,
                     int cgroup)
{
    struct {
        struct clone_args args;
        pid_t pid;
    } data = {.pid = pid};
    const uint64_t at = inject_data(inject) + offset;

    data.args = (struct clone_args){
        .flags = flags | (cgroup >= 0 ? CLONE_INTO_CGROUP : 0),
        .cgroup = cgroup >= 0 ? (uint64_t)cgroup : 0,
        .exit_signal = exit_signal,
        .set_tid = pid ? at + sizeof data.args : 0,
        .set_tid_size = pid ? 1 : 0,
    };
    int result = subject_write(inject->subject, at, &data, sizeof data);
    if (result == 0) {
        inject_add(inject, SYS_clone3, at, sizeof data.args, 0, 0, 0, 0);
    }
    return result;
}

int puppet_add_clone(struct inject *inject, size_t offset, uint64_t flags, uint64_t exit_signal, pid_t pid)
{
    return add_clone(inject, offset, flags, exit_signal, pid, -1);
}

int puppet_fork(struct puppet *puppet, struct puppet *parent, const struct birthplace *where, uint64_t flags,
                pid_t pid)
{
    struct inject *inject = &parent->inject;
    const int fds[] = {where->pid_ns, where->cgroup};
    const size_t count = where->cgroup < 0 ? 1 : 2;
    int numbers[2] = {-1, -1};

    puppet_none(puppet);
    int result = hand_over(&parent->hand, fds, count, numbers);
    if (result < 0) {
        return result;
    }
    inject_add(inject, SYS_setns, (uint64_t)numbers[0], CLONE_NEWPID, 0, 0, 0, 0);
    inject_add(inject, SYS_close, (uint64_t)numbers[0], 0, 0, 0, 0, 0);
    result = add_clone(inject, 0, flags, 0, pid, numbers[1]);
    const size_t cloned = inject->count - 1;
    if (result == 0) {
        inject->calls[cloned].go_on = 1;
        inject_add(inject, SYS_close, (uint64_t)numbers[1], 0, 0, 0, 0, 0);
        inject->calls[cloned + 1].go_on = where->cgroup < 0;
        result = inject_run(inject);
    }
    if (result == 0 && inject->calls[cloned].result < 0) {
        result = (int)inject->calls[cloned].result;
    }
    pid_t born = result == 0 && inject->born_count == 1 ? inject->born[0] : 0;
    inject_clear(inject);
    return result < 0 ? result : born ? puppet_take(puppet, parent, born, false) : -ECHILD;
}

int puppet_own_hand(struct puppet *puppet, const struct puppet *parent)
{
    for (int i = 0; i < 2; i++) {
        inject_add(&puppet->inject, SYS_close, (uint64_t)parent->hand.sockets[i], 0, 0, 0, 0, 0);
    }
    int result = inject_run_clear(&puppet->inject);
    return result < 0 ? result : hand_open(&puppet->hand, &puppet->inject, puppet->subject.pidfd);
}
