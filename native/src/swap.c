/* What was delivered takes the places of the old descriptions. With `old` it is the other way round, which undoes that. */
#include <dirent.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "fd.h"
#include "move.h"

struct swap {
    struct unit *unit;
    bool old;
    size_t next; /* in `arrived` */
    struct err *err;
};

/* On the way back what could not be done forth need not succeed: where it has led is looked at afterwards. */
static void add_call(struct swap *swap, long number, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                     uint64_t e, uint64_t f)
{
    (swap->old ? inject_add_free : inject_add)(swap->unit->inject, number, a, b, c, d, e, f);
}

/* Keeps room in the batch for what belongs together. */
static int make_room(struct swap *swap, size_t calls)
{
    return swap->unit->inject->count + calls <= INJECT_CALLS ? 0 : unit_run(swap->unit, "swap", swap->err);
}

static uint64_t arrived(struct swap *swap)
{
    return (uint64_t)swap->unit->arrived[swap->next++];
}

static int swap_holders(struct move *move, size_t index, struct swap *swap)
{
    struct inject *inject = swap->unit->inject;

    for (size_t i = 0; i < move->holder_count; i++) {
        const struct holder *holder = &move->holders[i];
        if (holder->unit != index || !description_is_moved(holder->description)) {
            continue;
        }
        uint64_t number = arrived(swap);
        if (make_room(swap, 2) < 0) {
            return -1;
        }
        add_call(swap, SYS_dup3, number, (uint64_t)holder->fd, holder->close_on_exec ? O_CLOEXEC : 0, 0, 0,
                 0);
        inject_add_free(inject, SYS_close, number, 0, 0, 0, 0, 0);
    }
    return 0;
}

static int swap_mappings(struct move *move, size_t index, struct swap *swap)
{
    struct inject *inject = swap->unit->inject;

    for (size_t i = 0; i < move->mapping_count; i++) {
        const struct mapping *mapping = &move->mappings[i];
        if (mapping->unit != index || !description_is_moved(mapping->description)) {
            continue;
        }
        uint64_t number = arrived(swap);
        if (make_room(swap, 3 + MAPPING_LOOKS) < 0) {
            return -1;
        }
        if (mapping->locked) { /* or it would count twice for a moment */
            add_call(swap, SYS_munlock, mapping->start, mapping->end - mapping->start, 0, 0, 0, 0);
        }
        add_call(swap, SYS_mmap, mapping->start, mapping->end - mapping->start, (uint64_t)mapping->protection,
                 MAP_SHARED | MAP_FIXED, number, mapping->offset);
        maps_add_looks(inject, mapping);
        inject_add_free(inject, SYS_close, number, 0, 0, 0, 0, 0);
    }
    return 0;
}

static int swap_places(struct move *move, size_t index, struct swap *swap)
{
    struct inject *inject = swap->unit->inject;
    const uint64_t dot = inject_data(inject);

    for (int roots = 1; roots >= 0; roots--) {
        for (size_t i = 0; i < move->place_count; i++) {
            const struct place *place = &move->places[i];
            if (place->unit != index || place->is_root != (roots == 1) ||
                !description_is_moved(place->description)) {
                continue;
            }
            uint64_t number = arrived(swap);
            if (make_room(swap, 3) < 0) {
                return -1;
            }
            add_call(swap, SYS_fchdir, number, 0, 0, 0, 0, 0);
            if (place->is_root) {
                add_call(swap, SYS_chroot, dot, 0, 0, 0, 0, 0);
            }
            inject_add_free(inject, SYS_close, number, 0, 0, 0, 0, 0);
        }
    }
    return 0;
}

static int take_process_lock(size_t index, const struct description *description, struct swap *swap)
{
    for (size_t i = 0; i < description->lock_count; i++) {
        const struct lock *lock = &description->locks[i];
        if (lock->kind != LOCK_OF_PROCESS || lock->unit != index) {
            continue;
        }
        if (make_room(swap, 1) < 0) {
            return -1;
        }
        uint64_t at = inject_data(swap->unit->inject) + 64 + swap->unit->inject->count * sizeof(struct flock);
        int result = locks_add_call(swap->unit->inject, lock, at);
        if (result < 0) {
            return unit_failed(swap->unit, result, "lock", swap->err);
        }
    }
    return 0;
}

/* POSIX locks come last: closing any descriptor of a file drops those of the process on it. */
static int swap_locks(struct move *move, size_t index, struct swap *swap)
{
    for (size_t i = 0; i < MOVE_BUCKETS; i++) {
        for (const struct description *at = move->descriptions[i]; at; at = at->next_alike) {
            if (description_is_moved(at) && take_process_lock(index, at, swap) < 0) {
                return -1;
            }
        }
    }
    return 0;
}

/* The right to search a directory is asked of whoever enters it, also of one that stands in it already. */
static int open_ways(const struct move *move, size_t index, bool old, bool open)
{
    if (thread_is_capable(move->units[index].thread, CAP_DAC_OVERRIDE)) {
        return 0;
    }
    for (size_t i = 0; i < move->place_count; i++) {
        const struct description *description = move->places[i].description;
        const mode_t mode = description->st.st_mode & 07777, all = S_IXUSR | S_IXGRP | S_IXOTH;
        char link[32];
        if (move->places[i].unit != index || !description_is_moved(description) || (mode & all) == all) {
            continue;
        }
        snprintf(link, sizeof link, "/proc/self/fd/%d", old ? description->old : description->new);
        if (chmod(link, open ? mode | all : mode) < 0) {
            return -errno;
        }
    }
    return 0;
}

static int swap_all(struct move *move, size_t index, struct swap *swap)
{
    return swap_holders(move, index, swap) < 0 || swap_mappings(move, index, swap) < 0 ||
                   swap_places(move, index, swap) < 0
               ? -1
               : unit_run(swap->unit, "swap", swap->err);
}

static int swap_unit(struct move *move, size_t index, bool old, struct err *err)
{
    struct swap swap = {.unit = &move->units[index], .old = old, .err = err};
    static const char dot[] = ".";

    int result = subject_write(swap.unit->subject, inject_data(swap.unit->inject), dot, sizeof dot);
    result = result == 0 ? open_ways(move, index, old, true) : result;
    if (result < 0) {
        return unit_failed(swap.unit, result, "swap", err);
    }
    result = swap_all(move, index, &swap);
    int closed = open_ways(move, index, old, false);
    if (result == 0 && closed < 0) {
        return unit_failed(swap.unit, closed, "swap", err);
    }
    return result < 0 || swap_locks(move, index, &swap) < 0 ? -1 : unit_run(swap.unit, "lock", err);
}

/* The engine's own open files. */
static void swap_own(const struct move *move, bool old)
{
    for (size_t i = 0; i < move->holder_count; i++) {
        const struct holder *holder = &move->holders[i];
        if (!move->units[holder->unit].subject && description_is_moved(holder->description)) {
            dup3(old ? holder->description->old : holder->description->new, holder->fd, O_CLOEXEC);
        }
    }
}

int move_swap(struct move *move, bool old, struct err *err)
{
    for (size_t i = 0; i < move->unit_count; i++) {
        struct unit *unit = &move->units[i];
        if (!unit->inject || unit_is_gone(unit) || (old && !unit->swapped)) {
            continue;
        }
        unit->swapped = true;
        if (swap_unit(move, i, old, err) < 0 && !unit_is_gone(unit)) {
            return -1;
        }
    }
    swap_own(move, old);
    return 0;
}

static bool had(const struct unit *unit, int number)
{
    for (size_t i = 0; i < unit->number_count; i++) {
        if (unit->numbers[i] == number) {
            return true;
        }
    }
    return number == unit->hand.sockets[0] || number == unit->hand.sockets[1];
}

static void close_delivered(struct unit *unit)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/fd", unit->thread->tid);
    DIR *links = opendir(path);
    struct dirent *entry;
    inject_clear(unit->inject);
    while (links && (entry = readdir(links))) {
        int number = atoi(entry->d_name);
        if (entry->d_name[0] == '.' || had(unit, number)) {
            continue;
        }
        inject_add_free(unit->inject, SYS_close, (uint64_t)number, 0, 0, 0, 0, 0);
        if (unit->inject->count == INJECT_CALLS) {
            inject_run(unit->inject);
            inject_clear(unit->inject);
        }
    }
    if (links) {
        closedir(links);
    }
    inject_run(unit->inject);
    inject_clear(unit->inject);
}

/* Closing a descriptor of a file drops the POSIX locks on it, and some are of the same file as the old ones. */
void move_close_delivered(struct move *move)
{
    struct err err = {0};

    for (size_t i = 0; i < move->unit_count; i++) {
        struct swap swap = {.unit = &move->units[i], .err = &err};
        if (!swap.unit->inject || unit_is_gone(swap.unit)) {
            continue;
        }
        close_delivered(swap.unit);
        if (swap_locks(move, i, &swap) < 0 || unit_run(swap.unit, "lock", &err) < 0) {
            log_line("%s: %s", err.message, err.object);
        }
    }
}

static bool leads_back(const struct move *move, const struct description *description, const char *link)
{
    cleanup_fd fd = open(link, O_PATH | O_CLOEXEC);

    return fd >= 0 && move_tree_of(move, fd) == description->tree;
}

static bool was_swapped(const struct move *move, size_t index, const struct description *description)
{
    const struct unit *unit = &move->units[index];

    return unit->swapped && !unit_is_gone(unit) && description_is_moved(description);
}

bool move_is_back(const struct move *move)
{
    char link[96];
    bool back = true;

    for (size_t i = 0; back && i < move->holder_count; i++) {
        const struct holder *holder = &move->holders[i];
        if (was_swapped(move, holder->unit, holder->description)) {
            snprintf(link, sizeof link, "/proc/%d/fd/%d", move->units[holder->unit].thread->tid, holder->fd);
            back = leads_back(move, holder->description, link);
        }
    }
    for (size_t i = 0; back && i < move->mapping_count; i++) {
        const struct mapping *mapping = &move->mappings[i];
        if (was_swapped(move, mapping->unit, mapping->description)) {
            snprintf(link, sizeof link, "/proc/%d/map_files/%llx-%llx",
                     move->units[mapping->unit].thread->tid, (unsigned long long)mapping->start,
                     (unsigned long long)mapping->end);
            back = leads_back(move, mapping->description, link);
        }
    }
    for (size_t i = 0; back && i < move->place_count; i++) {
        const struct place *place = &move->places[i];
        if (was_swapped(move, place->unit, place->description)) {
            snprintf(link, sizeof link, "/proc/%d/%s", move->units[place->unit].thread->tid,
                     place->is_root ? "root" : "cwd");
            back = leads_back(move, place->description, link);
        }
    }
    return back;
}
