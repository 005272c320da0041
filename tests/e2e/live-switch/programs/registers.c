/* Fills every register and the bytes below the stack pointer, looks at them for a while, and again, until it is told to
 * stop: somebody who borrows the thread must put all of it back. */
#include "victim.h"

struct state {
    uint64_t general[14];
    uint64_t vectors[16][2];
    uint64_t below[16]; /* the red zone */
};

struct state wanted, found;

/* rax counts, rsp stays; rcx and r11 a system call would destroy, but none is made here. */
static void hold(uint64_t rounds)
{
    __asm__ volatile(
        "push %%rbp\n"
        "push %%rbx\n"
        "sub $256, %%rsp\n"
        "mov %[rounds], %%rax\n"
        "lea wanted(%%rip), %%r15\n"
        ".set n, 0\n"
        ".rept 16\n"
        "mov 368+8*n(%%r15), %%r14\n"
        "mov %%r14, -128+8*n(%%rsp)\n"
        ".set n, n+1\n"
        ".endr\n"
#define LOAD(n) "movdqu 112+16*" #n "(%%r15), %%xmm" #n "\n"
        LOAD(0) LOAD(1) LOAD(2) LOAD(3) LOAD(4) LOAD(5) LOAD(6) LOAD(7) LOAD(8) LOAD(9) LOAD(10) LOAD(11)
            LOAD(12) LOAD(13) LOAD(14) LOAD(
                15) "mov (%%r15), %%rbx\n mov 8(%%r15), %%rcx\n mov 16(%%r15), %%rdx\n mov 24(%%r15), %%rsi\n"
                    "mov 32(%%r15), %%rdi\n mov 40(%%r15), %%rbp\n mov 48(%%r15), %%r8\n mov 56(%%r15), "
                    "%%r9\n"
                    "mov 64(%%r15), %%r10\n mov 72(%%r15), %%r11\n mov 80(%%r15), %%r12\n mov 88(%%r15), "
                    "%%r13\n"
                    "mov 96(%%r15), %%r14\n mov 104(%%r15), %%r15\n"
                    "std\n"
                    "1: dec %%rax\n"
                    "jnz 1b\n"
                    "cld\n"
                    "push %%rax\n" /* the uppermost of the red zone, which is checked without it */
                    "mov %%rbx, found(%%rip)\n mov %%rcx, found+8(%%rip)\n mov %%rdx, found+16(%%rip)\n"
                    "mov %%rsi, found+24(%%rip)\n mov %%rdi, found+32(%%rip)\n mov %%rbp, found+40(%%rip)\n"
                    "mov %%r8, found+48(%%rip)\n mov %%r9, found+56(%%rip)\n mov %%r10, found+64(%%rip)\n"
                    "mov %%r11, found+72(%%rip)\n mov %%r12, found+80(%%rip)\n mov %%r13, found+88(%%rip)\n"
                    "mov %%r14, found+96(%%rip)\n mov %%r15, found+104(%%rip)\n"
                    "pop %%rax\n"
                    "lea found(%%rip), %%r15\n"
#define STORE(n) "movdqu %%xmm" #n ", 112+16*" #n "(%%r15)\n"
        STORE(0) STORE(1) STORE(2) STORE(3) STORE(4) STORE(5) STORE(6) STORE(7) STORE(8) STORE(9) STORE(10)
            STORE(11) STORE(12) STORE(13) STORE(14) STORE(15) ".set n, 0\n"
                                                              ".rept 15\n"
                                                              "mov -128+8*n(%%rsp), %%r14\n"
                                                              "mov %%r14, 368+8*n(%%r15)\n"
                                                              ".set n, n+1\n"
                                                              ".endr\n"
                                                              "add $256, %%rsp\n"
                                                              "pop %%rbx\n"
                                                              "pop %%rbp\n"
        :
        : [rounds] "r"(rounds)
        : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "xmm0",
          "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
          "xmm13", "xmm14", "xmm15", "memory", "cc");
}

int main(void)
{
    unsigned long rounds = 0;
    uint64_t seed = 88172645463325252ULL;

    _Static_assert(offsetof(struct state, vectors) == 112 && offsetof(struct state, below) == 368,
                   "as hold() counts");
    until_told();
    say("ready");
    for (; !stopped; rounds++) {
        for (size_t i = 0; i < sizeof wanted / 8; i++) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            ((uint64_t *)&wanted)[i] = seed;
        }
        memset(&found, 0, sizeof found);
        hold(200000);
        found.below[15] = wanted.below[15];
        for (size_t i = 0; i < sizeof wanted / 8; i++) {
            if (((uint64_t *)&found)[i] != ((uint64_t *)&wanted)[i]) {
                fail("round %lu: word %zu is %lx, not %lx", rounds, i, ((uint64_t *)&found)[i],
                     ((uint64_t *)&wanted)[i]);
            }
        }
    }
    must(rounds > 0);
    say("as they were");
}
