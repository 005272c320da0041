/* Children that live for a moment: they open and map files, take locks, start threads, and end in the middle of it, by
 * themselves or killed. Every end must be told once, and be the one that was meant. */
#include "victim.h"

#define ALIVE 8

struct fly {
    pid_t pid;
    int end; /* a status, or minus a signal */
};

static unsigned random_state = 1;

static unsigned chance(unsigned below)
{
    random_state = random_state * 1103515245 + 12345;
    return (random_state >> 16) % below;
}

static void *idle(void *argument)
{
    (void)argument;
    pause();
    return NULL;
}

static void live(unsigned number, int end)
{
    char path[32];
    pthread_t thread;
    struct flock lock = {.l_type = F_WRLCK, .l_start = number, .l_len = 1};

    snprintf(path, sizeof path, "fly-%u", number % 32);
    int fd = open(path, O_CREAT | O_RDWR, 0644);
    int common = open("flies", O_CREAT | O_RDWR, 0644);
    must(fd >= 0 && common >= 0 && ftruncate(fd, 8192) == 0 && fcntl(common, F_SETLKW, &lock) == 0);
    char *memory = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    must(memory != MAP_FAILED);
    memory[4096] = 1;
    if (number % 4 == 0) {
        must(pthread_create(&thread, NULL, idle, NULL) == 0);
    }
    if (number % 8 == 1) {
        must(unlink(path) == 0 || errno == ENOENT);
    }
    usleep(number * 37 % 3000);
    if (end < 0) {
        kill(getpid(), -end);
    }
    _exit(end);
}

static void check(const struct fly *flies, pid_t pid, int status)
{
    for (int i = 0; i < ALIVE; i++) {
        if (flies[i].pid == pid) {
            int end = flies[i].end;
            must(end < 0 ? WIFSIGNALED(status) && WTERMSIG(status) == -end
                         : WIFEXITED(status) && WEXITSTATUS(status) == end);
            return;
        }
    }
    fail("the end of process %d was told, which is none of ours", pid);
}

int main(void)
{
    struct fly flies[ALIVE] = {0};
    unsigned started = 0, ended = 0;

    until_told();
    say("ready");
    while (!stopped || ended < started) {
        for (int i = 0; i < ALIVE && !stopped; i++) {
            if (flies[i].pid == 0) {
                flies[i].end = chance(3) == 0 ? -SIGKILL : (int)chance(100);
                flies[i].pid = fork();
                must(flies[i].pid >= 0);
                if (flies[i].pid == 0) {
                    live(started, flies[i].end);
                }
                started++;
            }
        }
        int status;
        pid_t pid = waitpid(-1, &status, 0);
        must(pid > 0);
        check(flies, pid, status);
        for (int i = 0; i < ALIVE; i++) {
            flies[i].pid = flies[i].pid == pid ? 0 : flies[i].pid;
        }
        ended++;
    }
    must(waitpid(-1, NULL, 0) < 0 && errno == ECHILD && started > ALIVE);
    say("every end was told once");
}
