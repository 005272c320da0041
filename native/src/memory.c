#include "memory.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "areas.h"
#include "fd.h"
#include "gather.h"
#include "pages.h"
#include "room.h"
#include "template.h"
#include "whereabouts.h"

/* ---- which pages ---- */

static int find_own(struct memory *memory, const struct subject *subject, const struct thread *thread,
                    struct page_lists *lists, struct obstacles *obstacles)
{
    struct ranges areas = areas_private(memory), plain = areas_plain(memory);
    int result = pages_look(thread->tid, &plain, lists);
    struct ranges others = ranges_without(&lists->guards, &areas);

    memory->own = ranges_both(&lists->own, &areas);
    memory->guards = ranges_both(&lists->guards, &areas);
    if (others.count > 0) {
        obstacle_add(obstacles, subject, "its memory", true,
                     "it has guard regions in memory that is shared (MADV_GUARD_INSTALL)");
    }
    ranges_free(&others);
    ranges_free(&areas);
    ranges_free(&plain);
    return result;
}

/* Those of the pages that have no page frame in common with the template. */
static int find_apart(const struct thread *thread, const struct origin *origin,
                      const struct page_lists *lists, const struct ranges *pages, struct ranges *apart)
{
    struct ranges shared = {0};
    int result = pages_shared(thread->tid, origin->process->template->puppet.thread.tid, pages, &lists->large,
                              &shared);

    *apart = ranges_without(pages, &shared);
    ranges_free(&shared);
    return result;
}

/* Pages of what is kept that are the template's no longer. */
static int find_changed(const struct memory *memory, const struct thread *thread, const struct origin *origin,
                        const struct ranges *kept, const struct page_lists *lists, struct ranges *changed)
{
    struct ranges candidates = ranges_both(&memory->own, kept);
    int result = 0;

    if (origin->watched) {
        struct ranges all = ranges_either(&lists->written, origin->more);
        *changed = ranges_both(&candidates, &all);
        ranges_free(&all);
    } else {
        result = find_apart(thread, origin, lists, &candidates, changed);
    }
    ranges_free(&candidates);
    return result;
}

/* What the template has not had may be there without having been written since: read from a file, swapped in. But what has a page
 * frame of the template's is what that has, in a large page for instance, of which the process had a part. */
static int find_added(const struct memory *memory, const struct thread *thread, const struct origin *origin,
                      const struct ranges *kept, const struct page_lists *lists, const struct ranges *known,
                      struct ranges *added)
{
    struct ranges now = ranges_both(&memory->own, kept);
    struct ranges unknown = ranges_without(&now, known);
    int result = unknown.count == 0 ? 0 : find_apart(thread, origin, lists, &unknown, added);

    ranges_free(&now);
    ranges_free(&unknown);
    return result;
}

static int find_fresh(struct memory *memory, const struct thread *thread, const struct origin *origin,
                      const struct ranges *kept, const struct page_lists *lists)
{
    const struct memory *before = &origin->process->memory;
    struct ranges changed = {0}, added = {0}, new = ranges_without(&memory->own, kept);
    struct ranges had = ranges_both(&before->own, kept);
    int result = find_changed(memory, thread, origin, kept, lists, &changed);

    if (result == 0 && origin->watched) {
        struct ranges known = ranges_either(&had, &changed);
        result = find_added(memory, thread, origin, kept, lists, &known, &added);
        ranges_free(&known);
    }
    memory->gone = ranges_without(&had, &memory->own);
    struct ranges some = ranges_either(&changed, &added);
    memory->fresh = ranges_either(&some, &new);
    ranges_free(&changed);
    ranges_free(&new);
    ranges_free(&had);
    ranges_free(&added);
    ranges_free(&some);
    return result;
}

/* ---- their content ---- */

/* In pages, whose content lies one after the other. */
static void add_pieces(struct memory *memory, const struct ranges *wanted, const struct ranges *pages,
                       const uint8_t *content)
{
    for (size_t i = 0, j = 0; i < wanted->count;) {
        const struct range *range = &wanted->list[i], *within = &pages->list[j];
        if (within->end < range->end) {
            content += within->end - within->start;
            j++;
            continue;
        }
        memory->pieces[memory->piece_count++] =
            (struct piece){.range = *range, .content = content + (range->start - within->start)};
        i++;
    }
}

static int by_place(const void *a, const void *b)
{
    const struct piece *left = a, *right = b;

    return (left->range.start > right->range.start) - (left->range.start < right->range.start);
}

/* What was copied ahead and was not written since is as it was then. */
static struct ranges find_early(const struct memory *memory, const struct ahead *ahead,
                                const struct ranges *written)
{
    const struct ranges none = {0};
    struct ranges same = ahead ? ranges_without(&ahead->pages, written) : none;
    struct ranges early = ranges_both(&same, &memory->fresh);

    ranges_free(&same);
    return early;
}

static int copy_late(struct memory *memory, const struct subject *subject, const struct ranges *late)
{
    memory->late_size = ranges_bytes(late);
    if (memory->late_size == 0) {
        return 0;
    }
    memory->late = room_take(memory->late_size);
    return memory->late ? gather(subject, late, memory->late) : -ENOMEM;
}

static int copy_fresh(struct memory *memory, const struct subject *subject, struct ahead *ahead,
                      const struct ranges *written)
{
    struct ranges early = find_early(memory, ahead, written);
    struct ranges late = ranges_without(&memory->fresh, &early);

    memory->pieces = malloc((early.count + late.count + 1) * sizeof *memory->pieces);
    if (!memory->pieces) {
        die("out of memory");
    }
    int result = copy_late(memory, subject, &late);
    if (result == 0) {
        add_pieces(memory, &late, &late, memory->late);
    }
    if (result == 0 && early.count > 0) {
        ahead_give(ahead, memory);
        add_pieces(memory, &early, &ahead->pages, memory->early);
        qsort(memory->pieces, memory->piece_count, sizeof *memory->pieces, by_place);
    }
    ranges_free(&early);
    ranges_free(&late);
    return result;
}

/* ---- what the kernel knows of the program ---- */

static int read_file(pid_t tid, const char *name, void *data, size_t room)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/%s", tid, name);
    cleanup_fd fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, data, room);
    return got < 0 ? -errno : (int)got;
}

#define FIELD_FAULTS 10

/* The fields after the command, which may hold anything, number from 3. */
static int capture_map(struct memory *memory, const struct thread *thread)
{
    char text[2048];
    unsigned long long fields[53] = {0};
    int got = read_file(thread->tid, "stat", text, sizeof text - 1);

    if (got < 0) {
        return got;
    }
    text[got] = '\0';
    char *at = strrchr(text, ')');
    if (!at || strlen(at) < 4) {
        return -ENODATA;
    }
    at += 3;
    for (size_t i = 4; *at && i < 53; i++) {
        fields[i] = strtoull(at, &at, 10);
    }
    memory->faults = fields[FIELD_FAULTS];
    memory->map = (struct prctl_mm_map){
        .start_code = fields[26],
        .end_code = fields[27],
        .start_stack = fields[28],
        .start_data = fields[45],
        .end_data = fields[46],
        .start_brk = fields[47],
        .arg_start = fields[48],
        .arg_end = fields[49],
        .env_start = fields[50],
        .env_end = fields[51],
    };
    got = read_file(thread->tid, "auxv", memory->auxv, sizeof memory->auxv);
    if (got >= 0) {
        memory->auxv_size = (size_t)got;
    }
    return got < 0 ? got : 0;
}

static int find_program(struct memory *memory, const struct thread *thread)
{
    char path[64];
    struct stat st;

    snprintf(path, sizeof path, "/proc/%d/exe", thread->tid);
    memory->program = open(path, O_RDONLY | O_CLOEXEC);
    if (memory->program < 0 || fstat(memory->program, &st) < 0) {
        return -errno;
    }
    memory->program_device = st.st_dev;
    memory->program_inode = st.st_ino;
    return 0;
}

/* ---- the whole ---- */

/* A template can grow into what the process is now if it is the same program still, and has nothing where code of ours
 * lies in the template. */
bool memory_can_grow(const struct memory *memory, const struct image_process *origin)
{
    const uint64_t place = origin->template->puppet.inject.area;
    const struct memory *before = &origin->memory;

    for (size_t i = 0; i < memory->area_count; i++) {
        if (memory->areas[i].start < place + INJECT_AREA_BYTES && place < memory->areas[i].end) {
            return false;
        }
    }
    return memory->program_device == before->program_device &&
           memory->program_inode == before->program_inode && memory->auxv_size == before->auxv_size &&
           memcmp(memory->auxv, before->auxv, memory->auxv_size) == 0 &&
           memory->map.start_stack == before->map.start_stack;
}

static int capture_pages(struct memory *memory, const struct subject *subject, const struct thread *thread,
                         const struct origin *origin, struct ahead *ahead, struct obstacles *obstacles)
{
    struct ranges kept = {0};
    struct page_lists lists;
    int result = find_own(memory, subject, thread, &lists, obstacles);

    if (result == 0 && memory->grows) {
        kept = areas_common(&origin->process->memory, memory);
        result = find_fresh(memory, thread, origin, &kept, &lists);
    } else if (result == 0) {
        const struct ranges none = {0};
        memory->fresh = ranges_either(&memory->own, &none);
    }
    result = result < 0 ? result : areas_open_files(memory, thread, &kept);
    result = result < 0 ? result : copy_fresh(memory, subject, ahead, &lists.written);
    ranges_free(&kept);
    page_lists_free(&lists);
    return result;
}

int memory_capture(struct memory *memory, const struct subject *subject, const struct thread *thread,
                   uint64_t injected, const struct origin *origin, struct ahead *ahead,
                   struct obstacles *obstacles, struct err *err)
{
    int result;

    memory->program = -1;
    if (areas_capture(memory, subject, thread, injected, obstacles, err) < 0) {
        return -1;
    }
    if ((result = capture_map(memory, thread)) == 0 && (result = find_program(memory, thread)) == 0) {
        memory->grows = origin && memory_can_grow(memory, origin->process);
    }
    if (memory->grows) {
        fd_close(&memory->program);
    }
    whereabouts_identify(memory, origin ? &origin->process->memory : NULL);
    if (result < 0 || (result = capture_pages(memory, subject, thread, origin, ahead, obstacles)) < 0) {
        return err_system(err, -result, "copy memory", "process %d", subject->inner);
    }
    return 0;
}

void memory_forget_content(struct memory *memory)
{
    for (size_t i = 0; i < memory->file_count; i++) {
        fd_close(&memory->files[i].fd);
    }
    fd_close(&memory->program);
    free(memory->pieces);
    memory->pieces = NULL;
    room_leave(&memory->early, memory->early_size);
    room_leave(&memory->late, memory->late_size);
    ranges_free(&memory->gone);
}

void memory_free(struct memory *memory)
{
    memory_forget_content(memory);
    for (size_t i = 0; i < memory->file_count; i++) {
        whereabouts_forget(&memory->files[i].where);
    }
    whereabouts_forget(&memory->program_where);
    free(memory->areas);
    free(memory->files);
    ranges_free(&memory->fresh);
    ranges_free(&memory->own);
    ranges_free(&memory->guards);
    *memory = (struct memory){.program = -1, .program_where.content.fd = -1};
}
