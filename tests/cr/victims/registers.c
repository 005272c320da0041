/* Registers of all kinds, while threads compute: integers, vectors as wide as
 * there are, the control words, thread-local storage. */
#include "victim.h"

#include <fenv.h>
#include <immintrin.h>

#define THREADS 4

static __thread uint64_t own[32];
static volatile uint64_t rounds[THREADS];
static volatile int wrong;
static pthread_t threads[THREADS];

/* Keeps known values in every vector register over and over, and looks whether
 * they stay. */
__attribute__((target("avx2"))) static bool keep_vectors(uint64_t seed)
{
    __m256i values[12];
    uint64_t sum = 0, wanted = 0;

    for (uint64_t i = 0; i < 12; i++) {
        values[i] = _mm256_set1_epi64x((long long)(seed + i));
        wanted += 4 * (seed + i);
    }
    for (int turn = 0; turn < 2000; turn++) {
        __asm__ volatile(""
                         : "+x"(values[0]), "+x"(values[1]), "+x"(values[2]), "+x"(values[3]),
                           "+x"(values[4]), "+x"(values[5]), "+x"(values[6]), "+x"(values[7]),
                           "+x"(values[8]), "+x"(values[9]), "+x"(values[10]), "+x"(values[11]));
    }
    for (int i = 0; i < 12; i++) {
        uint64_t parts[4];
        _mm256_storeu_si256((__m256i *)parts, values[i]);
        sum += parts[0] + parts[1] + parts[2] + parts[3];
    }
    return sum == wanted;
}

static void *compute(void *argument)
{
    const uint64_t number = (uintptr_t)argument;
    static const int modes[] = {FE_TONEAREST, FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO};
    long double kept = 1.0L / (3 + number);
    const long double known = kept;

    must(fesetround(modes[number % 4]) == 0);
    for (int i = 0; i < 32; i++) {
        own[i] = number * 100 + (uint64_t)i;
    }
    for (uint64_t n = 0;; n++) {
        bool right = fegetround() == modes[number % 4];
        for (int i = 0; i < 32; i++) {
            right = right && own[i] == number * 100 + (uint64_t)i;
        }
        __asm__ volatile("" : "+t"(kept));
        right = right && kept == known && (!__builtin_cpu_supports("avx2") || keep_vectors(n * 31 + number));
        wrong |= !right;
        rounds[number] = n;
    }
    return NULL;
}

static void set_up(void)
{
    for (uintptr_t i = 0; i < THREADS; i++) {
        must(pthread_create(&threads[i], NULL, compute, (void *)i) == 0);
    }
    pause_ms(5);
}

static void change(void)
{
    wrong = 1;
}

static void verify(void)
{
    for (int i = 0; i < THREADS; i++) {
        uint64_t before = rounds[i];
        for (int wait = 0; wait < 5000 && rounds[i] == before; wait++) {
            pause_ms(1);
        }
        must(rounds[i] != before);
    }
    must(!wrong);
}
