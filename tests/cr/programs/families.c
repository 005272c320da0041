/* Processes that all the time make others in every way, and look whether each does what it is to and is told of in the
 * end. A line on standard input makes it tell what was found. */
#include "victim.h"

#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define KINDS 6

extern char **environ;

static struct shared {
    volatile uint64_t rounds[KINDS];
    volatile int failed_at; /* the line */
} * shared;

#define require(condition)                                                                                   \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            shared->failed_at = __LINE__;                                                                    \
            _exit(1);                                                                                        \
        }                                                                                                    \
    } while (0)

static char self[] = "/opt/victims/families", child_argument[] = "child";
static char *const child_arguments[] = {self, child_argument, NULL};

static void await(pid_t pid, int code)
{
    int status;

    require(pid > 0);
    require(waitpid(pid, &status, 0) == pid);
    require(WIFEXITED(status) && WEXITSTATUS(status) == code);
}

/* What a child writes before its end is read whole. */
static void make_by_fork(void)
{
    static int number;
    int pipes[2], got = 0;

    number++;
    require(pipe(pipes) == 0);
    const pid_t pid = fork();
    if (pid == 0) {
        require(write(pipes[1], &number, sizeof number) == sizeof number);
        _exit(number & 127);
    }
    close(pipes[1]);
    await(pid, number & 127);
    require(read(pipes[0], &got, sizeof got) == sizeof got && got == number);
    require(read(pipes[0], &got, sizeof got) == 0);
    close(pipes[0]);
}

static void make_by_vfork(void)
{
    const pid_t pid = vfork();

    if (pid == 0) {
        execve(self, child_arguments, environ);
        _exit(99);
    }
    await(pid, 42);
}

static void make_by_spawn(void)
{
    pid_t pid;

    require(posix_spawn(&pid, self, NULL, NULL, child_arguments, environ) == 0);
    await(pid, 42);
}

static void *add(void *argument)
{
    (*(volatile int *)argument)++;
    return argument;
}

static void make_threads(void)
{
    int counts[4] = {0};
    pthread_t threads[4];

    for (int i = 0; i < 4; i++) {
        require(pthread_create(&threads[i], NULL, add, &counts[i]) == 0);
    }
    for (int i = 0; i < 4; i++) {
        require(pthread_join(threads[i], NULL) == 0 && counts[i] == 1);
    }
}

static void *execute(void *argument)
{
    execve(self, child_arguments, environ);
    return argument;
}

/* Another thread than the first one executes, and ends the first. */
static void execute_in_thread(void)
{
    const pid_t pid = fork();

    if (pid == 0) {
        pthread_t thread;
        require(pthread_create(&thread, NULL, execute, NULL) == 0);
        for (;;) {
            pause();
        }
    }
    await(pid, 42);
}

static void *wait_for_ever(void *argument)
{
    for (;;) {
        pause();
    }
    return argument;
}

/* Many threads end at once, by a call of one of them, or by a signal. */
static void end_with_threads(void)
{
    static int turn;
    const bool by_signal = turn++ % 2;
    const pid_t pid = fork();
    int status;

    if (pid == 0) {
        pthread_t thread;
        for (int i = 0; i < 4; i++) {
            require(pthread_create(&thread, NULL, wait_for_ever, NULL) == 0);
        }
        if (by_signal) {
            raise(SIGKILL);
        }
        exit(7);
    }
    require(pid > 0 && waitpid(pid, &status, 0) == pid);
    require(by_signal ? WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL
                      : WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

static void set_up(void)
{
    static void (*const kinds[KINDS])(void) = {make_by_fork, make_by_vfork,     make_by_spawn,
                                               make_threads, execute_in_thread, end_with_threads};

    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(shared != MAP_FAILED);
    for (int i = 0; i < KINDS; i++) {
        const pid_t pid = fork();
        must(pid >= 0);
        for (; pid == 0; shared->rounds[i]++) {
            kinds[i]();
        }
    }
}

static void change(void) {}

/* All go on. */
static void verify(void)
{
    for (int i = 0; i < KINDS; i++) {
        const uint64_t before = shared->rounds[i];
        const int64_t deadline = now_ms() + 20000;
        while (shared->rounds[i] == before && now_ms() < deadline && !shared->failed_at) {
            pause_ms(1);
        }
        if (shared->failed_at) {
            printf("failed: line %d\n", shared->failed_at);
            fflush(stdout);
            _exit(1);
        }
        must(shared->rounds[i] != before);
    }
}

__attribute__((constructor)) static void be_child(int count, char **arguments)
{
    if (count > 1 && strcmp(arguments[1], child_argument) == 0) {
        _exit(42);
    }
}
