#include "root.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "engine.h"
#include "fd.h"
#include "sys.h"

/* ---- the mounts inside ---- */

/* A place in the new root, which may hold anything: no link is followed to find it. */
static int open_place(int root, const char *path, struct err *err)
{
    int fd = sys_openat2(root, path, O_PATH | O_CLOEXEC, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
    return fd < 0 ? err_system(err, errno, "open mount point", "/%s", path) : fd;
}

static int attach(int root, const char *path, int mount, struct err *err)
{
    cleanup_fd place = open_place(root, path, err);

    if (place < 0) {
        return -1;
    }
    if (move_mount(mount, "", place, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0) {
        return err_system(err, errno, "attach mount", "/%s", path);
    }
    return 0;
}

/* What is attached to a root beside the volumes: the kernel's views, the device nodes of the host, what is held. */
static const char *const attachments[] = {"proc",     "sys",        "dev/pts",     "dev/null", "dev/zero",
                                          "dev/full", "dev/random", "dev/urandom", "dev/tty",  ROOT_HELD};
#define ATTACHMENTS (sizeof attachments / sizeof *attachments)
#define VIEWS 3

static int attach_devices(int root, struct err *err)
{
    const char *const *nodes = attachments + VIEWS;

    for (size_t i = 0; i < ATTACHMENTS - VIEWS - 1; i++) {
        char host[32];
        snprintf(host, sizeof host, "/%s", nodes[i]);
        cleanup_fd node = open_tree(AT_FDCWD, host, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
        if (node < 0) {
            return err_system(err, errno, "open device", "%s", host);
        }
        if (attach(root, nodes[i], node, err) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Another one for each cell, so that each rollback and fork has its own. */
static int write_generation(int held)
{
    uint8_t id[16];
    char text[2 * sizeof id + 2];
    cleanup_fd fd = openat(held, ROOT_GENERATION, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0444);

    if (fd < 0 || getrandom(id, sizeof id, 0) != (ssize_t)sizeof id) {
        return -1;
    }
    for (size_t i = 0; i < sizeof id; i++) {
        snprintf(text + 2 * i, 3, "%02x", id[i]);
    }
    text[2 * sizeof id] = '\n';
    return fchmod(fd, 0444) < 0 || write(fd, text, 2 * sizeof id + 1) < 0 ? -1 : 0;
}

/* A small place of the engine's own, which nobody inside can write to. */
static int attach_held(int root, struct err *err)
{
    cleanup_fd fs = fsopen("tmpfs", FSOPEN_CLOEXEC);

    if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0755", 0) < 0 ||
        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
        return err_system(err, errno, "mount tmpfs", "/%s", ROOT_HELD);
    }
    cleanup_fd mount = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
    if (mount < 0 || write_generation(mount) < 0) {
        return err_system(err, errno, mount < 0 ? "mount tmpfs" : "write generation", "/%s", ROOT_HELD);
    }
    return attach(root, ROOT_HELD, mount, err);
}

/* Parts of proc and sysfs that tell about the host or change it. Absent ones are skipped. */
static int restrict_kernel_views(int root, struct err *err)
{
    static const struct {
        const char *path;
        bool hidden; /* else read-only */
    } parts[] = {
        {"proc/sys", false},          {"proc/sysrq-trigger", false},
        {"proc/irq", false},          {"proc/bus", false},
        {"proc/fs", false},           {"proc/kcore", true},
        {"proc/keys", true},          {"proc/timer_list", true},
        {"proc/kallsyms", true},      {"proc/key-users", true},
        {"proc/kmsg", true},          {"proc/sched_debug", true},
        {"proc/latency_stats", true}, {"proc/config.gz", true},
        {"proc/modules", true},       {"sys/kernel/security", false},
    };

    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};
        cleanup_fd place =
            sys_openat2(root, parts[i].path, O_PATH | O_CLOEXEC, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
        if (place < 0) {
            continue;
        }
        cleanup_fd cover = parts[i].hidden
                               ? open_tree(AT_FDCWD, "/dev/null", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)
                               : open_tree(place, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
        if (cover < 0 || mount_setattr(cover, "", AT_EMPTY_PATH, &read_only, sizeof read_only) < 0 ||
            move_mount(cover, "", place, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0) {
            return err_system(err, errno, "restrict", "/%s", parts[i].path);
        }
    }
    return 0;
}

static int pivot(int root, struct err *err)
{
    if (fchdir(root) < 0 || sys_pivot_root(".", ".") < 0) {
        return err_system(err, errno, "pivot root", "/");
    }
    return 0;
}

static int attach_volumes(const struct base *base, int root, const int *trees, struct err *err)
{
    for (size_t i = 1; i < base->tree_count; i++) {
        if (attach(root, base->trees[i].path + 1, trees[i], err) < 0) {
            return -1;
        }
    }
    return 0;
}

void root_back_to_own_namespace(void)
{
    if (setns(engine.mount_ns, CLONE_NEWNS) < 0) {
        die("return to the engine's mount namespace: %s", strerror(errno));
    }
}

/* Moves are used, not copies: what is open below the mount stays what it is. Returns how many were moved. */
static size_t move_attachments(int from, int to, struct err *err)
{
    size_t done = 0;

    for (; done < ATTACHMENTS; done++) {
        cleanup_fd mount = open_place(from, attachments[done], err);
        if (mount < 0 || attach(to, attachments[done], mount, err) < 0) {
            break;
        }
    }
    return done;
}

static void take_off(int root)
{
    if (fchdir(root) < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0) {
        log_line("detach a root: %s", strerror(errno));
    }
}

static int attach_over(int old_root, int new_root, struct err *err)
{
    return move_mount(new_root, "", old_root, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0
               ? err_system(err, errno, "attach root", "/")
               : 0;
}

/* ---- a root for a cell that has no files yet ---- */

/* Places for what is attached, nobody inside can write to. */
static int make_bare_root(void)
{
    cleanup_fd fs = fsopen("tmpfs", FSOPEN_CLOEXEC);

    if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0555", 0) < 0 ||
        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
        return -errno;
    }
    int root = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
    if (root < 0 || mkdirat(root, "dev", 0555) < 0) {
        int failure = errno;
        fd_close(&root);
        return -failure;
    }
    for (size_t i = 0; i < ATTACHMENTS; i++) {
        const bool is_node = i >= VIEWS && i < ATTACHMENTS - 1;
        cleanup_fd node = is_node ? openat(root, attachments[i], O_CREAT | O_RDONLY | O_CLOEXEC, 0444) : -1;
        if (is_node ? node < 0 : mkdirat(root, attachments[i], 0555) < 0) {
            int failure = errno;
            fd_close(&root);
            return -failure;
        }
    }
    return root;
}

/* In the cell's mount namespace: the host's tree gives way to the bare root. */
static int prepare(struct cell *cell, struct err *err)
{
    const int root = cell->bare_root;
    cleanup_fd host = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (attach_over(host, root, err) < 0 || attach(root, "proc", cell->proc_mount, err) < 0 ||
        attach(root, "sys", cell->sys_mount, err) < 0 || attach(root, "dev/pts", cell->pts_mount, err) < 0 ||
        attach_devices(root, err) < 0 || attach_held(root, err) < 0 || restrict_kernel_views(root, err) < 0 ||
        pivot(root, err) < 0) {
        return -1;
    }
    return umount2(".", MNT_DETACH) < 0 || chdir("/") < 0
               ? err_system(err, errno, "drop the host's root", "cell")
               : 0;
}

int root_prepare(struct cell *cell, struct err *err)
{
    cell->bare_root = make_bare_root();
    if (cell->bare_root < 0) {
        return err_system(err, -cell->bare_root, "make root", "cell");
    }
    if (setns(cell->mount_ns, CLONE_NEWNS) < 0) {
        return err_system(err, errno, "enter mount namespace", "cell");
    }
    int result = prepare(cell, err);
    root_back_to_own_namespace();
    return result;
}

/* ---- from one root to another: whoever stands on the old one stands on the new one then ---- */

/* In the cell's mount namespace. */
static int switch_roots(const struct base *base, const int *from, const int *to, struct err *err)
{
    struct err ignored;

    if (attach_over(from[0], to[0], err) < 0) {
        return -1;
    }
    if (move_attachments(from[0], to[0], err) == ATTACHMENTS && attach_volumes(base, to[0], to, err) == 0 &&
        pivot(to[0], err) == 0) {
        return 0;
    }
    move_attachments(to[0], from[0], &ignored);
    take_off(to[0]);
    return -1;
}

int root_put_up(const struct cell *cell, const struct base *base, const int *trees, struct err *err)
{
    if (setns(cell->mount_ns, CLONE_NEWNS) < 0) {
        return err_system(err, errno, "enter mount namespace", "/");
    }
    int result = switch_roots(base, &cell->bare_root, trees, err);
    if (result == 0) {
        take_off(cell->bare_root);
    }
    root_back_to_own_namespace();
    return result;
}

int root_switch(const struct cell *cell, const struct base *base, const int *from, const int *to,
                struct err *err)
{
    if (setns(cell->mount_ns, CLONE_NEWNS) < 0) {
        return err_system(err, errno, "enter mount namespace", "/");
    }
    int result = switch_roots(base, from, to, err);
    root_back_to_own_namespace();
    return result;
}

void root_switch_back(const struct cell *cell, const int *from, const int *to)
{
    struct err err = {0};

    /* whoever enters the namespace stands on the uppermost root, which is the old one */
    if (setns(cell->mount_ns, CLONE_NEWNS) < 0 || fchdir(to[0]) < 0 || chroot(".") < 0) {
        die("enter a sandbox's mount namespace: %s", strerror(errno));
    }
    if (pivot(from[0], &err) < 0 || move_attachments(to[0], from[0], &err) != ATTACHMENTS) {
        die("put a root back: %s %s", err.message, err.object);
    }
    take_off(to[0]);
    root_back_to_own_namespace();
}

/* What was killed meanwhile may have files open for writing yet. */
#define BUSY_TRIES 100
#define BUSY_USEC 100

/* From here on nothing of the tree can be changed by any way that is left into it, such as a program's /proc/PID/exe. */
static int make_read_only(int tree)
{
    struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};
    int tries = 0;

    while (mount_setattr(tree, "", AT_EMPTY_PATH, &read_only, sizeof read_only) < 0) {
        if (errno != EBUSY || ++tries == BUSY_TRIES) {
            return -1;
        }
        usleep(BUSY_USEC);
    }
    return 0;
}

int root_drop(const struct cell *cell, const struct base *base, const int *trees, struct err *err)
{
    int result = 0;

    if (setns(cell->mount_ns, CLONE_NEWNS) < 0) {
        return err_system(err, errno, "enter mount namespace", "/");
    }
    for (size_t i = 0; i < base->tree_count; i++) {
        if (make_read_only(trees[i]) < 0) {
            result = err_system(err, errno, "make a tree read-only", "%s", base->trees[i].path);
        }
    }
    take_off(trees[0]);
    root_back_to_own_namespace();
    return result;
}
