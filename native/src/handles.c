/* What a process has open, as an image keeps it. */
#include <fcntl.h>
#include <limits.h>
#include <linux/kcmp.h>
#include <linux/magic.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include "capture.h"
#include "fd.h"
#include "handle.h"
#include "notice.h"

/* The first that knows it takes it. */
static const struct handle_kind *const kinds[] = {
    &handle_terminal, &handle_memory, &handle_stdio,   &handle_file,  &handle_directory, &handle_nameless,
    &handle_view,     &handle_device, &handle_pipe,    &handle_event, &handle_signal,    &handle_timer,
    &handle_epoll,    &handle_pidfd,  &handle_inotify, &handle_inet,  &handle_netlink,   &handle_unix,
};
#define KINDS (sizeof kinds / sizeof *kinds)

static const struct object_kind *const object_kinds[] = {&object_pipe, &object_memory, &object_nameless};
#define OBJECT_KINDS (sizeof object_kinds / sizeof *object_kinds)

const struct handle_kind *handle_kind_of(const char *name)
{
    for (size_t i = 0; i < KINDS; i++) {
        if (strcmp(kinds[i]->name, name) == 0) {
            return kinds[i];
        }
    }
    return NULL;
}

const struct object_kind *object_kind_of(const char *name)
{
    for (size_t i = 0; i < OBJECT_KINDS; i++) {
        if (strcmp(object_kinds[i]->name, name) == 0) {
            return object_kinds[i];
        }
    }
    return NULL;
}

bool object_is(const struct image *image, size_t object, const struct object_kind *kind)
{
    return object < image->object_count && image->objects[object].kind == kind;
}

/* ---- for the kinds ---- */

int seen_refuse(const struct seen *seen, const char *reason)
{
    obstacle_add_descriptor(seen->obstacles, seen->unit->subject, seen->number, seen->link, true, reason);
    return SEEN_OBSTACLE;
}

int seen_wait(const struct seen *seen, const char *reason)
{
    obstacle_add_descriptor(seen->obstacles, seen->unit->subject, seen->number, seen->link, false, reason);
    return SEEN_OBSTACLE;
}

int seen_take(const struct seen *seen)
{
    int fd = pidfd_getfd(seen->unit->pidfd, seen->number, 0);

    if (fd_is_among_last(fd)) {
        close(fd);
        return -EMFILE;
    }
    return fd < 0 ? -errno : fd;
}

bool seen_is_of_cell(const struct seen *seen, int socket)
{
    struct stat own, cell;
    cleanup_fd space = ioctl(socket, SIOCGSKNS);

    return space >= 0 && fstat(space, &own) == 0 && fstat(seen->move->sandbox->cell->net_ns, &cell) == 0 &&
           own.st_ino == cell.st_ino && own.st_dev == cell.st_dev;
}

uint64_t seen_number(const struct seen *seen, const char *key, int base)
{
    const char *at = strstr(seen->fdinfo, key);

    return at ? strtoull(at + strlen(key), NULL, base) : 0;
}

void *handle_keep(size_t size)
{
    void *kept = calloc(1, size);

    if (!kept) {
        die("out of memory");
    }
    return kept;
}

size_t handle_add(struct image *image, const struct image_handle *handle)
{
    image->handles = realloc(image->handles, (image->handle_count + 1) * sizeof *image->handles);
    if (!image->handles) {
        die("out of memory");
    }
    image->handles[image->handle_count] = *handle;
    return image->handle_count++;
}

size_t object_find(const struct image *image, const struct object_kind *kind, const struct stat *st)
{
    for (size_t i = 0; i < image->object_count; i++) {
        const struct image_object *object = &image->objects[i];
        if (object->kind == kind && object->inode == st->st_ino && object->device == st->st_dev) {
            return i;
        }
    }
    return SIZE_MAX;
}

size_t object_add(struct image *image, const struct object_kind *kind, const struct stat *st, void *kept)
{
    image->objects = realloc(image->objects, (image->object_count + 1) * sizeof *image->objects);
    if (!image->objects) {
        die("out of memory");
    }
    image->objects[image->object_count] =
        (struct image_object){.kind = kind, .device = st->st_dev, .inode = st->st_ino, .kept = kept};
    return image->object_count++;
}

/* ---- descriptions that were met before ---- */

/* Where it is among the known ones, or is to be. 1 when it is there, 0, or -errno. */
static int search(const struct image *image, description_order *order, const void *with, size_t *at)
{
    size_t low = 0, high = image->known_count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        long result = order(&image->known[middle], with);
        *at = middle;
        if (result <= 0) {
            return result == 0 ? 1 : -errno;
        }
        *(result == 1 ? &high : &low) = result == 1 ? middle : middle + 1;
    }
    *at = low;
    return 0;
}

size_t handle_find(const struct image *image, description_order *order, const void *with)
{
    size_t at;

    return search(image, order, with, &at) == 1 ? image->known[at].handle : SIZE_MAX;
}

static long order_of_seen(const struct known_description *known, const void *with)
{
    const struct seen *seen = with;

    return syscall(SYS_kcmp, seen->unit->thread->tid, known->unit->thread->tid, KCMP_FILE, seen->number,
                   known->number);
}

static void know(struct image *image, size_t at, const struct known_description *known)
{
    image->known = realloc(image->known, (image->known_count + 1) * sizeof *known);
    if (!image->known) {
        die("out of memory");
    }
    memmove(image->known + at + 1, image->known + at, (image->known_count - at) * sizeof *known);
    image->known[at] = *known;
    image->known_count++;
}

/* ---- looking ---- */

static struct description *description_of(const struct move *move, const struct unit *unit, int number)
{
    for (size_t i = 0; i < move->holder_count; i++) {
        const struct holder *holder = &move->holders[i];
        if (&move->units[holder->unit] == unit && holder->fd == number) {
            return holder->description;
        }
    }
    for (size_t i = 0; i < move->left_count; i++) {
        const struct left *left = &move->lefts[i];
        if (&move->units[left->unit] == unit && left->fd == number) {
            return left->description;
        }
    }
    return NULL;
}

/* Interest lists and lists of watches may be long: the buffer grows, and is kept. */
static int read_fdinfo(struct seen *seen)
{
    static char *text;
    static size_t room;
    char path[64];
    size_t len = 0;
    ssize_t got = 1;

    snprintf(path, sizeof path, "/proc/%d/fdinfo/%d", seen->unit->thread->tid, seen->number);
    cleanup_fd fd = open(path, O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && got > 0) {
        if (len + 4096 > room) {
            room = room ? room * 2 : 65536;
            text = realloc(text, room);
            if (!text) {
                die("out of memory");
            }
        }
        got = read(fd, text + len, room - 1 - len);
        len += got > 0 ? (size_t)got : 0;
    }
    if (fd < 0 || got < 0 || len == 0) {
        return fd < 0 || got < 0 ? -errno : -ENOENT;
    }
    text[len] = '\0';
    seen->fdinfo = text;
    seen->flags = (int)seen_number(seen, "flags:", 8);
    seen->position = (off_t)seen_number(seen, "pos:", 10);
    return 0;
}

/* The texts are valid until the next one is looked at. */
static int look(struct seen *seen)
{
    static char link[PATH_MAX];
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/fd/%d", seen->unit->thread->tid, seen->number);
    ssize_t len = readlink(path, link, sizeof link - 1);
    if (len < 0 || stat(path, &seen->st) < 0) {
        return -errno;
    }
    link[len] = '\0';
    seen->link = link;
    seen->description = description_of(seen->move, seen->unit, seen->number);
    return read_fdinfo(seen);
}

int seen_again(const struct seen *seen, struct seen *now)
{
    *now = *seen;
    return look(now);
}

/* ---- capturing ---- */

static int capture_new(const struct seen *seen, size_t *handle)
{
    struct image_handle made = {.flags = seen->flags & ~O_ASYNC};
    size_t kind = 0;

    while (kind < KINDS && !kinds[kind]->is_it(seen)) {
        kind++;
    }
    if (kind == KINDS) {
        return seen_refuse(seen, "this kind of descriptor is not brought back");
    }
    made.kind = kinds[kind];
    int result = made.kind->capture(seen, &made);
    result = result == 0 ? notice_capture(seen, &made.notice) : result;
    if (result == 0) {
        *handle = handle_add(seen->image, &made);
    }
    return result;
}

/* What was opened by TIOCGPTPEER has the flag in its description for good: only the process knows better. */
static int is_closed_on_exec(const struct seen *seen)
{
    struct inject *inject = seen->unit->inject;

    if (!(seen->flags & O_CLOEXEC) || !S_ISCHR(seen->st.st_mode)) {
        return (seen->flags & O_CLOEXEC) != 0;
    }
    inject_clear(inject);
    inject_add(inject, SYS_fcntl, (uint64_t)seen->number, F_GETFD, 0, 0, 0, 0);
    int result = inject_run(inject);
    const int flags = (int)inject->calls[0].result;
    inject_clear(inject);
    return result < 0 ? result : flags & FD_CLOEXEC;
}

static int capture_descriptor(struct seen *seen, struct image_descriptor *descriptor)
{
    struct known_description known = {.unit = seen->unit, .number = seen->number};
    size_t at;
    int result = look(seen);

    if (result < 0 || (result = is_closed_on_exec(seen)) < 0) {
        return result;
    }
    descriptor->close_on_exec = result > 0;
    if ((result = search(seen->image, order_of_seen, seen, &at)) < 0) {
        return result;
    }
    const bool is_known = result == 1;
    descriptor->number = seen->number;
    if (is_known && seen->image->known[at].handle != HANDLE_REFUSED) {
        descriptor->handle = seen->image->known[at].handle;
        return 0;
    }
    result = capture_new(seen, &known.handle);
    if (result == SEEN_OBSTACLE) {
        known.handle = HANDLE_REFUSED;
    }
    if (result >= 0 && !is_known) {
        know(seen->image, at, &known);
    }
    descriptor->handle = known.handle;
    return result;
}

/* Each is told by the descriptor it was taken with. */
static void capture_locks(struct image_process *process, const struct seen *seen)
{
    const struct description *description = seen->description;
    const size_t unit = (size_t)(seen->unit - seen->move->units);

    for (size_t i = 0; description && i < description->lock_count; i++) {
        const struct lock *lock = &description->locks[i];
        if (lock->kind != LOCK_OF_PROCESS || lock->unit != unit || lock->fd != seen->number) {
            continue;
        }
        process->locks = realloc(process->locks, (process->lock_count + 1) * sizeof *process->locks);
        if (!process->locks) {
            die("out of memory");
        }
        process->locks[process->lock_count++] = *lock;
    }
}

/* One that is in none of the trees. A view can be gone to by its name. */
static int capture_foreign_place(struct seen *seen, const char *name, size_t *handle)
{
    static char link[PATH_MAX];
    struct stat root;
    struct statfs fs;
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/%s", seen->unit->thread->tid, name);
    ssize_t len = readlink(path, link, sizeof link - 1);
    if (len < 0 || stat(path, &seen->st) < 0 || statfs(path, &fs) < 0 ||
        fstat(seen->move->trees[0].old, &root) < 0) {
        return -errno;
    }
    if (root.st_dev == seen->st.st_dev && root.st_ino == seen->st.st_ino) {
        return 0;
    }
    link[len] = '\0';
    seen->link = link;
    seen->number = -1;
    if (strcmp(name, "root") == 0 || (fs.f_type != PROC_SUPER_MAGIC && fs.f_type != SYSFS_MAGIC)) {
        return seen_refuse(seen, strcmp(name, "root") == 0 ? "it is its root directory"
                                                           : "it is its working directory");
    }
    struct image_handle made = {.kind = &handle_view, .flags = O_PATH | O_DIRECTORY};
    seen->position = 0;
    int result = made.kind->capture(seen, &made);
    *handle = result == 0 ? handle_add(seen->image, &made) : SIZE_MAX;
    return result;
}

static int capture_places(struct image_process *process, struct seen *seen)
{
    const struct move *move = seen->move;
    int result = 0;

    process->root = process->directory = SIZE_MAX;
    for (size_t i = 0; result == 0 && i < move->place_count; i++) {
        const struct place *place = &move->places[i];
        if (&move->units[place->unit] != seen->unit) {
            continue;
        }
        seen->number = -1;
        seen->description = place->description;
        seen->link = place->description->was;
        seen->st = place->description->st;
        seen->flags = place->description->flags;
        seen->position = 0;
        seen->fdinfo = "";
        result = capture_new(seen, place->is_root ? &process->root : &process->directory);
    }
    if (result == 0 && process->root == SIZE_MAX) {
        result = capture_foreign_place(seen, "root", &process->root);
    }
    if (result == 0 && process->directory == SIZE_MAX) {
        result = capture_foreign_place(seen, "cwd", &process->directory);
    }
    return result < 0 ? result : 0;
}

int handles_capture(struct image *image, struct image_process *process, const struct move *move,
                    const struct unit *unit, struct obstacles *obstacles, struct err *err)
{
    struct seen seen = {.image = image, .move = move, .unit = unit, .obstacles = obstacles};

    process->descriptors = calloc(unit->number_count + 1, sizeof *process->descriptors);
    if (!process->descriptors) {
        die("out of memory");
    }
    for (size_t i = 0; i < unit->number_count; i++) {
        seen.number = unit->numbers[i];
        int result = capture_descriptor(&seen, &process->descriptors[process->descriptor_count]);
        if (result < 0) {
            return err_system(err, -result, "look at descriptor", "%d/%d", process->pid, seen.number);
        }
        process->descriptor_count += result == 0;
        capture_locks(process, &seen);
    }
    int result = capture_places(process, &seen);
    return result < 0 ? err_system(err, -result, "look at directory", "process %d", process->pid) : 0;
}

static int complete_one(struct image *image, const struct move *move, struct obstacles *obstacles,
                        const struct known_description *known, bool all)
{
    struct image_handle *handle = &image->handles[known->handle];
    int (*const complete)(const struct seen *, struct image_handle *) =
        all ? handle->kind->complete_all : handle->kind->complete;
    struct seen seen = {
        .image = image, .move = move, .unit = known->unit, .obstacles = obstacles, .number = known->number};

    if (!complete) {
        return 0;
    }
    int result = look(&seen);
    return result < 0 ? result : complete(&seen, handle);
}

int handles_complete(struct image *image, const struct move *move, struct obstacles *obstacles,
                     struct err *err)
{
    for (size_t i = 0; i < 2 * image->known_count; i++) {
        const struct known_description *known = &image->known[i % image->known_count];
        if (known->handle == HANDLE_REFUSED) {
            continue;
        }
        int result = complete_one(image, move, obstacles, known, i >= image->known_count);
        if (result < 0) {
            return err_system(err, -result, "look at descriptor", "%d/%d", known->unit->subject->inner,
                              known->number);
        }
    }
    free(image->known);
    image->known = NULL;
    image->known_count = 0;
    return 0;
}
