/* Both ways of looking at the pages of a process find the same. */
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "pages.h"

#define PAGE 4096UL
#define PAGES 64UL

/* Every third page is written to, and one of them only read. */
static char *make(void)
{
    char *memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(memory != MAP_FAILED && madvise(memory, PAGES * PAGE, MADV_NOHUGEPAGE) == 0);
    for (unsigned long i = 0; i < PAGES; i += 3) {
        memory[i * PAGE] = 1;
    }
    return memory;
}

static void expect_within(const struct ranges *own, const char *memory)
{
    const struct ranges whole = {.list = &(struct range){(uint64_t)memory, (uint64_t)memory + PAGES * PAGE},
                                 .count = 1};
    struct ranges found = ranges_both(own, &whole);

    CHECK(found.count == (PAGES + 2) / 3);
    for (size_t i = 0; i < found.count; i++) {
        CHECK(found.list[i].start == (uint64_t)memory + i * 3 * PAGE);
        CHECK(found.list[i].end == found.list[i].start + PAGE);
    }
    ranges_free(&found);
}

#define LARGE (2UL << 20)
#define BLOCKS 4UL
#define COLLAPSE 25 /* MADV_COLLAPSE */

static pid_t fork_one(char *memory, const size_t *written, size_t count)
{
    char byte = 0;
    int told[2];

    CHECK(pipe(told) == 0);
    const pid_t pid = fork();
    if (pid == 0) {
        for (size_t i = 0; i < count; i++) {
            memory[written[i] * PAGE]++;
        }
        if (write(told[1], &byte, 1) == 1) {
            for (;;) {
                pause();
            }
        }
        _exit(1);
    }
    CHECK(pid > 0 && read(told[0], &byte, 1) == 1);
    close(told[0]);
    close(told[1]);
    return pid;
}

static char *make_large(void)
{
    char *room = mmap(NULL, (BLOCKS + 1) * LARGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(room != MAP_FAILED);
    char *memory = (char *)(((uint64_t)room + LARGE - 1) & ~(LARGE - 1));
    memset(memory, 1, BLOCKS * LARGE);
    /* where there are none to be had it holds for small ones */
    madvise(memory, (BLOCKS - 1) * LARGE, COLLAPSE);
    return memory;
}

/* All but what the child has written is in common, in large pages and small ones. */
static void expect_shared(void)
{
    static const size_t written[] = {0, 511, 700, 1600};
    const size_t count = sizeof written / sizeof *written;
    char *memory = make_large();
    const uint64_t start = (uint64_t)memory;
    const struct ranges whole = {.list = &(struct range){start, start + BLOCKS * LARGE}, .count = 1};
    /* whole blocks, and parts of some */
    const struct ranges parts = {.list =
                                     (struct range[]){{start + PAGE, start + 300 * PAGE},
                                                      {start + 510 * PAGE, start + BLOCKS * LARGE - PAGE}},
                                 .count = 2};
    const pid_t pid = fork_one(memory, written, count);
    struct page_lists lists, plain;
    struct ranges apart = {0};

    for (size_t i = 0; i < count; i++) {
        ranges_append(&apart, start + written[i] * PAGE, start + (written[i] + 1) * PAGE);
    }
    CHECK(pages_look(pid, NULL, &lists) == 0 && pages_look(pid, &whole, &plain) == 0);
    CHECK(lists.own.count == plain.own.count &&
          memcmp(lists.own.list, plain.own.list, lists.own.count * sizeof *lists.own.list) == 0);
    CHECK(ranges_bytes(&lists.large) == ranges_bytes(&plain.large));
    for (int i = 0; i < 2; i++) {
        const struct ranges *within = i == 0 ? &whole : &parts;
        struct ranges shared = {0}, wanted = ranges_without(within, &apart);
        CHECK(pages_shared(pid, getpid(), within, &lists.large, &shared) == 0);
        CHECK(shared.count == wanted.count &&
              memcmp(shared.list, wanted.list, wanted.count * sizeof *wanted.list) == 0);
        ranges_free(&shared);
        ranges_free(&wanted);
    }
    page_lists_free(&lists);
    page_lists_free(&plain);
    ranges_free(&apart);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

int main(void)
{
    struct page_lists quickly, slowly;
    char *memory = make(),
         *shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    CHECK(shared != MAP_FAILED);
    shared[0] = 1;
    const pid_t pid = fork();
    if (pid == 0) {
        for (;;) {
            pause();
        }
    }
    CHECK(pages_look(pid, NULL, &quickly) == 0 && pages_look_slowly(pid, &slowly) == 0);
    expect_within(&quickly.own, memory);
    expect_within(&slowly.own, memory);
    struct ranges missed = ranges_without(&quickly.own, &slowly.own);
    CHECK(missed.count == 0);
    struct ranges unwritten = ranges_without(&slowly.own, &slowly.written);
    CHECK(unwritten.count == 0);
    const struct ranges page = {.list = &(struct range){(uint64_t)shared, (uint64_t)shared + PAGE},
                                .count = 1};
    struct ranges of_others = ranges_both(&slowly.own, &page);
    CHECK(of_others.count == 0);
    page_lists_free(&quickly);
    page_lists_free(&slowly);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    expect_shared();
    return DONE("pages");
}
