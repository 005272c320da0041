#include "capture.h"

#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "fault.h"
#include "fd.h"
#include "kin.h"
#include "lineage.h"
#include "memory.h"
#include "process.h"
#include "sound.h"
#include "status.h"
#include "template.h"
#include "terminal.h"

#define GET_NO_NEW_CODE 66    /* PR_GET_MDWE, since Linux 6.3 */
#define GET_MERGES 68         /* PR_GET_MEMORY_MERGE, since Linux 6.4 */
#define GET_BARRIERS (1 << 9) /* MEMBARRIER_CMD_GET_REGISTRATIONS, since Linux 6.3 */

/* ---- what /proc tells ---- */

static long read_number(pid_t tid, const char *name, int base)
{
    char path[64], text[32];

    snprintf(path, sizeof path, "/proc/%d/%s", tid, name);
    cleanup_fd fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    text[got > 0 ? got : 0] = '\0';
    return strtol(text, NULL, base);
}

/* What is lifted for our calls is not what the process has. */
static void look_at_limits(struct image_process *process, const struct unit *unit)
{
    for (int i = 0; i < (int)RLIM_NLIMITS; i++) {
        prlimit(unit->thread->tid, i, NULL, &process->limits[i]);
    }
    for (size_t i = 0; i < sizeof unit->limits / sizeof *unit->limits; i++) {
        if (unit->limits[i].is_lifted) {
            process->limits[unit->limits[i].resource] = unit->limits[i].was;
        }
    }
}

static int look_at_process(struct image_process *process, const struct unit *unit)
{
    const pid_t tid = unit->thread->tid;
    const char *status = status_read(tid);

    if (!status) {
        return -ESRCH;
    }
    process->group = status_last_number(status, "\nNSpgid:");
    process->session = status_last_number(status, "\nNSsid:");
    process->umask = (mode_t)strtoul(status_after(status, "\nUmask:"), NULL, 8);
    process->oom_score_adjust = (int)read_number(tid, "oom_score_adj", 10);
    process->core_filter = (unsigned)read_number(tid, "coredump_filter", 16);
    look_at_limits(process, unit);
    return pending_capture(&process->pending, tid, status, true);
}

/* ---- what it tells itself ---- */

static const int number_options[] = {PR_GET_DUMPABLE, PR_GET_THP_DISABLE, GET_NO_NEW_CODE, GET_MERGES};

static int ask_process(struct image_process *process, struct inject *inject)
{
    int *const numbers[] = {&process->dumpable, &process->no_huge_pages, &process->no_new_code,
                            &process->merges};
    const uint64_t data = inject_data(inject);

    inject_clear(inject);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        inject_add_free(inject, SYS_prctl, (uint64_t)number_options[i], 0, 0, 0, 0, 0);
    }
    inject_add(inject, SYS_prctl, PR_GET_CHILD_SUBREAPER, data, 0, 0, 0, 0);
    size_t barriers = inject_add_free(inject, SYS_membarrier, GET_BARRIERS, 0, 0, 0, 0, 0);
    size_t brk = inject_add(inject, SYS_brk, 0, 0, 0, 0, 0, 0);
    int result = inject_run(inject);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        *numbers[i] = inject->calls[i].result > 0 ? (int)inject->calls[i].result : 0;
    }
    process->barriers = inject->calls[barriers].result > 0 ? (unsigned)inject->calls[barriers].result : 0;
    process->memory.map.brk = (uint64_t)inject->calls[brk].result;
    inject_clear(inject);
    return result < 0
               ? result
               : subject_read(inject->subject, data, &process->reaps_orphans, sizeof process->reaps_orphans);
}

/* ---- the whole ---- */

static void find_api_id(struct image_process *process, const struct move *move, pid_t host_pid)
{
    for (const struct process *at = move->sandbox->processes; at; at = at->next) {
        if (at->host_pid == host_pid && !at->ended && at->cell == move->sandbox->cell) {
            strcpy(process->api_id, at->id);
        }
    }
}

/* What it has in common with the state it came from is not copied. */
static int capture_memory(struct image_process *process, const struct move *move, const struct unit *unit,
                          struct obstacles *obstacles, struct err *err)
{
    const struct lineage *lineage = lineage_of(move->sandbox, unit->subject->pid);
    const struct image_process *before = lineage_living_origin(lineage);
    const struct origin origin = {.process = before,
                                  .watched = lineage && lineage->watch >= 0,
                                  .more = lineage ? &lineage->before : NULL};

    if (memory_capture(&process->memory, unit->subject, unit->thread, unit->inject->area,
                       before ? &origin : NULL, ahead_of(move->ahead, unit->subject->pid), obstacles,
                       err) < 0) {
        return -1;
    }
    if (before && process->memory.grows) {
        strcpy(process->origin, lineage->image);
        process->origin_pid = before->pid;
        process->generation = before->generation + 1;
    }
    return 0;
}

static int done(const struct subject *subject, int result, const char *step, struct err *err)
{
    result = result < 0 ? result : fault_at(step);
    return result < 0 ? err_system(err, -result, step, "process %d", subject->inner) : 0;
}

/* Another thread of it has been entered by itself, and is an obstacle. */
static bool acts_apart(const struct move *move, const struct subject *subject)
{
    size_t count = 0;

    for (size_t i = 0; i < move->unit_count; i++) {
        count += move->units[i].subject == subject;
    }
    return count > 1;
}

static int capture_process(struct image *image, struct image_process *process, struct move *move,
                           struct unit *unit, struct obstacles *obstacles, struct err *err)
{
    const struct subject *subject = unit->subject;

    process->pid = subject->inner;
    strcpy(process->command, subject->command);
    find_api_id(process, move, subject->pid);
    if (capture_memory(process, move, unit, obstacles, err) < 0 || done(subject, 0, "copy memory", err) < 0 ||
        shared_capture(image, process, move, unit, obstacles, err) < 0 ||
        done(subject, 0, "look at shared memory", err) < 0 ||
        handles_capture(image, process, move, unit, obstacles, err) < 0 ||
        done(subject, 0, "look at descriptors", err) < 0 ||
        done(subject, look_at_process(process, unit), "look at process", err) < 0 ||
        done(subject, ask_process(process, unit->inject), "ask process", err) < 0) {
        return -1;
    }
    if (acts_apart(move, subject)) {
        return 0;
    }
    if (done(subject, threads_capture(process, subject, unit->inject, obstacles), "look at threads", err) <
            0 ||
        done(subject, signals_capture(process, subject, unit->inject, obstacles), "look at signals", err) <
            0) {
        return -1;
    }
    lineage_watch(move->sandbox, unit->inject, &process->memory, image->id);
    return done(subject, 0, "watch memory", err);
}

/* What an image has of a process is one memory, one table of descriptors and one place. */
static void check_sharing(const struct move *move, struct obstacles *obstacles)
{
    for (size_t i = 0; i < move->unit_count; i++) {
        const struct unit *unit = &move->units[i];
        if (!unit->subject || unit->thread->gone) {
            continue;
        }
        if (unit->thread != subject_thread(unit->subject)) {
            obstacle_add(obstacles, unit->subject, "a thread", true, "it has a working directory of its own");
        }
        for (size_t j = 0; j < i; j++) {
            const struct unit *other = &move->units[j];
            if (other->subject && other->subject != unit->subject && !other->thread->gone &&
                syscall(SYS_kcmp, unit->thread->tid, other->thread->tid, KCMP_VM, 0, 0) == 0) {
                obstacle_add(obstacles, unit->subject, "its memory", true,
                             "it is also that of another process");
            }
        }
    }
}

static void check_count(const char *what, size_t count, unsigned most, struct obstacles *obstacles)
{
    if (count > most) {
        obstacle_add(obstacles, NULL, what, true, "there are more than %u of them", most);
    }
}

/* Before anything of them is captured, which takes its time. */
static bool are_too_many(const struct kindred *kindred, struct obstacles *obstacles)
{
    const size_t before = obstacles->count;
    size_t threads = 0;

    for (size_t i = 0; i < kindred->count; i++) {
        threads += kindred->list[i].unit->subject->thread_count;
    }
    check_count("the processes", kindred->count, MEMBERS_MAX, obstacles);
    check_count("their threads", threads, THREADS_MAX, obstacles);
    return obstacles->count > before;
}

/* What ends meanwhile, by a kill, is not there. */
static int capture_all(struct image *image, struct kindred *kindred, struct move *move,
                       struct obstacles *obstacles, struct err *err)
{
    image->processes = calloc(kindred->count + 1, sizeof *image->processes);
    if (!image->processes) {
        die("out of memory");
    }
    while (image->process_count < kindred->count) {
        struct image_process *process = &image->processes[image->process_count];
        struct unit *unit = kindred->list[image->process_count++].unit;
        process->memory.program = process->memory.program_where.content.fd = -1;
        int result = capture_process(image, process, move, unit, obstacles, err);
        if (result == 0) {
            result = kin_capture(process, kindred, image->process_count - 1, move);
            result = done(unit->subject, result, "look at kin", err);
        }
        if (result == 0) {
            continue;
        }
        if (!thread_was_killed(unit->thread)) {
            return -1;
        }
        image_process_free(process);
        *process = (struct image_process){0};
        kin_remove(kindred, --image->process_count);
    }
    int result = kin_complete(image, kindred, move, obstacles, err);
    check_count("the processes", image->process_count + image->zombie_count, MEMBERS_MAX, obstacles);
    return result;
}

int capture(struct image *image, struct move *move, struct obstacles *obstacles, struct err *err)
{
    struct kindred kindred;

    check_sharing(move, obstacles);
    int result = kin_list(&kindred, move, err);
    if (result == 0 && are_too_many(&kindred, obstacles)) {
        result = -1;
    }
    if (result == 0) {
        kin_await_ends(&kindred, move, obstacles);
        result = capture_all(image, &kindred, move, obstacles, err);
    }
    kin_free(&kindred);
    result = result < 0 ? result : terminals_capture(image, move, obstacles, err);
    result = result < 0 ? result : ipc_capture(image, move->sandbox->cell, obstacles, err);
    result = result < 0 ? result : handles_complete(image, move, obstacles, err);
    return result < 0 || obstacles->count > 0 ? -1 : 0;
}
