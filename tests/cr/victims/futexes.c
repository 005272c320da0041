/* Threads that wait for locks and conditions, sixty-four of them. */
#include "victim.h"

#include <stdatomic.h>

#define THREADS 64
#define GROUPS 8

static pthread_t threads[THREADS];
static pid_t ids[THREADS];
static pthread_mutex_t locks[GROUPS];
static pthread_cond_t conditions[GROUPS];
static int turns[GROUPS]; /* by lock */
static int done[THREADS]; /* how often each thread had its turn */
static __thread int own;
static atomic_int standing;

/* Odd threads wait for the condition, even ones for the lock. */
static void *work(void *argument)
{
    const int number = (int)(long)argument, group = number % GROUPS;

    ids[number] = (pid_t)syscall(SYS_gettid);
    own = number;
    standing++;
    for (;;) {
        pthread_mutex_lock(&locks[group]);
        while (turns[group] == 0) {
            pthread_cond_wait(&conditions[group], &locks[group]);
        }
        turns[group]--;
        done[own]++;
        pthread_mutex_unlock(&locks[group]);
    }
    return NULL;
}

/* Everyone may go once; each group's threads then wait again. */
static void let_all_go(void)
{
    for (int i = 0; i < GROUPS; i++) {
        turns[i] = THREADS / GROUPS;
        pthread_cond_broadcast(&conditions[i]);
        pthread_mutex_unlock(&locks[i]);
    }
    for (int i = 0; i < GROUPS; i++) {
        for (;;) {
            pthread_mutex_lock(&locks[i]);
            if (turns[i] == 0) {
                break;
            }
            pthread_mutex_unlock(&locks[i]);
            usleep(100);
        }
    }
}

static void set_up(void)
{
    for (int i = 0; i < GROUPS; i++) {
        pthread_mutex_init(&locks[i], NULL);
        pthread_cond_init(&conditions[i], NULL);
    }
    for (long i = 0; i < THREADS; i++) {
        if (i == THREADS / 2) {
            while (standing < THREADS / 2) {
                usleep(100);
            }
            for (int j = 0; j < GROUPS; j++) { /* from here on they wait for the lock */
                pthread_mutex_lock(&locks[j]);
            }
        }
        pthread_create(&threads[i], NULL, work, (void *)i);
    }
    while (standing < THREADS) {
        usleep(100);
    }
}

static void change(void)
{
    let_all_go();
    turns[0] = 0;
    pthread_mutex_unlock(&locks[0]);
}

static void verify(void)
{
    int sum = 0;

    for (int i = 0; i < GROUPS; i++) {
        must(pthread_mutex_trylock(&locks[i]) == EBUSY && turns[i] == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/self/task/%d", ids[i]);
        must(done[i] == 0 && access(path, F_OK) == 0);
    }
    let_all_go();
    for (int i = 0; i < THREADS; i++) {
        sum += done[i];
        done[i] = 0;
    }
    must(sum == THREADS);
}
