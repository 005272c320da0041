/* Calls that the kernel goes on with by itself after an interruption, as restart_syscall: which one it was is then told
 * nowhere. It is known of those that were first interrupted by a freeze. */
#include "restarts.h"

#define SEEN 4096

static struct {
    pid_t tid;
    uint64_t ip, sp;
    int64_t number;
} seen[SEEN];

void restarts_note(pid_t tid, const struct arch_regs *regs)
{
    const int64_t number = arch_interrupted_call(regs);

    if (number >= 0) {
        seen[tid % SEEN].tid = tid;
        seen[tid % SEEN].ip = arch_ip(regs);
        seen[tid % SEEN].sp = arch_stack(regs);
        seen[tid % SEEN].number = number;
    }
}

int64_t restarts_number(pid_t tid, const struct arch_regs *regs)
{
    const size_t at = (size_t)tid % SEEN;

    return seen[at].tid == tid && seen[at].ip == arch_gone_on_ip(regs) && seen[at].sp == arch_stack(regs)
               ? seen[at].number
               : -1;
}
