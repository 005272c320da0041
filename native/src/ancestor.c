#include "ancestor.h"

#include <string.h>

#include "areas.h"
#include "memory.h"
#include "stored.h"

#define PAGE_BYTES 4096u

/* What the file of an image has itself; pages of zeros lie in none. */
static struct ranges pages_of(const struct body *body)
{
    struct ranges pages = {0};

    for (size_t i = 0; i < body->count; i++) {
        const struct extent *extent = &body->extents[i];
        if (extent->bytes == 0 || extent->source == 0) {
            ranges_append(&pages, extent->page * PAGE_BYTES, (extent->page + extent->count) * PAGE_BYTES);
        }
    }
    return pages;
}

static const struct image_process *process_in(const char *id, pid_t pid)
{
    const struct image *image = image_find(id);

    for (size_t i = 0; image && image_is_ready(image) && i < image->process_count; i++) {
        if (image->processes[i].pid == pid) {
            return &image->processes[i];
        }
    }
    return NULL;
}

/* Files are the same where their identity is. */
static void know_files(struct memory *memory, const struct memory *before)
{
    for (size_t i = 0; i < memory->file_count; i++) {
        struct area_file *file = &memory->files[i];
        for (size_t j = 0; j < before->file_count && !file->inode; j++) {
            if (before->files[j].where.identity == file->where.identity) {
                file->device = before->files[j].device;
                file->inode = before->files[j].inode;
            }
        }
    }
    if (before->program_where.identity == memory->program_where.identity) {
        memory->program_device = before->program_device;
        memory->program_inode = before->program_inode;
    }
}

static void forget_files(struct memory *memory)
{
    for (size_t i = 0; i < memory->file_count; i++) {
        memory->files[i].device = memory->files[i].inode = 0;
    }
    memory->program_device = memory->program_inode = 0;
}

static bool can_grow(struct memory *memory, const struct image_process *origin)
{
    know_files(memory, &origin->memory);
    memory->grows = memory_can_grow(memory, origin);
    if (!memory->grows) {
        forget_files(memory);
    }
    return memory->grows;
}

static void set_fresh(struct memory *memory, const struct memory *before, const struct ranges *changed)
{
    struct ranges kept = areas_common(before, memory);
    struct ranges had = ranges_both(&before->own, &kept), same = ranges_both(&memory->own, &had);
    struct ranges others = ranges_without(&same, changed);

    memory->gone = ranges_without(&had, &memory->own);
    memory->fresh = ranges_without(&memory->own, &others);
    ranges_free(&kept);
    ranges_free(&had);
    ranges_free(&same);
    ranges_free(&others);
}

void ancestor_find(struct image *image, size_t index)
{
    struct image_process *process = &image->processes[index];
    struct memory *memory = &process->memory;
    const struct image_process *origin = NULL;
    const struct ranges none = {0};
    struct ranges changed = {0};

    for (const struct stored *at = image->stored; at->base && at->bodies[index].below != SIZE_MAX && !origin;
         at = at->base) {
        struct ranges own = pages_of(&at->bodies[index]), both = ranges_either(&changed, &own);
        ranges_free(&own);
        ranges_free(&changed);
        changed = both;
        index = at->bodies[index].below;
        const struct image_process *found = process_in(at->base->id, at->base->pids[index]);
        if (found && can_grow(memory, found)) {
            origin = found;
            strcpy(process->origin, at->base->id);
        }
    }
    if (origin) {
        process->origin_pid = origin->pid;
        process->generation = origin->generation + 1;
        set_fresh(memory, &origin->memory, &changed);
    } else {
        memory->fresh = ranges_either(&memory->own, &none);
    }
    ranges_free(&changed);
}
