#include "lineage.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "areas.h"
#include "fd.h"
#include "pages.h"
#include "template.h"

/* Of kernels since 6.7, for headers that do not have them yet. */
#define WATCH_UNPOPULATED (1ULL << 13)
#define WATCH_BY_KERNEL (1ULL << 15)
#define USER_MODE_ONLY 1

static void lineage_free(struct lineage *lineage)
{
    fd_close(&lineage->pidfd);
    fd_close(&lineage->watch);
    ranges_free(&lineage->before);
    free(lineage);
}

static bool has_ended(const struct lineage *lineage)
{
    struct pollfd ended = {.fd = lineage->pidfd, .events = POLLIN};

    return RETRY_EINTR(poll(&ended, 1, 0)) != 0;
}

/* Forgets those of processes that have ended on the way, whose numbers may be others'. */
struct lineage *lineage_of(struct sandbox *sandbox, pid_t pid)
{
    for (struct lineage **link = &sandbox->lineages; *link;) {
        struct lineage *lineage = *link;
        if (has_ended(lineage)) {
            *link = lineage->next;
            lineage_free(lineage);
        } else if (lineage->pid == pid) {
            return lineage;
        } else {
            link = &lineage->next;
        }
    }
    return NULL;
}

static const struct image_process *process_in(const struct image *image, pid_t inner)
{
    for (size_t i = 0; image && i < image->process_count; i++) {
        if (image->processes[i].pid == inner) {
            return &image->processes[i];
        }
    }
    return NULL;
}

const struct image_process *lineage_origin(const struct lineage *lineage)
{
    return lineage ? process_in(image_find(lineage->image), lineage->inner) : NULL;
}

const struct image_process *lineage_living_origin(const struct lineage *lineage)
{
    const struct image_process *origin = lineage_origin(lineage);

    return origin && template_lives(origin->template) ? origin : NULL;
}

void lineages_complete(struct sandbox *sandbox)
{
    struct err err = {0};

    lineage_of(sandbox, 0);
    for (const struct lineage *lineage = sandbox->lineages; lineage; lineage = lineage->next) {
        struct image *image = image_find(lineage->image);
        if (image && image_complete(image, &err) < 0) {
            log_line("%s: %s %s", sandbox->id, err.message, err.object);
        }
    }
}

void lineage_end(struct sandbox *sandbox, pid_t pid)
{
    for (struct lineage **link = &sandbox->lineages; *link; link = &(*link)->next) {
        struct lineage *lineage = *link;
        if (lineage->pid == pid) {
            *link = lineage->next;
            lineage_free(lineage);
            return;
        }
    }
}

void lineages_forget(struct lineage **lineages)
{
    while (*lineages) {
        struct lineage *next = (*lineages)->next;
        lineage_free(*lineages);
        *lineages = next;
    }
}

static struct lineage *lineage_new(struct sandbox *sandbox, pid_t pid, pid_t inner)
{
    struct lineage *lineage = calloc(1, sizeof *lineage);

    if (!lineage) {
        die("out of memory");
    }
    *lineage = (struct lineage){
        .pid = pid, .inner = inner, .pidfd = pidfd_open(pid, 0), .watch = -1, .next = sandbox->lineages};
    sandbox->lineages = lineage;
    return lineage;
}

void lineage_begin(struct sandbox *sandbox, pid_t pid, const char *image, pid_t inner, int watch)
{
    struct lineage *lineage = lineage_new(sandbox, pid, inner);

    lineage->watch = watch < 0 ? -1 : watch;
    strcpy(lineage->image, image);
}

/* ---- when an image goes ---- */

static void append(struct ranges *ranges, const struct ranges *more)
{
    struct ranges both = ranges_either(ranges, more);

    ranges_free(ranges);
    *ranges = both;
}

/* It may be of a checkpoint that was not taken after all. */
static void step_back(struct lineage *lineage, const struct image *image)
{
    const struct image_process *gone = process_in(image, lineage->inner);
    const struct image_process *origin = gone ? image_origin(gone) : NULL;

    if (!origin) {
        return;
    }
    if (lineage->watch >= 0) {
        struct ranges missing = ranges_without(&origin->memory.own, &gone->memory.own);
        append(&lineage->before, &gone->memory.fresh);
        append(&lineage->before, &missing);
        ranges_free(&missing);
    }
    lineage->faults = 0;
    strcpy(lineage->image, gone->origin);
    lineage->inner = gone->origin_pid;
}

void lineage_take_written(struct sandbox *sandbox, struct lineage *lineage, pid_t tid, struct ranges *written)
{
    if (pages_take_written(tid, written) < 0) {
        ranges_free(written);
        lineage_end(sandbox, lineage->pid);
        return;
    }
    append(&lineage->before, written);
}

void lineages_without(const struct image *image)
{
    for (struct sandbox *sandbox = sandboxes; sandbox; sandbox = sandbox->next) {
        for (struct lineage *lineage = sandbox->lineages; lineage; lineage = lineage->next) {
            if (strcmp(lineage->image, image->id) == 0) {
                step_back(lineage, image);
            }
        }
    }
}

/* ---- watching ---- */

/* Made by the process, for its memory; the engine takes it out. */
static int make_watch(struct inject *inject)
{
    inject_clear(inject);
    inject_add(inject, SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | USER_MODE_ONLY, 0, 0, 0, 0, 0);
    int result = inject_run(inject);
    int number = (int)inject->calls[0].result;
    inject_clear(inject);
    if (result < 0) {
        return result;
    }
    int watch = pidfd_getfd(inject->subject->pidfd, number, 0);
    int failure = errno;
    inject_add(inject, SYS_close, (uint64_t)number, 0, 0, 0, 0, 0);
    inject_run_clear(inject);
    struct uffdio_api api = {.api = UFFD_API, .features = WATCH_UNPOPULATED | WATCH_BY_KERNEL};
    if (watch >= 0 && ioctl(watch, UFFDIO_API, &api) < 0) {
        failure = errno;
        fd_close(&watch);
    }
    return watch < 0 ? -failure : watch;
}

/* What is not watched counts as written. */
static void watch_areas(int watch, const struct memory *memory, bool is_new)
{
    struct ranges areas = is_new ? areas_private(memory) : areas_unwatched(memory);

    for (size_t i = 0; i < areas.count; i++) {
        struct uffdio_register some = {
            .range = {.start = areas.list[i].start, .len = areas.list[i].end - areas.list[i].start},
            .mode = UFFDIO_REGISTER_MODE_WP,
        };
        ioctl(watch, UFFDIO_REGISTER, &some);
    }
    ranges_free(&areas);
}

int lineage_watch_new(struct inject *inject, const struct memory *memory)
{
    int watch = make_watch(inject);

    if (watch < 0) {
        return watch;
    }
    watch_areas(watch, memory, true);
    int result = pages_protect(inject->subject->pid, NULL);
    if (result < 0) {
        close(watch);
        return result;
    }
    return watch;
}

/* NULL: it is not known which pages there are. */
static const struct ranges *unprotected(const struct memory *memory, bool is_new)
{
    return memory->own.count == 0 ? NULL : is_new ? &memory->own : &memory->fresh;
}

void lineage_watch(struct sandbox *sandbox, struct inject *inject, const struct memory *memory,
                   const char *image)
{
    const struct subject *subject = inject->subject;
    struct lineage *lineage = lineage_of(sandbox, subject->pid);

    if (!lineage) {
        lineage = lineage_new(sandbox, subject->pid, subject->inner);
    }
    const bool is_new = lineage->watch < 0;
    if (is_new) {
        lineage->watch = make_watch(inject);
    }
    if (lineage->watch >= 0) {
        watch_areas(lineage->watch, memory, is_new);
    }
    if (lineage->watch < 0 || pages_protect(subject->pid, unprotected(memory, is_new)) < 0) {
        lineage_end(sandbox, subject->pid);
        return;
    }
    ranges_free(&lineage->before);
    lineage->faults = memory->faults;
    lineage->inner = subject->inner;
    strcpy(lineage->image, image);
}
