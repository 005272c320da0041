/* Interval timers and POSIX timers: their ids, the time that is left, one whose
 * signal waits. */
#include "victim.h"

#include <sys/time.h>

static timer_t ids[6];
static volatile int ticks;
static int64_t deadline;

static void tick(int number)
{
    (void)number;
    ticks++;
}

static long create(int signal, int value)
{
    struct sigevent event = {.sigev_notify = signal ? SIGEV_SIGNAL : SIGEV_NONE,
                             .sigev_signo = signal,
                             .sigev_value.sival_int = value};
    int id;

    must(syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &id) == 0);
    return id;
}

static void set(long id, long first_ms, long then_ms)
{
    const struct itimerspec time = {
        .it_value = {.tv_sec = first_ms / 1000, .tv_nsec = first_ms % 1000 * 1000000},
        .it_interval = {.tv_sec = then_ms / 1000, .tv_nsec = then_ms % 1000 * 1000000}};

    must(syscall(SYS_timer_settime, (int)id, 0, &time, NULL) == 0);
}

static long left_ms(long id)
{
    struct itimerspec time;

    must(syscall(SYS_timer_gettime, (int)id, &time) == 0);
    return time.it_value.tv_sec * 1000 + time.it_value.tv_nsec / 1000000;
}

static void set_up(void)
{
    const struct itimerval real = {.it_value.tv_sec = 500, .it_interval.tv_sec = 7};
    const struct itimerval virtual = {.it_value.tv_sec = 900};
    sigset_t mask;
    long gap = create(0, 0);

    sigemptyset(&mask);
    sigaddset(&mask, SIGRTMIN + 2);
    sigaddset(&mask, SIGRTMIN + 4);
    must(sigprocmask(SIG_BLOCK, &mask, NULL) == 0);
    must(signal(SIGUSR1, tick) != SIG_ERR);
    for (int i = 0; i < 5; i++) {
        create(0, 0);
    }
    ids[0] = (timer_t)create(SIGRTMIN, 11);
    ids[1] = (timer_t)create(SIGRTMIN + 2, 22);
    ids[2] = (timer_t)create(SIGUSR1, 33);
    ids[3] = (timer_t)create(SIGRTMIN + 4, 44);
    must(syscall(SYS_timer_delete, (int)gap) == 0);
    must(setitimer(ITIMER_REAL, &real, NULL) == 0 && setitimer(ITIMER_VIRTUAL, &virtual, NULL) == 0);
    set((long)ids[0], 600000, 0);
    set((long)ids[1], 1, 0);
    set((long)ids[2], 2, 2);
    set((long)ids[3], 1, 10);
    deadline = now_ms() + 600000;
    pause_ms(5);
}

static void change(void)
{
    const struct itimerval off = {0};

    must(setitimer(ITIMER_REAL, &off, NULL) == 0 && setitimer(ITIMER_VIRTUAL, &off, NULL) == 0);
    for (int i = 0; i < 4; i++) {
        must(syscall(SYS_timer_delete, (int)(long)ids[i]) == 0);
    }
    create(SIGUSR2, 1);
}

/* The other timers interrupt it. */
static bool await(const sigset_t *set, siginfo_t *info)
{
    const struct timespec soon = {.tv_sec = 5};
    int got;

    while ((got = sigtimedwait(set, info, &soon)) < 0 && errno == EINTR) {
    }
    return got > 0;
}

static void verify(void)
{
    const struct timespec none = {0};
    struct itimerval time;
    siginfo_t info;
    sigset_t set_of_two, set_of_four;

    must(getitimer(ITIMER_REAL, &time) == 0 && time.it_interval.tv_sec == 7 && time.it_value.tv_sec > 300 &&
         time.it_value.tv_sec < 500);
    must(getitimer(ITIMER_VIRTUAL, &time) == 0 && time.it_value.tv_sec > 800);
    must(left_ms((long)ids[0]) > 300000 && left_ms((long)ids[0]) < 600000);
    sigemptyset(&set_of_two);
    sigaddset(&set_of_two, SIGRTMIN + 2);
    must(await(&set_of_two, &info));
    must(info.si_code == SI_TIMER && info.si_value.sival_int == 22 && info.si_timerid == (int)(long)ids[1]);
    must(sigtimedwait(&set_of_two, &info, &none) < 0);
    set((long)ids[1], 1, 0);
    sigemptyset(&set_of_four);
    sigaddset(&set_of_four, SIGRTMIN + 4);
    for (int i = 0; i < 3; i++) { /* it goes on when its signal is taken */
        must(await(&set_of_four, &info));
        must(info.si_code == SI_TIMER && info.si_value.sival_int == 44);
    }
    int before = ticks;
    for (int i = 0; i < 2000 && ticks < before + 3; i++) {
        pause_ms(1);
    }
    must(ticks >= before + 3);
    pause_ms(12);
}
