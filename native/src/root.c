#include "root.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>

#include "engine.h"
#include "fd.h"
#include "seed.h"
#include "sys.h"

#define LOWERS_MAX 8

uint64_t now_usec(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* ---- overlays ----
 *
 * The kernel refuses a lower layer that lies below another one (ELOOP), and with the host's own file system as the
 * base every layer in the data directory does. So base and seed make a read-only overlay of their own, on a
 * superblock of its own, and that is the lowest layer of the sandbox's overlay. The seed is on a small tmpfs, which
 * also holds the mount points, in the engine's own mount namespace (kernels before 6.14 take no detached mount as a
 * layer). */

static void fd_path(char out[32], int fd)
{
    snprintf(out, 32, "/proc/self/fd/%d", fd);
}

static int make_place(int workshop, const char *name)
{
    if (mkdirat(workshop, name, 0755) < 0 ||
        fchownat(workshop, name, engine.uid_base, engine.uid_base, 0) < 0) {
        return -errno;
    }
    int fd = openat(workshop, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int attach_at(int workshop, const char *name, int mount)
{
    if ((mkdirat(workshop, name, 0755) < 0 && errno != EEXIST) ||
        move_mount(mount, "", workshop, name, MOVE_MOUNT_F_EMPTY_PATH) < 0) {
        return -errno;
    }
    return 0;
}

/* A tmpfs at `dir`/base; unmounting it lazily takes along what is attached in it. */
static int open_workshop(const char *dir, struct err *err)
{
    char point[PATH_MAX];

    snprintf(point, sizeof point, "%s/base", dir);
    cleanup_fd fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
    if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0700", 0) < 0 ||
        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
        return err_system(err, errno, "mount tmpfs", "%s", point);
    }
    cleanup_fd mount = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID);
    if (mount < 0 || mkdir(point, 0700) < 0 ||
        move_mount(mount, "", AT_FDCWD, point, MOVE_MOUNT_F_EMPTY_PATH) < 0) {
        return err_system(err, errno, "mount tmpfs", "%s", point);
    }
    return fd_steal(&mount);
}

void root_close_workshop(const char *dir)
{
    char point[PATH_MAX];

    snprintf(point, sizeof point, "%s/base", dir);
    if (umount2(point, MNT_DETACH) < 0 && errno != EINVAL && errno != ENOENT) {
        log_line("unmount %s: %s", point, strerror(errno));
    }
    rmdir(point);
}

/* A host directory, read-only and with shifted ids. */
static int attach_source(int workshop, const char *name, const char *source, int user_ns, struct err *err)
{
    struct mount_attr attributes = {
        .attr_set = MOUNT_ATTR_IDMAP | MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV,
        .userns_fd = (uint64_t)user_ns,
        .propagation = MS_PRIVATE,
    };
    cleanup_fd fd = open_tree(AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

    if (fd < 0) {
        return err_system(err, errno, "open base", "%s", source);
    }
    if (mount_setattr(fd, "", AT_EMPTY_PATH, &attributes, sizeof attributes) < 0) {
        return err_system(err, errno, "shift ids", "%s", source);
    }
    int result = attach_at(workshop, name, fd);
    return result < 0 ? err_system(err, -result, "attach base", "%s", source) : fd_steal(&fd);
}

/* Kernels before 6.5 have no lowerdir+ and want one string. */
static int set_lowers(int fs, const int *lowers, size_t count)
{
    char path[32], joined[LOWERS_MAX * 32] = "";

    for (size_t i = 0; i < count; i++) {
        fd_path(path, lowers[i]);
        if (fsconfig(fs, FSCONFIG_SET_STRING, "lowerdir+", path, 0) < 0) {
            if (i > 0 || errno != EINVAL) {
                return -errno;
            }
            break;
        }
        if (i == count - 1) {
            return 0;
        }
    }
    for (size_t i = 0; i < count; i++) {
        fd_path(path, lowers[i]);
        strcat(joined, i ? ":" : "");
        strcat(joined, path);
    }
    return fsconfig(fs, FSCONFIG_SET_STRING, "lowerdir", joined, 0) < 0 ? -errno : 0;
}

static int set_writable(int fs, int upper, int work)
{
    char path[32];

    fd_path(path, upper);
    if (fsconfig(fs, FSCONFIG_SET_STRING, "upperdir", path, 0) < 0) {
        return -errno;
    }
    fd_path(path, work);
    if (fsconfig(fs, FSCONFIG_SET_STRING, "workdir", path, 0) < 0 ||
        fsconfig(fs, FSCONFIG_SET_STRING, "redirect_dir", "on", 0) < 0) {
        return -errno;
    }
    return 0;
}

/* With upper and work -1 it is read-only. Returns the detached mount or -errno. */
static int mount_overlay(const int *lowers, size_t count, int upper, int work)
{
    cleanup_fd fs = fsopen("overlay", FSOPEN_CLOEXEC);

    if (fs < 0) {
        return -errno;
    }
    int result = set_lowers(fs, lowers, count);
    if (result == 0 && upper >= 0) {
        result = set_writable(fs, upper, work);
    }
    if (result < 0) {
        return result;
    }
    if (fsconfig(fs, FSCONFIG_SET_STRING, "index", "off", 0) < 0 ||
        fsconfig(fs, FSCONFIG_SET_STRING, "xino", "auto", 0) < 0 ||
        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
        return -errno;
    }
    int mount = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NODEV);
    return mount < 0 ? -errno : mount;
}

/* An overlay above `lower` with an upper in `dir` that belongs to the sandbox's root. */
static int mount_writable(const char *dir, int lower, struct err *err)
{
    char upper[PATH_MAX], work[PATH_MAX];

    snprintf(upper, sizeof upper, "%s/upper", dir);
    snprintf(work, sizeof work, "%s/work", dir);
    if ((mkdir(dir, 0700) < 0 && errno != EEXIST) || mkdir(upper, 0755) < 0 || mkdir(work, 0700) < 0 ||
        chown(upper, engine.uid_base, engine.uid_base) < 0) {
        return err_system(err, errno, "make upper", "%s", dir);
    }
    cleanup_fd upper_fd = open(upper, O_PATH | O_DIRECTORY | O_CLOEXEC);
    cleanup_fd work_fd = open(work, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (upper_fd < 0 || work_fd < 0) {
        return err_system(err, errno, "open upper", "%s", dir);
    }
    int mount = mount_overlay(&lower, 1, upper_fd, work_fd);
    return mount < 0 ? err_system(err, -mount, "mount overlay", "%s", dir) : mount;
}

/* The read-only overlay of a seed and what it is laid over. */
static int mount_base(int workshop, const char *name, int seed, int source, struct err *err)
{
    const int lowers[] = {seed, source};
    cleanup_fd mount = mount_overlay(lowers, 2, -1, -1);

    if (mount < 0) {
        return err_system(err, -mount, "mount base", "%s", name);
    }
    int result = attach_at(workshop, name, mount);
    return result < 0 ? err_system(err, -result, "attach base", "%s", name) : fd_steal(&mount);
}

static int build_seed(const struct root_plan *plan, int fd, int source, struct err *err)
{
    char link[32], path[PATH_MAX];

    fd_path(link, source);
    ssize_t len = readlink(link, path, sizeof path - 1);
    if (len < 0) {
        return err_system(err, errno, "read link", "%s", link);
    }
    path[len] = '\0';
    const struct seed seed = {.fd = fd, .base = source, .base_path = path};
    if (seed_build(&seed, plan->seed, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < plan->volume_count; i++) {
        if (seed_mount_point(&seed, plan->volumes[i].path, err) < 0) {
            return -1;
        }
    }
    return 0;
}

static int mount_volume(int workshop, struct volume *volume, size_t index, int user_ns, struct err *err)
{
    char source_name[32], seed_name[32], base_name[32];

    snprintf(source_name, sizeof source_name, "source%zu", index);
    snprintf(seed_name, sizeof seed_name, "seed%zu", index);
    snprintf(base_name, sizeof base_name, "base%zu", index);
    cleanup_fd source = attach_source(workshop, source_name, volume->source, user_ns, err);
    cleanup_fd seed = source < 0 ? -1 : make_place(workshop, seed_name);
    if (seed < 0) {
        return source < 0 ? -1 : err_system(err, -seed, "make directory", "%s", volume->dir);
    }
    struct stat st; /* the top of the stack decides how the volume's root looks */
    if (fstat(source, &st) < 0 || fchown(seed, st.st_uid, st.st_gid) < 0 ||
        fchmod(seed, st.st_mode & 07777) < 0) {
        return err_system(err, errno, "copy mode", "%s", volume->source);
    }
    cleanup_fd base = mount_base(workshop, base_name, seed, source, err);
    if (base < 0 || (volume->mount = mount_writable(volume->dir, base, err)) < 0) {
        return -1;
    }
    char upper[PATH_MAX];
    snprintf(upper, sizeof upper, "%s/upper", volume->dir);
    if (chown(upper, st.st_uid, st.st_gid) < 0 || chmod(upper, st.st_mode & 07777) < 0) {
        return err_system(err, errno, "copy mode", "%s", volume->source);
    }
    return 0;
}

static int build_overlays(const struct root_plan *plan, int user_ns, struct root_timings *timings,
                          struct err *err)
{
    char dir[PATH_MAX];
    uint64_t start = now_usec();

    snprintf(dir, sizeof dir, "%s/root", plan->dir);
    cleanup_fd workshop = open_workshop(plan->dir, err);
    cleanup_fd source = workshop < 0 ? -1 : attach_source(workshop, "source", plan->base, user_ns, err);
    if (source < 0) {
        return -1;
    }
    cleanup_fd seed = make_place(workshop, "seed");
    if (seed < 0) {
        return err_system(err, -seed, "make directory", "seed");
    }
    if (build_seed(plan, seed, source, err) < 0) {
        return -1;
    }
    timings->seed = now_usec() - start;
    start = now_usec();
    cleanup_fd base = mount_base(workshop, "base", seed, source, err);
    cleanup_fd mount = base < 0 ? -1 : mount_writable(dir, base, err);
    for (size_t i = 0; mount >= 0 && i < plan->volume_count; i++) {
        if (mount_volume(workshop, &plan->volumes[i], i, user_ns, err) < 0) {
            return -1;
        }
    }
    timings->overlay = now_usec() - start;
    return fd_steal(&mount);
}

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
static int put_up(struct cell *cell, const struct root_plan *plan, int root, struct err *err)
{
    char point[PATH_MAX];

    /* any directory does as the place to pivot from; in this namespace only */
    snprintf(point, sizeof point, "%s/root", plan->dir);
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
    for (size_t i = 0; i < plan->volume_count; i++) {
        if (attach(root, plan->volumes[i].path + 1, plan->volumes[i].mount, err) < 0) {
            return -1;
        }
    }
    if (fchdir(root) < 0 || sys_pivot_root(".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0) {
        return err_system(err, errno, "pivot root", "%s", plan->dir);
    }
    return 0;
}

int root_build(struct cell *cell, const struct root_plan *plan, struct root_timings *timings, struct err *err)
{
    cleanup_fd root = build_overlays(plan, cell->user_ns, timings, err);
    uint64_t start = now_usec();

    if (root < 0) {
        return -1;
    }
    if (setns(cell->mount_ns, CLONE_NEWNS) < 0) {
        return err_system(err, errno, "enter mount namespace", "%s", plan->dir);
    }
    int result = put_up(cell, plan, root, err);
    if (setns(engine.mount_ns, CLONE_NEWNS) < 0) {
        die("return to the engine's mount namespace: %s", strerror(errno));
    }
    timings->mounts = now_usec() - start;
    return result;
}
