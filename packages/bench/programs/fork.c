/* Loaded into a process: what it costs that process to fork a child which ends at once. */
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

double bare_fork(void);

/* In milliseconds, until it is waited for. */
double bare_fork(void)
{
    const double start = now();
    const pid_t child = fork();

    if (child == 0) {
        _exit(0);
    }
    waitpid(child, NULL, 0);
    return now() - start;
}
