/* Bringing descriptions into frozen processes, and there into the places of old ones. The same way leads back: with
 * `old` the old descriptions are delivered, which undoes a swap. */
#include <dirent.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "fd.h"
#include "move.h"

#define SPARE_DESCRIPTORS 16

static int unit_failed(const struct unit *unit, int result, const char *step, struct err *err)
{
    thread_was_killed(unit->thread);
    return err_system(err, -result, step, "process %d (%s)", unit->subject->inner, unit->subject->command);
}

static int run(struct unit *unit, const char *step, struct err *err)
{
    int result = inject_run(unit->inject);

    inject_clear(unit->inject);
    return result < 0 ? unit_failed(unit, result, step, err) : 0;
}

/* ---- what each needs ---- */

static bool is_moved(const struct description *description)
{
    return description->new >= 0;
}

static void want(struct unit *unit, struct description *description)
{
    if (unit->wanted_count % 32 == 0) {
        unit->wanted = realloc(unit->wanted, (unit->wanted_count + 32) * sizeof(struct description *));
        unit->arrived = realloc(unit->arrived, (unit->wanted_count + 32) * sizeof *unit->arrived);
        if (!unit->wanted || !unit->arrived) {
            die("out of memory");
        }
    }
    unit->wanted[unit->wanted_count++] = description;
}

/* In the order in which swap goes through them. */
static void find_wants(struct move *move)
{
    for (size_t i = 0; i < move->holder_count; i++) {
        const struct holder *holder = &move->holders[i];
        struct unit *unit = &move->units[holder->unit];
        if (is_moved(holder->description)) {
            want(unit, holder->description);
            unit->highest = holder->fd > unit->highest ? holder->fd : unit->highest;
        }
    }
    for (size_t i = 0; i < move->mapping_count; i++) {
        if (is_moved(move->mappings[i].description)) {
            want(&move->units[move->mappings[i].unit], move->mappings[i].description);
        }
    }
    for (int roots = 1; roots >= 0; roots--) { /* a root is entered before the directory below it */
        for (size_t i = 0; i < move->place_count; i++) {
            if (move->places[i].is_root == (roots == 1) && is_moved(move->places[i].description)) {
                want(&move->units[move->places[i].unit], move->places[i].description);
            }
        }
    }
}

/* ---- entering and leaving ---- */

/* Without the right to lift a hard limit that has to be enough. */
static int lift_limit(struct unit *unit, size_t index, int resource, rlim_t needed)
{
    struct lifted_limit *lifted = &unit->limits[index];
    struct rlimit limit;

    if (prlimit(unit->thread->tid, resource, NULL, &limit) < 0) {
        return -errno;
    }
    if (limit.rlim_cur > needed) {
        return 0;
    }
    const struct rlimit most = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
    const struct rlimit ample = {.rlim_cur = needed,
                                 .rlim_max = needed > limit.rlim_max ? needed : limit.rlim_max};
    if (prlimit(unit->thread->tid, resource, &ample, NULL) < 0 &&
        prlimit(unit->thread->tid, resource, &most, NULL) < 0) {
        return -errno;
    }
    *lifted = (struct lifted_limit){.is_lifted = true, .resource = resource, .was = limit};
    return 0;
}

/* What is delivered needs numbers for a moment, and may go to numbers above a limit that was lowered since. */
static int lift_descriptors(struct unit *unit)
{
    const rlim_t highest = (rlim_t)unit->highest;
    const rlim_t count = unit->number_count > highest ? unit->number_count : highest;
    struct rlimit limit;
    int result = lift_limit(unit, 0, RLIMIT_NOFILE, count + unit->wanted_count + SPARE_DESCRIPTORS);

    if (result == 0 && prlimit(unit->thread->tid, RLIMIT_NOFILE, NULL, &limit) < 0) {
        result = -errno;
    }
    return result < 0 ? result : limit.rlim_cur <= highest ? -EMFILE : 0;
}

/* What is injected needs memory. */
static int lift_limits(struct unit *unit)
{
    int result = lift_descriptors(unit);

    result = result < 0 ? result : lift_limit(unit, 1, RLIMIT_AS, RLIM_INFINITY - 1);
    return result < 0 ? result : lift_limit(unit, 2, RLIMIT_DATA, RLIM_INFINITY - 1);
}

static void restore_limits(struct unit *unit)
{
    for (size_t i = 0; i < sizeof unit->limits / sizeof *unit->limits; i++) {
        struct lifted_limit *lifted = &unit->limits[i];
        if (lifted->is_lifted) {
            prlimit(unit->thread->tid, lifted->resource, &lifted->was, NULL);
            lifted->is_lifted = false;
        }
    }
}

static int connect_unit(struct unit *unit, struct err *err)
{
    int result = hand_open(&unit->hand, unit->inject, unit->pidfd);

    return result < 0 ? unit_failed(unit, result, "make socket", err) : 0;
}

static int enter(struct unit *unit, struct err *err)
{
    if (unit->subject->memory < 0) {
        return unit_failed(unit, -ESRCH, "enter process", err);
    }
    unit->inject = malloc(sizeof *unit->inject);
    if (!unit->inject) {
        die("out of memory");
    }
    int result = lift_limits(unit);
    if (result == 0) {
        result = inject_begin(unit->inject, unit->subject, unit->thread, unit->vdso);
    }
    if (result < 0) {
        free(unit->inject);
        unit->inject = NULL;
        restore_limits(unit);
        return unit_failed(unit, result, "enter process", err);
    }
    return connect_unit(unit, err);
}

/* Returns whether the move must be given up for this unit's failure. */
static bool has_failed(struct move *move, const struct unit *unit, const struct err *err)
{
    if (unit->thread->gone) {
        return false;
    }
    if (err->num == EMFILE) {
        obstacle_add(&move->obstacles, unit->subject, "RLIMIT_NOFILE", true,
                     "it has as many descriptors open as it may have");
    } else if (err->num == ENOMEM) {
        obstacle_add(&move->obstacles, unit->subject, "its memory", true, "it has as much as it may have");
    }
    return true;
}

/* A process that was killed meanwhile needs nothing any more. */
static bool is_gone(const struct unit *unit)
{
    return unit->thread && unit->thread->gone;
}

int move_enter(struct move *move, struct err *err)
{
    find_wants(move);
    for (size_t i = 0; i < move->unit_count; i++) {
        struct unit *unit = &move->units[i];
        if (unit->subject && !is_gone(unit) && enter(unit, err) < 0 && has_failed(move, unit, err)) {
            return -1;
        }
    }
    return 0;
}

static int leave(struct unit *unit)
{
    int result = 0;

    if (unit->inject) {
        hand_close(&unit->hand);
    }
    if (unit->inject && !is_gone(unit)) {
        result = inject_end(unit->inject);
        restore_limits(unit);
    }
    free(unit->inject);
    free(unit->wanted);
    free(unit->arrived);
    unit->inject = NULL;
    unit->wanted = NULL;
    unit->arrived = NULL;
    unit->wanted_count = 0;
    return is_gone(unit) ? 0 : result;
}

int move_leave(struct move *move, struct err *err)
{
    int failed = 0;

    for (size_t i = 0; i < move->unit_count; i++) {
        int result = leave(&move->units[i]);
        if (result < 0) {
            failed = unit_failed(&move->units[i], result, "leave process", err);
        }
    }
    return failed;
}

/* ---- delivering ---- */

static int deliver(struct unit *unit, bool old, struct err *err)
{
    int *fds = malloc(unit->wanted_count * sizeof *fds);

    if (!fds) {
        die("out of memory");
    }
    for (size_t i = 0; i < unit->wanted_count; i++) {
        fds[i] = old ? unit->wanted[i]->old : unit->wanted[i]->new;
    }
    int result = hand_over(&unit->hand, fds, unit->wanted_count, unit->arrived);
    free(fds);
    return result < 0 ? unit_failed(unit, result, "receive descriptors", err) : 0;
}

/* What has not taken a place keeps no number that the old descriptions may need. */
static void close_arrived(struct unit *unit)
{
    inject_clear(unit->inject);
    for (size_t i = 0; i < unit->wanted_count; i++) {
        inject_add_free(unit->inject, SYS_close, (uint64_t)unit->arrived[i], 0, 0, 0, 0, 0);
        if (unit->inject->count == INJECT_CALLS || i + 1 == unit->wanted_count) {
            inject_run(unit->inject);
            inject_clear(unit->inject);
        }
    }
}

int move_deliver(struct move *move, bool old, struct err *err)
{
    for (size_t i = 0; i < move->unit_count; i++) {
        struct unit *unit = &move->units[i];
        if (!unit->inject || is_gone(unit) || (old && !unit->swapped)) {
            continue;
        }
        if (old) {
            close_arrived(unit);
        }
        if (deliver(unit, old, err) < 0 && has_failed(move, unit, err)) {
            return -1;
        }
    }
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

/* ---- swapping ---- */

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
    return swap->unit->inject->count + calls <= INJECT_CALLS ? 0 : run(swap->unit, "swap", swap->err);
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
        if (holder->unit != index || !is_moved(holder->description)) {
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
        if (mapping->unit != index || !is_moved(mapping->description)) {
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
            if (place->unit != index || place->is_root != (roots == 1) || !is_moved(place->description)) {
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
            if (is_moved(at) && take_process_lock(index, at, swap) < 0) {
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
        if (move->places[i].unit != index || !is_moved(description) || (mode & all) == all) {
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
               : run(swap->unit, "swap", swap->err);
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
    return result < 0 || swap_locks(move, index, &swap) < 0 ? -1 : run(swap.unit, "lock", err);
}

/* The engine's own open files. */
static void swap_own(const struct move *move, bool old)
{
    for (size_t i = 0; i < move->holder_count; i++) {
        const struct holder *holder = &move->holders[i];
        if (!move->units[holder->unit].subject && is_moved(holder->description)) {
            dup3(old ? holder->description->old : holder->description->new, holder->fd, O_CLOEXEC);
        }
    }
}

int move_swap(struct move *move, bool old, struct err *err)
{
    for (size_t i = 0; i < move->unit_count; i++) {
        struct unit *unit = &move->units[i];
        if (!unit->inject || is_gone(unit) || (old && !unit->swapped)) {
            continue;
        }
        unit->swapped = true;
        if (swap_unit(move, i, old, err) < 0 && !is_gone(unit)) {
            return -1;
        }
    }
    swap_own(move, old);
    return 0;
}

/* Closing a descriptor of a file drops the POSIX locks on it, and some are of the same file as the old ones. */
void move_close_delivered(struct move *move)
{
    struct err err = {0};

    for (size_t i = 0; i < move->unit_count; i++) {
        struct swap swap = {.unit = &move->units[i], .err = &err};
        if (!swap.unit->inject || is_gone(swap.unit)) {
            continue;
        }
        close_delivered(swap.unit);
        if (swap_locks(move, i, &swap) < 0 || run(swap.unit, "lock", &err) < 0) {
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

    return unit->swapped && !is_gone(unit) && is_moved(description);
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
