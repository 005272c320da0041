#include "image.h"

#include <string.h>

#include "handle.h"
#include "template.h"

struct image *images;

struct image *image_find(const char *id)
{
    struct image *image = images;

    while (image && strcmp(image->id, id) != 0) {
        image = image->next;
    }
    return image;
}

const struct image_process *image_origin(const struct image_process *process)
{
    const struct image *image = process->memory.grows ? image_find(process->origin) : NULL;

    for (size_t i = 0; image && i < image->process_count; i++) {
        if (image->processes[i].pid == process->origin_pid) {
            return &image->processes[i];
        }
    }
    return NULL;
}

static void thread_free(struct image_thread *thread)
{
    for (size_t i = 0; i < thread->credentials.filter_count; i++) {
        free(thread->credentials.filters[i].code);
    }
    free(thread->credentials.filters);
    free(thread->credentials.groups);
    free(thread->pending.list);
    free(thread->extended.data);
}

void image_process_free(struct image_process *process)
{
    for (size_t i = 0; i < process->thread_count; i++) {
        thread_free(&process->threads[i]);
    }
    if (process->template) {
        template_free(process->template);
    }
    memory_free(&process->memory);
    free(process->threads);
    free(process->timers);
    free(process->pending.list);
    free(process->descriptors);
}

void image_free(struct image *image)
{
    for (struct image **link = &images; *link; link = &(*link)->next) {
        if (*link == image) {
            *link = image->next;
            break;
        }
    }
    for (size_t i = 0; i < image->process_count; i++) {
        image_process_free(&image->processes[i]);
    }
    for (size_t i = 0; i < image->handle_count; i++) {
        const struct handle_kind *kind = image->handles[i].kind;
        (kind->forget ? kind->forget : free)(image->handles[i].kept);
    }
    for (size_t i = 0; i < image->object_count; i++) {
        image->objects[i].kind->forget(image->objects[i].kept);
    }
    free(image->objects);
    free(image->known);
    free(image->processes);
    free(image->handles);
    free(image);
}
