/* One process sends another queued signals with numbers, in order, as fast as they are taken. The receiver waits in one
 * system call after the other; a handler takes the signals. None may be lost, come twice or out of order, and a call may be
 * interrupted only where a handler ran. */
#include "victim.h"

#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>

static volatile sig_atomic_t taken, wrong;
static int last = -1, word;
static int events, end[2]; /* the number of the last signal comes through the pipe */

static void take(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    wrong = wrong || info->si_value.sival_int != taken;
    taken++;
}

static void send_all(pid_t to)
{
    for (int number = 0; !stopped; number++) {
        const union sigval value = {.sival_int = number};
        while (sigqueue(to, SIGRTMIN, value) < 0) {
            must(errno == EAGAIN);
            usleep(200);
        }
        if (number % 50 == 0) {
            usleep(500);
        }
        if (number % 1000 == 0) {
            usleep(20000);
        }
        if (stopped) {
            must(write(end[1], &number, sizeof number) == sizeof number);
        }
    }
    exit(0);
}

static int wait_once(unsigned round)
{
    struct pollfd entry = {.fd = end[0], .events = POLLIN};
    const struct timespec time = {.tv_nsec = 3000000};
    struct epoll_event event;

    switch (round % 5) {
    case 0:
        return (int)syscall(SYS_poll, &entry, 1, 3);
    case 1:
        return (int)syscall(SYS_futex, &word, FUTEX_WAIT, 0, &time) < 0 && errno == ETIMEDOUT ? 0 : -1;
    case 2:
        return (int)syscall(SYS_nanosleep, &time, NULL);
    case 3:
        return (int)syscall(SYS_read, end[0], &last, sizeof last);
    default:
        return (int)syscall(SYS_epoll_wait, events, &event, 1, -1);
    }
}

int main(void)
{
    const struct sigaction action = {.sa_sigaction = take, .sa_flags = SA_SIGINFO};
    struct epoll_event event = {.events = EPOLLIN};
    unsigned round = 0, interrupted = 0;
    int result = 0;

    must(pipe(end) == 0 && (events = epoll_create1(0)) >= 0);
    must(epoll_ctl(events, EPOLL_CTL_ADD, end[0], &event) == 0);
    must(sigaction(SIGRTMIN, &action, NULL) == 0);
    until_told();
    pid_t receiver = getpid(), sender = fork();
    must(sender >= 0);
    if (sender == 0) {
        send_all(receiver);
    }
    printf("ready %d\n", sender);
    fflush(stdout);
    for (; last < 0 && result <= 0; round++) {
        int before = taken;
        result = wait_once(round);
        if (result < 0) {
            must(errno == EINTR && !wrong);
            if (taken == before) {
                fail("round %u: interrupted though no signal came", round);
            }
            interrupted++;
        }
    }
    must(last >= 0 || read(end[0], &last, sizeof last) == sizeof last);
    must(waitpid(sender, NULL, 0) == sender);
    must(!wrong && taken == last + 1 && interrupted > 0);
    say("every signal came once");
}
