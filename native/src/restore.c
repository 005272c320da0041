/* Making a revived process what it was, beside its threads. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "fd.h"
#include "revive.h"

#define SET_NO_NEW_CODE 65 /* PR_SET_MDWE, since Linux 6.3 */
#define SET_MERGES 67      /* PR_SET_MEMORY_MERGE, since Linux 6.4 */

/* ---- memory, as far as a fork does not take it along ---- */

static int lift_lock_limit(pid_t pid)
{
    struct rlimit limit;

    if (prlimit(pid, RLIMIT_MEMLOCK, NULL, &limit) < 0) {
        return -errno;
    }
    limit.rlim_cur = limit.rlim_max;
    return prlimit(pid, RLIMIT_MEMLOCK, &limit, NULL) < 0 ? -errno : 0;
}

static void add_looks(struct inject *inject, const struct area *area)
{
    const uint64_t size = area->end - area->start;

    if (area->looks & LOOK_WIPE_ON_FORK) {
        inject_add(inject, SYS_madvise, area->start, size, MADV_DONTNEED, 0, 0, 0);
        inject_add(inject, SYS_madvise, area->start, size, MADV_WIPEONFORK, 0, 0, 0);
    }
    if (area->looks & LOOK_NO_FORK) {
        inject_add(inject, SYS_madvise, area->start, size, MADV_DONTFORK, 0, 0, 0);
    }
    if (area->looks & LOOK_LOCKED) {
        inject_add(inject, SYS_mlock2, area->start, size, area->looks & LOOK_LOCKED_LATER ? MLOCK_ONFAULT : 0,
                   0, 0, 0);
    }
}

int restore_memory(struct revived *revived)
{
    const struct memory *memory = &revived->image->memory;
    struct inject *inject = &revived->puppet.inject;
    int result = lift_lock_limit(revived->puppet.subject.pid);

    for (size_t i = 0; result == 0 && i < memory->area_count; i++) {
        if ((result = inject_make_room(inject, 4)) == 0) {
            add_looks(inject, &memory->areas[i]);
        }
    }
    return result < 0 ? result : inject_run_clear(inject);
}

/* ---- limits and options ---- */

static int restore_limits(const struct revived *revived)
{
    for (int i = 0; i < (int)RLIM_NLIMITS; i++) {
        if (prlimit(revived->puppet.subject.pid, i, &revived->image->limits[i], NULL) < 0) {
            return -errno;
        }
    }
    return 0;
}

/* What the engine has is what its templates have. */
static long own_number(const char *name, int base)
{
    char path[64], text[32];

    snprintf(path, sizeof path, "/proc/self/%s", name);
    cleanup_fd fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    text[got > 0 ? got : 0] = '\0';
    return strtol(text, NULL, base);
}

static int put_number(pid_t pid, const char *name, long number)
{
    char path[64], text[32];

    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    snprintf(text, sizeof text, "%ld", number);
    cleanup_fd fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

static int restore_numbers(const struct revived *revived)
{
    const struct image_process *process = revived->image;
    const pid_t pid = revived->puppet.subject.pid;
    int result = 0;

    if (process->oom_score_adjust != own_number("oom_score_adj", 10)) {
        result = put_number(pid, "oom_score_adj", process->oom_score_adjust);
    }
    if (result == 0 && process->core_filter != (unsigned)own_number("coredump_filter", 16)) {
        result = put_number(pid, "coredump_filter", process->core_filter);
    }
    return result;
}

int restore_process(struct revived *revived)
{
    const struct image_process *process = revived->image;
    struct inject *inject = &revived->puppet.inject;
    const int locks = process->memory.locks_future;
    const struct {
        int option, value;
    } options[] = {{PR_SET_THP_DISABLE, process->no_huge_pages},
                   {SET_MERGES, process->merges},
                   {PR_SET_CHILD_SUBREAPER, process->reaps_orphans},
                   {SET_NO_NEW_CODE, process->no_new_code}};

    for (unsigned bit = 1; bit <= process->barriers; bit <<= 1) {
        if (process->barriers & bit) {
            inject_add(inject, SYS_membarrier, bit, 0, 0, 0, 0, 0);
        }
    }
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        if (options[i].value) {
            inject_add(inject, SYS_prctl, (uint64_t)options[i].option, (uint64_t)options[i].value, 0, 0, 0,
                       0);
        }
    }
    if (locks) {
        inject_add(inject, SYS_mlockall, (uint64_t)locks, 0, 0, 0, 0, 0);
    }
    if (process->dumpable <= 1) {
        inject_add(inject, SYS_prctl, PR_SET_DUMPABLE, (uint64_t)process->dumpable, 0, 0, 0, 0);
    }
    inject_add(inject, SYS_umask, process->umask, 0, 0, 0, 0, 0);
    int result = inject_run_clear(inject);
    result = result < 0 ? result : restore_numbers(revived);
    return result < 0 ? result : restore_limits(revived);
}
