/* Threads that write to a lot of memory all the time: page after page, pages by chance, and memory that comes, moves and
 * goes. What each has written it knows by other means; between two writes it must be there. */
#include "victim.h"

#include <sys/mman.h>

#define PAGE 4096UL
#define PAGES 8192UL
#define CHURN_PAGES 1024UL
#define WRITERS 3

typedef uint64_t page[PAGE / sizeof(uint64_t)];

static page *swept, *chosen, *churned;
static uint64_t known[PAGES];
static volatile uint64_t generation = 1, at;
static uint64_t churned_value;
static bool half_gone;
static volatile bool paused;
static pthread_barrier_t meeting;

/* Between two writes. */
static void maybe_pause(void)
{
    if (paused) {
        pthread_barrier_wait(&meeting);
        pthread_barrier_wait(&meeting);
    }
}

static page *get(unsigned long pages)
{
    page *memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    must(memory != MAP_FAILED);
    return memory;
}

static void *sweep(void *unused)
{
    for (;;) {
        for (at = 0; at < PAGES; at++) {
            maybe_pause();
            swept[at][at % 512] = generation;
        }
        generation++;
    }
    return unused;
}

static void *choose(void *unused)
{
    for (uint64_t state = 88172645463325252ULL;;) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chosen[state % PAGES][7] = known[state % PAGES] = state;
        maybe_pause();
    }
    return unused;
}

static void fill(page *memory, uint64_t value)
{
    for (unsigned long i = 0; i < CHURN_PAGES; i++) {
        memory[i][i % 512] = value + i;
    }
}

static void *churn(void *unused)
{
    for (uint64_t value = 1;; value += CHURN_PAGES) {
        page *before = churned, *memory = get(CHURN_PAGES);
        fill(memory, value);
        churned = memory;
        churned_value = value;
        half_gone = false;
        must(munmap(before, CHURN_PAGES * PAGE) == 0);
        maybe_pause();
        page *place = get(CHURN_PAGES);
        fill(place, ~value);
        churned =
            mremap(memory, CHURN_PAGES * PAGE, CHURN_PAGES * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place);
        must(churned == place);
        maybe_pause();
        must(madvise(churned, CHURN_PAGES / 2 * PAGE, MADV_DONTNEED) == 0);
        half_gone = true;
        maybe_pause();
    }
    return unused;
}

static void set_up(void)
{
    void *(*const writers[WRITERS])(void *) = {sweep, choose, churn};

    swept = get(PAGES);
    chosen = get(PAGES);
    churned = get(CHURN_PAGES);
    must(pthread_barrier_init(&meeting, NULL, WRITERS + 1) == 0);
    for (int i = 0; i < WRITERS; i++) {
        pthread_t thread;
        must(pthread_create(&thread, NULL, writers[i], NULL) == 0);
    }
    while (generation < 3) {
        pause_ms(1);
    }
}

static void change(void) {}

static void verify(void)
{
    paused = true;
    pthread_barrier_wait(&meeting);
    for (unsigned long i = 0; i < PAGES; i++) {
        must(swept[i][i % 512] == (i < at ? generation : generation - 1));
        must(chosen[i][7] == known[i]);
    }
    for (unsigned long i = 0; i < CHURN_PAGES; i++) {
        const bool is_gone = half_gone && i < CHURN_PAGES / 2;
        must(churned[i][i % 512] == (is_gone ? 0 : churned_value + i));
    }
    paused = false;
    pthread_barrier_wait(&meeting);
}
