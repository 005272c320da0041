/* A process whose first thread has ended. */
#include "victim.h"

static volatile int number = 1;

static void *run(void *argument)
{
    (void)argument;
    while (access("/proc/self/task", F_OK) == 0 && syscall(SYS_tgkill, getpid(), getpid(), 0) == 0) {
        char path[64], text[512] = "";
        snprintf(path, sizeof path, "/proc/%d/task/%d/stat", getpid(), getpid());
        int fd = open(path, O_RDONLY);
        must(fd >= 0 && read(fd, text, sizeof text - 1) > 0);
        close(fd);
        if (strstr(text, ") Z")) {
            break;
        }
        pause_ms(1);
    }
    serve();
    exit(0);
}

static void set_up(void)
{
    pthread_t thread;

    must(pthread_create(&thread, NULL, run, NULL) == 0);
    pthread_exit(NULL);
}

static void change(void)
{
    number = 2;
}

static void verify(void)
{
    char text[512] = "", path[64];

    must(number == 1 && gettid() != getpid());
    snprintf(path, sizeof path, "/proc/%d/task/%d/stat", getpid(), getpid());
    int fd = open(path, O_RDONLY);
    must(fd >= 0 && read(fd, text, sizeof text - 1) > 0 && strstr(text, ") Z"));
    close(fd);
}
