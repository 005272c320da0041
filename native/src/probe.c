#include "probe.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "cell.h"
#include "cgroup.h"
#include "child.h"
#include "engine.h"
#include "fd.h"
#include "json.h"
#include "loop.h"
#include "pool.h"

static bool first = true;

static void check(const char *name, bool ok, const char *detail)
{
    printf("%s{\"name\":\"%s\",\"ok\":%s,\"detail\":\"", first ? "" : ",", name, ok ? "true" : "false");
    json_print_text(detail);
    printf("\"}");
    first = false;
}

static void check_kernel(void)
{
    struct utsname name;
    int major = 0, minor = 0;
    char detail[256];

    uname(&name);
    sscanf(name.release, "%d.%d", &major, &minor);
    snprintf(detail, sizeof detail, "Linux %.100s on %.60s; 6.1 or newer is needed", name.release,
             name.machine);
    check("kernel", major > 6 || (major == 6 && minor >= 1), detail);
}

static bool check_cell(struct cell **cell)
{
    struct err err = {0};
    char detail[512];

    engine.mount_ns = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC); /* a root is made in the cell's */
    bool ok = pool_init(&err) == 0 && cell_new(cell, false, &err) == 0;

    snprintf(detail, sizeof detail, "%s",
             ok ? "user, pid, mount, net, ipc and uts namespaces can be made" : err.message);
    if (!ok) {
        size_t len = strlen(detail);
        snprintf(detail + len, sizeof detail - len,
                 "; run as root with user namespaces enabled "
                 "(/proc/sys/user/max_user_namespaces)");
    }
    check("namespaces", ok, detail);
    return ok;
}

static int try_shifted_root(int user_ns)
{
    struct mount_attr attributes = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)user_ns};
    cleanup_fd fd = open_tree(AT_FDCWD, "/", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

    return fd < 0 || mount_setattr(fd, "", AT_EMPTY_PATH, &attributes, sizeof attributes) < 0 ? errno : 0;
}

static void check_idmap(int user_ns)
{
    int failure = try_shifted_root(user_ns);
    char detail[256];

    snprintf(detail, sizeof detail, "%s%s",
             failure ? "the root file system cannot be shown with shifted ids: "
                     : "the root file system takes shifted ids",
             failure ? strerror(failure) : "");
    check("idmapped base", failure == 0, detail);
}

static void check_overlay(void)
{
    cleanup_fd fs = fsopen("overlay", FSOPEN_CLOEXEC);
    bool ok = fs >= 0 && fsconfig(fs, FSCONFIG_SET_STRING, "redirect_dir", "on", 0) == 0;

    check("overlayfs", ok,
          ok ? "available, with directory renames" : "missing: load or build in CONFIG_OVERLAY_FS");
}

static void check_cgroups(void)
{
    static const char *const names[] = {"memory", "pids", "cpu"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char name[32], detail[128];
        const char *version = cgroup_version_of(names[i]);
        snprintf(name, sizeof name, "cgroup %s", names[i]);
        snprintf(detail, sizeof detail,
                 version ? "limits by cgroup %s" : "no usable controller: limits on %s are refused",
                 version ? version : names[i]);
        check(name, version != NULL, detail);
    }
}

int probe(void)
{
    struct cell *cell;

    engine.uid_base = 0x7f000000;
    engine.pid_ns = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
    loop_init();
    children_init();
    cgroup_detect();
    printf("{\"checks\":[");
    check_kernel();
    check_overlay();
    fflush(stdout); /* the cell's init is a fork and must not print it again */
    if (check_cell(&cell)) {
        check_idmap(cell->user_ns);
        cell_destroy(cell);
        pool_end();
    }
    check_cgroups();
    printf("]}\n");
    return 0;
}
