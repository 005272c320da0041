/* The steps of a family's plan: each process is made, with its memory, its session and its group. */
#include "birth.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "fault.h"
#include "fd.h"
#include "fill.h"
#include "lineage.h"
#include "template.h"
#include "terminal.h"

static struct puppet *puppet_of(const struct revival *revival, const struct member *member)
{
    const size_t at = (size_t)(member - revival->family.members);

    return member->process ? &revival->processes[member->likeness].puppet : &revival->others[at];
}

static const struct member *maker_of(const struct revival *revival, const struct member *member)
{
    return member->maker == NOBODY ? NULL : &revival->family.members[member->maker];
}

static bool is_hidden(const struct member *member)
{
    return !member->process && !member->zombie;
}

static struct template *template_of(const struct revival *revival, const struct member *member)
{
    return revival->image->processes[member->likeness == NOBODY ? 0 : member->likeness].template;
}

/* The memory it has at its birth. */
static const struct memory *memory_at_birth(const struct revival *revival, const struct member *member)
{
    const struct member *maker = maker_of(revival, member);

    while (maker && !maker->process) {
        member = maker;
        maker = maker_of(revival, maker);
    }
    return maker ? &maker->process->memory
                 : &revival->image->processes[member->likeness == NOBODY ? 0 : member->likeness].memory;
}

/* ---- being born ---- */

static int bear(struct puppet *parent, struct puppet *child, uint64_t flags, int exit_signal, pid_t pid)
{
    struct inject *inject = &parent->inject;
    int result = puppet_add_clone(inject, 0, flags, (uint64_t)exit_signal, pid);

    result = result < 0 ? result : inject_run(inject);
    pid_t born = result == 0 && inject->born_count == 1 ? inject->born[0] : 0;
    inject_clear(inject);
    return result < 0 ? result : born ? puppet_take(child, parent, born, false) : -ECHILD;
}

/* `between` shares the memory of its maker and ends at once. What it leaves behind goes to the next that reaps. */
static int bear_orphan(struct puppet *between, struct puppet *child, int exit_signal, pid_t pid)
{
    int result = bear(between, child, 0, exit_signal, pid), ended = puppet_exit(between, 0);

    return result < 0 ? result : ended;
}

static int bear_between(struct puppet *maker, struct puppet *child, int exit_signal, pid_t pid, pid_t spare)
{
    struct puppet between;
    int result = bear(maker, &between, CLONE_VM, 0, spare);

    if (result < 0 || (result = bear_orphan(&between, child, exit_signal, pid)) < 0) {
        return result;
    }
    inject_add(&maker->inject, SYS_wait4, (uint64_t)spare, 0, __WALL | WNOHANG, 0, 0, 0);
    return inject_run_clear(&maker->inject);
}

/* Of a template: it is the engine's child, or nobody's. */
static int bear_from_template(struct revival *revival, const struct member *member, const struct stage *stage)
{
    struct puppet *template = &template_of(revival, member)->puppet;
    struct puppet *puppet = puppet_of(revival, member), between;
    const struct birthplace cell = {.pid_ns = stage->cell->pid_ns, .cgroup = stage->cgroup->v2_fd};

    if (!member->between) {
        return puppet_fork(puppet, template, &cell, CLONE_PARENT, member->pid);
    }
    int result = puppet_fork(&between, template, &cell, CLONE_PARENT | CLONE_VM, revival->family.spare);
    return result < 0 ? result : bear_orphan(&between, puppet, SIGCHLD, member->pid);
}

static int bear_from_maker(struct revival *revival, const struct member *member)
{
    struct puppet *maker = puppet_of(revival, maker_of(revival, member));
    struct puppet *puppet = puppet_of(revival, member);
    const int exit_signal = member->process  ? member->process->exit_signal
                            : member->zombie ? member->zombie->exit_signal
                                             : 0;

    if (member->between) {
        return bear_between(maker, puppet, exit_signal, member->pid, revival->family.spare);
    }
    return bear(maker, puppet, member->process ? 0 : CLONE_VM, exit_signal, member->pid);
}

/* ---- what it has from its birth on ---- */

#define ENTRIES (6 + CGROUP_MAX)

/* The socket by which it is given descriptors goes out of the way of those it is to have. */
static int move_hand(struct revived *revived, const struct hand *inherited)
{
    struct inject *inject = &revived->puppet.inject;
    int highest = (int)revived->image->descriptor_count + ENTRIES;

    for (size_t i = 0; i < revived->image->descriptor_count; i++) {
        int number = revived->image->descriptors[i].number;
        highest = number > highest ? number : highest;
    }
    const int moved = highest + 1;
    if (inherited->sockets[0] != moved) {
        inject_add(inject, SYS_dup3, (uint64_t)inherited->sockets[0], (uint64_t)moved, O_CLOEXEC, 0, 0, 0);
    }
    /* with what else it has from its birth */
    inject_add(inject, SYS_close_range, 0, (uint64_t)moved - 1, 0, 0, 0, 0);
    inject_add(inject, SYS_close_range, (uint64_t)moved + 1, ~0U, 0, 0, 0, 0);
    int result = inject_run_clear(inject);
    const int shared = hand_share(&revived->puppet.hand, inherited, inject, moved);
    return result < 0 ? result : shared;
}

/* One that stands for another has what its own maker has. */
static const struct hand *inherited_hand(const struct revival *revival, const struct member *member)
{
    const struct member *maker = maker_of(revival, member);

    while (maker && !maker->process) {
        member = maker;
        maker = maker_of(revival, maker);
    }
    return maker ? &puppet_of(revival, maker)->hand : &template_of(revival, member)->puppet.hand;
}

/* Whether it was born outside of the cell, but for its number. */
static bool is_outside(const struct revival *revival, const struct member *member)
{
    const struct member *maker = maker_of(revival, member);

    return !maker || (is_hidden(maker) && is_outside(revival, maker));
}

static int enter_cell(struct revived *revived, const struct stage *stage)
{
    const struct cell *cell = stage->cell;
    struct inject *inject = &revived->puppet.inject;
    int fds[ENTRIES] = {cell->user_ns, cell->mount_ns, cell->ipc_ns, cell->uts_ns, cell->cgroup_ns};
    int numbers[ENTRIES];
    size_t spaces = 5, count;
    static const char zero[] = "0";

    if (!cell->host_net) {
        fds[spaces++] = cell->net_ns;
    }
    count = spaces;
    for (int i = 0; i < stage->cgroup->enter_count; i++) {
        fds[count++] = stage->cgroup->enter_fds[i];
    }
    int result = hand_over(&revived->puppet.hand, fds, count, numbers);
    const uint64_t text = inject_data(inject);
    if (result < 0 || (result = subject_write(inject->subject, text, zero, sizeof zero)) < 0) {
        return result;
    }
    for (size_t i = spaces; i < count; i++) {
        inject_add(inject, SYS_write, (uint64_t)numbers[i], text, 1, 0, 0, 0);
    }
    for (size_t i = 0; i < spaces; i++) {
        inject_add(inject, SYS_setns, (uint64_t)numbers[i], 0, 0, 0, 0, 0);
    }
    for (size_t i = 0; i < count; i++) {
        inject_add(inject, SYS_close, (uint64_t)numbers[i], 0, 0, 0, 0, 0);
    }
    return inject_run_clear(inject);
}

static int fill(struct revival *revival, const struct member *member, const char **step)
{
    const struct memory *has = memory_at_birth(revival, member);
    const struct filling filling = {.puppet = puppet_of(revival, member),
                                    .memory = &member->process->memory,
                                    .has = has,
                                    .source = &member->process->template->puppet};

    return has == filling.memory ? 0 : fill_memory(&filling, step);
}

/* Where that cannot be told of pages that are not its template's, the next checkpoint copies all it has. */
static void watch(const struct revival *revival, const struct member *member, const struct stage *stage,
                  struct revived *revived)
{
    if (stage->is_watched || memory_at_birth(revival, member) != &member->process->memory) {
        revived->watch = lineage_watch_new(&revived->puppet.inject, &member->process->memory);
    }
}

static int make(struct revival *revival, const struct member *member, const struct stage *stage,
                const char **step)
{
    struct revived *revived = member->process ? &revival->processes[member->likeness] : NULL;
    uint64_t start = now_usec();

    *step = "make process";
    int result = member->maker == NOBODY ? bear_from_template(revival, member, stage)
                                         : bear_from_maker(revival, member);
    revival_spend(revival, PART_FORK, &start);
    if (result < 0 || !revived || (result = fault_at("make process")) < 0) {
        return result;
    }
    *step = "enter cell";
    if ((result = move_hand(revived, inherited_hand(revival, member))) < 0 ||
        (is_outside(revival, member) && (result = enter_cell(revived, stage)) < 0) ||
        (result = fault_at("enter cell")) < 0) {
        return result;
    }
    revival_spend(revival, PART_ENTER, &start);
    if ((result = fill(revival, member, step)) == 0) {
        watch(revival, member, stage, revived);
    }
    revival_spend(revival, PART_FILL, &start);
    return result;
}

/* ---- sessions and groups ---- */

/* The leader takes the session's terminal; the others have it from their birth, those that came before not. */
static int lead(struct revival *revival, const struct member *member)
{
    struct inject *inject = &puppet_of(revival, member)->inject;

    inject_add(inject, SYS_setsid, 0, 0, 0, 0, 0, 0);
    int result = inject_run_clear(inject);
    return result < 0 || !member->process
               ? result
               : terminal_take_control(revival, &revival->processes[member->likeness]);
}

static int join(struct revival *revival, const struct member *member, pid_t group)
{
    struct inject *inject = &puppet_of(revival, member)->inject;

    inject_add(inject, SYS_setpgid, 0, (uint64_t)group, 0, 0, 0, 0);
    return inject_run_clear(inject);
}

static int reap(struct revival *revival, const struct member *member)
{
    struct inject *inject = &puppet_of(revival, member)->inject;

    inject_add(inject, SYS_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0, 0);
    return inject_run_clear(inject);
}

/* ---- ends and stops ---- */

static const struct member *parent_of(const struct revival *revival, const struct member *member)
{
    for (size_t i = 0; i < revival->family.count; i++) {
        if (member->parent > 1 && revival->family.members[i].pid == member->parent) {
            return &revival->family.members[i];
        }
    }
    return NULL;
}

/* What the parent was told by the kernel just now, it was told long ago. */
static int forget_signal(struct puppet *parent, int signal)
{
    struct inject *inject = &parent->inject;
    const struct {
        uint64_t set;
        struct timespec none;
    } data = {.set = 1ULL << (signal - 1)};
    const uint64_t at = inject_data(inject);
    int result = subject_write(inject->subject, at, &data, sizeof data);

    if (result == 0) {
        inject_add_free(inject, SYS_rt_sigtimedwait, at, 0, at + sizeof data.set, sizeof data.set, 0, 0);
        result = inject_run_clear(inject);
    }
    return result;
}

static int end_zombie(struct revival *revival, const struct member *member)
{
    const struct image_zombie *zombie = member->zombie;
    const struct member *parent = parent_of(revival, member);
    struct puppet *puppet = puppet_of(revival, member);
    struct inject *inject = &puppet->inject;
    const uint64_t at = inject_data(inject);
    int result = subject_write(inject->subject, at, zombie->name, sizeof zombie->name);

    if (result < 0) {
        return result;
    }
    inject_add(inject, SYS_prctl, PR_SET_NAME, at, 0, 0, 0, 0);
    inject_add(inject, SYS_setresgid, zombie->gids[0], zombie->gids[1], zombie->gids[2], 0, 0, 0);
    inject_add(inject, SYS_setresuid, zombie->uids[0], zombie->uids[1], zombie->uids[2], 0, 0, 0);
    if ((result = inject_run_clear(inject)) < 0 || (result = puppet_exit(puppet, zombie->status)) < 0) {
        return result;
    }
    return zombie->exit_signal && parent ? forget_signal(puppet_of(revival, parent), zombie->exit_signal) : 0;
}

static int end_hidden(struct revival *revival, const struct member *member)
{
    const struct member *maker = maker_of(revival, member);
    int result = puppet_exit(puppet_of(revival, member), 0);

    if (result == 0 && maker) {
        struct inject *inject = &puppet_of(revival, maker)->inject;
        inject_add(inject, SYS_wait4, (uint64_t)member->pid, 0, __WALL | WNOHANG, 0, 0, 0);
        result = inject_run_clear(inject);
    }
    return result;
}

static int stop(struct revival *revival, const struct member *member)
{
    const struct image_process *process = member->process;
    const struct member *parent = parent_of(revival, member);
    /* by which one it was is not told any more */
    const int signal = process->stop_is_news ? process->stop_signal : SIGSTOP;
    int result = puppet_stop(puppet_of(revival, member), signal);

    if (result == 0 && process->going_on_is_news) {
        result = puppet_go_on(puppet_of(revival, member));
    }
    if (result < 0 || !parent) {
        return result;
    }
    struct puppet *puppet = puppet_of(revival, parent);
    if (process->stop_signal && !process->stop_is_news) {
        inject_add(&puppet->inject, SYS_wait4, (uint64_t)member->pid, 0, WUNTRACED | WNOHANG | __WALL, 0, 0,
                   0);
        result = inject_run_clear(&puppet->inject);
    }
    return result < 0 ? result : forget_signal(puppet, SIGCHLD);
}

/* ---- the whole ---- */

static int do_step(struct revival *revival, const struct step *at, const struct stage *stage,
                   const char **step)
{
    const struct member *member = &revival->family.members[at->member];

    switch (at->deed) {
    case DEED_MAKE:
        return make(revival, member, stage, step);
    case DEED_LEAD:
        *step = "make session";
        return lead(revival, member);
    case DEED_GATHER:
        *step = "make group";
        return join(revival, member, 0);
    case DEED_JOIN:
        *step = "join group";
        return join(revival, member, member->group);
    case DEED_REAP:
        *step = "reap";
        return reap(revival, member);
    case DEED_END:
        *step = "end";
        return member->zombie ? end_zombie(revival, member) : end_hidden(revival, member);
    }
    return -EINVAL;
}

static int failed(const struct member *member, int result, const char *step, struct err *err)
{
    return err_system(err, -result, step, "process %d (%s)", member->pid,
                      member->process  ? member->process->command
                      : member->zombie ? member->zombie->name
                                       : "leader");
}

/* Numbers go on where they were. */
static int set_last_pid(struct revival *revival)
{
    struct puppet *puppet = &revival->processes[0].puppet;
    struct inject *inject = &puppet->inject;
    char text[16];
    int number, len = snprintf(text, sizeof text, "%d", revival->image->last_pid);
    cleanup_fd fd = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);
    int result = fd < 0 ? -errno : hand_over(&puppet->hand, &fd, 1, &number);

    if (result < 0 || (result = subject_write(inject->subject, inject_data(inject), text, (size_t)len)) < 0) {
        return result;
    }
    inject_add(inject, SYS_write, (uint64_t)number, inject_data(inject), (uint64_t)len, 0, 0, 0);
    inject_add(inject, SYS_close, (uint64_t)number, 0, 0, 0, 0, 0);
    return inject_run_clear(inject);
}

int births(struct revival *revival, const struct stage *stage, struct err *err)
{
    const struct family *family = &revival->family;
    const char *step = "";
    int result;

    for (size_t i = 0; i < family->step_count; i++) {
        if ((result = do_step(revival, &family->steps[i], stage, &step)) < 0 ||
            (result = fault_at(step)) < 0) {
            return failed(&family->members[family->steps[i].member], result, step, err);
        }
    }
    for (size_t i = 0; i < family->count; i++) {
        const struct member *member = &family->members[i];
        if (member->process && (member->process->stop_signal || member->process->going_on_is_news) &&
            ((result = stop(revival, member)) < 0 || (result = fault_at("stop")) < 0)) {
            return failed(member, result, "stop", err);
        }
    }
    result = revival->count > 0 ? set_last_pid(revival) : 0;
    result = result < 0 ? result : fault_at("set last pid");
    return result < 0 ? err_system(err, -result, "set last pid", "%d", revival->image->last_pid) : 0;
}
