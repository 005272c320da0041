#include "ahead.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "areas.h"
#include "fd.h"
#include "gather.h"
#include "lineage.h"
#include "memory.h"
#include "pages.h"
#include "room.h"
#include "status.h"
#include "template.h"

#define PAGE_BYTES 4096u

/* ---- whose ---- */

/* In bytes; nothing of one that has ended. */
struct counted {
    uint64_t resident, of_files;
};

static struct counted count_memory(pid_t pid)
{
    char text[128];
    unsigned long long pages, of_files;

    return proc_read(pid, "statm", text, sizeof text) > 0 &&
                   sscanf(text, "%*u %llu %llu", &pages, &of_files) == 2
               ? (struct counted){pages * PAGE_BYTES, of_files * PAGE_BYTES}
               : (struct counted){0};
}

/* Whether it is worth while to look. What is written to for the first time is a fault of the process, for a page each, unless it
 * comes in large pages: then it has more than it had. */
static bool may_have_written(const struct counted *counted, const struct lineage *lineage,
                             const struct image_process *origin, uint64_t much)
{
    const uint64_t had = ranges_bytes(&origin->memory.own), has = counted->resident - counted->of_files;
    unsigned long long faults;
    char text[2048];

    if (proc_read(lineage->pid, "stat", text, sizeof text) <= 0 || !strrchr(text, ')') ||
        sscanf(strrchr(text, ')'), ") %*c %*d %*d %*d %*d %*d %*u %llu", &faults) != 1) {
        return true;
    }
    return (faults - lineage->faults) * PAGE_BYTES + (has > had ? has - had : 0) >= much;
}

static bool has_written(pid_t pid, uint64_t much)
{
    struct page_lists lists;
    const bool found = pages_look(pid, NULL, &lists) == 0 && ranges_bytes(&lists.written) >= much;

    page_lists_free(&lists);
    return found;
}

/* What one that is not watched has written since it was revived: it has those page frames no longer in common with the template.
 * Empty also where the kernel fails to tell. */
static struct ranges find_written(pid_t pid, const struct image_process *origin)
{
    struct page_lists lists;
    struct ranges shared = {0}, written = {0};

    if (pages_look(pid, NULL, &lists) == 0 &&
        pages_shared(pid, origin->template->puppet.thread.tid, &lists.own, &lists.large, &shared) == 0) {
        written = ranges_without(&lists.own, &shared);
    }
    page_lists_free(&lists);
    ranges_free(&shared);
    return written;
}

static bool has_parted(pid_t pid, const struct image_process *origin, uint64_t much)
{
    struct ranges written = find_written(pid, origin);
    const bool has = ranges_bytes(&written) >= much;

    ranges_free(&written);
    return has;
}

/* Of one that is to be watched. */
static void look_at_areas(struct ahead *ahead, pid_t pid)
{
    const struct subject subject = {.pid = pid, .memory = -1};
    const struct thread thread = {.tid = pid};
    struct obstacles obstacles = {0};
    struct err err = {0};

    if (areas_capture(&ahead->memory, &subject, &thread, 0, &obstacles, &err) < 0 || obstacles.count > 0) {
        memory_free(&ahead->memory);
    }
    obstacles_free(&obstacles);
}

static struct ahead *ahead_new(pid_t pid, struct ahead *next)
{
    struct ahead *ahead = calloc(1, sizeof *ahead);

    if (!ahead) {
        die("out of memory");
    }
    *ahead = (struct ahead){.pid = pid, .memory.program = -1, .next = next};
    return ahead;
}

static void add_wanted(struct ahead **list, struct sandbox *sandbox, pid_t pid, uint64_t much)
{
    const struct counted counted = count_memory(pid);
    if (counted.resident < much) {
        return;
    }
    const struct lineage *lineage = lineage_of(sandbox, pid);
    const struct image_process *origin = lineage_living_origin(lineage);
    const bool is_watched = origin && lineage->watch >= 0;
    if (origin && !may_have_written(&counted, lineage, origin, much)) {
        return;
    }
    if (origin && !(is_watched ? has_written(pid, much) : has_parted(pid, origin, much))) {
        return;
    }
    *list = ahead_new(pid, *list);
    if (!is_watched) {
        look_at_areas(*list, pid);
    }
}

static struct ahead *find_wanted(struct sandbox *sandbox, uint64_t much)
{
    struct ahead *list = NULL;
    pid_t *pids;
    const size_t count = sandbox_list(sandbox, &pids);

    for (size_t i = 0; i < count; i++) {
        add_wanted(&list, sandbox, pids[i], much);
    }
    free(pids);
    return list;
}

/* ---- while they stand still ---- */

static uint64_t vdso_of(const struct memory *memory)
{
    for (size_t i = 0; i < memory->area_count; i++) {
        if (memory->areas[i].kind == AREA_KERNEL && strcmp(memory->areas[i].name, "[vdso]") == 0) {
            return memory->areas[i].start;
        }
    }
    return 0;
}

/* From now on all of its memory is watched; but for what it has got since its areas were looked at. */
static void watch_anew(struct ahead *ahead, struct sandbox *sandbox, struct subject *subject,
                       struct thread *thread)
{
    static struct inject inject;

    if (inject_begin(&inject, subject, thread, vdso_of(&ahead->memory)) == 0) {
        lineage_watch(sandbox, &inject, &ahead->memory, "");
        ahead->is_new = inject_end(&inject) == 0 && lineage_of(sandbox, subject->pid);
    }
}

/* What it has written by now is known; from now on it is watched, too. */
static void watch_on(struct ahead *ahead, struct lineage *lineage, struct subject *subject,
                     struct thread *thread)
{
    static struct inject inject;
    struct ranges written = find_written(subject->pid, lineage_living_origin(lineage));
    struct ranges areas = areas_private(&ahead->memory), none = {0};
    int watch = -1;

    if (inject_begin(&inject, subject, thread, vdso_of(&ahead->memory)) == 0) {
        watch = lineage_watch_new(&inject, &ahead->memory);
        if (inject_end(&inject) < 0) {
            fd_close(&watch);
        }
    }
    if (watch >= 0) {
        lineage->watch = watch;
        ahead->pages = ranges_both(&written, &areas);
        lineage->before = ranges_either(&written, &none);
    }
    ranges_free(&written);
    ranges_free(&areas);
}

static void begin(struct ahead *ahead, struct sandbox *sandbox, struct subject *subject)
{
    struct thread *thread = subject && !subject->runs_on ? subject_thread(subject) : NULL;
    struct lineage *lineage = thread ? lineage_of(sandbox, ahead->pid) : NULL;
    const bool has_origin = lineage_living_origin(lineage);

    if (!thread) {
        return;
    }
    if (has_origin && lineage->watch >= 0) {
        lineage_take_written(sandbox, lineage, thread->tid, &ahead->pages);
    } else if (has_origin && ahead->memory.areas) {
        watch_on(ahead, lineage, subject, thread);
    } else if (ahead->memory.areas) {
        watch_anew(ahead, sandbox, subject, thread);
    }
}

static void begin_all(struct ahead *list, struct sandbox *sandbox)
{
    struct obstacles obstacles = {0};
    struct frozen frozen;
    struct err err = {0};

    if (freeze(&frozen, sandbox, &obstacles, &err) == 0) {
        for (struct ahead *ahead = list; ahead && obstacles.count == 0; ahead = ahead->next) {
            begin(ahead, sandbox, freeze_find(&frozen, ahead->pid));
        }
        thaw(&frozen);
    }
    obstacles_free(&obstacles);
}

/* ---- while they run ---- */

static void forget(struct ahead *ahead)
{
    room_leave(&ahead->bytes, ahead->size);
    ranges_free(&ahead->pages);
    memory_free(&ahead->memory);
}

/* What it has had since it stood still may be among them: it has been written. */
static void find_pages(struct ahead *ahead)
{
    struct ranges areas = areas_private(&ahead->memory);
    struct page_lists lists;

    if (pages_look(ahead->pid, NULL, &lists) == 0) {
        ahead->pages = ranges_both(&lists.own, &areas);
    }
    page_lists_free(&lists);
    ranges_free(&areas);
}

/* It may end, or take pages away, under our hands: then all is copied when it stands still. */
static void copy(struct ahead *ahead)
{
    char path[64];

    if (ahead->is_new) {
        find_pages(ahead);
    }
    ahead->size = ranges_bytes(&ahead->pages);
    if (ahead->size == 0) {
        return;
    }
    snprintf(path, sizeof path, "/proc/%d/mem", ahead->pid);
    cleanup_fd memory = open(path, O_RDONLY | O_CLOEXEC);
    const struct subject subject = {.pid = ahead->pid, .memory = memory};
    ahead->bytes = memory < 0 ? NULL : room_take(ahead->size);
    if (!ahead->bytes || gather(&subject, &ahead->pages, ahead->bytes) < 0) {
        forget(ahead);
    }
}

struct ahead *ahead_copy(struct sandbox *sandbox, uint64_t much, uint64_t *usec)
{
    struct ahead *list = find_wanted(sandbox, much);
    const uint64_t start = now_usec();

    if (list) {
        begin_all(list, sandbox);
    }
    *usec = list ? now_usec() - start : 0;
    for (struct ahead *ahead = list; ahead; ahead = ahead->next) {
        copy(ahead);
    }
    return list;
}

struct ahead *ahead_of(struct ahead *list, pid_t pid)
{
    while (list && list->pid != pid) {
        list = list->next;
    }
    return list && list->bytes ? list : NULL;
}

void ahead_give(struct ahead *ahead, struct memory *memory)
{
    memory->early = ahead->bytes;
    memory->early_size = ahead->size;
    ahead->bytes = NULL;
}

void ahead_free(struct ahead **list)
{
    while (*list) {
        struct ahead *ahead = *list;
        *list = ahead->next;
        forget(ahead);
        free(ahead);
    }
}
