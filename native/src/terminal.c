#include "terminal.h"

/* not termios.h, which has another struct termios */
#include <asm/termbits.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fd.h"
#include "process.h"

#define SLAVE_MAJOR 136

_Static_assert(sizeof(struct termios2) == TERMIOS_BYTES, "as the kernel has it");
_Static_assert(sizeof(struct winsize) == sizeof(((struct image_terminal *)0)->size), "as the kernel has it");

/* ---- capturing ---- */

size_t terminal_of(struct image *image, unsigned number)
{
    for (size_t i = 0; i < image->terminal_count; i++) {
        if (image->terminals[i].number == number) {
            return i;
        }
    }
    image->terminals = realloc(image->terminals, (image->terminal_count + 1) * sizeof *image->terminals);
    if (!image->terminals) {
        die("out of memory");
    }
    image->terminals[image->terminal_count] = (struct image_terminal){.number = number, .master = -1};
    return image->terminal_count++;
}

int terminal_look(struct image_terminal *terminal, int fd)
{
    int exclusive;

    if (ioctl(fd, TCGETS2, terminal->termios) < 0 || ioctl(fd, TIOCGWINSZ, &terminal->size) < 0 ||
        ioctl(fd, TIOCGEXCL, &exclusive) < 0) {
        return -errno;
    }
    terminal->exclusive |= exclusive != 0;
    return 0;
}

/* What only the master tells. */
static int look_at_master(struct image_terminal *terminal, int master)
{
    struct pollfd events = {.fd = master, .events = POLLIN};
    int locked, packets;

    if (ioctl(master, TIOCGPTLCK, &locked) < 0 || ioctl(master, TIOCGPKT, &packets) < 0 ||
        poll(&events, 1, 0) < 0) {
        return -errno;
    }
    terminal->locked = locked != 0;
    terminal->packets = packets != 0;
    terminal->had_slave |= terminal->has_slave || events.revents & POLLHUP;
    return 0;
}

static int look_at_place(struct image_terminal *terminal, const struct cell *cell)
{
    char name[16];
    struct stat st;

    snprintf(name, sizeof name, "%u", terminal->number);
    if (fstatat(cell->pts, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return -errno;
    }
    terminal->uid = st.st_uid;
    terminal->gid = st.st_gid;
    terminal->mode = st.st_mode;
    return 0;
}

/* Those of commands that run, also when nobody has them open. */
static int find_terminals_of_commands(struct image *image, const struct sandbox *sandbox)
{
    for (const struct process *process = sandbox->processes; process; process = process->next) {
        unsigned number;
        if (process->terminal < 0 || process->cell != sandbox->cell) {
            continue;
        }
        if (ioctl(process->terminal, TIOCGPTN, &number) < 0) {
            return -errno;
        }
        struct image_terminal *terminal = &image->terminals[terminal_of(image, number)];
        strcpy(terminal->process, process->id);
        terminal->master = fcntl(process->terminal, F_DUPFD_CLOEXEC, 0);
        int result = terminal->master < 0 ? -errno : terminal_look(terminal, terminal->master);
        if (result < 0) {
            return result;
        }
    }
    return 0;
}

/* Of /proc/PID/stat, in the numbers of the engine. */
static int read_control(pid_t pid, unsigned *device, pid_t *foreground)
{
    char path[64], text[1024];

    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    cleanup_fd fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    text[got > 0 ? got : 0] = '\0';
    const char *at = strrchr(text, ')');
    int encoded;
    if (!at || sscanf(at + 1, " %*c %*d %*d %*d %d %d", &encoded, foreground) != 2) {
        return -ESRCH;
    }
    *device = (unsigned)encoded;
    return 0;
}

static pid_t inner_group(const struct image *image, const struct move *move, pid_t group)
{
    for (size_t i = 0; i < move->unit_count; i++) {
        const struct subject *subject = move->units[i].subject;
        if (!subject || getpgid(subject->pid) != group) {
            continue;
        }
        for (size_t j = 0; j < image->process_count; j++) {
            if (image->processes[j].pid == subject->inner) {
                return image->processes[j].group;
            }
        }
    }
    return 0;
}

static int find_control(struct image *image, struct image_process *process, const struct move *move,
                        const struct subject *subject, struct obstacles *obstacles)
{
    unsigned device;
    pid_t foreground;
    int result = read_control(subject->pid, &device, &foreground);

    if (result < 0 || device == 0) {
        return result;
    }
    const unsigned number = (device & 0xff) | ((device >> 12) & 0xfff00);
    for (size_t i = 0; i < image->terminal_count; i++) {
        if (image->terminals[i].number == number && ((device >> 8) & 0xfff) == SLAVE_MAJOR) {
            process->terminal = i + 1;
            image->terminals[i].had_slave = true;
            image->terminals[i].foreground = inner_group(image, move, foreground);
            return 0;
        }
    }
    obstacle_add(obstacles, subject, "controlling terminal", true, "it is not one of the sandbox's /dev/pts");
    return 0;
}

static int find_controls(struct image *image, const struct move *move, struct obstacles *obstacles)
{
    int result = 0;

    for (size_t i = 0; result == 0 && i < move->unit_count; i++) {
        const struct subject *subject = move->units[i].subject;
        for (size_t j = 0; subject && result == 0 && j < image->process_count; j++) {
            if (image->processes[j].pid == subject->inner) {
                result = find_control(image, &image->processes[j], move, subject, obstacles);
            }
        }
    }
    return result;
}

/* Types the bytes in once more: as they are, and nobody sees it. What tells of stopping and starting is left alone, for a
 * master that is told of changes to it. */
static int type_again(int slave, const struct termios2 *looks, const char *bytes, size_t count)
{
    struct termios2 plain = *looks;

    plain.c_iflag &= IXON;
    plain.c_lflag = ICANON;
    for (size_t i = 0; i < sizeof plain.c_cc; i++) {
        plain.c_cc[i] = i == VSTART || i == VSTOP ? plain.c_cc[i] : 0;
    }
    int result = ioctl(slave, TCSETS2, &plain) < 0 ? -errno : 0;
    for (size_t i = 0; result == 0 && i < count; i++) {
        result = ioctl(slave, TIOCSTI, &bytes[i]) < 0 ? -errno : 0;
    }
    return ioctl(slave, TCSETS2, looks) < 0 ? -errno : result;
}

/* How much of a line there is whose end was not typed yet. The kernel tells only who takes lines as they come, and to take
 * them so for a moment would end the line: it is taken out and typed again. */
static int count_half_line(int slave)
{
    char bytes[4096];
    struct termios2 looks;
    int count = 0;

    if (ioctl(slave, TCGETS2, &looks) < 0) {
        return -errno;
    }
    if (!(looks.c_lflag & ICANON)) {
        return 0;
    }
    struct termios2 raw = looks;
    raw.c_lflag &= ~(tcflag_t)ICANON;
    raw.c_cc[VMIN] = raw.c_cc[VTIME] = 0;
    if (ioctl(slave, TCSETS2, &raw) < 0) {
        return -errno;
    }
    if (ioctl(slave, FIONREAD, &count) == 0 && count > 0) {
        count = (int)read(slave, bytes, sizeof bytes);
    }
    int result = ioctl(slave, TCSETS2, &looks) < 0 ? -errno : 0;
    if (result == 0 && count > 0) {
        result = type_again(slave, &looks, bytes, (size_t)count);
    }
    return result < 0 ? result : count;
}

/* What is on its way between two programs inside. */
static int check_bytes(const struct image_terminal *terminal, const struct subject *subject,
                       struct obstacles *obstacles)
{
    char object[32];
    int incoming = 0;
    struct pollfd events = {.fd = terminal->master, .events = POLLIN};

    if (terminal->process[0]) {
        return 0;
    }
    if (terminal->had_slave) {
        cleanup_fd slave = ioctl(terminal->master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
        /* to ask whether there is something lets arrive what is on its way */
        struct pollfd arrives = {.fd = slave, .events = POLLIN};
        if (slave < 0 || poll(&arrives, 1, 0) < 0 || ioctl(slave, FIONREAD, &incoming) < 0) {
            return terminal->locked ? 0 : -errno;
        }
        incoming = incoming > 0 ? incoming : count_half_line(slave);
        if (incoming < 0) {
            return incoming;
        }
    }
    if (poll(&events, 1, 0) < 0) {
        return -errno;
    }
    if (incoming > 0 || events.revents & POLLIN) {
        snprintf(object, sizeof object, "/dev/pts/%u", terminal->number);
        obstacle_add(obstacles, subject, object, false, "nobody has read yet what was written to it");
    }
    return 0;
}

static int look_at_terminals(struct image *image, const struct move *move, struct obstacles *obstacles)
{
    const struct subject *subject = move->frozen.count > 0 ? &move->frozen.subjects[0] : NULL;
    int result = 0;

    for (size_t i = 0; result == 0 && i < image->terminal_count; i++) {
        struct image_terminal *terminal = &image->terminals[i];
        result = look_at_place(terminal, move->sandbox->cell);
        if (result == 0 && terminal->master >= 0) {
            result = look_at_master(terminal, terminal->master);
            result = result < 0 ? result : check_bytes(terminal, subject, obstacles);
        }
        fd_close(&terminal->master);
    }
    return result;
}

int terminals_capture(struct image *image, struct move *move, struct obstacles *obstacles, struct err *err)
{
    int result = find_terminals_of_commands(image, move->sandbox);

    result = result < 0 ? result : find_controls(image, move, obstacles);
    result = result < 0 ? result : look_at_terminals(image, move, obstacles);
    return result < 0 ? err_system(err, -result, "look at terminals", "%s", move->sandbox->id) : 0;
}

void terminals_free(struct image *image)
{
    for (size_t i = 0; i < image->terminal_count; i++) {
        fd_close(&image->terminals[i].master);
    }
    free(image->terminals);
}

/* ---- making ---- */

static int number_of(int master)
{
    unsigned number;

    return ioctl(master, TIOCGPTN, &number) < 0 ? -errno : (int)number;
}

/* The kernel gives the lowest number that is free: those below are taken for as long as it takes. */
static int open_numbered(int pts, unsigned number)
{
    cleanup_fd master = openat(pts, "ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);

    if (master < 0) {
        return -errno;
    }
    int got = number_of(master);
    if (got < 0 || (unsigned)got == number) {
        return got < 0 ? got : fd_steal(&master);
    }
    return (unsigned)got > number ? -EEXIST : open_numbered(pts, number);
}

static int settle_place(const struct image_terminal *terminal, int pts)
{
    char name[16];

    snprintf(name, sizeof name, "%u", terminal->number);
    return fchownat(pts, name, terminal->uid, terminal->gid, AT_SYMLINK_NOFOLLOW) < 0 ||
                   fchmodat(pts, name, terminal->mode & 07777, 0) < 0
               ? -errno
               : 0;
}

static int make_terminal(const struct image_terminal *terminal, struct live_terminal *live,
                         const struct stage *stage)
{
    int unlocked = 0;

    live->master = open_numbered(stage->cell->pts, terminal->number);
    if (live->master < 0) {
        return live->master;
    }
    if (ioctl(live->master, TIOCSPTLCK, &unlocked) < 0 ||
        ioctl(live->master, TIOCSWINSZ, &terminal->size) < 0 ||
        ioctl(live->master, TCSETS2, terminal->termios) < 0) {
        return -errno;
    }
    if (terminal->had_slave) {
        live->slave = ioctl(live->master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (live->slave < 0) {
            return -errno;
        }
    }
    if (terminal->process[0]) {
        int master = fcntl(live->master, F_DUPFD_CLOEXEC, 0);
        int result = master < 0 ? -errno : stage->terminal(stage->owner, terminal->process, master);
        if (result < 0) {
            return result;
        }
    }
    return settle_place(terminal, stage->cell->pts);
}

int terminals_make(struct revival *revival, const struct stage *stage)
{
    const size_t count = revival->image->terminal_count;
    int result = 0;

    revival->terminals = calloc(count + 1, sizeof *revival->terminals);
    if (!revival->terminals) {
        die("out of memory");
    }
    for (size_t i = 0; i < count; i++) {
        revival->terminals[i] = (struct live_terminal){.master = -1, .slave = -1};
    }
    for (size_t i = 0; result == 0 && i < count; i++) {
        result = make_terminal(&revival->image->terminals[i], &revival->terminals[i], stage);
    }
    return result;
}

/* ---- sessions and groups ---- */

static bool leads_session(const struct revived *revived)
{
    return revived->image->terminal > 0 && revived->image->session == revived->image->pid;
}

/* The process has it open for as long as the batch lasts. */
static int with_terminal(struct revival *revival, struct revived *revived, unsigned long request,
                         uint64_t argument)
{
    struct inject *inject = &revived->puppet.inject;
    const struct live_terminal *live = &revival->terminals[revived->image->terminal - 1];
    int number;
    int result = hand_over(&revived->puppet.hand, &live->slave, 1, &number);

    if (result < 0) {
        return result;
    }
    inject_add(inject, SYS_ioctl, (uint64_t)number, request, argument, 0, 0, 0);
    inject_add(inject, SYS_close, (uint64_t)number, 0, 0, 0, 0, 0);
    return inject_run_clear(inject);
}

int terminal_take_control(struct revival *revival, struct revived *revived)
{
    return leads_session(revived) ? with_terminal(revival, revived, TIOCSCTTY, 0) : 0;
}

int terminal_set_foreground(struct revival *revival, struct revived *revived)
{
    struct inject *inject = &revived->puppet.inject;

    if (!leads_session(revived)) {
        return 0;
    }
    const pid_t group = revival->image->terminals[revived->image->terminal - 1].foreground;
    if (group == 0) {
        return 0;
    }
    const uint64_t at = inject_data(inject) + INJECT_DATA_BYTES - sizeof group;
    int result = subject_write(inject->subject, at, &group, sizeof group);
    return result < 0 ? result : with_terminal(revival, revived, TIOCSPGRP, at);
}

int terminals_finish(struct revival *revival)
{
    for (size_t i = 0; i < revival->image->terminal_count; i++) {
        const struct image_terminal *terminal = &revival->image->terminals[i];
        int locked = terminal->locked, packets = terminal->packets;
        int master = revival->terminals[i].master;
        if ((locked && ioctl(master, TIOCSPTLCK, &locked) < 0) ||
            (packets && ioctl(master, TIOCPKT, &packets) < 0) ||
            (terminal->exclusive && ioctl(master, TIOCEXCL, 0) < 0)) {
            return -errno;
        }
    }
    return 0;
}

void terminals_forget(struct revival *revival)
{
    for (size_t i = 0; revival->terminals && i < revival->image->terminal_count; i++) {
        fd_close(&revival->terminals[i].slave);
        fd_close(&revival->terminals[i].master);
    }
    free(revival->terminals);
    revival->terminals = NULL;
}
