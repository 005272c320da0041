/* Threads blocked in system calls with and without a time limit; joining one
 * that ends later; a robust mutex. */
#include "victim.h"

#include <linux/futex.h>
#include <poll.h>
#include <sys/select.h>

static int pipes[2];
static uint32_t words[2];
static pthread_t waiters[6], dying, robber;
static volatile int ended[6], failures, die, stolen;
static pthread_mutex_t robust;

static void *wait_poll(void *argument)
{
    struct pollfd entry = {.fd = pipes[0], .events = POLLIN};

    failures |= poll(&entry, 1, 100000000) != 1;
    ended[(uintptr_t)argument] = 1;
    return NULL;
}

static void *wait_select(void *argument)
{
    struct timeval limit = {.tv_sec = 100000};
    fd_set set;

    FD_ZERO(&set);
    FD_SET(pipes[0], &set);
    failures |= select(pipes[0] + 1, &set, NULL, NULL, &limit) != 1;
    ended[(uintptr_t)argument] = 1;
    return NULL;
}

static void *wait_futex(void *argument)
{
    const struct timespec limit = {.tv_sec = 100000};

    failures |= syscall(SYS_futex, &words[0], FUTEX_WAIT_PRIVATE, 0, &limit) != 0;
    ended[(uintptr_t)argument] = 1;
    return NULL;
}

static void *wait_futex_for_ever(void *argument)
{
    failures |= syscall(SYS_futex, &words[1], FUTEX_WAIT_PRIVATE, 0, NULL) != 0;
    ended[(uintptr_t)argument] = 1;
    return NULL;
}

static void *wait_time(void *argument)
{
    (void)argument;
    for (;;) {
        struct timespec limit = {.tv_nsec = 3000000};
        failures |= nanosleep(&limit, NULL) != 0;
    }
    return NULL;
}

static void *wait_until(void *argument)
{
    struct timespec until;

    (void)argument;
    for (;;) {
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += 3000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        failures |= clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) != 0;
    }
    return NULL;
}

static void *end_later(void *argument)
{
    while (!die) {
        pause_ms(1);
    }
    return argument;
}

static void *steal(void *argument)
{
    (void)argument;
    must(pthread_mutex_lock(&robust) == 0);
    stolen = 1;
    while (!die) {
        pause_ms(1);
    }
    return NULL; /* still holding it */
}

static void set_up(void)
{
    static void *(*const calls[])(void *) = {wait_poll,           wait_select, wait_futex,
                                             wait_futex_for_ever, wait_time,   wait_until};
    pthread_mutexattr_t attributes;

    must(pipe(pipes) == 0);
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&robust, &attributes);
    for (uintptr_t i = 0; i < 6; i++) {
        must(pthread_create(&waiters[i], NULL, calls[i], (void *)i) == 0);
    }
    must(pthread_create(&dying, NULL, end_later, (void *)&words) == 0);
    must(pthread_create(&robber, NULL, steal, NULL) == 0);
    while (!stolen) {
        pause_ms(1);
    }
    pause_ms(5);
}

/* Everybody is let go and has got what it waited for. */
static void change(void)
{
    void *result;

    die = 1;
    must(pthread_join(dying, &result) == 0 && result == (void *)&words);
    must(pthread_join(robber, NULL) == 0);
    must(pthread_mutex_lock(&robust) == EOWNERDEAD);
    must(write(pipes[1], "x", 1) == 1);
    words[0] = words[1] = 1;
    syscall(SYS_futex, &words[0], FUTEX_WAKE_PRIVATE, 1);
    syscall(SYS_futex, &words[1], FUTEX_WAKE_PRIVATE, 1);
    for (int i = 0; i < 4; i++) {
        must(pthread_join(waiters[i], NULL) == 0 && ended[i]);
    }
    must(!failures);
}

static void verify(void)
{
    pause_ms(10);
    for (int i = 0; i < 4; i++) {
        must(!ended[i] && pthread_tryjoin_np(waiters[i], NULL) == EBUSY);
    }
    must(!failures && !die && pthread_mutex_trylock(&robust) == EBUSY);
}
