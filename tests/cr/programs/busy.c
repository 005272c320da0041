/* Threads that are busy in many ways and look all the time whether something
 * was lost, doubled or torn. A line on standard input makes it tell what it has
 * found. */
#include "victim.h"

#include <linux/futex.h>
#include <poll.h>
#include <sys/mman.h>

#define KINDS 7

static volatile uint64_t rounds[KINDS];
static volatile uint64_t caught, sent;
static pthread_t threads[KINDS];
static int pipes[2];

static void catch (int number)
{
    (void)number;
    caught++;
}

static void spin(void)
{
    static volatile uint64_t left, right;

    for (int i = 0; i < 10000; i++) {
        left++;
        right += 1;
    }
    must(left == right);
}

/* Each signal is waited for: none is lost, none comes twice. */
static void signal_self(void)
{
    must(pthread_kill(pthread_self(), SIGUSR1) == 0);
    sent++;
    must(caught == sent);
}

static void fault(void)
{
    uint64_t *memory = mmap(NULL, 64 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    must(memory != MAP_FAILED);
    for (size_t i = 0; i < 64; i++) {
        memory[i * 512] = i;
    }
    for (size_t i = 0; i < 64; i++) {
        must(memory[i * 512] == i);
    }
    must(munmap(memory, 64 * 4096) == 0);
}

static void write_file(void)
{
    static int file = -1;
    static uint64_t next;
    uint64_t got;

    if (file < 0) {
        file = open("busy.log", O_RDWR | O_CREAT | O_TRUNC, 0644);
    }
    must(file >= 0 && write(file, &next, sizeof next) == sizeof next);
    must(pread(file, &got, sizeof got, (off_t)(next * sizeof next)) == sizeof got && got == next);
    next++;
}

static void use_pipe(void)
{
    static uint64_t next;
    uint64_t got;

    must(write(pipes[1], &next, sizeof next) == sizeof next);
    must(read(pipes[0], &got, sizeof got) == sizeof got && got == next);
    next++;
}

static void wait_poll(void)
{
    must(poll(NULL, 0, 2) == 0);
}

static void wait_futex(void)
{
    static uint32_t word;
    const struct timespec limit = {.tv_nsec = 2000000};

    must(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &limit) < 0 && errno == ETIMEDOUT);
}

static void *run(void *argument)
{
    static void (*const kinds[KINDS])(void) = {spin,     signal_self, fault,     write_file,
                                               use_pipe, wait_poll,   wait_futex};
    const uintptr_t kind = (uintptr_t)argument;

    for (;;) {
        kinds[kind]();
        rounds[kind]++;
    }
    return NULL;
}

static void set_up(void)
{
    must(signal(SIGUSR1, catch) != SIG_ERR && pipe(pipes) == 0);
    for (uintptr_t i = 0; i < KINDS; i++) {
        must(pthread_create(&threads[i], NULL, run, (void *)i) == 0);
    }
}

static void change(void) {}

/* All go on. */
static void verify(void)
{
    for (int i = 0; i < KINDS; i++) {
        const uint64_t before = rounds[i];
        const int64_t deadline = now_ms() + 20000;
        while (rounds[i] == before && now_ms() < deadline) {
            pause_ms(1);
        }
        must(rounds[i] != before);
    }
}
