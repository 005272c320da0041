#include "overlay.h"

#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "fd.h"

/* Kernels before 6.5 have no lowerdir+ and want one string of at most a page. */
#define JOINED_MAX 4096

static void fd_path(char out[32], int fd)
{
    snprintf(out, 32, "/proc/self/fd/%d", fd);
}

static int set_joined(int fs, const int *lowers, size_t count)
{
    char joined[JOINED_MAX];
    size_t len = 0;

    for (size_t i = 0; i < count; i++) {
        len += (size_t)snprintf(joined + len, sizeof joined - len, "%s/proc/self/fd/%d", i ? ":" : "",
                                lowers[i]);
        if (len >= sizeof joined) {
            return -E2BIG;
        }
    }
    return fsconfig(fs, FSCONFIG_SET_STRING, "lowerdir", joined, 0) < 0 ? -errno : 0;
}

static int set_lowers(int fs, const int *lowers, size_t count)
{
    char path[32];

    for (size_t i = 0; i < count; i++) {
        fd_path(path, lowers[i]);
        if (fsconfig(fs, FSCONFIG_SET_STRING, "lowerdir+", path, 0) < 0) {
            return i == 0 && errno == EINVAL ? set_joined(fs, lowers, count) : -errno;
        }
    }
    return 0;
}

static int set_writable(int fs, int upper, int work)
{
    char path[32];

    fd_path(path, upper);
    if (fsconfig(fs, FSCONFIG_SET_STRING, "upperdir", path, 0) < 0) {
        return -errno;
    }
    fd_path(path, work);
    if (fsconfig(fs, FSCONFIG_SET_STRING, "workdir", path, 0) < 0) {
        return -errno;
    }
    /* The whole disk would be synced, by whoever lets go of the overlay last, whenever one is left behind. */
    return fsconfig(fs, FSCONFIG_SET_FLAG, "volatile", NULL, 0) < 0 ? -errno : 0;
}

/* index=off: a lower layer may be the upper of an overlay that is just being left. xino=auto: one inode number for
 * a file in whatever layer it lies. redirect_dir: merged directories can be renamed. metacopy=off: what was renamed or
 * got another mode must not depend on a file of the host that may change or go. */
static int set_behaviour(int fs)
{
    static const char *const options[][2] = {
        {"index", "off"}, {"xino", "auto"}, {"redirect_dir", "on"}, {"metacopy", "off"}};

    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        if (fsconfig(fs, FSCONFIG_SET_STRING, options[i][0], options[i][1], 0) < 0) {
            return -errno;
        }
    }
    return 0;
}

int overlay_mount(const struct overlay_plan *plan)
{
    cleanup_fd fs = fsopen("overlay", FSOPEN_CLOEXEC);

    if (fs < 0) {
        return -errno;
    }
    int result = set_lowers(fs, plan->lowers, plan->count);
    if (result == 0 && plan->upper >= 0) {
        result = set_writable(fs, plan->upper, plan->work);
    }
    if (result == 0) {
        result = set_behaviour(fs);
    }
    if (result < 0) {
        return result;
    }
    if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
        return -errno;
    }
    int mount = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NODEV);
    return mount < 0 ? -errno : mount;
}
