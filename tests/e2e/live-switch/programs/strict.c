/* Allows itself next to no system call, then copies standard input to `f`, byte by byte. At the end it
 * makes a call that is not allowed, and is killed for it. */
#include "victim.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

#define ALLOW(number)                                                                                        \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static void confine(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        ALLOW(SYS_read),
        ALLOW(SYS_write),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    const struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};

    must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

int main(void)
{
    char byte;

    int fd = open("f", O_CREAT | O_RDWR | O_APPEND, 0644);
    must(fd >= 0);
    confine();
    if (write(STDOUT_FILENO, "ready\n", 6) != 6) {
        syscall(SYS_exit, 1);
    }
    while (read(STDIN_FILENO, &byte, 1) == 1) {
        if (write(fd, &byte, 1) != 1 || write(STDOUT_FILENO, "done\n", 5) != 5) {
            syscall(SYS_exit, 1);
        }
    }
    syscall(SYS_getppid);
    syscall(SYS_exit, 1);
}
