/* Giving a revived process what it has open. */
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>

#include "fd.h"
#include "handle.h"

int flags_to_open(int flags)
{
    const int always = flags & O_PATH ? 0 : O_NOCTTY;

    return (flags & ~(O_CREAT | O_EXCL | O_TRUNC | O_NOCTTY | O_ASYNC)) | always | O_CLOEXEC;
}

int open_once_more(int fd, int flags)
{
    char link[32];

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int again = open(link, flags_to_open(flags) & ~O_NOFOLLOW);
    return again < 0 ? -errno : again;
}

const int *opening_object(const struct opening *opening, size_t object)
{
    struct made *made = &opening->revival->made[object];

    if (!made->is_made) {
        const struct image_object *kept = &opening->revival->image->objects[object];
        made->fds[0] = made->fds[1] = -1;
        made->is_made = true; /* also by halves: what is there is closed at the end */
        int result = kept->kind->make(opening, kept, made->fds);
        if (result < 0) {
            errno = -result;
            return NULL;
        }
    }
    return made->fds;
}

int opening_fd(const struct opening *opening, size_t handle)
{
    int *fd = &opening->revival->opened[handle];

    if (*fd < 0) {
        const struct image_handle *kept = &opening->revival->image->handles[handle];
        *fd = kept->kind->open(opening, kept);
    }
    return *fd;
}

/* Takes over what a call of the process has given it. */
static int take_made(const struct opening *opening, size_t call)
{
    struct inject *inject = &opening->revived->puppet.inject;
    int result = inject_run(inject);
    const int number = (int)inject->calls[call].result;

    inject_clear(inject);
    if (result < 0) {
        return result;
    }
    int fd = pidfd_getfd(opening->revived->puppet.subject.pidfd, number, 0);
    const int failure = fd < 0 ? -errno : 0;
    inject_add(inject, SYS_close, (uint64_t)number, 0, 0, 0, 0, 0);
    result = inject_run_clear(inject);
    if (result < 0 || failure < 0) {
        fd_close(&fd);
        return failure < 0 ? failure : result;
    }
    return fd;
}

int opening_make(const struct opening *opening, long number, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    return take_made(opening, inject_add(&opening->revived->puppet.inject, number, a, b, c, d, 0, 0));
}

int opening_inside(const struct opening *opening, const char *path, int flags)
{
    struct inject *inject = &opening->revived->puppet.inject;
    const struct open_how how = {.flags = (uint64_t)flags_to_open(flags), .resolve = RESOLVE_NO_SYMLINKS};
    const uint64_t at = inject_data(inject);
    int result = subject_write(inject->subject, at, &how, sizeof how);

    if (result == 0) {
        result = subject_write(inject->subject, at + sizeof how, path, strlen(path) + 1);
    }
    return result < 0
               ? result
               : opening_make(opening, SYS_openat2, (uint64_t)AT_FDCWD, at + sizeof how, at, sizeof how);
}

uint64_t opening_data(const struct opening *opening, const void *data, size_t size)
{
    struct inject *inject = &opening->revived->puppet.inject;

    return subject_write(inject->subject, inject_data(inject), data, size) < 0 ? 0 : inject_data(inject);
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
        int result = inject_make_room(inject, 2);
        if (result < 0) {
            return result;
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

/* Each is finished in the first process that has it. */
static int finish(const struct opening *opening)
{
    const struct image_process *process = opening->revived->image;
    int result = 0;

    for (size_t i = 0; result >= 0 && i < process->descriptor_count; i++) {
        const struct image_descriptor *descriptor = &process->descriptors[i];
        const struct image_handle *handle = &opening->revival->image->handles[descriptor->handle];
        bool *finished = &opening->revival->finished[descriptor->handle];
        if (handle->kind->finish && !*finished) {
            *finished = true;
            result = handle->kind->finish(opening, handle, descriptor->number);
        }
    }
    return result;
}

/* The records of other processes are in the way of none that was there at the same time. */
static int take_locks(struct revived *revived)
{
    struct inject *inject = &revived->puppet.inject;
    int result = 0;

    for (size_t i = 0; result == 0 && i < revived->image->lock_count; i++) {
        result = locks_add_call(inject, &revived->image->locks[i], inject_data(inject));
        const int ran = inject_run_clear(inject);
        result = result < 0 ? result : ran;
    }
    return result;
}

int bring_open(struct revival *revival, struct revived *revived, const struct stage *stage)
{
    const struct opening opening = {.revival = revival, .revived = revived, .stage = stage};
    const struct image_process *process = revived->image;
    const size_t places[] = {process->root, process->directory};
    int result = 0;

    for (size_t i = 0; result >= 0 && i < process->descriptor_count; i++) {
        result = opening_fd(&opening, process->descriptors[i].handle);
    }
    for (int i = 0; result >= 0 && i < 2; i++) {
        result = places[i] == SIZE_MAX ? 0 : opening_fd(&opening, places[i]);
    }
    return result < 0 ? result : shared_open(&opening);
}

int bring_descriptors(struct revival *revival, struct revived *revived, const struct stage *stage)
{
    const struct opening opening = {.revival = revival, .revived = revived, .stage = stage};
    const struct image_process *process = revived->image;
    const size_t count = process->descriptor_count;
    struct image_descriptor *sorted = malloc((count + 1) * sizeof *sorted);
    int *fds = malloc((count + 1) * sizeof *fds), *arrived = malloc((count + 1) * sizeof *arrived);
    int result = shared_map(&opening);

    if (!sorted || !fds || !arrived) {
        die("out of memory");
    }
    memcpy(sorted, process->descriptors, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, by_number);
    for (size_t i = 0; result >= 0 && i < count; i++) {
        fds[i] = result = opening_fd(&opening, sorted[i].handle);
    }
    if (result >= 0) {
        result = hand_over(&revived->puppet.hand, fds, count, arrived);
    }
    if (result >= 0) {
        result = place_descriptors(revived, sorted, arrived);
    }
    result = result < 0 ? result : finish(&opening);
    result = result < 0 ? result : take_locks(revived);
    free(sorted);
    free(fds);
    free(arrived);
    return result < 0 ? result : 0;
}

/* The directories come by the first free numbers. */
int bring_places(struct revival *revival, struct revived *revived)
{
    const size_t handles[] = {revived->image->root, revived->image->directory};
    struct inject *inject = &revived->puppet.inject;
    static const char dot[] = ".";

    for (int i = 0; i < 2; i++) {
        int number;
        if (handles[i] == SIZE_MAX) {
            continue;
        }
        int result = hand_over(&revived->puppet.hand, &revival->opened[handles[i]], 1, &number);
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

int bring_settle(const struct revival *revival)
{
    const struct image *image = revival->image;
    int result = 0;

    for (size_t i = 0; result == 0 && i < image->handle_count; i++) {
        const struct image_handle *handle = &image->handles[i];
        if (revival->opened[i] >= 0 && handle->kind->settle) {
            result = handle->kind->settle(handle, revival->opened[i]);
        }
    }
    for (size_t i = 0; result == 0 && i < image->object_count; i++) {
        const struct image_object *object = &image->objects[i];
        if (revival->made[i].is_made && object->kind->settle) {
            result = object->kind->settle(object, revival->made[i].fds);
        }
    }
    return result;
}
