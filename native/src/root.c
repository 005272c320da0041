#include "root.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
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

static int attach_devices(int root, struct err *err)
{
    static const char *const nodes[] = {"dev/null",   "dev/zero",    "dev/full",
                                        "dev/random", "dev/urandom", "dev/tty"};

    for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++) {
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

/* Runs in the cell's mount namespace. */
static int put_up(struct cell *cell, const struct base *base, const char *point, const int *trees,
                  struct err *err)
{
    int root = trees[0];

    /* any directory does as the place to pivot from; in this namespace only */
    if (move_mount(root, "", AT_FDCWD, point, MOVE_MOUNT_F_EMPTY_PATH) < 0) {
        return err_system(err, errno, "attach root", "%s", point);
    }
    if (attach(root, "proc", cell->proc_mount, err) < 0 || attach(root, "sys", cell->sys_mount, err) < 0 ||
        attach(root, "dev/pts", cell->pts_mount, err) < 0 || attach_devices(root, err) < 0 ||
        restrict_kernel_views(root, err) < 0) {
        return -1;
    }
    fd_close(&cell->proc_mount);
    fd_close(&cell->sys_mount);
    fd_close(&cell->pts_mount);
    for (size_t i = 1; i < base->tree_count; i++) {
        if (attach(root, base->trees[i].path + 1, trees[i], err) < 0) {
            return -1;
        }
    }
    if (fchdir(root) < 0 || sys_pivot_root(".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0) {
        return err_system(err, errno, "pivot root", "%s", point);
    }
    return 0;
}

int root_put_up(struct cell *cell, const struct base *base, const char *point, const int *trees,
                struct err *err)
{
    if (setns(cell->mount_ns, CLONE_NEWNS) < 0) {
        return err_system(err, errno, "enter mount namespace", "%s", point);
    }
    int result = put_up(cell, base, point, trees, err);
    if (setns(engine.mount_ns, CLONE_NEWNS) < 0) {
        die("return to the engine's mount namespace: %s", strerror(errno));
    }
    return result;
}
