#include "image.h"

#include <stdio.h>
#include <string.h>

#include "fault.h"
#include "fd.h"
#include "content.h"
#include "describe.h"
#include "handle.h"
#include "lineage.h"
#include "loop.h"
#include "regrow.h"
#include "server.h"
#include "spare.h"
#include "store.h"
#include "stored.h"
#include "template.h"
#include "segment.h"
#include "terminal.h"
#include "whereabouts.h"

#define BYTES_AT_ONCE (8ULL << 20) /* some milliseconds */

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

/* ---- building ---- */

/* The eldest first: others grow from it. */
static struct image *next_incomplete(void)
{
    struct image *eldest = NULL;

    for (struct image *image = images; image; image = image->next) {
        if (!image->failure && image->built < image->process_count) {
            eldest = image;
        }
    }
    return eldest;
}

/* Told now, and whenever somebody asks for it. */
static void note_failure(struct image *image, const struct image_process *process, const struct err *err)
{
    if (asprintf(&image->failure, "process %d (%s): %s", process->pid, process->command, err->message) < 0) {
        die("out of memory");
    }
    log_line("image %s: %s", image->id, image->failure);
}

/* One that comes from disk has its files from other mounts than when it was captured. */
static int know_files(struct image_process *process, struct err *err)
{
    const int result = whereabouts_look(process);

    return result < 0 ? err_system(err, -result, "look at files", "process %d", process->pid) : 1;
}

/* Its content follows, a piece at a time. */
static int build(struct image *image, struct image_process *process, uint64_t most, struct err *err)
{
    if (!process->template) {
        process->template = template_build(&process->memory, image_origin(process), err);
        return process->template ? know_files(process, err) : -1;
    }
    if (!process->template->is_filled) {
        int result = content_fill(process->template, &process->memory, most, err);
        if (result < 0) {
            template_free(process->template);
            process->template = NULL;
        } else if (result == 0) {
            memory_forget_content(&process->memory);
            regrow(process);
            process->template->is_filled = true;
            content_plan_large(process->template, &process->memory);
        }
        return result < 0 ? result : 1;
    }
    if (content_make_large(process->template, most)) {
        return 1;
    }
    image->built++;
    return 0;
}

/* Where nobody is connected, hello tells. */
static void tell_end(struct image *image)
{
    struct out event = {0};

    if (image->is_told || (!image->failure && image->built < image->process_count)) {
        return;
    }
    image->is_told = true;
    out_key_text(&event, "event", image->failure ? "image.failed" : "image.ready");
    out_key_text(&event, "image", image->id);
    if (image->failure) {
        out_key_bytes(&event, "reason", image->failure, strlen(image->failure));
    } else {
        out_key_uint(&event, "bytes", image_bytes(image));
    }
    send_event(&event);
    out_free(&event);
}

static void build_some(struct image *image, uint64_t most)
{
    struct image_process *process = &image->processes[image->built];
    cleanup_free char *asked = fault_asked() ? strdup(fault_asked()) : NULL;
    struct err err = {0};

    fault_ask(image->fault);
    if (build(image, process, most, &err) < 0) {
        note_failure(image, process, &err);
    }
    fault_ask(asked);
    tell_end(image);
}

static bool build_when_idle(void)
{
    struct image *image = next_incomplete();

    if (image) {
        build_some(image, BYTES_AT_ONCE);
    }
    return image != NULL;
}

void image_add(struct image *image)
{
    image->next = images;
    images = image;
    loop_when_idle(IDLE_NOW, build_when_idle);
}

void image_know_chain(struct image *image, struct base *base, const struct chain *chain)
{
    if (!chain_same(&image->chain, chain)) {
        chain_free(&image->chain);
        image->chain = chain_copy(chain);
    }
    image->base = base;
}

/* Of a template the kernel keeps page tables and itself; of the rest nothing is shared with anybody. */
#define PROCESS_BYTES (192ULL << 10)

uint64_t image_bytes(const struct image *image)
{
    struct contents contents = image_contents((struct image *)image);
    uint64_t bytes = 0;

    for (size_t i = 0; i < image->process_count; i++) {
        bytes += PROCESS_BYTES + ranges_bytes(&image->processes[i].memory.fresh);
    }
    for (size_t i = 0; i < contents.count; i++) {
        bytes += (uint64_t)contents.list[i]->size;
    }
    free(contents.list);
    return bytes;
}

/* The first process whose template is there no more. */
static const struct image_process *find_lost(const struct image *image,
                                             bool (*lives)(const struct template *))
{
    for (size_t i = 0; i < image->process_count; i++) {
        if (!lives(image->processes[i].template)) {
            return &image->processes[i];
        }
    }
    return NULL;
}

static int lost(const struct image_process *process, struct err *err)
{
    return err_set(err, ERR_NO_IMAGE, "its processes are lost: what was kept of process %d (%s) was killed",
                   process->pid, process->command);
}

bool image_is_ready(const struct image *image)
{
    return !image->failure && image->built == image->process_count && !find_lost(image, template_lives);
}

void image_explain(const struct image *image, struct err *err)
{
    const struct image_process *process = find_lost(image, template_stands);

    if (process) {
        lost(process, err);
    }
}

int image_complete(struct image *image, struct err *err)
{
    struct image *next;

    while (!image->failure && image->built < image->process_count && (next = next_incomplete())) {
        build_some(next, UINT64_MAX);
    }
    if (image->failure) {
        return err_set(err, ERR_NO_IMAGE, "its processes could not be kept: %s", image->failure);
    }
    const struct image_process *process = find_lost(image, template_lives);
    return process ? lost(process, err) : 0;
}

/* ---- the end ---- */

/* What grows from it must have done so. */
static void complete_heirs(const struct image *image)
{
    struct err err = {0};

    for (struct image *heir = images; heir; heir = heir->next) {
        for (size_t i = heir->built; !heir->failure && i < heir->process_count; i++) {
            if (heir != image && heir->processes[i].memory.grows &&
                strcmp(heir->processes[i].origin, image->id) == 0 && image_complete(heir, &err) < 0) {
                log_line("image %s: %s %s", heir->id, err.message, err.object);
            }
        }
    }
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
    free(process->locks);
}

void image_free(struct image *image)
{
    store_cancel(image);
    complete_heirs(image);
    spares_without(image);
    lineages_without(image);
    for (struct image **link = &images; *link; link = &(*link)->next) {
        if (*link == image) {
            *link = image->next;
            break;
        }
    }
    for (size_t i = 0; i < image->process_count; i++) {
        regrow_without(&image->processes[i], image->id);
        image_process_free(&image->processes[i]);
    }
    for (size_t i = 0; i < image->handle_count; i++) {
        const struct handle_kind *kind = image->handles[i].kind;
        (kind && kind->forget ? kind->forget : free)(image->handles[i].kept);
    }
    for (size_t i = 0; i < image->object_count; i++) {
        const struct object_kind *kind = image->objects[i].kind;
        (kind ? kind->forget : free)(image->objects[i].kept);
    }
    free(image->objects);
    stored_leave(image->stored);
    terminals_free(image);
    segments_free(image);
    free(image->known);
    free(image->processes);
    free(image->zombies);
    free(image->handles);
    chain_free(&image->chain);
    free(image->failure);
    free(image->fault);
    free(image);
}
