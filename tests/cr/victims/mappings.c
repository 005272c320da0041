/* Memory of every kind: locked, without access, at the growing end of a stack,
 * made code, a break that goes on growing. */
#include "victim.h"

#include <sys/mman.h>

#define PAGE 4096

static char *locked, *hidden, *code, *end;
static char *text;

static unsigned long long locked_kb(void)
{
    char line[256];
    unsigned long long kb = 0;
    FILE *file = fopen("/proc/self/status", "re");

    while (file && fgets(line, sizeof line, file)) {
        sscanf(line, "VmLck: %llu", &kb);
    }
    must(file && fclose(file) == 0);
    return kb;
}

__attribute__((noinline)) static int deepen(int depth)
{
    volatile char room[PAGE];

    room[0] = (char)depth;
    return depth == 0 ? room[0] : deepen(depth - 1) + (room[0] != (char)depth);
}

static void set_up(void)
{
    static const unsigned char answer[] = {0xb8, 42, 0, 0, 0, 0xc3}; /* mov $42, %eax; ret */

    static char buffers[2][4096];
    setvbuf(stdin, buffers[0], _IOFBF, sizeof buffers[0]);
    setvbuf(stdout, buffers[1], _IOFBF, sizeof buffers[1]);
    locked_kb(); /* nothing else moves the break from here on */
    locked = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    hidden = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    code = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(locked != MAP_FAILED && hidden != MAP_FAILED && code != MAP_FAILED);
    strcpy(locked, "locked");
    strcpy(hidden, "hidden");
    memcpy(code, answer, sizeof answer);
    must(mlock(locked, 4 * PAGE) == 0 && mprotect(hidden, 4 * PAGE, PROT_NONE) == 0);
    must(mprotect(code, PAGE, PROT_READ | PROT_EXEC) == 0);
    end = sbrk(3 * PAGE);
    must(end != (void *)-1);
    strcpy(end, "break");
    end = sbrk(0);
    int program = open("/proc/self/exe", O_RDONLY);
    text = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, program, 0);
    must(program >= 0 && text != MAP_FAILED && close(program) == 0);
    text[1] = 'e';
    must(mlockall(MCL_FUTURE) == 0);
}

static void change(void)
{
    must(munlockall() == 0 && munmap(locked, 4 * PAGE) == 0 && brk(end - PAGE) == 0);
    must(mprotect(hidden, 4 * PAGE, PROT_READ | PROT_WRITE) == 0);
    strcpy(hidden, "shown");
    must(munmap(code, PAGE) == 0);
    text[1] = 'x';
}

static void verify(void)
{
    must(strcmp(locked, "locked") == 0 && locked_kb() >= 16);
    must(((int (*)(void))(void *)code)() == 42);
    must(sbrk(0) == end && strcmp(end - 3 * PAGE, "break") == 0);
    must(sbrk(PAGE) == end && brk(end) == 0);
    must(text[0] == 0x7f && text[1] == 'e' && text[2] == 'L');
    int null = open("/dev/null", O_WRONLY);
    int memory = open("/proc/self/mem", O_RDONLY);
    char kept[8] = "";
    must(null >= 0 && memory >= 0 && pread(memory, kept, 7, (off_t)(uintptr_t)hidden) == 7);
    must(strcmp(kept, "hidden") == 0 && close(null) == 0 && close(memory) == 0);
    must(deepen(300) == 0);
    const unsigned long long before = locked_kb();
    char *more = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(more != MAP_FAILED && locked_kb() >= before + 32 && munmap(more, 8 * PAGE) == 0);
}
