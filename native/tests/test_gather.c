/* What is taken out of a process is what is in it, and what it has in common with others it has in common still. */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "gather.h"
#include "pages.h"

#define PAGE 4096UL
#define PAGES 4096UL /* which two threads take */
#define BYTES (PAGES * PAGE)

static uint8_t value_of(size_t page)
{
    return (uint8_t)(page % 251 + 1);
}

static uint8_t *make(void)
{
    uint8_t *memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(memory != MAP_FAILED && madvise(memory, BYTES, MADV_NOHUGEPAGE) == 0);
    for (size_t i = 0; i < PAGES; i++) {
        memset(memory + i * PAGE, value_of(i), PAGE);
    }
    return memory;
}

/* Writes to the first half, and every other page of a quarter; stands until it is killed. */
static pid_t fork_one(uint8_t *memory)
{
    uint8_t byte = 0;
    int told[2];

    CHECK(pipe(told) == 0);
    const pid_t pid = fork();
    if (pid == 0) {
        for (size_t i = 0; i < PAGES * 3 / 4; i += i < PAGES / 2 ? 1 : 2) {
            memory[i * PAGE] = value_of(i);
        }
        if (write(told[1], &byte, 1) != 1) {
            _exit(1);
        }
        for (;;) {
            pause();
        }
    }
    CHECK(pid > 0 && read(told[0], &byte, 1) == 1);
    close(told[0]);
    close(told[1]);
    return pid;
}

static uint64_t bytes_alone(pid_t pid, const uint8_t *memory)
{
    const struct range whole = {(uint64_t)memory, (uint64_t)memory + BYTES};
    struct ranges alone = {0};

    const int pagemap = pages_open(pid);
    CHECK(pagemap >= 0 && pages_alone(pagemap, &whole, &alone) == 0);
    close(pagemap);
    const uint64_t bytes = ranges_bytes(&alone);
    ranges_free(&alone);
    return bytes;
}

static void expect_taken(const struct subject *subject, const uint8_t *memory, const struct ranges *pages)
{
    const uint64_t bytes = ranges_bytes(pages);
    uint8_t *taken = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t at = 0;

    CHECK(taken != MAP_FAILED && gather(subject, pages, taken) == 0);
    for (size_t i = 0; i < pages->count; i++) {
        const uint64_t size = pages->list[i].end - pages->list[i].start;
        CHECK(memcmp(taken + at, memory + (pages->list[i].start - (uint64_t)memory), size) == 0);
        at += size;
    }
    munmap(taken, bytes);
}

/* More rows than are read at once. */
static void expect_apart_taken(const struct subject *subject, const uint8_t *memory)
{
    struct ranges apart = {0};

    for (size_t i = 0; i < PAGES; i += 3) {
        ranges_append(&apart, (uint64_t)memory + i * PAGE, (uint64_t)memory + (i + 1) * PAGE);
    }
    expect_taken(subject, memory, &apart);
    ranges_free(&apart);
}

/* As of a process whose first thread has ended: its number tells nothing of its memory, another thread does. */
static void expect_taken_without_first(const struct subject *subject, const uint8_t *memory)
{
    siginfo_t info;
    const pid_t ended = fork();

    if (ended == 0) {
        _exit(0);
    }
    CHECK(ended > 0 && waitid(P_PID, (id_t)ended, &info, WEXITED | WNOWAIT) == 0);
    const struct subject leaderless = {.pid = ended, .memory = subject->memory};
    struct range whole = {(uint64_t)memory, (uint64_t)memory + BYTES};
    expect_taken(&leaderless, memory, &(struct ranges){.list = &whole, .count = 1});
    waitpid(ended, NULL, 0);
}

int main(void)
{
    uint8_t *memory = make();
    const pid_t pid = fork_one(memory);
    const uint64_t start = (uint64_t)memory, alone = BYTES / 2 + BYTES / 8;
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/mem", pid);
    const struct subject subject = {.pid = pid, .memory = open(path, O_RDONLY | O_CLOEXEC)};
    CHECK(subject.memory >= 0);
    CHECK(bytes_alone(pid, memory) == alone);

    struct range whole = {start, start + BYTES};
    expect_taken(&subject, memory, &(struct ranges){.list = &whole, .count = 1});
    struct range some[] = {{start + PAGE, start + 3 * PAGE}, {start + 5 * PAGE, start + BYTES - PAGE}};
    expect_taken(&subject, memory, &(struct ranges){.list = some, .count = 2});
    struct range last = {start + BYTES - PAGE, start + BYTES};
    expect_taken(&subject, memory, &(struct ranges){.list = &last, .count = 1});
    expect_apart_taken(&subject, memory);
    expect_taken_without_first(&subject, memory);
    CHECK(bytes_alone(pid, memory) == alone);

    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(subject.memory);
    return DONE("gather");
}
