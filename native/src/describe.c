/* What an image says of the processes, as bytes: all but their memory and what lies in files of its own. */
#include "describe.h"

#include <limits.h>
#include <linux/filter.h>
#include <string.h>
#include <unistd.h>

#include "capture.h"
#include "handle.h"
#include "kin.h"
#include "family.h"
#include "segment.h"
#include "sound.h"
#include "terminal.h"

#define PAGE_BYTES 4096u
#define BUFFER_BYTES (64u * 1024)
#define TASK_END 0x7ffffffff000ULL
#define NSEC_PER_SEC 1000000000L
#define DESCRIPTOR_MAX (1 << 29) /* the kernel's own limit is below */
#define BARRIERS_MAX ((1u << 16) - 1)
#define TERMINALS_MAX 4096u
#define SIGNALS 64
#define TIME_MAX (INT64_MAX / NSEC_PER_SEC - 1) /* seconds: the most that the kernel counts in nanoseconds */
#define OF_LOG 2u                               /* SECCOMP_FILTER_FLAG_LOG */

/* What an item takes at least. */
#define PROCESS_BYTES sizeof(((struct image_process *)NULL)->actions)
#define HANDLE_BYTES 12u
#define OBJECT_BYTES 6u
#define ZOMBIE_BYTES 15u
#define TERMINAL_BYTES TERMIOS_BYTES
#define SEGMENT_BYTES 8u

/* ---- memory ---- */

static void pack_time(struct pack *pack, struct timespec *time)
{
    PACK(pack, time->tv_sec);
    PACK(pack, time->tv_nsec);
    pack_check(pack, time->tv_nsec >= 0 && time->tv_nsec < NSEC_PER_SEC, "a time that is none");
}

static void pack_whereabouts(struct pack *pack, struct whereabouts *where)
{
    if (pack->is_reading) {
        where->content.fd = -1;
        where->is_known = true;
    }
    pack_raw(pack, &where->identity, sizeof where->identity);
    if (pack->is_compared) {
        return;
    }
    pack_string(pack, &where->path);
    if (where->path) {
        pack_tree(pack, &where->tree);
        PACK(pack, where->size);
        pack_time(pack, &where->changed);
    } else {
        PACK(pack, where->content.size);
        pack_check(pack, where->content.size >= 0, "a file has no size");
        looks_pack(pack, &where->looks);
    }
}

static void pack_file(struct pack *pack, struct area_file *file)
{
    if (pack->is_reading) {
        file->fd = -1;
    }
    pack_whereabouts(pack, &file->where);
}

static bool is_sound(const struct area *area, const struct memory *memory)
{
    return area->start < area->end && area->end <= TASK_END && area->start % PAGE_BYTES == 0 &&
           area->end % PAGE_BYTES == 0 && area->offset % PAGE_BYTES == 0 && area->kind <= AREA_KERNEL &&
           (area->protection & ~7) == 0 && area->looks < 2 * LOOK_DROPPABLE &&
           (area->kind != AREA_FILE || area->file < memory->file_count) &&
           area->segment <= (area->kind == AREA_SHARED ? (size_t)INT_MAX + 1 : 0) &&
           (area->kind != AREA_MEMORY || !area->shared);
}

static void pack_area(struct pack *pack, struct area *area)
{
    uint64_t gap = (area->start - pack->address) / PAGE_BYTES;
    uint64_t pages = (area->end - area->start) / PAGE_BYTES;

    PACK(pack, gap);
    PACK(pack, pages);
    pack_check(pack, gap <= TASK_END / PAGE_BYTES && pages <= TASK_END / PAGE_BYTES,
               "an area lies outside of memory");
    area->start = pack->address + gap * PAGE_BYTES;
    area->end = pack->address = area->start + pages * PAGE_BYTES;
    PACK(pack, area->offset);
    PACK(pack, area->kind);
    PACK(pack, area->shared);
    PACK(pack, area->protection);
    PACK(pack, area->looks);
    PACK(pack, area->file);
    PACK(pack, area->segment);
    PACK(pack, area->may_write);
    pack_text(pack, area->name, sizeof area->name);
    if (area->kind == AREA_SHARED && !area->segment) {
        pack_index(pack, &area->handle, pack->image->handle_count, false);
    }
    pack_check(pack, pack->failure || is_sound(area, pack->memory), "an area that no memory has");
}

/* The kernel makes one of what lies side by side, or not. */
static bool is_one(const struct area *area, const struct area *next)
{
    const bool follows =
        area->kind == AREA_MEMORY || next->offset == area->offset + (area->end - area->start);

    return area->end == next->start && area->kind == next->kind && area->kind < AREA_SHARED && follows &&
           area->shared == next->shared && area->protection == next->protection &&
           area->looks == next->looks && (area->kind == AREA_MEMORY || area->file == next->file) &&
           area->may_write == next->may_write;
}

static void compare_areas(struct pack *pack, struct memory *memory)
{
    pack->memory = memory;
    pack->address = 0;
    for (size_t i = 0; i < memory->area_count;) {
        struct area whole = memory->areas[i++];
        while (i < memory->area_count && is_one(&whole, &memory->areas[i])) {
            whole.end = memory->areas[i++].end;
        }
        pack_area(pack, &whole);
    }
}

static void pack_areas(struct pack *pack, struct memory *memory)
{
    pack->memory = memory;
    pack->address = 0;
    PACK_LIST(pack, memory->areas, memory->area_count, pack_area);
}

static void pack_map(struct pack *pack, struct prctl_mm_map *map)
{
    __u64 *const fields[] = {&map->start_code, &map->end_code,  &map->start_data,  &map->end_data,
                             &map->start_brk,  &map->brk,       &map->start_stack, &map->arg_start,
                             &map->arg_end,    &map->env_start, &map->env_end};

    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        PACK(pack, *fields[i]);
    }
}

static void pack_memory(struct pack *pack, struct memory *memory)
{
    PACK_LIST(pack, memory->files, memory->file_count, pack_file);
    if (pack->is_compared) {
        compare_areas(pack, memory);
    } else {
        pack_areas(pack, memory);
    }
    pack_ranges(pack, &memory->own);
    pack_ranges(pack, &memory->guards);
    pack_map(pack, &memory->map);
    PACK(pack, memory->auxv_size);
    pack_check(pack, memory->auxv_size <= sizeof memory->auxv, "it has too long a vector");
    pack_raw(pack, memory->auxv, pack->failure ? 0 : memory->auxv_size);
    PACK(pack, memory->locks_future);
    pack_whereabouts(pack, &memory->program_where);
}

/* ---- threads ---- */

static void pack_filter(struct pack *pack, struct image_filter *filter)
{
    size_t bytes = filter->length * sizeof *filter->code;

    pack_bytes(pack, (uint8_t **)&filter->code, &bytes);
    filter->length = (uint16_t)(bytes / sizeof *filter->code);
    pack_check(pack, filter->length * sizeof *filter->code == bytes, "a filter is of another length");
    PACK(pack, filter->flags);
    pack_check(pack, (filter->flags & ~OF_LOG) == 0, "a filter is of another kind");
}

static void pack_group(struct pack *pack, uint32_t *group)
{
    PACK(pack, *group);
}

static void pack_credentials(struct pack *pack, struct credentials *credentials)
{
    for (int i = 0; i < 4; i++) {
        PACK(pack, credentials->uids[i]);
        PACK(pack, credentials->gids[i]);
    }
    PACK_LIST(pack, credentials->groups, credentials->group_count, pack_group);
    PACK(pack, credentials->inheritable);
    PACK(pack, credentials->permitted);
    PACK(pack, credentials->effective);
    PACK(pack, credentials->bounding);
    PACK(pack, credentials->ambient);
    PACK(pack, credentials->securebits);
    PACK(pack, credentials->no_new_privileges);
    PACK_LIST(pack, credentials->filters, credentials->filter_count, pack_filter);
}

static void pack_signal(struct pack *pack, siginfo_t *signal)
{
    pack_raw(pack, signal, sizeof *signal);
    pack_check(pack, pack->failure || (signal->si_signo > 0 && signal->si_signo <= SIGNALS),
               "a signal that is none");
}

static void pack_pending(struct pack *pack, struct pending *pending)
{
    PACK_LIST(pack, pending->list, pending->count, pack_signal);
}

static void pack_turn(struct pack *pack, struct turn *turn)
{
    pack_raw(pack, &turn->scheduling, sizeof turn->scheduling);
    PACK(pack, turn->nice);
    PACK(pack, turn->io_priority);
    PACK(pack, turn->processors_size);
    pack_check(pack, turn->processors_size <= sizeof turn->processors, "it has too many processors");
    pack_raw(pack, turn->processors, pack->failure ? 0 : turn->processors_size);
    PACK(pack, turn->timer_slack);
}

static void pack_thread(struct pack *pack, struct image_thread *thread)
{
    PACK(pack, thread->tid);
    pack_raw(pack, &thread->regs, sizeof thread->regs);
    pack_bytes(pack, &thread->extended.data, &thread->extended.size);
    pack_check(pack, thread->extended.size <= ARCH_EXTENDED_MAX, "it has too many registers");
    PACK(pack, thread->mask);
    pack_raw(pack, &thread->alternate_stack, sizeof thread->alternate_stack);
    PACK(pack, thread->clear_tid);
    PACK(pack, thread->robust_list);
    PACK(pack, thread->robust_length);
    PACK(pack, thread->rseq);
    PACK(pack, thread->rseq_size);
    PACK(pack, thread->rseq_signature);
    pack_text(pack, thread->name, sizeof thread->name);
    PACK(pack, thread->ended);
    pack_credentials(pack, &thread->credentials);
    pack_pending(pack, &thread->pending);
    pack_turn(pack, &thread->turn);
    pack_raw(pack, &thread->dispatch, sizeof thread->dispatch);
    PACK(pack, thread->parent_death_signal);
    PACK(pack, thread->time_stamps);
    PACK(pack, thread->personality);
}

/* ---- processes ---- */

static void pack_timer(struct pack *pack, struct image_timer *timer)
{
    const struct timespec *const times[] = {&timer->left.it_interval, &timer->left.it_value};

    PACK(pack, timer->id);
    PACK(pack, timer->clock);
    PACK(pack, timer->notify);
    PACK(pack, timer->signal);
    PACK(pack, timer->tid);
    PACK(pack, timer->value);
    pack_time(pack, &timer->left.it_interval);
    pack_time(pack, &timer->left.it_value);
    PACK(pack, timer->has_fired);
    for (int i = 0; i < 2; i++) {
        pack_check(pack, times[i]->tv_sec >= 0 && times[i]->tv_sec <= TIME_MAX, "a time that is none");
    }
    pack_check(pack, timer->id >= 0, "a timer has no number");
}

static void pack_descriptor(struct pack *pack, struct image_descriptor *descriptor)
{
    PACK(pack, descriptor->number);
    pack_check(pack, descriptor->number >= 0 && descriptor->number <= DESCRIPTOR_MAX,
               "a descriptor has no number");
    PACK(pack, descriptor->close_on_exec);
    pack_index(pack, &descriptor->handle, pack->image->handle_count, false);
}

static void pack_lock(struct pack *pack, struct lock *lock)
{
    PACK(pack, lock->write);
    PACK(pack, lock->start);
    PACK(pack, lock->length);
    PACK(pack, lock->fd);
    lock->kind = LOCK_OF_PROCESS;
}

static void pack_limits(struct pack *pack, struct image_process *process)
{
    for (size_t i = 0; i < RLIM_NLIMITS; i++) {
        PACK(pack, process->limits[i].rlim_cur);
        PACK(pack, process->limits[i].rlim_max);
    }
    for (size_t i = 0; i < sizeof process->intervals / sizeof *process->intervals; i++) {
        struct itimerval *interval = &process->intervals[i];
        PACK(pack, interval->it_interval.tv_sec);
        PACK(pack, interval->it_interval.tv_usec);
        PACK(pack, interval->it_value.tv_sec);
        PACK(pack, interval->it_value.tv_usec);
    }
}

static void pack_options(struct pack *pack, struct image_process *process)
{
    PACK(pack, process->umask);
    PACK(pack, process->dumpable);
    PACK(pack, process->no_huge_pages);
    PACK(pack, process->no_new_code);
    PACK(pack, process->merges);
    PACK(pack, process->reaps_orphans);
    PACK(pack, process->barriers);
    PACK(pack, process->oom_score_adjust);
    PACK(pack, process->core_filter);
    pack_check(pack, process->dumpable >= 0 && process->dumpable <= 2 && process->barriers <= BARRIERS_MAX,
               "an option that no process has");
}

static bool stops(int signal)
{
    return signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
}

static void pack_kin(struct pack *pack, struct image_process *process)
{
    PACK(pack, process->pid);
    PACK(pack, process->parent);
    PACK(pack, process->group);
    PACK(pack, process->session);
    PACK(pack, process->exit_signal);
    PACK(pack, process->stop_signal);
    PACK(pack, process->stop_is_news);
    PACK(pack, process->going_on_is_news);
    pack_check(pack, process->exit_signal >= 0 && process->exit_signal <= SIGNALS, "a signal that is none");
    pack_check(pack, stops(process->stop_signal) || (process->stop_signal == 0 && !process->stop_is_news),
               "it was stopped by what stops nobody");
}

static void pack_process(struct pack *pack, struct image_process *process)
{
    if (pack->is_reading) {
        process->memory.program = -1;
        process->memory.program_where.content.fd = -1;
    }
    pack_kin(pack, process);
    pack_text(pack, process->command, sizeof process->command);
    pack_api_id(pack, process->api_id, true);
    pack_memory(pack, &process->memory);
    PACK_LIST(pack, process->threads, process->thread_count, pack_thread);
    pack_raw(pack, process->actions, sizeof process->actions);
    pack_pending(pack, &process->pending);
    pack_limits(pack, process);
    PACK_LIST(pack, process->timers, process->timer_count, pack_timer);
    pack_options(pack, process);
    PACK_LIST(pack, process->descriptors, process->descriptor_count, pack_descriptor);
    PACK_LIST(pack, process->locks, process->lock_count, pack_lock);
    pack_index(pack, &process->root, pack->image->handle_count, true);
    pack_index(pack, &process->directory, pack->image->handle_count, true);
    PACK(pack, process->terminal);
    pack_check(pack, process->terminal <= pack->image->terminal_count, "it names what is not there");
}

/* It has ended by itself, or by a signal that ends. */
static bool is_end(int status)
{
    const int signal = status & 0x7f;

    return signal == 0 ? (status & ~0xff00) == 0
                       : status == signal && signal <= SIGNALS && !stops(signal) && signal != SIGCHLD &&
                             signal != SIGCONT && signal != SIGURG && signal != SIGWINCH;
}

static void pack_zombie(struct pack *pack, struct image_zombie *zombie)
{
    PACK(pack, zombie->pid);
    PACK(pack, zombie->parent);
    PACK(pack, zombie->group);
    PACK(pack, zombie->session);
    PACK(pack, zombie->status);
    PACK(pack, zombie->exit_signal);
    pack_check(pack, is_end(zombie->status) && zombie->exit_signal >= 0 && zombie->exit_signal <= SIGNALS,
               "it has ended as nobody does");
    for (int i = 0; i < 4; i++) {
        PACK(pack, zombie->uids[i]);
        PACK(pack, zombie->gids[i]);
    }
    pack_text(pack, zombie->name, sizeof zombie->name);
}

/* ---- what they have in common ---- */

static void pack_notice(struct pack *pack, struct notice *notice)
{
    PACK(pack, notice->is_asked);
    PACK(pack, notice->is_async);
    PACK(pack, notice->type);
    PACK(pack, notice->signal);
    PACK(pack, notice->pid);
    PACK(pack, notice->user);
    PACK(pack, notice->effective_user);
}

static void pack_handle(struct pack *pack, struct image_handle *handle)
{
    char name[24] = "";

    if (handle->kind) {
        strcpy(name, handle->kind->name);
    }
    pack_text(pack, name, sizeof name);
    handle->kind = handle_kind_of(name);
    pack_check(pack, handle->kind != NULL, "it has something open of a kind that is not known");
    PACK(pack, handle->flags);
    pack_notice(pack, &handle->notice);
    if (handle->kind) {
        handle->kind->pack(pack, handle);
    }
}

static void pack_object(struct pack *pack, struct image_object *object)
{
    char name[24] = "";

    if (object->kind) {
        strcpy(name, object->kind->name);
    }
    pack_text(pack, name, sizeof name);
    object->kind = object_kind_of(name);
    pack_check(pack, object->kind != NULL, "it has an object of a kind that is not known");
    if (object->kind) {
        object->kind->pack(pack, object);
    }
}

static void pack_terminal(struct pack *pack, struct image_terminal *terminal)
{
    if (pack->is_reading) {
        terminal->master = -1;
    }
    PACK(pack, terminal->number);
    pack_check(pack, terminal->number < TERMINALS_MAX, "a terminal that is not there");
    pack_api_id(pack, terminal->process, true);
    pack_raw(pack, terminal->termios, sizeof terminal->termios);
    pack_raw(pack, &terminal->size, sizeof terminal->size);
    pack_id(pack, &terminal->uid);
    pack_id(pack, &terminal->gid);
    PACK(pack, terminal->mode);
    PACK(pack, terminal->has_slave);
    PACK(pack, terminal->had_slave);
    PACK(pack, terminal->locked);
    PACK(pack, terminal->packets);
    PACK(pack, terminal->exclusive);
    PACK(pack, terminal->foreground);
}

static void pack_segment(struct pack *pack, struct image_segment *segment)
{
    if (pack->is_reading) {
        segment->content.fd = -1;
    }
    PACK(pack, segment->id);
    PACK(pack, segment->key);
    PACK(pack, segment->size);
    PACK(pack, segment->mode);
    pack_check(pack, segment->id >= 0 && segment->size > 0 && segment->size <= TASK_END,
               "a segment that is none");
    pack_id(pack, &segment->uid);
    pack_id(pack, &segment->creator_uid);
    pack_id(pack, &segment->gid);
    pack_id(pack, &segment->creator_gid);
    segment->content.size = (off_t)segment->size;
}

/* ---- the whole ---- */

/* Each list speaks of items of others: how long all are is known first. */
void image_pack(struct pack *pack, struct image *image)
{
    pack->image = image;
    PACK_COUNT(pack, image->processes, image->process_count, PROCESS_BYTES);
    PACK_COUNT(pack, image->zombies, image->zombie_count, ZOMBIE_BYTES);
    PACK_COUNT(pack, image->handles, image->handle_count, HANDLE_BYTES);
    PACK_COUNT(pack, image->objects, image->object_count, OBJECT_BYTES);
    PACK_COUNT(pack, image->terminals, image->terminal_count, TERMINAL_BYTES);
    PACK_COUNT(pack, image->segments, image->segment_count, SEGMENT_BYTES);
    PACK(pack, image->last_pid);
    PACK_ITEMS(pack, image->processes, image->process_count, pack_process);
    PACK_ITEMS(pack, image->zombies, image->zombie_count, pack_zombie);
    PACK_ITEMS(pack, image->handles, image->handle_count, pack_handle);
    PACK_ITEMS(pack, image->objects, image->object_count, pack_object);
    PACK_ITEMS(pack, image->terminals, image->terminal_count, pack_terminal);
    PACK_ITEMS(pack, image->segments, image->segment_count, pack_segment);
    const char *flaw = pack->is_reading && !pack->failure ? image_flaw(image) : NULL;
    pack_check(pack, !flaw, flaw);
}

/* ---- contents ---- */

static void add_content(struct contents *contents, struct content *content)
{
    contents->list = realloc(contents->list, (contents->count + 1) * sizeof *contents->list);
    if (!contents->list) {
        die("out of memory");
    }
    contents->list[contents->count++] = content;
}

static void add_whereabouts(struct contents *contents, struct whereabouts *where)
{
    if (where->is_known && !where->path) {
        add_content(contents, &where->content);
    }
}

struct contents image_contents(struct image *image)
{
    struct contents contents = {0};

    for (size_t i = 0; i < image->object_count; i++) {
        const struct image_object *object = &image->objects[i];
        if (object->kind->content) {
            add_content(&contents, object->kind->content(object->kept));
        }
    }
    for (size_t i = 0; i < image->segment_count; i++) {
        add_content(&contents, &image->segments[i].content);
    }
    for (size_t i = 0; i < image->process_count; i++) {
        struct memory *memory = &image->processes[i].memory;
        for (size_t j = 0; j < memory->file_count; j++) {
            add_whereabouts(&contents, &memory->files[j].where);
        }
        add_whereabouts(&contents, &memory->program_where);
    }
    return contents;
}

/* ---- comparing ---- */

static bool is_same_content(const struct content *a, const struct content *b)
{
    static uint8_t left[BUFFER_BYTES], right[BUFFER_BYTES];

    for (off_t at = 0; at < a->size; at += (off_t)BUFFER_BYTES) {
        const ssize_t got = pread(a->fd, left, sizeof left, at),
                      other = pread(b->fd, right, sizeof right, at);
        if (got <= 0 || got != other || memcmp(left, right, (size_t)got) != 0) {
            return false;
        }
    }
    return true;
}

/* Files that are mapped do not change under those who map them alone. */
static bool contents_are_the_same(struct image *a, struct image *b)
{
    struct contents left = image_contents(a), right = image_contents(b);
    const size_t count = a->object_count + a->segment_count;
    bool is_same = true;

    for (size_t i = 0; is_same && i < count && i < left.count && i < right.count; i++) {
        is_same = left.list[i]->size == right.list[i]->size && is_same_content(left.list[i], right.list[i]);
    }
    free(left.list);
    free(right.list);
    return is_same;
}

bool image_says_the_same(struct image *a, struct image *b)
{
    struct pack one = {.is_compared = true}, other = {.is_compared = true};

    image_pack(&one, a);
    image_pack(&other, b);
    const bool is_same = !one.failure && !other.failure && one.out.len == other.out.len &&
                         memcmp(one.out.data, other.out.data, one.out.len) == 0;
    pack_free(&one);
    pack_free(&other);
    return is_same && contents_are_the_same(a, b);
}
