#include "kin.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "capture.h"
#include "family.h"
#include "fd.h"
#include "status.h"

#define CORE_DUMPED 0x80
#define FIRST_FIELD 4 /* of those after the command and the state */

/* ---- what /proc tells ---- */

enum field { FIELD_PARENT = 4, FIELD_EXIT_SIGNAL = 38, FIELD_EXIT_CODE = 52, FIELDS };

/* The command may hold anything. */
static int read_fields(pid_t pid, char *state, long fields[FIELDS])
{
    char path[64], text[2048];

    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    cleanup_fd fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    text[got > 0 ? got : 0] = '\0';
    char *at = strrchr(text, ')');
    if (!at || strlen(at) < 4) {
        return -ESRCH;
    }
    *state = at[2];
    at += 3;
    for (size_t i = FIRST_FIELD; i < FIELDS; i++) {
        fields[i] = strtol(at, &at, 10);
    }
    return 0;
}

/* ---- parents first ---- */

size_t kin_find(const struct kindred *kindred, pid_t pid)
{
    for (size_t i = 0; i < kindred->count; i++) {
        if (kindred->list[i].unit->subject->pid == pid) {
            return i;
        }
    }
    return SIZE_MAX;
}

/* From the first of its forefathers that is not placed yet down to itself. */
static size_t place(const struct kindred *from, size_t index, struct kin *to, size_t count)
{
    while (!from->list[index].placed) {
        size_t at = index, parent;
        while ((parent = kin_find(from, from->list[at].parent)) != SIZE_MAX && !from->list[parent].placed) {
            at = parent;
        }
        from->list[at].placed = true;
        to[count++] = from->list[at];
    }
    return count;
}

static int collect(struct kindred *kindred, const struct move *move, struct err *err)
{
    for (size_t i = 0; i < move->unit_count; i++) {
        struct unit *unit = &move->units[i];
        long fields[FIELDS];
        char state;
        if (!unit->subject || unit->thread != subject_thread(unit->subject) || !unit->inject) {
            continue;
        }
        int result = read_fields(unit->subject->pid, &state, fields);
        if (result < 0) {
            return err_system(err, -result, "look at process", "process %d", unit->subject->inner);
        }
        kindred->list[kindred->count++] = (struct kin){.unit = unit, .parent = (pid_t)fields[FIELD_PARENT]};
    }
    return 0;
}

int kin_list(struct kindred *kindred, const struct move *move, struct err *err)
{
    struct kindred found = {.list = calloc(move->unit_count + 1, sizeof *found.list)};

    *kindred = (struct kindred){.list = calloc(move->unit_count + 1, sizeof *kindred->list)};
    if (!found.list || !kindred->list) {
        die("out of memory");
    }
    int result = collect(&found, move, err);
    for (size_t i = 0; result == 0 && i < found.count; i++) {
        kindred->count = place(&found, i, kindred->list, kindred->count);
    }
    free(found.list);
    return result;
}

void kin_remove(struct kindred *kindred, size_t index)
{
    memmove(&kindred->list[index], &kindred->list[index + 1],
            (kindred->count - index - 1) * sizeof *kindred->list);
    kindred->count--;
}

void kin_free(struct kindred *kindred)
{
    free(kindred->list);
    *kindred = (struct kindred){0};
}

/* ---- what it is to its parent ---- */

static pid_t inner_parent(const struct kindred *kindred, size_t index, const struct move *move)
{
    const pid_t parent = kindred->list[index].parent;
    const size_t at = kin_find(kindred, parent);

    return at != SIZE_MAX                            ? kindred->list[at].unit->subject->inner
           : parent == move->sandbox->cell->init.pid ? 1
                                                     : 0;
}

static int stop_signal_of(const struct subject *subject)
{
    int signal = 0;

    for (size_t i = 0; i < subject->thread_count && signal == 0; i++) {
        signal = subject->threads[i].gone ? 0 : subject->threads[i].stop_signal;
    }
    return signal;
}

int kin_capture(struct image_process *process, const struct kindred *kindred, size_t index,
                const struct move *move)
{
    const struct subject *subject = kindred->list[index].unit->subject;
    long fields[FIELDS];
    char state;
    int result = read_fields(subject->pid, &state, fields);

    if (result < 0) {
        return result;
    }
    process->parent = inner_parent(kindred, index, move);
    process->exit_signal = process->parent > 1 ? (int)fields[FIELD_EXIT_SIGNAL] : SIGCHLD;
    process->stop_signal = stop_signal_of(subject);
    /* the kernel forgets it once the parent has waited for the stop */
    process->stop_is_news = process->stop_signal && fields[FIELD_EXIT_CODE] != 0;
    return 0;
}

/* ---- what has ended ---- */

static int read_zombie(struct image_zombie *zombie, pid_t pid, const long fields[FIELDS])
{
    const char *status = status_read(pid);
    char path[64];

    if (!status) {
        return -ESRCH;
    }
    zombie->pid = status_last_number(status, "\nNSpid:");
    zombie->group = status_last_number(status, "\nNSpgid:");
    zombie->session = status_last_number(status, "\nNSsid:");
    status_ids(status, "\nUid:", zombie->uids);
    status_ids(status, "\nGid:", zombie->gids);
    zombie->exit_signal = (int)fields[FIELD_EXIT_SIGNAL];
    zombie->status = (int)fields[FIELD_EXIT_CODE];
    snprintf(path, sizeof path, "/proc/%d/comm", pid);
    cleanup_fd comm = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = comm < 0 ? 0 : read(comm, zombie->name, sizeof zombie->name - 1);
    zombie->name[got > 0 ? got : 0] = '\0';
    zombie->name[strcspn(zombie->name, "\n")] = '\0';
    return 0;
}

/* A child that is none of those captured. */
static int add_ended(struct image *image, const struct move *move, const struct subject *parent, pid_t pid,
                     struct obstacles *obstacles)
{
    const struct subject *subject = freeze_find(&move->frozen, pid);
    long fields[FIELDS];
    char state;

    if (subject && subject->runs_on) {
        return 0;
    }
    if (read_fields(pid, &state, fields) < 0 || state != 'Z') {
        obstacle_add(obstacles, parent, "a child of it", false, "it is being made or ended at this moment");
        return 0;
    }
    if (fields[FIELD_EXIT_CODE] & CORE_DUMPED) {
        obstacle_add(obstacles, parent, "a child of it", true,
                     "it has ended with a core dump and was not waited for");
    }
    image->zombies = realloc(image->zombies, (image->zombie_count + 1) * sizeof *image->zombies);
    if (!image->zombies) {
        die("out of memory");
    }
    struct image_zombie *zombie = &image->zombies[image->zombie_count++];
    *zombie = (struct image_zombie){.parent = parent->inner};
    return read_zombie(zombie, pid, fields);
}

/* Whether there is a child, or this one, that goes on again without having been waited for since. */
static int goes_on(struct inject *inject, int which, pid_t child)
{
    const uint64_t at = inject_data(inject);
    siginfo_t info = {0};

    inject_clear(inject);
    inject_add_free(inject, SYS_waitid, (uint64_t)which, (uint64_t)child, at,
                    WCONTINUED | WNOHANG | WNOWAIT | __WALL, 0, 0);
    int result = subject_write(inject->subject, at, &info, sizeof info);
    result = result < 0 ? result : inject_run_clear(inject);
    result = result < 0 ? result : subject_read(inject->subject, at, &info, sizeof info);
    return result < 0 ? result : info.si_signo == SIGCHLD;
}

static int find_news(struct image *image, const struct kindred *kindred, const struct unit *unit)
{
    int result = goes_on(unit->inject, P_ALL, 0);

    for (size_t i = 0; result > 0 && i < kindred->count; i++) {
        const struct kin *child = &kindred->list[i];
        if (child->parent == unit->subject->pid) {
            const int told = goes_on(unit->inject, P_PID, child->unit->subject->inner);
            image->processes[i].going_on_is_news = told > 0;
            result = told < 0 ? told : result;
        }
    }
    return result < 0 ? result : 0;
}

/* The kernel lists the children of each thread by themselves. */
static int look_at_children(struct image *image, const struct kindred *kindred, const struct move *move,
                            const struct subject *parent, pid_t tid, struct obstacles *obstacles)
{
    char path[96];
    int result = 0, pid;

    snprintf(path, sizeof path, "/proc/%d/task/%d/children", parent->pid, tid);
    FILE *file = fopen(path, "re");
    while (file && result == 0 && fscanf(file, "%d", &pid) == 1) {
        const size_t at = kin_find(kindred, pid);
        if (at == SIZE_MAX) {
            result = add_ended(image, move, parent, pid, obstacles);
        } else if (tid != parent->pid && image->processes[at].threads &&
                   image->processes[at].threads[0].parent_death_signal) {
            obstacle_add(obstacles, kindred->list[at].unit->subject, "its parent", true,
                         "it is to be told of the end of a thread that is not the first one");
        }
    }
    if (file) {
        fclose(file);
    }
    return result;
}

static int find_ended(struct image *image, const struct kindred *kindred, const struct move *move,
                      struct obstacles *obstacles)
{
    int result = 0;

    for (size_t i = 0; i < kindred->count; i++) {
        const struct subject *subject = kindred->list[i].unit->subject;
        result = result < 0 ? result : find_news(image, kindred, kindred->list[i].unit);
        for (size_t j = 0; result == 0 && j < subject->thread_count; j++) {
            if (!subject->threads[j].gone) {
                result = look_at_children(image, kindred, move, subject, subject->threads[j].tid, obstacles);
            }
        }
    }
    return result;
}

/* ---- what is not for one process alone ---- */

static const struct {
    int what;
    const char *name;
} tables[] = {{KCMP_FILES, "its descriptors"}, {KCMP_FS, "its directories"}};

static int comparing;

static int by_table(const void *a, const void *b)
{
    const struct subject *const *left = a, *const *right = b;
    const long order = syscall(SYS_kcmp, (*left)->pid, (*right)->pid, comparing, 0, 0);

    return order == 1 ? -1 : order == 2;
}

static void find_shared(const struct kindred *kindred, struct obstacles *obstacles)
{
    const struct subject **sorted = malloc((kindred->count + 1) * sizeof *sorted);

    if (!sorted) {
        die("out of memory");
    }
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        for (size_t j = 0; j < kindred->count; j++) {
            sorted[j] = kindred->list[j].unit->subject;
        }
        comparing = tables[i].what;
        qsort(sorted, kindred->count, sizeof *sorted, by_table);
        for (size_t j = 1; j < kindred->count; j++) {
            if (by_table(&sorted[j - 1], &sorted[j]) == 0) {
                obstacle_add(obstacles, sorted[j], tables[i].name, true, "it shares them with process %d",
                             sorted[j - 1]->inner);
            }
        }
    }
    free(sorted);
}

/* A namespace of its own, or one that its children are to be in. */
static void find_spaces(const struct kindred *kindred, const struct move *move, struct obstacles *obstacles)
{
    const struct cell *cell = move->sandbox->cell;
    const struct {
        const char *name;
        int fd;
    } spaces[] = {{"user", cell->user_ns},     {"mnt", cell->mount_ns},
                  {"pid", cell->pid_ns},       {"net", cell->net_ns},
                  {"ipc", cell->ipc_ns},       {"uts", cell->uts_ns},
                  {"cgroup", cell->cgroup_ns}, {"pid_for_children", cell->pid_ns}};

    for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++) {
        struct stat wanted, st;
        if (fstat(spaces[i].fd, &wanted) < 0) {
            continue;
        }
        for (size_t j = 0; j < kindred->count; j++) {
            const struct subject *subject = kindred->list[j].unit->subject;
            char path[64];
            snprintf(path, sizeof path, "/proc/%d/ns/%s", kindred->list[j].unit->thread->tid, spaces[i].name);
            if (stat(path, &st) < 0 || st.st_ino != wanted.st_ino) {
                snprintf(path, sizeof path, "its %s namespace", spaces[i].name);
                obstacle_add(obstacles, subject, path, true, "it is not that of the sandbox");
            }
        }
    }
}

/* The number after which the sandbox's next process is called: the kernel tells it to those inside only. */
static int ask_last_pid(struct image *image, struct unit *unit)
{
    struct inject *inject = unit->inject;
    char text[16] = "";
    int number;
    cleanup_fd fd = open("/proc/sys/kernel/ns_last_pid", O_RDONLY | O_CLOEXEC);
    int result = fd < 0 ? -errno : hand_over(&unit->hand, &fd, 1, &number);

    if (result < 0) {
        return result;
    }
    inject_add(inject, SYS_read, (uint64_t)number, inject_data(inject), sizeof text - 1, 0, 0, 0);
    inject_add_free(inject, SYS_close, (uint64_t)number, 0, 0, 0, 0, 0);
    result = inject_run_clear(inject);
    if (result == 0) {
        result = subject_read(inject->subject, inject_data(inject), text, sizeof text - 1);
    }
    image->last_pid = (pid_t)strtol(text, NULL, 10);
    return result;
}

static void refuse(const struct image *image, const struct kindred *kindred, const struct member *member,
                   const char *reason, struct obstacles *obstacles)
{
    for (size_t i = 0; i < image->process_count; i++) {
        if (image->processes[i].pid == (member->zombie ? member->parent : member->pid)) {
            obstacle_add(obstacles, kindred->list[i].unit->subject, "its place among the processes", true,
                         "%s", reason);
            return;
        }
    }
    obstacle_add(obstacles, NULL, "the processes", true, "%s", reason);
}

static bool is_whole(const struct image *image)
{
    for (size_t i = 0; i < image->process_count; i++) {
        if (!image->processes[i].threads) {
            return false;
        }
    }
    return true;
}

/* Then its children have lost their place. */
static bool runs_on_somewhere(const struct move *move)
{
    for (size_t i = 0; i < move->frozen.count; i++) {
        if (move->frozen.subjects[i].runs_on) {
            return true;
        }
    }
    return false;
}

int kin_complete(struct image *image, const struct kindred *kindred, const struct move *move,
                 struct obstacles *obstacles, struct err *err)
{
    struct family family;
    const char *reason;
    const size_t before = obstacles->count;

    find_shared(kindred, obstacles);
    find_spaces(kindred, move, obstacles);
    int result = find_ended(image, kindred, move, obstacles);
    if (result == 0 && kindred->count > 0) {
        result = ask_last_pid(image, kindred->list[0].unit);
    }
    if (result < 0) {
        return err_system(err, -result, "look at families", "%s", move->sandbox->id);
    }
    if (obstacles->count == before && is_whole(image) && !runs_on_somewhere(move)) {
        const struct member *lost = family_plan(&family, image, &reason);
        if (lost) {
            refuse(image, kindred, lost, reason, obstacles);
        }
        family_free(&family);
    }
    return 0;
}
