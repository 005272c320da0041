/* Bringing descriptions into frozen processes. The same way leads back: with `old` the old ones are delivered. */
#include <sys/resource.h>
#include <sys/syscall.h>

#include "fd.h"
#include "move.h"

#define SPARE_DESCRIPTORS 16

int unit_failed(const struct unit *unit, int result, const char *step, struct err *err)
{
    thread_was_killed(unit->thread);
    return err_system(err, -result, step, "process %d (%s)", unit->subject->inner, unit->subject->command);
}

int unit_run(struct unit *unit, const char *step, struct err *err)
{
    int result = inject_run(unit->inject);

    inject_clear(unit->inject);
    return result < 0 ? unit_failed(unit, result, step, err) : 0;
}

/* ---- what each needs ---- */

bool description_is_moved(const struct description *description)
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
        if (description_is_moved(holder->description)) {
            want(unit, holder->description);
            unit->highest = holder->fd > unit->highest ? holder->fd : unit->highest;
        }
    }
    for (size_t i = 0; i < move->mapping_count; i++) {
        if (description_is_moved(move->mappings[i].description)) {
            want(&move->units[move->mappings[i].unit], move->mappings[i].description);
        }
    }
    for (int roots = 1; roots >= 0; roots--) { /* a root is entered before the directory below it */
        for (size_t i = 0; i < move->place_count; i++) {
            if (move->places[i].is_root == (roots == 1) &&
                description_is_moved(move->places[i].description)) {
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

    if (result < 0) {
        return result;
    }
    if (prlimit(unit->thread->tid, RLIMIT_NOFILE, NULL, &limit) < 0) {
        return -errno;
    }
    return limit.rlim_cur <= highest ? -EMFILE : 0;
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
bool unit_is_gone(const struct unit *unit)
{
    return unit->thread && unit->thread->gone;
}

int move_enter(struct move *move, struct err *err)
{
    find_wants(move);
    for (size_t i = 0; i < move->unit_count; i++) {
        struct unit *unit = &move->units[i];
        if (unit->subject && !unit_is_gone(unit) && enter(unit, err) < 0 && has_failed(move, unit, err)) {
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
    if (unit->inject && !unit_is_gone(unit)) {
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
    return unit_is_gone(unit) ? 0 : result;
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
        if (!unit->inject || unit_is_gone(unit) || (old && !unit->swapped)) {
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
