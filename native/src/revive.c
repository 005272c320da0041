#include "revive.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "birth.h"
#include "fault.h"
#include "fd.h"
#include "inet_socket.h"
#include "notice.h"
#include "segment.h"
#include "terminal.h"
#include "unix_socket.h"

static int done(const struct image_process *process, int result, const char *step, struct err *err)
{
    result = result < 0 ? result : fault_at(step);
    return result < 0 ? err_system(err, -result, step, "process %d (%s)", process->pid, process->command) : 0;
}

/* ---- threads ---- */

#define THREADS_AT_ONCE 64

static int make_threads(struct revived *revived)
{
    const struct image_process *process = revived->image;
    struct inject *inject = &revived->puppet.inject;
    const uint64_t flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;

    revived->threads = calloc(process->thread_count, sizeof *revived->threads);
    if (!revived->threads) {
        die("out of memory");
    }
    for (size_t from = 1; from < process->thread_count;) {
        size_t count = 0;
        int result = 0;
        for (; result == 0 && count < THREADS_AT_ONCE && from + count < process->thread_count; count++) {
            result = puppet_add_clone(inject, count * 128, flags, 0, process->threads[from + count].tid);
        }
        if (result < 0 || (result = inject_run(inject)) < 0 || inject->born_count != count) {
            inject_clear(inject);
            return result < 0 ? result : -ECHILD;
        }
        for (size_t i = 0; result == 0 && i < count; i++) {
            result = puppet_take(&revived->threads[revived->thread_count++], &revived->puppet,
                                 inject->born[i], true);
        }
        inject_clear(inject);
        if (result < 0) {
            return result;
        }
        from += count;
    }
    return 0;
}

/* ---- the whole ---- */

/* It stands, and has nothing but its memory and its threads. */
static int bring_open_things(struct revival *revival, struct revived *revived, const struct stage *stage,
                             struct err *err)
{
    const struct image_process *process = revived->image;
    uint64_t start = now_usec();

    if (done(process, bring_open(revival, revived, stage), "open descriptors", err) < 0 ||
        done(process, bring_places(revival, revived), "enter directories", err) < 0 ||
        done(process, bring_descriptors(revival, revived, stage), "bring descriptors", err) < 0 ||
        done(process, terminal_set_foreground(revival, revived), "set foreground", err) < 0) {
        return -1;
    }
    revival_spend(revival, PART_DESCRIPTORS, &start);
    return 0;
}

static int make_itself(struct revival *revival, struct revived *revived, struct err *err)
{
    const struct image_process *process = revived->image;
    uint64_t start = now_usec();

    hand_add_close(&revived->puppet.hand);
    if (done(process, restore_memory(revived), "restore memory", err) < 0 ||
        done(process, restore_signals(revived), "restore signals", err) < 0 ||
        done(process, restore_threads(revived), "restore threads", err) < 0) {
        return -1;
    }
    revival_spend(revival, PART_RESTORE, &start);
    return 0;
}

static void prepare(struct revival *revival, const struct image *image)
{
    const char *reason;

    *revival = (struct revival){.image = image};
    revival->processes = calloc(image->process_count + 1, sizeof *revival->processes);
    revival->opened = malloc((image->handle_count + 1) * sizeof *revival->opened);
    revival->finished = calloc(image->handle_count + 1, sizeof *revival->finished);
    revival->made = calloc(image->object_count + 1, sizeof *revival->made);
    /* which was found possible when it was captured */
    family_plan(&revival->family, image, &reason);
    revival->others = calloc(revival->family.count + 1, sizeof *revival->others);
    if (!revival->processes || !revival->opened || !revival->finished || !revival->made || !revival->others) {
        die("out of memory");
    }
    for (size_t i = 0; i < image->handle_count; i++) {
        revival->opened[i] = -1;
    }
    for (size_t i = 0; i < revival->family.count; i++) {
        puppet_none(&revival->others[i]);
    }
    for (; revival->count < image->process_count; revival->count++) {
        revival->processes[revival->count].image = &image->processes[revival->count];
        revival->processes[revival->count].watch = -1;
        puppet_none(&revival->processes[revival->count].puppet);
    }
}

static int make_all_threads(struct revival *revival, struct err *err)
{
    uint64_t start = now_usec();

    for (size_t i = 0; i < revival->count; i++) {
        struct revived *revived = &revival->processes[i];
        if (done(revived->image, restore_filters(revived), "restore filters", err) < 0 ||
            done(revived->image, make_threads(revived), "make threads", err) < 0) {
            return -1;
        }
    }
    revival_spend(revival, PART_THREADS, &start);
    return 0;
}

int revive_begin(struct revival *revival, const struct image *image, const struct stage *stage,
                 struct err *err)
{
    uint64_t start = now_usec();

    prepare(revival, image);
    int result = terminals_make(revival, stage);
    if (result < 0 || (result = fault_at("make terminals")) < 0) {
        return err_system(err, -result, "make terminals", "image %s", image->id);
    }
    if (births(revival, stage, err) < 0) {
        return -1;
    }
    revival_spend(revival, PART_FAMILY, &start);
    return make_all_threads(revival, err);
}

static bool lives(const struct puppet *puppet)
{
    return puppet->child.pid > 0;
}

bool revival_lives(const struct revival *revival)
{
    for (size_t i = 0; i < revival->count; i++) {
        const struct revived *revived = &revival->processes[i];
        for (size_t j = 0; j < revived->thread_count; j++) {
            if (!lives(&revived->threads[j])) {
                return false;
            }
        }
        if (!lives(&revived->puppet)) {
            return false;
        }
    }
    return true;
}

int revive_complete(struct revival *revival, const struct stage *stage, struct err *err)
{
    uint64_t start = now_usec();
    int result = segments_make(revival, stage);

    if (result < 0) {
        return err_system(err, -result, "make System V memory", "image %s", revival->image->id);
    }
    if ((result = unix_make(revival, stage)) < 0 || (result = inet_make(revival, stage)) < 0) {
        return err_system(err, -result, "make sockets", "image %s", revival->image->id);
    }
    revival_spend(revival, PART_SOCKETS, &start);
    for (size_t i = 0; i < revival->count; i++) {
        if (bring_open_things(revival, &revival->processes[i], stage, err) < 0) {
            return -1;
        }
    }
    if ((result = notices_ask(revival)) < 0) {
        return err_system(err, -result, "ask for signals", "image %s", revival->image->id);
    }
    for (size_t i = 0; i < revival->count; i++) {
        if (make_itself(revival, &revival->processes[i], err) < 0) {
            return -1;
        }
    }
    start = now_usec();
    if ((result = bring_settle(revival)) < 0 || (result = segments_settle(revival->image, stage->cell)) < 0 ||
        (result = terminals_finish(revival)) < 0 || (result = fault_at("settle descriptors")) < 0) {
        return err_system(err, -result, "settle descriptors", "%s", revival->image->id);
    }
    revival_spend(revival, PART_SETTLE, &start);
    return 0;
}

void revival_spend(struct revival *revival, enum revival_part part, uint64_t *start)
{
    const uint64_t now = now_usec();

    revival->spent[part] += now - *start;
    *start = now;
}

void revival_tell(const struct revival *revival, struct out *timings)
{
    static const char *const names[REVIVAL_PARTS] = {
        [PART_FORK] = "fork",
        [PART_ENTER] = "enter cell",
        [PART_FILL] = "fill memory",
        [PART_THREADS] = "make threads",
        [PART_DESCRIPTORS] = "bring descriptors",
        [PART_FAMILY] = "make family",
        [PART_SOCKETS] = "make sockets",
        [PART_SETTLE] = "settle descriptors",
        [PART_RESTORE] = "restore threads",
    };

    for (int i = 0; i < REVIVAL_PARTS; i++) {
        out_key_uint(timings, names[i], revival->spent[i]);
    }
}

static void let_go(struct puppet *puppet)
{
    child_unwatch(&puppet->child);
    if (puppet->thread.stop_pending) {
        syscall(SYS_tgkill, puppet->subject.pid, puppet->thread.tid, SIGSTOP);
    }
    ptrace(PTRACE_DETACH, puppet->thread.tid, 0, 0);
    puppet_end(puppet);
}

#define END_TRIES 1000
#define END_USEC 100

/* One that the others have outlived has ended before they go on. */
static void let_end(struct puppet *first)
{
    const pid_t pid = first->subject.pid;

    let_go(first);
    for (int i = 0; i < END_TRIES && !thread_has_ended(pid, pid); i++) {
        usleep(END_USEC);
    }
}

void revival_go(struct revival *revival)
{
    for (size_t i = 0; i < revival->count; i++) {
        struct revived *revived = &revival->processes[i];
        if (revived->image->threads[0].ended) {
            let_end(&revived->puppet);
        }
        for (size_t j = 0; j < revived->thread_count; j++) {
            let_go(&revived->threads[j]);
        }
        if (!revived->image->threads[0].ended) {
            let_go(&revived->puppet);
        }
    }
}

/* The end of the first thread is not told before those of the others are taken. */
static void end_process(struct revived *revived)
{
    if (revived->puppet.child.pid > 0) {
        kill(revived->puppet.child.pid, SIGKILL);
    }
    for (size_t i = 0; i < revived->thread_count; i++) {
        struct child *child = &revived->threads[i].child;
        if (child->pid > 0) {
            RETRY_EINTR(waitpid(child->pid, NULL, __WALL));
            child_unwatch(child);
        }
        puppet_end(&revived->threads[i]);
    }
    puppet_end(&revived->puppet);
}

void revival_end(struct revival *revival)
{
    for (size_t i = 0; i < revival->count; i++) {
        struct revived *revived = &revival->processes[i];
        end_process(revived);
        fd_close(&revived->watch);
        free(revived->threads);
    }
    for (size_t i = 0; i < revival->family.count; i++) {
        puppet_end(&revival->others[i]);
    }
    for (size_t i = 0; revival->image && i < revival->image->handle_count; i++) {
        fd_close(&revival->opened[i]);
    }
    for (size_t i = 0; revival->image && i < revival->image->object_count; i++) {
        if (revival->made[i].is_made) {
            fd_close(&revival->made[i].fds[0]);
            fd_close(&revival->made[i].fds[1]);
        }
    }
    terminals_forget(revival);
    free(revival->processes);
    free(revival->opened);
    free(revival->finished);
    free(revival->made);
    free(revival->others);
    family_free(&revival->family);
    *revival = (struct revival){0};
}
