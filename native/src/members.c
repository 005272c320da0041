/* Which processes are in a sandbox. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "fd.h"
#include "freeze.h"
#include "spare.h"

static bool in_namespace(pid_t pid, ino_t pid_ns)
{
    char path[64];
    struct stat st;

    snprintf(path, sizeof path, "/proc/%d/ns/pid", pid);
    return stat(path, &st) == 0 && st.st_ino == pid_ns;
}

struct pids {
    pid_t *list;
    size_t count;
};

static void pids_add(struct pids *pids, pid_t pid)
{
    if (pids->count % 64 == 0) {
        pids->list = realloc(pids->list, (pids->count + 64) * sizeof *pids->list);
        if (!pids->list) {
            die("out of memory");
        }
    }
    pids->list[pids->count++] = pid;
}

static void list_cgroup(const struct sandbox *sandbox, struct pids *pids)
{
    int fd = openat(sandbox->cgroup.v2_fd, "cgroup.procs", O_RDONLY | O_CLOEXEC);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
    int pid;

    while (file && fscanf(file, "%d", &pid) == 1) {
        if (!spare_has(pid)) {
            pids_add(pids, pid);
        }
    }
    if (file) {
        fclose(file);
    }
}

static void list_namespace(const struct sandbox *sandbox, struct pids *pids)
{
    char path[64];
    struct stat st;
    DIR *proc = opendir("/proc");
    struct dirent *entry;

    snprintf(path, sizeof path, "/proc/%d/ns/pid", sandbox->cell->init.pid);
    if (stat(path, &st) < 0) {
        st.st_ino = 0;
    }
    while (proc && (entry = readdir(proc))) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (pid > 0 && pid != sandbox->cell->init.pid && in_namespace(pid, st.st_ino)) {
            pids_add(pids, pid);
        }
    }
    if (proc) {
        closedir(proc);
    }
}

static struct pids list_pids(const struct sandbox *sandbox)
{
    struct pids pids = {0};

    if (sandbox->cgroup.v2_fd >= 0) {
        list_cgroup(sandbox, &pids);
    } else {
        list_namespace(sandbox, &pids);
    }
    return pids;
}

bool sandbox_has_processes(const struct sandbox *sandbox)
{
    struct pids pids = list_pids(sandbox);

    free(pids.list);
    return pids.count > 0;
}

size_t sandbox_list(const struct sandbox *sandbox, pid_t **list)
{
    const struct pids pids = list_pids(sandbox);

    *list = pids.list;
    return pids.count;
}
