#include "capture.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/ptrace.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "fd.h"
#include "lineage.h"
#include "memory.h"
#include "process.h"

#define SIGNALS 64

/* ---- what /proc tells ---- */

static const char *line_after(const char *status, const char *key)
{
    const char *at = strstr(status, key);

    return at ? at + strlen(key) : "";
}

static pid_t last_number(const char *line)
{
    pid_t last = 0;
    int used;

    for (pid_t value; sscanf(line, " %d%n", &value, &used) == 1 && line[0] != '\n'; line += used) {
        last = value;
    }
    return last;
}

/* Of the ids of the host those of the sandbox. */
static uint32_t inner_id(uint32_t id)
{
    return id - engine.uid_base;
}

static void parse_ids(const char *line, uint32_t ids[4])
{
    for (int i = 0; i < 4; i++) {
        char *end;
        ids[i] = inner_id((uint32_t)strtoul(line, &end, 10));
        line = end;
    }
}

static void parse_groups(struct credentials *credentials, const char *line)
{
    while (*line == '\t' || *line == ' ') {
        line++;
    }
    while (*line >= '0' && *line <= '9') {
        char *end;
        uint32_t id = inner_id((uint32_t)strtoul(line, &end, 10));
        credentials->groups =
            realloc(credentials->groups, (credentials->group_count + 1) * sizeof *credentials->groups);
        if (!credentials->groups) {
            die("out of memory");
        }
        credentials->groups[credentials->group_count++] = id;
        line = end + strspn(end, " ");
    }
}

static int read_status(pid_t tid, char status[8192])
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/status", tid);
    cleanup_fd fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, status, 8191);
    status[got > 0 ? got : 0] = '\0';
    return got > 0 ? 0 : -ESRCH;
}

static void parse_status(struct image_process *process, const char *status)
{
    struct credentials *credentials = &process->credentials;

    process->group = last_number(line_after(status, "\nNSpgid:"));
    process->session = last_number(line_after(status, "\nNSsid:"));
    process->umask = (mode_t)strtoul(line_after(status, "\nUmask:"), NULL, 8);
    parse_ids(line_after(status, "\nUid:"), credentials->uids);
    parse_ids(line_after(status, "\nGid:"), credentials->gids);
    parse_groups(credentials, line_after(status, "\nGroups:"));
    credentials->inheritable = strtoull(line_after(status, "\nCapInh:"), NULL, 16);
    credentials->permitted = strtoull(line_after(status, "\nCapPrm:"), NULL, 16);
    credentials->effective = strtoull(line_after(status, "\nCapEff:"), NULL, 16);
    credentials->bounding = strtoull(line_after(status, "\nCapBnd:"), NULL, 16);
    credentials->ambient = strtoull(line_after(status, "\nCapAmb:"), NULL, 16);
    credentials->no_new_privileges = strtoul(line_after(status, "\nNoNewPrivs:"), NULL, 10) != 0;
}

/* ---- threads ---- */

/* What only the thread itself can tell. */
static int ask_thread(struct image_thread *image, struct inject *inject)
{
    const uint64_t data = inject_data(inject);

    inject_clear(inject);
    inject_add(inject, SYS_sigaltstack, 0, data, 0, 0, 0, 0);
    inject_add(inject, SYS_prctl, PR_GET_TID_ADDRESS, data + 64, 0, 0, 0, 0);
    int result = inject_run(inject);
    inject_clear(inject);
    if (result < 0 || (result = subject_read(inject->subject, data, &image->alternate_stack,
                                             sizeof image->alternate_stack)) < 0) {
        return result;
    }
    return subject_read(inject->subject, data + 64, &image->clear_tid, sizeof image->clear_tid);
}

static int look_at_thread(struct image_thread *image, const struct thread *thread)
{
    struct __ptrace_rseq_configuration rseq;
    char path[64];

    image->tid = thread->inner;
    image->regs = thread->regs;
    image->mask = thread->mask;
    if (ptrace(PTRACE_GET_RSEQ_CONFIGURATION, thread->tid, sizeof rseq, &rseq) == sizeof rseq) {
        image->rseq = rseq.rseq_abi_pointer;
        image->rseq_size = rseq.rseq_abi_size;
        image->rseq_signature = rseq.signature;
    }
    syscall(SYS_get_robust_list, thread->tid, &image->robust_list, &image->robust_length);
    snprintf(path, sizeof path, "/proc/%d/comm", thread->tid);
    cleanup_fd fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? 0 : read(fd, image->name, sizeof image->name - 1);
    image->name[got > 0 ? got : 0] = '\0';
    image->name[strcspn(image->name, "\n")] = '\0';
    return arch_get_extended(thread->tid, &image->extended);
}

static int capture_thread(struct image_thread *image, struct thread *thread, struct inject *owner)
{
    static struct inject borrowed;
    int result;

    if (owner->thread == thread) {
        result = ask_thread(image, owner);
    } else {
        result = inject_borrow(&borrowed, owner, thread);
        if (result == 0) {
            result = ask_thread(image, &borrowed);
            int returned = inject_return(&borrowed);
            result = result < 0 ? result : returned;
        }
    }
    return result < 0 ? result : look_at_thread(image, thread);
}

static int capture_threads(struct image_process *process, const struct subject *subject,
                           struct inject *inject)
{
    process->threads = calloc(subject->thread_count, sizeof *process->threads);
    if (!process->threads) {
        die("out of memory");
    }
    /* the process's first thread comes first */
    for (int others = 0; others < 2; others++) {
        for (size_t i = 0; i < subject->thread_count; i++) {
            struct thread *thread = &subject->threads[i];
            if (thread->gone || (thread->tid != subject->pid) != (others == 1)) {
                continue;
            }
            int result = capture_thread(&process->threads[process->thread_count], thread, inject);
            if (result < 0) {
                return result;
            }
            process->thread_count++;
        }
    }
    return 0;
}

/* ---- processes ---- */

static int ask_process(struct image_process *process, struct inject *inject)
{
    const uint64_t data = inject_data(inject), timers = data + SIGNALS * sizeof *process->actions;

    inject_clear(inject);
    for (int i = 0; i < SIGNALS; i++) {
        inject_add(inject, SYS_rt_sigaction, (uint64_t)i + 1, 0,
                   data + (uint64_t)i * sizeof *process->actions, 8, 0, 0);
    }
    for (int i = 0; i < 3; i++) {
        inject_add(inject, SYS_getitimer, (uint64_t)i, timers + (uint64_t)i * sizeof *process->timers, 0, 0,
                   0, 0);
    }
    size_t brk = inject_add_free(inject, SYS_brk, 0, 0, 0, 0, 0, 0);
    size_t dumpable = inject_add_free(inject, SYS_prctl, PR_GET_DUMPABLE, 0, 0, 0, 0, 0);
    size_t bits = inject_add_free(inject, SYS_prctl, PR_GET_SECUREBITS, 0, 0, 0, 0, 0);
    int result = inject_run(inject);
    process->memory.map.brk = (uint64_t)inject->calls[brk].result;
    process->dumpable = (int)inject->calls[dumpable].result;
    process->credentials.securebits = (unsigned)inject->calls[bits].result;
    inject_clear(inject);
    if (result < 0 ||
        (result = subject_read(inject->subject, data, process->actions, sizeof process->actions)) < 0) {
        return result;
    }
    return subject_read(inject->subject, timers, process->timers, sizeof process->timers);
}

static pid_t inner_parent(const struct move *move, const char *status)
{
    pid_t parent = (pid_t)strtol(line_after(status, "\nPPid:"), NULL, 10);

    if (parent == move->sandbox->cell->init.pid) {
        return 1;
    }
    for (size_t i = 0; i < move->frozen.count; i++) {
        if (move->frozen.subjects[i].pid == parent) {
            return move->frozen.subjects[i].inner;
        }
    }
    return 0;
}

static void find_api_id(struct image_process *process, const struct move *move, pid_t host_pid)
{
    for (const struct process *at = move->sandbox->processes; at; at = at->next) {
        if (at->host_pid == host_pid && !at->ended && at->cell == move->sandbox->cell) {
            strcpy(process->api_id, at->id);
        }
    }
}

/* What it has in common with the state it came from is not copied. */
static int capture_memory(struct image_process *process, struct sandbox *sandbox, const struct unit *unit,
                          struct obstacles *obstacles, struct err *err)
{
    const struct lineage *lineage = lineage_of(sandbox, unit->subject->pid);
    const struct image_process *before = lineage_origin(lineage);
    const struct origin origin = {.process = before, .watched = lineage && lineage->watch >= 0};
    const bool has_origin = before && before->template;

    if (memory_capture(&process->memory, unit->subject, unit->thread, unit->inject->area,
                       has_origin ? &origin : NULL, obstacles, err) < 0) {
        return -1;
    }
    if (process->memory.grows) {
        strcpy(process->origin, lineage->image);
        process->origin_pid = before->pid;
    }
    return 0;
}

static int capture_process(struct image *image, struct image_process *process, struct move *move,
                           struct unit *unit, struct obstacles *obstacles, struct err *err)
{
    const struct subject *subject = unit->subject;
    static char status[8192];
    int result;

    process->pid = subject->inner;
    strcpy(process->command, subject->command);
    find_api_id(process, move, subject->pid);
    if (capture_memory(process, move->sandbox, unit, obstacles, err) < 0 ||
        handles_capture(image, process, move, unit, obstacles, err) < 0) {
        return -1;
    }
    if ((result = read_status(unit->thread->tid, status)) == 0) {
        parse_status(process, status);
        process->parent = inner_parent(move, status);
        process->nice = getpriority(PRIO_PROCESS, (id_t)unit->thread->tid);
        for (int i = 0; i < (int)RLIM_NLIMITS; i++) {
            prlimit(unit->thread->tid, i, NULL, &process->limits[i]);
        }
        result = ask_process(process, unit->inject);
    }
    if (result == 0) {
        result = capture_threads(process, subject, unit->inject);
    }
    if (result == 0) {
        lineage_watch(move->sandbox, unit->inject, &process->memory, image->id);
    }
    return result < 0 ? err_system(err, -result, "look at process", "process %d", subject->inner) : 0;
}

int capture(struct image *image, struct move *move, struct obstacles *obstacles, struct err *err)
{
    image->processes = calloc(move->frozen.count, sizeof *image->processes);
    if (!image->processes) {
        die("out of memory");
    }
    for (size_t i = 0; i < move->unit_count; i++) {
        struct unit *unit = &move->units[i];
        if (!unit->subject || unit->thread->gone || !unit->inject) {
            continue;
        }
        struct image_process *process = &image->processes[image->process_count++];
        process->memory.program = -1;
        if (capture_process(image, process, move, unit, obstacles, err) < 0) {
            return -1;
        }
    }
    if (obstacles->count == 0 && handles_complete(image, move, obstacles, err) < 0) {
        return -1;
    }
    return obstacles->count > 0 ? -1 : 0;
}
