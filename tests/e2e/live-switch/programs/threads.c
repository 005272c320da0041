/* threads COUNT FILE: threads that never rest. Each counts in a shared mapping of the file, writes the count to a file
 * of its own by a descriptor and by a path, takes a mutex and passes a baton on. What is in the files at the end is
 * compared with what each thread knows it has done. */
#include "victim.h"

#define MAX 16
#define STRIDE 8192 /* pages of their own, and one in between */

static int count;
static const char *name;
static uint64_t *shared;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t passed = PTHREAD_COND_INITIALIZER;
static unsigned long guarded, turns;
static int holder;

struct worker {
    pthread_t thread;
    int index;
    unsigned long done;
};

static void pass_baton(struct worker *worker)
{
    must(pthread_mutex_lock(&mutex) == 0);
    guarded++;
    while (!stopped && holder != worker->index) {
        struct timespec until;
        must(clock_gettime(CLOCK_REALTIME, &until) == 0);
        until.tv_nsec += 2000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        int result = pthread_cond_timedwait(&passed, &mutex, &until);
        must(result == 0 || result == ETIMEDOUT);
    }
    if (holder == worker->index) {
        holder = (holder + 1) % count;
        turns++;
        must(pthread_cond_broadcast(&passed) == 0);
    }
    must(pthread_mutex_unlock(&mutex) == 0);
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    char path[256], text[64];

    snprintf(path, sizeof path, "%s.%d", name, worker->index);
    int fd = open(path, O_RDWR | O_CREAT, 0644);
    must(fd >= 0);
    volatile uint64_t *counter = &shared[(size_t)worker->index * STRIDE / 8];
    while (!stopped) {
        uint64_t next = worker->done + 1;
        for (int i = 0; i < 1000; i++) {
            *counter += 1;
        }
        int len = snprintf(text, sizeof text, "%020lu\n", next);
        must(pwrite(fd, text, (size_t)len, 0) == len);
        int again = open(path, O_WRONLY | O_APPEND);
        must(again >= 0 && write(again, ".", 1) == 1 && close(again) == 0);
        worker->done = next;
        pass_baton(worker);
    }
    must(close(fd) == 0);
    return NULL;
}

static void check(const struct worker *worker)
{
    char path[256], text[22] = {0}, wanted[22];

    snprintf(path, sizeof path, "%s.%d", name, worker->index);
    int fd = open(path, O_RDONLY);
    must(fd >= 0 && read(fd, text, 21) == 21);
    snprintf(wanted, sizeof wanted, "%020lu\n", worker->done);
    must(strcmp(text, wanted) == 0);
    /* the first dot went behind the first line, every other behind the dots */
    must((unsigned long)lseek(fd, 0, SEEK_END) == 21 + worker->done);
    must(shared[(size_t)worker->index * STRIDE / 8] == worker->done * 1000);
    close(fd);
}

int main(int argc, char **argv)
{
    struct worker workers[MAX];
    unsigned long done = 0;

    must(argc == 3 && (count = atoi(argv[1])) > 0 && count <= MAX);
    name = argv[2];
    int fd = open(name, O_RDWR | O_CREAT, 0644);
    must(fd >= 0 && ftruncate(fd, MAX * STRIDE) == 0);
    shared = mmap(NULL, MAX * STRIDE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    must(shared != MAP_FAILED);
    until_told();
    for (int i = 0; i < count; i++) {
        workers[i] = (struct worker){.index = i};
        must(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0);
    }
    say("ready");
    for (int i = 0; i < count; i++) {
        must(pthread_join(workers[i].thread, NULL) == 0);
        done += workers[i].done;
        check(&workers[i]);
    }
    uint64_t first;
    must(pread(fd, &first, 8, 0) == 8 && first == workers[0].done * 1000);
    must(guarded == done && turns > 0);
    say("counted");
}
