#include "inject.h"

#include <signal.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "fd.h"

#define PAGE_BYTES 4096u
#define TABLE_BYTES (4 * PAGE_BYTES)
#define VDSO_MAX (16 * PAGE_BYTES)
#define MASK_BYTES 8u

#define EVENT_OF(status) ((status) >> 8)
#define SIGNAL_OF(status) ((status)&0x7f)
#define SYSCALL_STOP (SIGTRAP | 0x80)

_Static_assert(INJECT_CALLS * sizeof(struct arch_call) <= TABLE_BYTES, "the table holds the batch");

/* ---- memory ---- */

int subject_read(const struct subject *subject, uint64_t at, void *data, size_t len)
{
    ssize_t got = pread(subject->memory, data, len, (off_t)at);

    return got < 0 ? -errno : (size_t)got < len ? -EFAULT : 0;
}

int subject_write(const struct subject *subject, uint64_t at, const void *data, size_t len)
{
    ssize_t wrote = pwrite(subject->memory, data, len, (off_t)at);

    return wrote < 0 ? -errno : (size_t)wrote < len ? -EFAULT : 0;
}

/* Not by process_vm_readv: it pins what it reads, and of a page that others have, too, the kernel makes a copy for the
 * process before it pins it. */
int subject_read_pages(const struct subject *subject, const struct range *range, uint8_t *into)
{
    return subject_read(subject, range->start, into, range->end - range->start);
}

int subject_write_pages(const struct subject *subject, const struct range *range, const uint8_t *from)
{
    const size_t bytes = range->end - range->start;
    const struct iovec local = {.iov_base = (void *)from, .iov_len = bytes};
    const struct iovec remote = {.iov_base = (void *)range->start, .iov_len = bytes};

    return process_vm_writev(subject->pid, &local, 1, &remote, 1, 0) == (ssize_t)bytes
               ? 0
               : subject_write(subject, range->start, from, bytes);
}

uint64_t inject_data(const struct inject *inject)
{
    return inject->area + PAGE_BYTES + TABLE_BYTES;
}

/* ---- a thread on its way ---- */

enum goal { GOAL_SYSCALL_STOP, GOAL_TRAP, GOAL_EVENT_STOP };

/* The interpreter has sent its signal. What comes with a signal the kernel leaves out where a process has no room left
 * for it: it is known by where the thread stands. */
static bool stands_at_end(const struct inject *inject)
{
    struct arch_regs regs;

    return arch_get_regs(inject->thread->tid, &regs) == 0 &&
           arch_ip(&regs) == inject->area + arch_interpreter_last;
}

static bool reached(const struct inject *inject, int status, enum goal goal)
{
    switch (goal) {
    case GOAL_SYSCALL_STOP:
        return status == SYSCALL_STOP;
    case GOAL_TRAP:
        return status == inject->trap && stands_at_end(inject);
    case GOAL_EVENT_STOP:
        return EVENT_OF(status) == PTRACE_EVENT_STOP;
    }
    return false;
}

/* All signals but the trap are blocked, SIGSTOP cannot be: it is held back until the thread is let go. A fault in code
 * of ours would come as a signal too: then something is wrong that this thread must not survive unnoticed. */
static int on_the_way(struct thread *thread, int status)
{
    if (EVENT_OF(status) == PTRACE_EVENT_STOP || status == SYSCALL_STOP) {
        return 0;
    }
    switch (SIGNAL_OF(status)) {
    case SIGSTOP:
        thread->stop_pending = true;
        return 0;
    case SIGSEGV:
    case SIGBUS:
    case SIGILL:
        return -EFAULT;
    default:
        return 0;
    }
}

/* What the thread has come to. Its end is left for the loop to reap; of a process's first thread it is told only when
 * those of all others are. 0, or -ESRCH. */
static int await_event(const struct subject *subject, struct thread *thread, siginfo_t *info)
{
    int result;

    ticks_let_in(true);
    while ((result = waitid(P_PID, (id_t)thread->tid, info, WSTOPPED | WEXITED | WNOWAIT | __WALL)) < 0 &&
           errno == EINTR && !thread_has_ended(subject->pid, thread->tid)) {
    }
    ticks_let_in(false);
    thread->gone = result < 0 || (info->si_code != CLD_TRAPPED && info->si_code != CLD_STOPPED);
    return thread->gone ? -ESRCH : 0;
}

/* What it has made is traced too, and comes to its first stop. */
static void take_born(struct inject *inject, int status)
{
    unsigned long born;

    if ((EVENT_OF(status) == PTRACE_EVENT_FORK || EVENT_OF(status) == PTRACE_EVENT_CLONE) &&
        inject->born_count < INJECT_CALLS && ptrace(PTRACE_GETEVENTMSG, inject->thread->tid, 0, &born) == 0) {
        inject->born[inject->born_count++] = (pid_t)born;
    }
}

/* Lets the thread run until it reaches the goal. */
static int go(struct inject *inject, enum goal goal)
{
    struct thread *thread = inject->thread;

    for (;;) {
        siginfo_t info = {0};
        if (ptrace(goal == GOAL_SYSCALL_STOP ? PTRACE_SYSCALL : PTRACE_CONT, thread->tid, 0, 0) < 0) {
            thread->gone = errno == ESRCH;
            return -errno;
        }
        if (await_event(inject->subject, thread, &info) < 0) {
            return -ESRCH;
        }
        waitid(P_PID, (id_t)thread->tid, &info, WSTOPPED | __WALL);
        if (reached(inject, info.si_status, goal)) {
            return 0;
        }
        take_born(inject, info.si_status);
        int result = on_the_way(thread, info.si_status);
        if (result < 0) {
            return result;
        }
    }
}

/* One system call by the process's own instruction: two stops instead of a batch. */
int64_t inject_call(struct inject *inject, const struct arch_call *call)
{
    struct thread *thread = inject->thread;
    struct arch_regs regs = thread->regs;
    int result;

    arch_prepare_call(&regs, inject->kernel_entry, call);
    if ((result = arch_set_regs(thread->tid, &regs)) < 0 || (result = go(inject, GOAL_SYSCALL_STOP)) < 0 ||
        (result = go(inject, GOAL_SYSCALL_STOP)) < 0 || (result = arch_get_regs(thread->tid, &regs)) < 0) {
        return result;
    }
    return arch_result(&regs);
}

/* ---- beginning ---- */

/* Every process of a kernel has the same vdso, at an address of its own. */
static size_t entry_in_vdso(void)
{
    static size_t offset;
    const uint8_t *vdso = (const uint8_t *)getauxval(AT_SYSINFO_EHDR);

    for (size_t i = 0; vdso && offset == 0 && i + arch_enter_kernel_size <= PAGE_BYTES; i++) {
        if (memcmp(vdso + i, arch_enter_kernel, arch_enter_kernel_size) == 0) {
            offset = i;
        }
    }
    return offset;
}

int inject_find_entry(struct inject *inject, uint64_t vdso)
{
    uint8_t found[8];
    size_t offset = entry_in_vdso();

    if (!vdso || !offset) {
        return -ENOEXEC;
    }
    int result = subject_read(inject->subject, vdso + offset, found, arch_enter_kernel_size);
    if (result < 0) {
        return result;
    }
    inject->kernel_entry = vdso + offset;
    return memcmp(found, arch_enter_kernel, arch_enter_kernel_size) == 0 ? 0 : -ENOEXEC;
}

struct rseq_section {
    uint32_t version, flags;
    uint64_t start, length, abort;
};

/* The kernel aborts a restartable sequence that was interrupted, but not one whose thread has run elsewhere meanwhile:
 * then the abort is ours to do. */
static void leave_restartable_sequence(const struct subject *subject, struct thread *thread)
{
    struct __ptrace_rseq_configuration rseq;
    struct rseq_section section;
    uint64_t pointer;

    if (arch_in_call(&thread->regs) ||
        ptrace(PTRACE_GET_RSEQ_CONFIGURATION, thread->tid, sizeof rseq, &rseq) != sizeof rseq ||
        !rseq.rseq_abi_pointer || subject_read(subject, rseq.rseq_abi_pointer + 8, &pointer, 8) < 0 ||
        !pointer || subject_read(subject, pointer, &section, sizeof section) < 0) {
        return;
    }
    if (arch_ip(&thread->regs) - section.start < section.length) {
        arch_set_ip(&thread->regs, section.abort);
    }
}

/* Signals of a number that waits already are not told apart from one more of it. */
static int choose_trap(const struct thread *thread)
{
    static const int traps[] = {SIGTRAP, SIGURG, SIGIO, SIGWINCH, SIGUSR1, SIGUSR2, SIGALRM, SIGHUP};

    for (size_t i = 0; i < sizeof traps / sizeof *traps; i++) {
        if (!(thread->pending & 1ULL << (traps[i] - 1))) {
            return traps[i];
        }
    }
    return -EBUSY;
}

static int block_signals(struct thread *thread, int trap)
{
    uint64_t all = ~(1ULL << (trap - 1));

    if (ptrace(PTRACE_GETSIGMASK, thread->tid, MASK_BYTES, &thread->mask) < 0 ||
        ptrace(PTRACE_SETSIGMASK, thread->tid, MASK_BYTES, &all) < 0) {
        return -errno;
    }
    return 0;
}

/* A filter of the program's own may refuse what we call. None is suspended but while code of ours is all that runs. */
static int suspend_filters(const struct thread *thread, bool suspend)
{
    const unsigned long options = FREEZE_OPTIONS | thread->follows | (suspend ? PTRACE_O_SUSPEND_SECCOMP : 0);

    return ptrace(PTRACE_SETOPTIONS, thread->tid, 0, options) < 0 ? -errno : 0;
}

/* What the program hands to a handler of its own are not our calls. */
static int suspend_dispatch(struct thread *thread)
{
    static const struct call_dispatch off = {0};
    int result = thread_get_dispatch(thread, &thread->dispatch);

    return result < 0 || !thread->dispatch.mode ? result : thread_set_dispatch(thread, &off);
}

/* A page that may be written and run is refused where a process has asked for that; then in two steps. */
static int64_t map_area(struct inject *inject, uint64_t wish)
{
    struct arch_call map = {.number = SYS_mmap,
                            .args = {wish, INJECT_AREA_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC,
                                     MAP_PRIVATE | MAP_ANONYMOUS | (wish ? MAP_FIXED_NOREPLACE : 0),
                                     (uint64_t)-1, 0}};
    int64_t at = inject_call(inject, &map);

    if (at != -EACCES && at != -EPERM) {
        return at;
    }
    map.args[2] = PROT_READ | PROT_EXEC;
    at = inject_call(inject, &map);
    if (at < 0 && at > -4096) {
        return at;
    }
    map.args[0] = (uint64_t)at + PAGE_BYTES;
    map.args[1] = INJECT_AREA_BYTES - PAGE_BYTES;
    map.args[2] = PROT_READ | PROT_WRITE;
    map.args[3] |= MAP_FIXED;
    int64_t rest = inject_call(inject, &map);
    if (rest < 0 && rest > -4096) {
        const struct arch_call unmap = {.number = SYS_munmap, .args = {(uint64_t)at, INJECT_AREA_BYTES}};
        inject_call(inject, &unmap);
        return rest;
    }
    return at;
}

int inject_interrupt(struct inject *inject)
{
    if (ptrace(PTRACE_INTERRUPT, inject->thread->tid, 0, 0) < 0) {
        inject->thread->gone = true;
        return -errno;
    }
    return go(inject, GOAL_EVENT_STOP);
}

/* Registers and mask back. The thread must stand where the kernel looks at signals, so that it finds the ones that are
 * due and restarts an interrupted system call, or lets it fail, as it would have without us. */
static int put_back(struct inject *inject)
{
    struct thread *thread = inject->thread;
    int result;

    if (thread->gone) {
        return -ESRCH;
    }
    if ((result = inject_interrupt(inject)) < 0 || (result = suspend_filters(thread, false)) < 0 ||
        (result = arch_set_regs(thread->tid, &thread->regs)) < 0) {
        return result;
    }
    if (thread->dispatch.mode && (result = thread_set_dispatch(thread, &thread->dispatch)) < 0) {
        return result;
    }
    return ptrace(PTRACE_SETSIGMASK, thread->tid, MASK_BYTES, &thread->mask) < 0 ? -errno : 0;
}

/* What has to be known and done before a thread runs code of ours. */
static int take_thread(struct inject *inject)
{
    struct thread *thread = inject->thread;
    int result;

    inject->count = 0;
    if ((result = thread_look(thread)) < 0 || (result = choose_trap(thread)) < 0) {
        return result;
    }
    inject->trap = result;
    if ((result = arch_get_regs(thread->tid, &thread->regs)) < 0) {
        return result;
    }
    leave_restartable_sequence(inject->subject, thread);
    if ((result = suspend_dispatch(thread)) < 0) {
        return result;
    }
    result = suspend_filters(thread, true);
    return result < 0 ? result : block_signals(thread, inject->trap);
}

static int begin(struct inject *inject, uint64_t vdso, uint64_t wish)
{
    int result = inject_find_entry(inject, vdso);

    inject->area = 0;
    if (result < 0 || (result = take_thread(inject)) < 0) {
        return result;
    }
    int64_t at = map_area(inject, wish);
    if (at < 0 && at > -4096) {
        put_back(inject);
        return (int)at;
    }
    inject->area = (uint64_t)at;
    result = subject_write(inject->subject, inject->area, arch_interpreter, arch_interpreter_size);
    if (result < 0) {
        inject_end(inject);
    }
    return result;
}

int inject_begin(struct inject *inject, struct subject *subject, struct thread *thread, uint64_t vdso)
{
    inject->subject = subject;
    inject->thread = thread;
    return begin(inject, vdso, 0);
}

int inject_begin_at(struct inject *inject, struct subject *subject, struct thread *thread, uint64_t vdso,
                    uint64_t at)
{
    inject->subject = subject;
    inject->thread = thread;
    return begin(inject, vdso, at);
}

void inject_adopt(struct inject *inject, const struct inject *parent, struct subject *subject,
                  struct thread *thread)
{
    inject->subject = subject;
    inject->thread = thread;
    inject->area = parent->area;
    inject->kernel_entry = parent->kernel_entry;
    inject->trap = parent->trap;
    inject_clear(inject);
}

int inject_borrow(struct inject *inject, const struct inject *owner, struct thread *thread)
{
    inject_adopt(inject, owner, owner->subject, thread);
    return take_thread(inject);
}

int inject_return(struct inject *inject)
{
    return put_back(inject);
}

int inject_end(struct inject *inject)
{
    const struct arch_call unmap = {.number = SYS_munmap, .args = {inject->area, INJECT_AREA_BYTES}};
    int64_t unmapped = inject->area ? inject_call(inject, &unmap) : 0;

    inject->area = 0;
    int result = put_back(inject);
    return result < 0 ? result : (int)unmapped;
}

/* ---- batches ---- */

static size_t add(struct inject *inject, uint32_t go_on, long number, const uint64_t args[6])
{
    if (inject->count == INJECT_CALLS) {
        die("a batch of more than %d calls", INJECT_CALLS);
    }
    struct arch_call *call = &inject->calls[inject->count];
    *call = (struct arch_call){.number = (uint32_t)number, .go_on = go_on, .result = -ECANCELED};
    memcpy(call->args, args, sizeof call->args);
    return inject->count++;
}

size_t inject_add(struct inject *inject, long number, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                  uint64_t e, uint64_t f)
{
    const uint64_t args[] = {a, b, c, d, e, f};

    return add(inject, 0, number, args);
}

size_t inject_add_free(struct inject *inject, long number, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                       uint64_t e, uint64_t f)
{
    const uint64_t args[] = {a, b, c, d, e, f};

    return add(inject, 1, number, args);
}

int inject_run(struct inject *inject)
{
    struct thread *thread = inject->thread;
    struct arch_regs regs = thread->regs;
    const uint64_t table = inject->area + PAGE_BYTES;
    const size_t bytes = inject->count * sizeof *inject->calls;
    int result;

    if (inject->count == 0) {
        return 0;
    }
    arch_prepare_run(&regs, inject->area, table, inject->count, inject->trap, inject->subject->inner,
                     thread->inner);
    if ((result = subject_write(inject->subject, table, inject->calls, bytes)) < 0 ||
        (result = arch_set_regs(thread->tid, &regs)) < 0 || (result = go(inject, GOAL_TRAP)) < 0 ||
        (result = subject_read(inject->subject, table, inject->calls, bytes)) < 0) {
        return result;
    }
    for (size_t i = 0; i < inject->count; i++) {
        int64_t got = inject->calls[i].result;
        if (got < 0 && got > -4096 && !inject->calls[i].go_on) {
            return (int)got;
        }
    }
    return 0;
}

void inject_clear(struct inject *inject)
{
    inject->count = 0;
    inject->born_count = 0;
}

int inject_run_clear(struct inject *inject)
{
    int result = inject_run(inject);

    inject_clear(inject);
    return result;
}

int inject_make_room(struct inject *inject, size_t calls)
{
    return inject->count + calls <= INJECT_CALLS ? 0 : inject_run_clear(inject);
}
