#include "same.h"

#include <string.h>

#include "describe.h"
#include "template.h"

#define PAGE_BYTES 4096u
/* More is not compared: it counts as changed. */
#define COMPARED_MAX (1u << 20)

/* The kernel tells each thread there which processor it runs on, whenever it goes on. */
static void wipe_told(const struct image_process *process, uint64_t at, uint8_t page[PAGE_BYTES])
{
    for (size_t i = 0; i < process->thread_count; i++) {
        const struct image_thread *thread = &process->threads[i];
        for (uint32_t j = 0; j < thread->rseq_size; j++) {
            if (thread->rseq + j >= at && thread->rseq + j < at + PAGE_BYTES) {
                page[thread->rseq + j - at] = 0;
            }
        }
    }
}

static bool is_same_page(const struct image_process *process, const struct image_process *origin, uint64_t at,
                         const uint8_t *content)
{
    const struct range page = {at, at + PAGE_BYTES};
    uint8_t now[PAGE_BYTES], before[PAGE_BYTES];

    if (subject_read_pages(&origin->template->puppet.subject, &page, before) < 0) {
        return false;
    }
    memcpy(now, content, PAGE_BYTES);
    wipe_told(process, at, now);
    wipe_told(origin, at, before);
    return memcmp(now, before, PAGE_BYTES) == 0;
}

/* What was written may be what was there. */
static bool has_same_pages(const struct image_process *process, const struct image_process *origin)
{
    const struct memory *memory = &process->memory;
    struct ranges new = ranges_without(&memory->fresh, &origin->memory.own);
    const bool is_new = new.count > 0;

    ranges_free(&new);
    if (is_new || memory->gone.count > 0 || ranges_bytes(&memory->fresh) > COMPARED_MAX) {
        return false;
    }
    for (size_t i = 0; i < memory->piece_count; i++) {
        const struct piece *piece = &memory->pieces[i];
        for (uint64_t at = piece->range.start; at < piece->range.end; at += PAGE_BYTES) {
            if (!is_same_page(process, origin, at, piece->content + (at - piece->range.start))) {
                return false;
            }
        }
    }
    return true;
}

/* That all its processes have come from, each from the one with its number. */
static struct image *find_origin(const struct image *image)
{
    struct image *origin = image->process_count > 0 ? image_find(image->processes[0].origin) : NULL;

    if (!origin || origin->process_count != image->process_count || !image_is_ready(origin)) {
        return NULL;
    }
    for (size_t i = 0; i < image->process_count; i++) {
        const struct image_process *process = &image->processes[i];
        if (!process->memory.grows || strcmp(process->origin, origin->id) != 0 ||
            process->origin_pid != process->pid || origin->processes[i].pid != process->pid) {
            return NULL;
        }
    }
    return origin;
}

const struct image *image_same(struct image *image)
{
    struct image *origin = find_origin(image);

    for (size_t i = 0; origin && i < image->process_count; i++) {
        if (!has_same_pages(&image->processes[i], &origin->processes[i])) {
            return NULL;
        }
    }
    return origin && image_says_the_same(image, origin) ? origin : NULL;
}
