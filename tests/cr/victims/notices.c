/* Signals that tell of input: by a pipe, by one end of a pair of sockets for a
 * group, and by a signal of its own choice. */
#include "victim.h"

#include <sys/socket.h>

static int pipes[2], pair[2], other[2];
static volatile int came, real, on;

static void take(int number, siginfo_t *info, void *context)
{
    (void)context;
    came++;
    real += number == SIGRTMIN;
    on = info->si_fd;
}

static void ask(int fd, int type, pid_t pid, int number)
{
    const struct f_owner_ex owner = {.type = type, .pid = pid};

    must(fcntl(fd, F_SETOWN_EX, &owner) == 0);
    must(number == 0 || fcntl(fd, F_SETSIG, number) == 0);
    must(fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK) == 0);
}

static void set_up(void)
{
    const struct sigaction action = {.sa_sigaction = take, .sa_flags = SA_SIGINFO | SA_RESTART};

    must(sigaction(SIGIO, &action, NULL) == 0 && sigaction(SIGRTMIN, &action, NULL) == 0);
    must(pipe(pipes) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 &&
         socketpair(AF_UNIX, SOCK_STREAM, 0, other) == 0);
    ask(pipes[0], F_OWNER_TID, (pid_t)syscall(SYS_gettid), SIGRTMIN);
    ask(pair[0], F_OWNER_PGRP, getpgrp(), 0);
    ask(other[0], F_OWNER_PID, getpid(), 0);
    must(fcntl(other[0], F_SETFL, O_NONBLOCK) == 0); /* it has an owner still */
}

static void change(void)
{
    must(fcntl(pipes[0], F_SETFL, 0) == 0 && fcntl(pair[0], F_SETOWN, 0) == 0);
}

static void tell(int to, int from, int count, int own)
{
    char byte;

    came = real = 0;
    must(write(to, "x", 1) == 1);
    for (int i = 0; i < 1000 && came < count; i++) {
        pause_ms(1);
    }
    must(came == count && real == own && (!own || on == from));
    must(read(from, &byte, 1) == 1);
}

static void verify(void)
{
    struct f_owner_ex owner;

    tell(pipes[1], pipes[0], 1, 1);
    tell(pair[1], pair[0], 1, 0);
    tell(other[1], other[0], 0, 0);
    must(fcntl(pipes[0], F_GETSIG) == SIGRTMIN && fcntl(pair[0], F_GETSIG) == 0);
    must(fcntl(pair[0], F_GETOWN) == -getpgrp() && fcntl(other[0], F_GETOWN) == getpid());
    must(fcntl(pipes[0], F_GETOWN_EX, &owner) == 0 && owner.type == F_OWNER_TID && owner.pid == getpid());
    must((fcntl(pipes[0], F_GETFL) & O_ASYNC) && !(fcntl(other[0], F_GETFL) & O_ASYNC));
}
