/* apart fs|files: a second thread with a working directory, or a descriptor table, of its own. After a byte on standard
 * input it writes to `f` in its directory, or by its descriptor. Nothing of the C library is used in it. */
#include "victim.h"

#include <linux/futex.h>

static int gate, made, own_files;
static char stack[65536] __attribute__((aligned(16)));

static long call(long number, long a, long b, long c, long d)
{
    long result;
    register long r10 __asm__("r10") = d;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                     : "rcx", "r11", "memory");
    return result;
}

static int thread(void *argument)
{
    const char *content = argument;

    if (!own_files) {
        call(SYS_chdir, (long)"own", 0, 0, 0);
    }
    long fd = call(SYS_open, (long)"f", O_CREAT | O_WRONLY, 0644, 0);
    __atomic_store_n(&made, 1, __ATOMIC_SEQ_CST);
    call(SYS_futex, (long)&made, FUTEX_WAKE, 1, 0);
    while (__atomic_load_n(&gate, __ATOMIC_SEQ_CST) == 0) {
        call(SYS_futex, (long)&gate, FUTEX_WAIT, 0, 0);
    }
    if (!own_files) {
        call(SYS_close, fd, 0, 0, 0);
        fd = call(SYS_open, (long)"f", O_WRONLY, 0, 0);
    }
    call(SYS_write, fd, (long)content, 6, 0);
    call(SYS_exit_group, 0, 0, 0, 0);
    return 0;
}

int main(int argc, char **argv)
{
    char byte;

    must(argc == 2);
    own_files = strcmp(argv[1], "files") == 0;
    int flags =
        CLONE_VM | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | (own_files ? CLONE_FS : CLONE_FILES);
    must(clone(thread, stack + sizeof stack, flags, "thread") > 0);
    while (__atomic_load_n(&made, __ATOMIC_SEQ_CST) == 0) {
        syscall(SYS_futex, &made, FUTEX_WAIT, 0, NULL);
    }
    say("ready");
    must(read(STDIN_FILENO, &byte, 1) == 1);
    int fd = open("g", O_CREAT | O_WRONLY, 0644);
    must(fd >= 0 && write(fd, "main", 4) == 4);
    __atomic_store_n(&gate, 1, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, &gate, FUTEX_WAKE, 1);
    pause();
}
