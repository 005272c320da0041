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
    CHECK(pages_look(pid, &quickly) == 0 && pages_look_slowly(pid, &slowly) == 0);
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
    return DONE("pages");
}
