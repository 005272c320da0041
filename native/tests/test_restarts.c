/* Which call an interrupted thread was in, from the registers at each of its stops. */
#include <sys/syscall.h>

#include "arch.h"
#include "check.h"
#include "restarts.h"

#define TID 4711
#define AFTER 0x401002
#define STACK 0x7ffc0000
#define GO_ON (-516)

static struct arch_regs stopped(int64_t rax, int64_t orig_rax, uint64_t ip)
{
    struct arch_regs regs = {0};

    regs.user.rax = (unsigned long long)rax;
    regs.user.orig_rax = (unsigned long long)orig_rax;
    regs.user.rip = ip;
    regs.user.rsp = STACK;
    return regs;
}

static int64_t number_at(struct arch_regs regs)
{
    restarts_note(TID, &regs);
    return restarts_number(TID, &regs);
}

static void test_known(void)
{
    struct arch_regs first = stopped(GO_ON, SYS_poll, AFTER);

    restarts_note(TID, &first);
    CHECK(number_at(stopped(SYS_restart_syscall, SYS_poll, AFTER - 2)) == SYS_poll);
    CHECK(number_at(stopped(GO_ON, SYS_restart_syscall, AFTER)) == SYS_poll);
    CHECK(number_at(stopped(SYS_restart_syscall, SYS_restart_syscall, AFTER - 2)) == SYS_poll);
    CHECK(number_at(stopped(GO_ON, SYS_restart_syscall, AFTER)) == SYS_poll);
}

/* The call has ended, with what happens to be that number; or it is another one. */
static void test_others(void)
{
    struct arch_regs first = stopped(GO_ON, SYS_poll, AFTER);

    restarts_note(TID, &first);
    CHECK(number_at(stopped(SYS_restart_syscall, SYS_restart_syscall, AFTER)) == -1);
    CHECK(number_at(stopped(SYS_restart_syscall, -1, AFTER + 40)) == -1);
    CHECK(number_at(stopped(0, SYS_restart_syscall, AFTER)) == -1);
    CHECK(restarts_number(TID + 1, &first) == -1);
}

static void test_names(void)
{
    struct arch_regs again = stopped(SYS_restart_syscall, SYS_restart_syscall, AFTER - 2);
    struct arch_regs within = stopped(GO_ON, SYS_restart_syscall, AFTER);

    arch_name_call(&again, SYS_poll);
    CHECK(again.user.rax == SYS_poll && again.user.rip == AFTER - 2);
    arch_name_call(&within, SYS_poll);
    CHECK(within.user.orig_rax == SYS_poll && arch_restarts_call(&within));
}

int main(void)
{
    test_known();
    test_others();
    test_names();
    return DONE("restarts");
}
