/* Handlers, masks of each thread, signals that wait with what came with them,
 * an alternate stack that is being run on. */
#include "victim.h"

#define RESTORER 0x04000000 /* the C library's own */

static volatile int on_stack, leave, handled;
static char stack[1 << 16], other_stack[1 << 16];
static pthread_t thread;
static pid_t tid;
static volatile int asked, answer;

static void handle(int number, siginfo_t *info, void *context)
{
    (void)info;
    (void)context;
    handled += number;
}

/* Stays on the alternate stack until it is told to leave. */
static void stay(int number)
{
    stack_t now;

    (void)number;
    must(sigaltstack(NULL, &now) == 0 && now.ss_flags == SS_ONSTACK && now.ss_sp == stack);
    on_stack = 1;
    while (!leave) {
        pause_ms(1);
    }
    on_stack = 0;
}

static void check_thread(void)
{
    sigset_t mask, waiting;
    siginfo_t info;
    const struct timespec none = {0};

    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    sigpending(&waiting);
    must(sigismember(&mask, SIGUSR2) && sigismember(&mask, SIGRTMIN + 3) && !sigismember(&mask, SIGHUP));
    must(sigismember(&waiting, SIGRTMIN + 3));
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, SIGRTMIN + 3);
    for (int i = 0; i < 3; i++) {
        must(sigtimedwait(&one, &info, &none) == SIGRTMIN + 3);
        must(info.si_code == SI_QUEUE && info.si_value.sival_int == 70 + i && info.si_pid == getpid());
    }
    must(sigtimedwait(&one, &info, &none) < 0 && errno == EAGAIN);
}

static void queue_own(void)
{
    for (int i = 0; i < 3; i++) {
        const union sigval value = {.sival_int = 70 + i};
        must(pthread_sigqueue(pthread_self(), SIGRTMIN + 3, value) == 0);
    }
}

static void *run(void *argument)
{
    sigset_t mask;
    const stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};

    (void)argument;
    tid = gettid();
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR2);
    sigaddset(&mask, SIGRTMIN + 3);
    pthread_sigmask(SIG_BLOCK, &mask, NULL);
    must(sigaltstack(&alternate, NULL) == 0);
    queue_own();
    for (;;) {
        if (asked && !on_stack) {
            check_thread();
            queue_own();
            asked = 0;
            answer = 1;
        }
        pause_ms(1);
    }
    return NULL;
}

static void queue_all(void)
{
    for (int i = 0; i < 4; i++) {
        const union sigval value = {.sival_int = 40 + i};
        must(sigqueue(getpid(), SIGRTMIN + 1, value) == 0);
    }
    must(kill(getpid(), SIGWINCH) == 0 && kill(getpid(), SIGUSR1) == 0 && kill(getpid(), SIGTRAP) == 0);
}

static void set_up(void)
{
    struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER};
    const struct sigaction staying = {.sa_handler = stay, .sa_flags = SA_ONSTACK};
    sigset_t mask;

    sigaddset(&action.sa_mask, SIGHUP);
    must(sigaction(SIGUSR1, &action, NULL) == 0 && sigaction(SIGRTMIN + 1, &action, NULL) == 0);
    must(sigaction(SIGHUP, &staying, NULL) == 0 && signal(SIGPIPE, SIG_IGN) != SIG_ERR);
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    sigaddset(&mask, SIGWINCH);
    sigaddset(&mask, SIGTRAP);
    sigaddset(&mask, SIGRTMIN + 1);
    must(sigprocmask(SIG_BLOCK, &mask, NULL) == 0);
    must(pthread_create(&thread, NULL, run, NULL) == 0);
    queue_all();
    while (!tid) {
        pause_ms(1);
    }
    must(pthread_kill(thread, SIGHUP) == 0);
    while (!on_stack) {
        pause_ms(1);
    }
}

static void change(void)
{
    sigset_t none;
    const stack_t other = {.ss_sp = other_stack, .ss_size = sizeof other_stack};

    leave = 1;
    while (on_stack) {
        pause_ms(1);
    }
    must(signal(SIGTRAP, SIG_IGN) != SIG_ERR && sigaltstack(&other, NULL) == 0);
    sigemptyset(&none);
    must(sigprocmask(SIG_SETMASK, &none, NULL) == 0);
    must(handled == SIGUSR1 + 4 * (SIGRTMIN + 1));
    must(signal(SIGUSR1, SIG_DFL) != SIG_ERR);
}

static void verify_waiting(void)
{
    const struct timespec none = {0};
    sigset_t set;
    siginfo_t info;

    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 1);
    for (int i = 0; i < 4; i++) {
        must(sigtimedwait(&set, &info, &none) == SIGRTMIN + 1);
        must(info.si_value.sival_int == 40 + i && info.si_code == SI_QUEUE && info.si_pid == getpid());
    }
    must(sigtimedwait(&set, &info, &none) < 0);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    must(sigtimedwait(&set, &info, &none) == SIGUSR1 && info.si_code == SI_USER);
    sigemptyset(&set);
    sigaddset(&set, SIGTRAP);
    must(sigtimedwait(&set, &info, &none) == SIGTRAP);
    sigemptyset(&set);
    sigaddset(&set, SIGWINCH);
    must(sigtimedwait(&set, &info, &none) == SIGWINCH);
    queue_all();
}

static void verify(void)
{
    struct sigaction action;
    stack_t now;

    must(handled == 0 && on_stack);
    must(sigaction(SIGUSR1, NULL, &action) == 0 && action.sa_sigaction == handle &&
         (action.sa_flags & ~RESTORER) == (SA_SIGINFO | SA_RESTART | SA_NODEFER) &&
         sigismember(&action.sa_mask, SIGHUP));
    must(sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_IGN);
    must(sigaltstack(NULL, &now) == 0 && now.ss_flags == SS_DISABLE);
    verify_waiting();
    leave = 1;
    while (on_stack) {
        pause_ms(1);
    }
    answer = 0;
    asked = 1;
    while (!answer) {
        pause_ms(1);
    }
    leave = 0;
    must(pthread_kill(thread, SIGHUP) == 0);
    while (!on_stack) {
        pause_ms(1);
    }
}
