/* What a process has open, as an image keeps it. */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "capture.h"
#include "fd.h"
#include "process.h"

static size_t handle_add(struct image *image, const struct image_handle *handle)
{
    image->handles = realloc(image->handles, (image->handle_count + 1) * sizeof *image->handles);
    if (!image->handles) {
        die("out of memory");
    }
    image->handles[image->handle_count] = *handle;
    return image->handle_count++;
}

static const struct holder *find_holder(const struct move *move, size_t unit, int number)
{
    for (size_t i = 0; i < move->holder_count; i++) {
        if (move->holders[i].unit == unit && move->holders[i].fd == number) {
            return &move->holders[i];
        }
    }
    return NULL;
}

/* The handle of a description of a tree; SIZE_MAX when it cannot be kept. */
static size_t handle_of(struct image *image, struct description *description)
{
    if (description->handle > 0) {
        return description->handle - 1;
    }
    if (!description->path) {
        return SIZE_MAX;
    }
    const struct image_handle handle = {
        .kind = HANDLE_FILE,
        .flags = description->flags,
        .tree = description->tree,
        .path = strdup(description->path),
        .position = description->position,
    };
    if (!handle.path) {
        die("out of memory");
    }
    size_t index = handle_add(image, &handle);
    description->handle = index + 1;
    return index;
}

/* The pipes of a command that was started through the API, by what the engine has of them. */
static bool find_stdio(const struct sandbox *sandbox, const struct stat *st, struct image_handle *handle)
{
    for (const struct process *process = sandbox->processes; process; process = process->next) {
        const int fds[] = {process->input.fd, process->streams[0].fd, process->streams[1].fd};
        for (int i = 0; i < 3; i++) {
            struct stat own;
            if (fds[i] >= 0 && fstat(fds[i], &own) == 0 && own.st_ino == st->st_ino &&
                own.st_dev == st->st_dev) {
                handle->kind = HANDLE_STDIO;
                strcpy(handle->process, process->id);
                handle->stream = i;
                return true;
            }
        }
    }
    return false;
}

static bool find_device(const char *link, const struct stat *st, struct image_handle *handle)
{
    static const char *const names[] = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"};

    for (size_t i = 0; S_ISCHR(st->st_mode) && i < sizeof names / sizeof *names; i++) {
        if (strcmp(link, names[i]) == 0) {
            handle->kind = HANDLE_DEVICE;
            strcpy(handle->device, names[i]);
            return true;
        }
    }
    return false;
}

static int flags_of(pid_t tid, int number)
{
    char path[64], text[4096];

    snprintf(path, sizeof path, "/proc/%d/fdinfo/%d", tid, number);
    cleanup_fd fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    text[got > 0 ? got : 0] = '\0';
    const char *at = strstr(text, "flags:");
    return at ? (int)strtol(at + 6, NULL, 8) : 0;
}

static int capture_other(struct image *image, struct image_descriptor *descriptor, const struct move *move,
                         const struct unit *unit, struct obstacles *obstacles)
{
    struct image_handle handle = {.flags = flags_of(unit->thread->tid, descriptor->number)};
    char path[64], link[PATH_MAX];
    struct stat st;

    snprintf(path, sizeof path, "/proc/%d/fd/%d", unit->thread->tid, descriptor->number);
    ssize_t len = readlink(path, link, sizeof link - 1);
    if (len < 0 || stat(path, &st) < 0) {
        return -errno;
    }
    link[len] = '\0';
    descriptor->close_on_exec = (handle.flags & O_CLOEXEC) != 0;
    if (!find_stdio(move->sandbox, &st, &handle) && !find_device(link, &st, &handle)) {
        obstacle_add(obstacles, unit->subject, link, true, "this kind of descriptor is not brought back");
        return -1;
    }
    descriptor->handle = handle_add(image, &handle);
    return 0;
}

static int capture_descriptor(struct image *image, struct image_descriptor *descriptor,
                              const struct move *move, const struct unit *unit, struct obstacles *obstacles)
{
    const struct holder *holder = find_holder(move, (size_t)(unit - move->units), descriptor->number);

    if (!holder) {
        return capture_other(image, descriptor, move, unit, obstacles);
    }
    descriptor->close_on_exec = holder->close_on_exec;
    descriptor->handle = handle_of(image, holder->description);
    if (descriptor->handle == SIZE_MAX) {
        obstacle_add(obstacles, unit->subject, holder->description->was, true, "it has no name any more");
        return -1;
    }
    return 0;
}

static int capture_places(struct image *image, struct image_process *process, const struct move *move,
                          const struct unit *unit, struct obstacles *obstacles)
{
    process->root = process->directory = SIZE_MAX;
    for (size_t i = 0; i < move->place_count; i++) {
        const struct place *place = &move->places[i];
        if (place->unit != (size_t)(unit - move->units)) {
            continue;
        }
        size_t handle = handle_of(image, place->description);
        if (handle == SIZE_MAX) {
            obstacle_add(obstacles, unit->subject, place->description->was, true, "it has no name any more");
            return -1;
        }
        *(place->is_root ? &process->root : &process->directory) = handle;
    }
    return 0;
}

int handles_capture(struct image *image, struct image_process *process, const struct move *move,
                    const struct unit *unit, struct obstacles *obstacles, struct err *err)
{
    process->descriptors = calloc(unit->number_count + 1, sizeof *process->descriptors);
    if (!process->descriptors) {
        die("out of memory");
    }
    for (size_t i = 0; i < unit->number_count; i++) {
        struct image_descriptor *descriptor = &process->descriptors[i];
        descriptor->number = unit->numbers[i];
        int result = capture_descriptor(image, descriptor, move, unit, obstacles);
        if (result < 0) {
            return obstacles->count > 0 ? -1
                                        : err_system(err, -result, "look at descriptor", "%d/%d",
                                                     process->pid, descriptor->number);
        }
        process->descriptor_count++;
    }
    return capture_places(image, process, move, unit, obstacles);
}
