#include "sound.h"

#include <fcntl.h>
#include <sched.h>
#include <string.h>

#include "areas.h"
#include "fd.h"
#include "handle.h"
#include "puppet.h"
#include "segment.h"
#include "terminal.h"

#define PID_MOST 4194304                /* the kernel's PID_MAX_LIMIT */
#define KERNEL_PAGES_BYTES (64 * 4096u) /* what there is room for when they are moved */

/* ---- lists in which nothing is twice ---- */

static int by_number(const void *a, const void *b)
{
    const int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;

    return (left > right) - (left < right);
}

static bool has_twice(int64_t *numbers, size_t count)
{
    qsort(numbers, count, sizeof *numbers, by_number);
    for (size_t i = 1; i < count; i++) {
        if (numbers[i - 1] == numbers[i]) {
            return true;
        }
    }
    return false;
}

static bool has_number(const int64_t *sorted, size_t count, int64_t number)
{
    return bsearch(&number, sorted, count, sizeof *sorted, by_number) != NULL;
}

/* ---- who there is ---- */

static const char *count_members(const struct image *image, size_t *ids)
{
    size_t threads = 0;

    for (size_t i = 0; i < image->process_count; i++) {
        const struct image_process *process = &image->processes[i];
        if (process->thread_count == 0 || process->threads[0].tid != process->pid) {
            return "a process has no thread";
        }
        threads += process->thread_count;
        for (size_t j = 0; j < process->thread_count; j++) {
            if (process->threads[j].ended && (j > 0 || process->thread_count == 1)) {
                return "a thread has ended and is there";
            }
        }
    }
    *ids = threads + image->zombie_count;
    return image->process_count + image->zombie_count > MEMBERS_MAX || threads > THREADS_MAX
               ? "it has too many processes"
               : NULL;
}

static bool is_pid(int64_t number)
{
    return number > 1 && number <= PID_MOST;
}

/* The cell's init has the first number, and leads nothing that is seen. */
static bool are_numbers(const struct image *image)
{
    bool are = image->last_pid > 0 && image->last_pid <= PID_MOST;

    for (size_t i = 0; i < image->process_count; i++) {
        const struct image_process *process = &image->processes[i];
        are = are && is_pid(process->group) && is_pid(process->session);
    }
    for (size_t i = 0; i < image->zombie_count; i++) {
        const struct image_zombie *zombie = &image->zombies[i];
        are = are && is_pid(zombie->group) && is_pid(zombie->session);
    }
    return are;
}

/* All ids of the image, ascending in the end. */
static bool are_ids_unique(const struct image *image, int64_t *ids)
{
    size_t count = 0;

    for (size_t i = 0; i < image->process_count; i++) {
        for (size_t j = 0; j < image->processes[i].thread_count; j++) {
            ids[count++] = image->processes[i].threads[j].tid;
        }
    }
    for (size_t i = 0; i < image->zombie_count; i++) {
        ids[count++] = image->zombies[i].pid;
    }
    return !has_twice(ids, count) && (count == 0 || (is_pid(ids[0]) && is_pid(ids[count - 1])));
}

static bool is_before(const struct image *image, size_t end, pid_t pid)
{
    for (size_t i = 0; i < end; i++) {
        if (image->processes[i].pid == pid) {
            return true;
        }
    }
    return false;
}

static bool have_parents(const struct image *image)
{
    for (size_t i = 0; i < image->process_count; i++) {
        const pid_t parent = image->processes[i].parent;
        if (parent != 0 && parent != 1 && !is_before(image, i, parent)) {
            return false;
        }
    }
    for (size_t i = 0; i < image->zombie_count; i++) {
        if (!is_before(image, image->process_count, image->zombies[i].parent)) {
            return false;
        }
    }
    return true;
}

static bool are_commands_unique(const struct image *image)
{
    for (size_t i = 0; i < image->process_count; i++) {
        const char *id = image->processes[i].api_id;
        for (size_t j = 0; id[0] && j < i; j++) {
            if (strcmp(id, image->processes[j].api_id) == 0) {
                return false;
            }
        }
    }
    return true;
}

static const char *members_flaw(const struct image *image)
{
    size_t count;
    const char *flaw = count_members(image, &count);

    if (flaw) {
        return flaw;
    }
    int64_t *ids = handle_keep((count + 1) * sizeof *ids);
    const bool is_sound =
        are_numbers(image) && are_ids_unique(image, ids) && have_parents(image) && are_commands_unique(image);
    free(ids);
    return is_sound ? NULL : "its processes do not fit together";
}

/* ---- what they take of the machine ---- */

#define IDLE_POLICY 5 /* SCHED_IDLE */
#define IO_CLASS(priority) ((priority) >> 13)
#define IO_REAL_TIME 1

/* What the engine has is what a sandbox may have; and who runs as everybody does may do so. */
struct share {
    int nice, oom_score_adjust;
    rlim_t nice_limit, real_time_limit;
};

static struct share own_share(void)
{
    struct share share = {.nice = getpriority(PRIO_PROCESS, 0)};
    struct rlimit nice_limit = {0}, real_time_limit = {0};
    char text[32] = "";
    cleanup_fd fd = open("/proc/self/oom_score_adj", O_RDONLY | O_CLOEXEC);

    if (fd >= 0 && read(fd, text, sizeof text - 1) > 0) {
        share.oom_score_adjust = (int)strtol(text, NULL, 10);
    }
    getrlimit(RLIMIT_NICE, &nice_limit);
    getrlimit(RLIMIT_RTPRIO, &real_time_limit);
    share.nice = share.nice < 0 ? share.nice : 0;
    share.oom_score_adjust = share.oom_score_adjust < 0 ? share.oom_score_adjust : 0;
    share.nice_limit = nice_limit.rlim_max;
    share.real_time_limit = real_time_limit.rlim_max;
    return share;
}

static bool is_modest_turn(const struct turn *turn, const struct share *share)
{
    const uint32_t policy = turn->scheduling.policy;

    return (policy == SCHED_OTHER || policy == SCHED_BATCH || policy == IDLE_POLICY) &&
           turn->nice >= share->nice && turn->nice < 20 && IO_CLASS(turn->io_priority) != IO_REAL_TIME;
}

/* The engine gives it back with rights that the process does not have. */
static const char *shares_flaw(const struct image *image)
{
    const struct share share = own_share();
    bool is_modest = true;

    for (size_t i = 0; i < image->process_count; i++) {
        const struct image_process *process = &image->processes[i];
        is_modest = is_modest && process->oom_score_adjust >= share.oom_score_adjust &&
                    process->limits[RLIMIT_NICE].rlim_max <= share.nice_limit &&
                    process->limits[RLIMIT_RTPRIO].rlim_max <= share.real_time_limit;
        for (size_t j = 0; is_modest && j < process->thread_count; j++) {
            is_modest = is_modest_turn(&process->threads[j].turn, &share);
        }
    }
    return is_modest ? NULL : "it takes more of the machine than a sandbox may";
}

/* ---- memory ---- */

static bool is_mapped(const struct image_handle *handle)
{
    return handle->kind == &handle_file || handle->kind == &handle_nameless ||
           handle->kind == &handle_memory || handle->kind == &handle_view;
}

static bool is_kernels(const char *name)
{
    return strcmp(name, "[vdso]") == 0 || strncmp(name, "[vvar", 5) == 0;
}

static bool are_kernels_sound(const struct memory *memory)
{
    const char *names[KERNEL_AREAS];
    size_t count = 0;
    uint64_t bytes = 0;

    for (size_t i = 0; i < memory->area_count; i++) {
        const struct area *area = &memory->areas[i];
        if (area->kind != AREA_KERNEL) {
            continue;
        }
        bytes += area->end - area->start;
        if (!is_kernels(area->name) || count == KERNEL_AREAS || bytes > KERNEL_PAGES_BYTES) {
            return false;
        }
        for (size_t j = 0; j < count; j++) {
            if (strcmp(names[j], area->name) == 0) {
                return false;
            }
        }
        names[count++] = area->name;
    }
    return true;
}

/* Where none are, injected code is to lie. */
static bool are_in(const struct ranges *pages, const struct ranges *areas)
{
    struct ranges outside = ranges_without(pages, areas);
    const bool are = outside.count == 0;

    ranges_free(&outside);
    return are;
}

static bool are_pages_sound(const struct memory *memory)
{
    struct ranges all = areas_private(memory);
    const bool are = are_in(&memory->own, &all) && are_in(&memory->guards, &all);

    ranges_free(&all);
    return are;
}

/* Each file is found by an area of it. */
static bool are_files_mapped(const struct memory *memory)
{
    bool *mapped = handle_keep(memory->file_count + 1);
    bool are = true;

    for (size_t i = 0; i < memory->area_count; i++) {
        if (memory->areas[i].kind == AREA_FILE) {
            mapped[memory->areas[i].file] = true;
        }
    }
    for (size_t i = 0; i < memory->file_count; i++) {
        are = are && mapped[i];
    }
    free(mapped);
    return are;
}

static bool are_shared_sound(const struct image *image, const struct memory *memory, const int64_t *segments)
{
    for (size_t i = 0; i < memory->area_count; i++) {
        const struct area *area = &memory->areas[i];
        if (area->kind == AREA_SHARED &&
            (area->segment ? !has_number(segments, image->segment_count, (int64_t)area->segment - 1)
                           : !is_mapped(&image->handles[area->handle]))) {
            return false;
        }
    }
    return true;
}

static const char *memories_flaw(const struct image *image)
{
    int64_t *segments = handle_keep((image->segment_count + 1) * sizeof *segments);
    bool is_sound;

    for (size_t i = 0; i < image->segment_count; i++) {
        segments[i] = image->segments[i].id;
    }
    is_sound = !has_twice(segments, image->segment_count);
    for (size_t i = 0; is_sound && i < image->process_count; i++) {
        const struct memory *memory = &image->processes[i].memory;
        is_sound = are_kernels_sound(memory) && are_pages_sound(memory) && are_files_mapped(memory) &&
                   are_shared_sound(image, memory, segments);
    }
    free(segments);
    return is_sound ? NULL : "its memory does not fit together";
}

/* ---- what they have open ---- */

static bool are_numbers_unique(const struct image_process *process)
{
    int64_t *numbers = handle_keep((process->descriptor_count + 1) * sizeof *numbers);

    for (size_t i = 0; i < process->descriptor_count; i++) {
        numbers[i] = process->descriptors[i].number;
    }
    const bool are = !has_twice(numbers, process->descriptor_count);
    free(numbers);
    return are;
}

static const char *handles_flaw(const struct image *image)
{
    bool is_sound = true;

    for (size_t i = 0; is_sound && i < image->process_count; i++) {
        const struct image_process *process = &image->processes[i];
        is_sound = are_numbers_unique(process) &&
                   (process->terminal == 0 || image->terminals[process->terminal - 1].had_slave);
    }
    for (size_t i = 0; is_sound && i < image->handle_count; i++) {
        const struct handle_kind *kind = image->handles[i].kind;
        is_sound = !kind->fits || kind->fits(image, i);
    }
    return is_sound ? NULL : "what it has open does not fit together";
}

const char *image_flaw(const struct image *image)
{
    const char *flaw = members_flaw(image);

    flaw = flaw ? flaw : shares_flaw(image);
    flaw = flaw ? flaw : memories_flaw(image);
    return flaw ? flaw : handles_flaw(image);
}
