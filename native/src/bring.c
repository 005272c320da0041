/* Giving a revived process what it has open. */
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>

#include "fd.h"
#include "revive.h"
#include "sys.h"

static int open_handle(const struct image_handle *handle, const struct stage *stage)
{
    int fd = -1;

    switch (handle->kind) {
    case HANDLE_FILE:
        fd = sys_openat2(stage->trees[handle->tree], handle->path,
                         (uint64_t)(handle->flags & ~(O_CREAT | O_EXCL | O_TRUNC | O_NOCTTY)) | O_CLOEXEC, 0,
                         RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
        if (fd >= 0 && handle->position > 0 && !(handle->flags & O_PATH) &&
            lseek(fd, handle->position, SEEK_SET) < 0) {
            fd_close(&fd);
        }
        break;
    case HANDLE_DEVICE:
        fd = open(handle->device, (handle->flags & ~(O_CREAT | O_EXCL | O_TRUNC)) | O_NOCTTY | O_CLOEXEC);
        break;
    case HANDLE_STDIO:
        return stage->stdio(stage->owner, handle->process, handle->stream);
    }
    return fd < 0 ? -errno : fd;
}

static int handle_fd(struct revival *revival, size_t handle, const struct stage *stage)
{
    if (revival->opened[handle] < 0) {
        revival->opened[handle] = open_handle(&revival->image->handles[handle], stage);
    }
    return revival->opened[handle];
}

static int by_number(const void *a, const void *b)
{
    const struct image_descriptor *left = a, *right = b;

    return (left->number > right->number) - (left->number < right->number);
}

/* They arrive with the lowest numbers, none above the one it is to have; so from the last to the first none takes the
 * place of another that has not moved yet. */
static int place_descriptors(struct revived *revived, const struct image_descriptor *sorted,
                             const int *arrived)
{
    struct inject *inject = &revived->puppet.inject;

    for (size_t i = revived->image->descriptor_count; i-- > 0;) {
        if (inject->count + 2 > INJECT_CALLS) {
            int result = inject_run_clear(inject);
            if (result < 0) {
                return result;
            }
        }
        const int number = sorted[i].number;
        if (arrived[i] == number) {
            inject_add(inject, SYS_fcntl, (uint64_t)number, F_SETFD, sorted[i].close_on_exec ? FD_CLOEXEC : 0,
                       0, 0, 0);
        } else {
            inject_add(inject, SYS_dup3, (uint64_t)arrived[i], (uint64_t)number,
                       sorted[i].close_on_exec ? O_CLOEXEC : 0, 0, 0, 0);
            inject_add(inject, SYS_close, (uint64_t)arrived[i], 0, 0, 0, 0, 0);
        }
    }
    return inject_run_clear(inject);
}

int bring_descriptors(struct revival *revival, struct revived *revived, const struct stage *stage)
{
    const struct image_process *process = revived->image;
    const size_t count = process->descriptor_count;
    struct image_descriptor *sorted = malloc((count + 1) * sizeof *sorted);
    int *fds = malloc((count + 1) * sizeof *fds), *arrived = malloc((count + 1) * sizeof *arrived);
    int result = 0;

    if (!sorted || !fds || !arrived) {
        die("out of memory");
    }
    memcpy(sorted, process->descriptors, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, by_number);
    for (size_t i = 0; result >= 0 && i < count; i++) {
        fds[i] = result = handle_fd(revival, sorted[i].handle, stage);
    }
    if (result >= 0) {
        result = hand_over(&revived->puppet.hand, fds, count, arrived);
    }
    if (result >= 0) {
        result = place_descriptors(revived, sorted, arrived);
    }
    free(sorted);
    free(fds);
    free(arrived);
    return result < 0 ? result : 0;
}

/* The directories come by the first free numbers. */
int bring_places(struct revival *revival, struct revived *revived, const struct stage *stage)
{
    const size_t handles[] = {revived->image->root, revived->image->directory};
    struct inject *inject = &revived->puppet.inject;
    static const char dot[] = ".";

    for (int i = 0; i < 2; i++) {
        int number;
        if (handles[i] == SIZE_MAX) {
            continue;
        }
        int fd = handle_fd(revival, handles[i], stage);
        int result = fd < 0 ? fd : hand_over(&revived->puppet.hand, &fd, 1, &number);
        if (result == 0) {
            result = subject_write(inject->subject, inject_data(inject), dot, sizeof dot);
        }
        if (result < 0) {
            return result;
        }
        inject_add(inject, SYS_fchdir, (uint64_t)number, 0, 0, 0, 0, 0);
        if (i == 0) {
            inject_add(inject, SYS_chroot, inject_data(inject), 0, 0, 0, 0, 0);
        }
        inject_add(inject, SYS_close, (uint64_t)number, 0, 0, 0, 0, 0);
        if ((result = inject_run_clear(inject)) < 0) {
            return result;
        }
    }
    return 0;
}
