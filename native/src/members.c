/* Which processes are in a sandbox. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>

#include "fd.h"
#include "freeze.h"
#include "spare.h"
#include "status.h"

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
    const ino_t pid_ns = proc_namespace(sandbox->cell->init.pid);
    DIR *proc = opendir("/proc");
    struct dirent *entry;

    while (proc && (entry = readdir(proc))) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (pid > 0 && pid != sandbox->cell->init.pid && proc_is_in(pid, pid_ns)) {
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
