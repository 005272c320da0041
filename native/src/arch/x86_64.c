#include "arch.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define USER_CS_32 0x23
#define RESTART_WITHOUT_HANDLER 514 /* the kernel's ERESTARTNOHAND */
#define GO_ON (-516)                /* the kernel's ERESTART_RESTARTBLOCK */

/* rbx: next call, r12: end of the table, r13: tgkill's number, r14 and r15: pid and tid, rbp: signal. The kernel keeps them;
 * a system call destroys rcx and r11 only. */
__asm__(".pushsection .rodata\n"
        ".global arch_interpreter\n"
        "arch_interpreter:\n"
        "1: cmp %r12, %rbx\n"
        "   jae 2f\n"
        "   mov (%rbx), %eax\n"
        "   mov 8(%rbx), %rdi\n"
        "   mov 16(%rbx), %rsi\n"
        "   mov 24(%rbx), %rdx\n"
        "   mov 32(%rbx), %r10\n"
        "   mov 40(%rbx), %r8\n"
        "   mov 48(%rbx), %r9\n"
        "   syscall\n"
        "   mov %rax, 56(%rbx)\n"
        "   add $64, %rbx\n"
        "   cmp $-4095, %rax\n"
        "   jb 1b\n"
        "   cmpl $0, -60(%rbx)\n"
        "   jne 1b\n"
        "2: mov %r13, %rax\n"
        "   mov %r14, %rdi\n"
        "   mov %r15, %rsi\n"
        "   mov %rbp, %rdx\n"
        "   syscall\n"
        "3: ud2\n"
        ".global arch_interpreter_end\n"
        "arch_interpreter_end:\n"
        ".global arch_interpreter_size\n"
        ".balign 8\n"
        "arch_interpreter_size: .quad arch_interpreter_end - arch_interpreter\n"
        ".global arch_interpreter_last\n"
        "arch_interpreter_last: .quad 3b - arch_interpreter\n"
        ".popsection\n");

_Static_assert(sizeof(struct arch_call) == 64, "the interpreter steps by 64 bytes");

#define BEGIN_AGAIN (-513) /* the kernel's ERESTARTNOINTR */

static bool is_file_call(int64_t number)
{
    static const int calls[] = {
        SYS_open,      SYS_openat,    SYS_openat2,     SYS_creat,     SYS_rename,      SYS_renameat,
        SYS_renameat2, SYS_unlink,    SYS_unlinkat,    SYS_mkdir,     SYS_mkdirat,     SYS_rmdir,
        SYS_link,      SYS_linkat,    SYS_symlink,     SYS_symlinkat, SYS_mknod,       SYS_mknodat,
        SYS_chmod,     SYS_fchmod,    SYS_fchmodat,    SYS_chown,     SYS_lchown,      SYS_fchown,
        SYS_fchownat,  SYS_utime,     SYS_utimes,      SYS_utimensat, SYS_futimesat,   SYS_truncate,
        SYS_ftruncate, SYS_setxattr,  SYS_lsetxattr,   SYS_fsetxattr, SYS_removexattr, SYS_lremovexattr,
        SYS_bind,      SYS_fallocate, SYS_fremovexattr};

    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        if (calls[i] == number) {
            return true;
        }
    }
    return false;
}

bool arch_begin_file_call_again(struct arch_regs *regs)
{
    if ((int64_t)regs->user.rax != -EINTR || !is_file_call((int64_t)regs->user.orig_rax)) {
        return false;
    }
    regs->user.rax = (unsigned long long)BEGIN_AGAIN;
    return true;
}

const uint8_t arch_enter_kernel[] = {0x0f, 0x05};
const size_t arch_enter_kernel_size = sizeof arch_enter_kernel;

int arch_get_regs(pid_t tid, struct arch_regs *regs)
{
    struct iovec area = {.iov_base = &regs->user, .iov_len = sizeof regs->user};

    if (ptrace(PTRACE_GETREGSET, tid, NT_PRSTATUS, &area) < 0) {
        return -errno;
    }
    if (area.iov_len < sizeof regs->user) { /* of a thread in 32-bit code: in another order */
        *regs = (struct arch_regs){.user = {.cs = USER_CS_32, .orig_rax = (unsigned long long)-1}};
    }
    return 0;
}

int arch_set_regs(pid_t tid, const struct arch_regs *regs)
{
    struct iovec area = {.iov_base = (void *)&regs->user, .iov_len = sizeof regs->user};

    return ptrace(PTRACE_SETREGSET, tid, NT_PRSTATUS, &area) < 0 ? -errno : 0;
}

int arch_get_extended(pid_t tid, struct arch_extended *extended)
{
    static uint8_t data[ARCH_EXTENDED_MAX];
    struct iovec area = {.iov_base = data, .iov_len = sizeof data};

    if (ptrace(PTRACE_GETREGSET, tid, NT_X86_XSTATE, &area) < 0) {
        return -errno;
    }
    extended->size = area.iov_len;
    extended->data = malloc(area.iov_len);
    if (!extended->data) {
        return -ENOMEM;
    }
    memcpy(extended->data, data, area.iov_len);
    return 0;
}

int arch_set_extended(pid_t tid, const struct arch_extended *extended)
{
    struct iovec area = {.iov_base = extended->data, .iov_len = extended->size};

    return ptrace(PTRACE_SETREGSET, tid, NT_X86_XSTATE, &area) < 0 ? -errno : 0;
}

/* The kernel's -ERESTARTSYS to -ERESTARTNOHAND. What -ERESTART_RESTARTBLOCK goes on with is the thread's own, and gone. */
bool arch_restarts_call(struct arch_regs *regs)
{
    const int64_t result = (int64_t)regs->user.rax;

    if ((int64_t)regs->user.orig_rax < 0 || !((result <= -512 && result >= -514) || result == GO_ON)) {
        return false;
    }
    if (result == GO_ON) {
        regs->user.rax = (unsigned long long)-RESTART_WITHOUT_HANDLER;
    }
    return true;
}

int64_t arch_interrupted_call(const struct arch_regs *regs)
{
    return (int64_t)regs->user.rax == GO_ON && regs->user.orig_rax != SYS_restart_syscall
               ? (int64_t)regs->user.orig_rax
               : -1;
}

static bool is_gone_on_with(const struct arch_regs *regs)
{
    return (int64_t)regs->user.rax == GO_ON && regs->user.orig_rax == SYS_restart_syscall;
}

/* The kernel has set it up for the call that goes on with another one, and it has not made it yet: for the first time, or, after
 * it was interrupted in that, again. */
static bool is_about_to_go_on(const struct arch_regs *regs)
{
    return regs->user.rax == SYS_restart_syscall;
}

uint64_t arch_gone_on_ip(const struct arch_regs *regs)
{
    return is_gone_on_with(regs) ? regs->user.rip : is_about_to_go_on(regs) ? regs->user.rip + 2 : 0;
}

void arch_name_call(struct arch_regs *regs, int64_t number)
{
    if (is_about_to_go_on(regs)) {
        regs->user.rax = number < 0 ? SYS_restart_syscall : (unsigned long long)number;
        return;
    }
    if (number < 0) {
        regs->user.rax = (unsigned long long)-EINTR;
    }
    regs->user.orig_rax = (unsigned long long)number;
}

uint64_t arch_stack(const struct arch_regs *regs)
{
    return regs->user.rsp;
}

bool arch_is_foreign(const struct arch_regs *regs)
{
    return regs->user.cs == USER_CS_32;
}

/* The upper bit of an index into the process's own table, or one of the places the kernel has for threads' segments. */
static bool is_own_segment(unsigned long long selector)
{
    return (selector & 4) != 0 || (selector >> 3 >= 12 && selector >> 3 <= 14);
}

bool arch_has_segments(const struct arch_regs *regs)
{
    return is_own_segment(regs->user.cs) || is_own_segment(regs->user.ds) || is_own_segment(regs->user.es) ||
           is_own_segment(regs->user.fs) || is_own_segment(regs->user.gs) || is_own_segment(regs->user.ss);
}

uint64_t arch_ip(const struct arch_regs *regs)
{
    return regs->user.rip;
}

void arch_set_ip(struct arch_regs *regs, uint64_t ip)
{
    regs->user.rip = ip;
}

bool arch_in_call(const struct arch_regs *regs)
{
    return (int64_t)regs->user.orig_rax >= 0;
}

static bool waits_without_end(const struct user_regs_struct *user)
{
    switch (user->orig_rax) {
    case SYS_epoll_wait:
    case SYS_epoll_pwait:
        return (int)user->r10 < 0;
    case SYS_epoll_pwait2:
    case SYS_semtimedop:
        return user->r10 == 0;
    case SYS_semop:
        return true;
    case SYS_rt_sigtimedwait:
        return user->rdx == 0;
    case SYS_io_getevents:
    case SYS_io_pgetevents:
        return user->r8 == 0;
    default:
        return false;
    }
}

bool arch_go_on_waiting(struct arch_regs *regs)
{
    if ((int64_t)regs->user.rax != -EINTR || !waits_without_end(&regs->user)) {
        return false;
    }
    regs->user.rax = (unsigned long long)-RESTART_WITHOUT_HANDLER;
    return true;
}

/* With orig_rax -1 the kernel does not take the thread for one whose system call is to be restarted. */
void arch_prepare_call(struct arch_regs *regs, uint64_t at, const struct arch_call *call)
{
    regs->user.rip = at;
    regs->user.rax = call->number;
    regs->user.orig_rax = (unsigned long long)-1;
    regs->user.rdi = call->args[0];
    regs->user.rsi = call->args[1];
    regs->user.rdx = call->args[2];
    regs->user.r10 = call->args[3];
    regs->user.r8 = call->args[4];
    regs->user.r9 = call->args[5];
}

int64_t arch_result(const struct arch_regs *regs)
{
    return (int64_t)regs->user.rax;
}

void arch_prepare_run(struct arch_regs *regs, uint64_t at, uint64_t table, size_t count, int trap, pid_t pid,
                      pid_t tid)
{
    regs->user.rip = at;
    regs->user.orig_rax = (unsigned long long)-1;
    regs->user.rbx = table;
    regs->user.r12 = table + count * sizeof(struct arch_call);
    regs->user.rbp = (unsigned long long)trap;
    regs->user.r13 = SYS_tgkill;
    regs->user.r14 = (unsigned long long)pid;
    regs->user.r15 = (unsigned long long)tid;
    regs->user.eflags &= ~0x400ULL; /* direction */
}
