/* Guard regions in memory of its own, of a program's file and of a child, which come and go. */
#include "victim.h"

#include <setjmp.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define PAGE 4096
#define PAGES 16
#define GUARD_INSTALL 102
#define GUARD_REMOVE 103

static char *memory, *text;
static sigjmp_buf back;
static bool has_guards;
static int ask, answer;

static void fault(int number)
{
    siglongjmp(back, number);
}

static bool can_be_read(const volatile char *at)
{
    if (sigsetjmp(back, 1) != 0) {
        return false;
    }
    return *at || true;
}

static void guard(char *at, int page, int count, int advice)
{
    must(madvise(at + page * PAGE, (size_t)count * PAGE, advice) == 0);
}

/* Of the child: the same, and one more. */
static void expect(bool in_child)
{
    for (int page = 0; page < PAGES; page++) {
        const bool guarded = page == 3 || page == 4 || page == 9 || (in_child && page == 12);
        must(can_be_read(memory + page * PAGE) != (guarded && has_guards));
        must(guarded || memory[page * PAGE] == 'a' + page);
    }
    must(can_be_read(text) && text[0] == 0x7f);
}

static void be_child(int from, int to)
{
    char byte;

    if (has_guards) {
        guard(memory, 12, 1, GUARD_INSTALL);
    }
    while (read(from, &byte, 1) == 1) {
        expect(true);
        must(write(to, &byte, 1) == 1);
    }
    _exit(0);
}

static void set_up(void)
{
    int program = open("/proc/self/exe", O_RDONLY), questions[2], answers[2];

    memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    text = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, program, 0);
    must(memory != MAP_FAILED && text != MAP_FAILED && close(program) == 0);
    for (int page = 0; page < PAGES; page++) {
        memory[page * PAGE] = (char)('a' + page);
    }
    /* since Linux 6.13 */
    has_guards = madvise(memory + 9 * PAGE, PAGE, GUARD_INSTALL) == 0;
    if (has_guards) {
        guard(memory, 3, 2, GUARD_INSTALL);
    }
    signal(SIGSEGV, fault);
    must(pipe(questions) == 0 && pipe(answers) == 0);
    if (fork() == 0) {
        be_child(questions[0], answers[1]);
    }
    ask = questions[1];
    answer = answers[0];
}

static void change(void)
{
    if (has_guards) {
        guard(memory, 4, 1, GUARD_REMOVE);
        guard(memory, 7, 3, GUARD_INSTALL);
        memory[4 * PAGE] = 'x';
    }
    memory[PAGE] = 'y';
}

static void verify(void)
{
    char byte = '?';

    expect(false);
    must(write(ask, &byte, 1) == 1 && read(answer, &byte, 1) == 1 && byte == '?');
}
