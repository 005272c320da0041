/* Terminals, by either side, and /dev/tty. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "fd.h"
#include "handle.h"
#include "terminal.h"

#define FIRST_SLAVE_MAJOR 136
#define LAST_SLAVE_MAJOR 143
#define TTY_MAJOR 5
#define TTY_MINOR 0
#define MASTER_MINOR 2

enum side { SIDE_SLAVE, SIDE_MASTER, SIDE_TTY, SIDE_HUNG_UP };

struct kept_terminal {
    enum side side;
    size_t terminal; /* in the image */
};

static bool is_it(const struct seen *seen)
{
    const unsigned major_number = major(seen->st.st_rdev), minor_number = minor(seen->st.st_rdev);

    return S_ISCHR(seen->st.st_mode) &&
           ((major_number >= FIRST_SLAVE_MAJOR && major_number <= LAST_SLAVE_MAJOR) ||
            (major_number == TTY_MAJOR && (minor_number == TTY_MINOR || minor_number == MASTER_MINOR)));
}

static enum side side_of(const struct seen *seen)
{
    if (major(seen->st.st_rdev) != TTY_MAJOR) {
        return SIDE_SLAVE;
    }
    return minor(seen->st.st_rdev) == TTY_MINOR ? SIDE_TTY : SIDE_MASTER;
}

static bool is_of_cell(const struct seen *seen, enum side side)
{
    struct stat st;

    return side == SIDE_TTY ||
           (fstat(seen->move->sandbox->cell->pts, &st) == 0 && st.st_dev == seen->st.st_dev);
}

static int find_number(enum side side, int fd, unsigned *number)
{
    unsigned device;

    if (side == SIDE_MASTER) {
        return ioctl(fd, TIOCGPTN, number) < 0 ? -errno : 0;
    }
    if (ioctl(fd, TIOCGDEV, &device) < 0) {
        return -errno;
    }
    const dev_t full = makedev((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
    *number = minor(full);
    return major(full) == FIRST_SLAVE_MAJOR ? 0 : -ENXIO;
}

static int capture_terminal(const struct seen *seen, struct image_handle *handle)
{
    enum side side = side_of(seen);
    unsigned number = 0;
    int discipline;

    if (seen->flags & O_PATH || !is_of_cell(seen, side)) {
        return seen_refuse(seen, "a terminal that is not one of the sandbox's /dev/pts");
    }
    cleanup_fd fd = seen_take(seen);
    if (fd < 0) {
        return fd;
    }
    struct kept_terminal *kept = handle_keep(sizeof *kept);
    handle->kept = kept;
    kept->side = side;
    int result = find_number(side, fd, &number);
    if (result == -EIO && side != SIDE_MASTER) {
        kept->side = SIDE_HUNG_UP;
        kept->terminal = SIZE_MAX;
        return 0;
    }
    if (result < 0) {
        return seen_refuse(seen, "a terminal that is not one of the sandbox's /dev/pts");
    }
    kept->terminal = terminal_of(seen->image, number);
    struct image_terminal *terminal = &seen->image->terminals[kept->terminal];
    if (ioctl(fd, TIOCGETD, &discipline) < 0 || discipline != 0) {
        return seen_refuse(seen, "a terminal with another line discipline");
    }
    if (side == SIDE_MASTER) {
        fd_close(&terminal->master);
        terminal->master = fd_steal(&fd);
    } else {
        terminal->has_slave = true;
    }
    return terminal_look(terminal, side == SIDE_MASTER ? terminal->master : fd);
}

/* A pair whose master is closed at once. */
static int open_hung_up(const struct opening *opening, int flags)
{
    int unlocked = 0;
    cleanup_fd master = openat(opening->stage->cell->pts, "ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);

    if (master < 0 || ioctl(master, TIOCSPTLCK, &unlocked) < 0) {
        return -errno;
    }
    int slave = ioctl(master, TIOCGPTPEER, flags_to_open(flags));
    return slave < 0 ? -errno : slave;
}

static int open_slave(const struct opening *opening, unsigned number, int flags)
{
    char path[32];

    snprintf(path, sizeof path, "/dev/pts/%u", number);
    return opening_inside(opening, path, flags);
}

static int open_terminal(const struct opening *opening, const struct image_handle *handle)
{
    const struct kept_terminal *kept = handle->kept;
    const size_t at = kept->side == SIDE_HUNG_UP ? 0 : kept->terminal;
    const struct image_terminal *terminal = &opening->revival->image->terminals[at];
    int *master = &opening->revival->terminals[at].master;
    int fd;

    switch (kept->side) {
    case SIDE_MASTER:
        fd = fcntl(*master, F_DUPFD_CLOEXEC, 0);
        if (fd < 0 || fcntl(fd, F_SETFL, handle->flags) < 0) {
            fd_close(&fd);
            return -errno;
        }
        return fd;
    case SIDE_TTY:
        fd = opening_inside(opening, "/dev/tty", handle->flags);
        return fd >= 0 ? fd : open_slave(opening, terminal->number, handle->flags);
    case SIDE_SLAVE:
        return open_slave(opening, terminal->number, handle->flags);
    case SIDE_HUNG_UP:
        break;
    }
    return open_hung_up(opening, handle->flags);
}

static void pack_handle(struct pack *pack, struct image_handle *handle)
{
    struct kept_terminal *kept = pack_kept(pack, &handle->kept, sizeof *kept);

    PACK(pack, kept->side);
    pack_check(pack, kept->side <= SIDE_HUNG_UP, "a side that no terminal has");
    pack_index(pack, &kept->terminal, pack->image->terminal_count, kept->side == SIDE_HUNG_UP);
}

const struct handle_kind handle_terminal = {.name = "terminal",
                                            .is_it = is_it,
                                            .capture = capture_terminal,
                                            .open = open_terminal,
                                            .pack = pack_handle};
