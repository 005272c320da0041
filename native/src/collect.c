/* What the frozen processes hold of the trees that are being left. Everything is read from outside: /proc, pidfds. */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/kcmp.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include "fd.h"
#include "file.h"
#include "move.h"
#include "sys.h"

#define FDINFO_BYTES 65536u

struct fdinfo {
    char *text; /* grows, and is kept */
    size_t room;
    uint64_t mount_id, inode;
    off_t position;
    int flags;
};

static void *grown(void *list, size_t count, size_t size)
{
    if (count % 32 == 0) {
        list = realloc(list, (count + 32) * size);
        if (!list) {
            die("out of memory");
        }
    }
    return list;
}

/* ---- reading ---- */

static uint64_t number_after(const char *text, const char *key, int base)
{
    const char *at = strstr(text, key);

    return at ? strtoull(at + strlen(key), NULL, base) : 0;
}

static int read_fdinfo(int dir, const char *name, struct fdinfo *info)
{
    cleanup_fd fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    size_t len = 0;

    if (fd_is_among_last(fd)) {
        return -EMFILE;
    }
    while (fd >= 0) {
        if (len + 1 >= info->room) {
            info->room = info->room ? info->room * 2 : FDINFO_BYTES;
            info->text = realloc(info->text, info->room);
            if (!info->text) {
                die("out of memory");
            }
        }
        ssize_t got = read(fd, info->text + len, info->room - 1 - len);
        if (got <= 0) {
            break;
        }
        len += (size_t)got;
    }
    if (fd < 0 || len == 0) {
        return -ENOENT;
    }
    info->text[len] = '\0';
    info->position = (off_t)number_after(info->text, "pos:", 10);
    info->flags = (int)number_after(info->text, "flags:", 8);
    info->mount_id = number_after(info->text, "mnt_id:", 10);
    info->inode = number_after(info->text, "ino:", 10);
    return 0;
}

static struct move_tree *tree_of_mount(struct move *move, uint64_t mount_id)
{
    for (size_t i = 0; i < move->tree_count; i++) {
        if (move->trees[i].mount_id == mount_id) {
            return &move->trees[i];
        }
    }
    return NULL;
}

static int find_tree_ids(struct move *move, struct err *err)
{
    static struct fdinfo info;
    cleanup_fd dir = open("/proc/self/fdinfo", O_PATH | O_DIRECTORY | O_CLOEXEC);

    for (size_t i = 0; i < move->tree_count; i++) {
        struct move_tree *tree = &move->trees[i];
        char name[16];
        struct stat st;
        snprintf(name, sizeof name, "%d", tree->old);
        if (read_fdinfo(dir, name, &info) < 0 || fstat(tree->old, &st) < 0) {
            return err_system(err, errno, "look at the root", "%s", tree->path);
        }
        tree->mount_id = info.mount_id;
        tree->dev = st.st_dev;
    }
    return 0;
}

/* ---- descriptions ---- */

bool is_same_description(int a, int b)
{
    pid_t self = getpid();

    return syscall(SYS_kcmp, self, self, KCMP_FILE, a, b) == 0;
}

static bool is_same(const struct description *description, int fd, const struct fdinfo *info)
{
    return description->inode == info->inode && description->position == info->position &&
           (description->flags | O_CLOEXEC) == (info->flags | O_CLOEXEC) &&
           is_same_description(description->old, fd);
}

const char *move_path_inside(const struct move_tree *tree, const char *path)
{
    size_t prefix = tree->path[1] ? strlen(tree->path) : 0;
    const char *inside = path + prefix;

    if (strncmp(path, tree->path, prefix) != 0 || (*inside && *inside != '/')) {
        return NULL;
    }
    while (*inside == '/') {
        inside++;
    }
    return *inside ? inside : ".";
}

static bool leads_to(const struct move_tree *tree, const char *inside, const struct stat *wanted)
{
    struct stat st;
    cleanup_fd fd = sys_openat2(tree->old, inside, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0,
                                RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);

    return fd >= 0 && fstat(fd, &st) == 0 && st.st_ino == wanted->st_ino && st.st_dev == wanted->st_dev;
}

int move_path_of(const struct move_tree *tree, int fd, char path[PATH_MAX])
{
    char link[32], whole[PATH_MAX];
    struct stat st;

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, whole, sizeof whole - 1);
    if (len < 0 || fstat(fd, &st) < 0) {
        return -1;
    }
    whole[len] = '\0';
    const char *inside = move_path_inside(tree, whole);
    if (!inside || !leads_to(tree, inside, &st)) {
        errno = ENOENT;
        return -1;
    }
    strcpy(path, inside);
    return 0;
}

/* The name in the tree, if it still is one of this file: the kernel remembers a name that was taken away. */
static void find_name(const struct move *move, struct description *description)
{
    const struct move_tree *tree = &move->trees[description->tree];
    const char *inside = move_path_inside(tree, description->was);

    if (inside && leads_to(tree, inside, &description->st)) {
        description->path = strdup(inside);
    }
}

/* Takes `fd` over. */
static struct description *description_new(struct move *move, size_t tree, int fd, const char *was,
                                           const struct fdinfo *info)
{
    struct description *description = calloc(1, sizeof *description);

    if (!description || !(description->was = strdup(was))) {
        die("out of memory");
    }
    description->old = fd;
    description->new = -1;
    description->tree = tree;
    description->flags = info->flags;
    description->position = info->position;
    description->inode = info->inode;
    if (fstat(fd, &description->st) == 0) {
        find_name(move, description);
    }
    struct description **bucket = &move->descriptions[info->inode % MOVE_BUCKETS];
    description->next_alike = *bucket;
    *bucket = description;
    move->description_count++;
    return description;
}

/* Takes `fd` over. Descriptors that share a description find the same one. */
static struct description *description_of(struct move *move, size_t tree, int fd, const char *was,
                                          const struct fdinfo *info)
{
    struct description *description = move->descriptions[info->inode % MOVE_BUCKETS];

    while (description && !is_same(description, fd, info)) {
        description = description->next_alike;
    }
    if (description) {
        close(fd);
        return description;
    }
    return description_new(move, tree, fd, was, info);
}

int move_each(struct move *move, int (*each)(struct move *, struct description *, struct err *),
              struct err *err)
{
    for (size_t i = 0; i < MOVE_BUCKETS; i++) {
        for (struct description *at = move->descriptions[i]; at; at = at->next_alike) {
            if (each(move, at, err) < 0) {
                return -1;
            }
        }
    }
    return 0;
}

struct subject *move_subject_of(struct move *move, const struct description *description)
{
    for (size_t i = 0; i < move->holder_count; i++) {
        if (move->holders[i].description == description) {
            return move->units[move->holders[i].unit].subject;
        }
    }
    for (size_t i = 0; i < move->place_count; i++) {
        if (move->places[i].description == description) {
            return move->units[move->places[i].unit].subject;
        }
    }
    return NULL;
}

/* ---- programs that compare devices and inodes ----
 *
 * An overlay's are its own, so what was looked at before the move is another file to them after it. */

static bool is_one_of(const struct subject *subject, const char *const *programs)
{
    while (*programs && strcmp(subject->command, *programs) != 0) {
        programs++;
    }
    return *programs != NULL;
}

/* These use fts(3), which goes back up by ".." and gives up unless that is the very directory it came from. */
static void check_walker(struct move *move, const struct unit *unit, const struct description *description)
{
    static const char *const programs[] = {"rm", "chmod", "chown", "chgrp", "chcon",
                                           "du", "find",  "grep",  NULL};

    if (S_ISDIR(description->st.st_mode) && is_one_of(unit->subject, programs)) {
        obstacle_add(&move->obstacles, unit->subject, description->was, false,
                     "it walks through a tree and would lose its way");
    }
}

/* These look at a file, open it, and leave it out if it is another one then. While one is open, that is over. */
static void check_copier(struct move *move, size_t index)
{
    static const char *const programs[] = {"cp", "install", NULL};
    const struct unit *unit = &move->units[index];

    if (!is_one_of(unit->subject, programs)) {
        return;
    }
    for (size_t i = 0; i < move->holder_count; i++) {
        if (move->holders[i].unit == index && S_ISREG(move->holders[i].description->st.st_mode)) {
            return;
        }
    }
    obstacle_add(&move->obstacles, unit->subject, "the file it copies next", false,
                 "it is between looking at the file and opening it");
}

/* ---- descriptors ---- */

/* What is neither a file nor can go on as it is. */
static void check_socket(struct move *move, const struct unit *unit, int infos, const char *name,
                         const char *link)
{
    static struct fdinfo info;

    if (read_fdinfo(infos, name, &info) == 0 && number_after(info.text, "scm_fds:", 10) > 0) {
        obstacle_add_descriptor(&move->obstacles, unit->subject, atoi(name), link, false,
                                "descriptors that nobody has received yet are on their way through it");
        return;
    }
    held_collect_socket(move, unit, atoi(name));
}

static int check_other(struct move *move, const struct unit *unit, int infos, const char *name,
                       const char *link, struct err *err)
{
    static struct fdinfo info;

    if (strncmp(link, "socket:", 7) == 0) {
        check_socket(move, unit, infos, name, link);
    } else if (strcmp(link, "anon_inode:inotify") == 0) {
        int result = read_fdinfo(infos, name, &info);
        int fd = result < 0 ? result : pidfd_getfd(unit->pidfd, atoi(name), 0);
        if (fd < 0) {
            return err_system(err, result < 0 ? -result : errno, "look at descriptor", "%d/%s",
                              unit->subject->inner, name);
        }
        watches_collect(move, unit->subject, atoi(name), fd, info.text);
    }
    return 0;
}

bool is_left(const struct move *move, int fd)
{
    struct stat st;
    struct statfs fs;

    return fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && fstatfs(fd, &fs) == 0 &&
           fs.f_type == OVERLAYFS_SUPER_MAGIC && move_tree_of(move, fd) == move->tree_count;
}

/* Only who looks at what processes have needs to know of it. */
static void collect_left(struct move *move, size_t index, const char *name, const char *link,
                         const struct fdinfo *info)
{
    cleanup_fd fd = pidfd_getfd(move->units[index].pidfd, atoi(name), 0);

    if (!is_left(move, fd)) {
        return;
    }
    struct description *description = calloc(1, sizeof *description);
    if (!description || !(description->was = strdup(link))) {
        die("out of memory");
    }
    fstat(fd, &description->st);
    description->old = fd_steal(&fd);
    description->new = -1;
    description->flags = info->flags;
    description->position = info->position;
    description->inode = info->inode;
    move->lefts = grown(move->lefts, move->left_count, sizeof *move->lefts);
    move->lefts[move->left_count++] =
        (struct left){.unit = index, .fd = atoi(name), .description = description};
    const struct holder holder = {.unit = index, .fd = atoi(name), .description = description};
    locks_parse(move, description, &holder, info->text);
}

static int collect_descriptor(struct move *move, size_t index, int links, int infos, const char *name,
                              struct err *err)
{
    static struct fdinfo info;
    struct unit *unit = &move->units[index];
    char link[PATH_MAX];
    ssize_t len = readlinkat(links, name, link, sizeof link - 1);

    if (len < 0 && errno == ENAMETOOLONG) {
        obstacle_add_descriptor(&move->obstacles, unit->subject, atoi(name), "a file", true,
                                "its path is too long");
        return 0;
    }
    if (len < 0) {
        return err_system(err, errno, "look at descriptor", "%d/%s", unit->subject->inner, name);
    }
    link[len] = '\0';
    if (link[0] != '/') {
        return check_other(move, unit, infos, name, link, err);
    }
    int result = read_fdinfo(infos, name, &info);
    if (result < 0) {
        return err_system(err, -result, "look at descriptor", "%d/%s", unit->subject->inner, name);
    }
    struct move_tree *tree = tree_of_mount(move, info.mount_id);
    if (!tree) { /* a device, /proc, or a file of an earlier tree that has no name or is held */
        struct stat st;
        if (fstatat(links, name, &st, 0) < 0) {
            return 0;
        }
        if (move->sandbox->held && S_ISFIFO(st.st_mode)) {
            held_is_alive(move, &st);
        } else if (S_ISREG(st.st_mode)) {
            collect_left(move, index, name, link, &info);
        }
        return 0;
    }
    int fd = pidfd_getfd(unit->pidfd, atoi(name), 0);
    if (fd < 0) {
        return err_system(err, errno, "take descriptor", "%d/%s", unit->subject->inner, name);
    }
    move->holders = grown(move->holders, move->holder_count, sizeof *move->holders);
    struct holder *holder = &move->holders[move->holder_count++];
    *holder = (struct holder){
        .unit = index,
        .fd = atoi(name),
        .close_on_exec = (info.flags & O_CLOEXEC) != 0,
        .description = description_of(move, (size_t)(tree - move->trees), fd, link, &info),
    };
    check_walker(move, unit, holder->description);
    if (S_ISFIFO(holder->description->st.st_mode)) {
        held_collect_fifo(move, holder->description);
    }
    locks_parse(move, holder->description, holder, info.text);
    return 0;
}

static int collect_all_descriptors(struct move *move, size_t index, DIR *links, int infos, struct err *err)
{
    struct unit *unit = &move->units[index];
    struct dirent *entry;
    int result = 0;

    while (result == 0 && (entry = readdir(links))) {
        if (entry->d_name[0] != '.') {
            unit->numbers = grown(unit->numbers, unit->number_count, sizeof *unit->numbers);
            unit->numbers[unit->number_count++] = atoi(entry->d_name);
            result = collect_descriptor(move, index, dirfd(links), infos, entry->d_name, err);
        }
    }
    return result;
}

static int collect_descriptors(struct move *move, size_t index, struct err *err)
{
    const struct unit *unit = &move->units[index];
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/fdinfo", unit->thread->tid);
    cleanup_fd infos = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    snprintf(path, sizeof path, "/proc/%d/fd", unit->thread->tid);
    DIR *links = opendir(path);
    if (infos < 0 || !links) {
        if (links) {
            closedir(links);
        }
        return err_system(err, errno, "list descriptors", "process %d", unit->subject->inner);
    }
    int result = collect_all_descriptors(move, index, links, infos, err);
    closedir(links);
    check_copier(move, index);
    return result;
}

/* ---- directories ---- */

static bool is_root_of(const struct move *move, const struct description *description)
{
    return description->tree == 0 && description->path && strcmp(description->path, ".") == 0 &&
           move->trees[0].dev == description->st.st_dev;
}

size_t move_tree_of(const struct move *move, int fd)
{
    static struct fdinfo info;
    char name[16];
    cleanup_fd infos = open("/proc/self/fdinfo", O_PATH | O_DIRECTORY | O_CLOEXEC);
    size_t tree = 0;

    snprintf(name, sizeof name, "%d", fd);
    if (read_fdinfo(infos, name, &info) < 0) {
        return move->tree_count;
    }
    while (tree < move->tree_count && move->trees[tree].mount_id != info.mount_id) {
        tree++;
    }
    return tree;
}

int move_open_description(struct move *move, const char *path, int flags, struct description **description)
{
    static struct fdinfo info;
    char link[PATH_MAX], name[16];

    *description = NULL;
    cleanup_fd probe =
        open(path, O_PATH | O_CLOEXEC); /* what is not of a tree is not opened: that could do anything */
    if (fd_is_among_last(probe)) {
        errno = EMFILE;
        return -1;
    }
    if (probe < 0) {
        return -1;
    }
    size_t tree = move_tree_of(move, probe);
    if (tree == move->tree_count) {
        return 0;
    }
    ssize_t len = readlink(path, link, sizeof link - 1);
    cleanup_fd fd = len < 0 ? -1 : open(path, flags | O_NONBLOCK | O_CLOEXEC);
    cleanup_fd infos = open("/proc/self/fdinfo", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || infos < 0) {
        return -1;
    }
    link[len] = '\0';
    snprintf(name, sizeof name, "%d", fd);
    int result = read_fdinfo(infos, name, &info);
    if (result < 0) {
        errno = -result;
        return -1;
    }
    *description = description_new(move, tree, fd_steal(&fd), link, &info);
    return 0;
}

/* pivot_root itself moves everyone who stands on the old root. */
static int collect_place(struct move *move, size_t index, bool is_root, struct err *err)
{
    const struct unit *unit = &move->units[index];
    struct description *description;
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/%s", unit->thread->tid, is_root ? "root" : "cwd");
    if (move_open_description(move, path, O_PATH | O_DIRECTORY, &description) < 0) {
        return err_system(err, errno, "look at directory", "process %d", unit->subject->inner);
    }
    if (description && !is_root_of(move, description)) {
        if (is_root && !thread_is_capable(unit->thread, CAP_SYS_CHROOT)) {
            obstacle_add(&move->obstacles, unit->subject, description->was, true,
                         "it has this root directory and may not change it");
            return 0;
        }
        move->places = grown(move->places, move->place_count, sizeof *move->places);
        move->places[move->place_count++] =
            (struct place){.unit = index, .is_root = is_root, .description = description};
    }
    return 0;
}

/* ---- units ---- */

static struct unit *unit_add(struct move *move, struct subject *subject, struct thread *thread)
{
    move->units = grown(move->units, move->unit_count, sizeof *move->units);
    struct unit *unit = &move->units[move->unit_count++];
    *unit = (struct unit){.subject = subject, .thread = thread, .pidfd = subject ? subject->pidfd : -1};
    return unit;
}

static bool shares(pid_t a, pid_t b, int what)
{
    return syscall(SYS_kcmp, a, b, what, 0, 0) == 0;
}

static int collect_subject(struct move *move, struct subject *subject, struct err *err)
{
    struct thread *first = subject_thread(subject);
    size_t first_unit = move->unit_count;

    for (size_t i = 0; first && i < subject->thread_count; i++) {
        struct thread *thread = &subject->threads[i];
        if (thread->gone) {
            continue;
        }
        bool own_files = thread == first || !shares(first->tid, thread->tid, KCMP_FILES);
        bool own_places = thread == first || !shares(first->tid, thread->tid, KCMP_FS);
        if (!own_files && !own_places) {
            continue;
        }
        if (own_files && thread != first) {
            obstacle_add(&move->obstacles, subject, "a thread", true, "it has a descriptor table of its own");
            continue;
        }
        unit_add(move, subject, thread);
        size_t index = move->unit_count - 1;
        if ((own_files && collect_descriptors(move, index, err) < 0) ||
            (own_places &&
             (collect_place(move, index, true, err) < 0 || collect_place(move, index, false, err) < 0)) ||
            (thread == first && maps_collect(move, index, err) < 0)) {
            return -1;
        }
        move->units[index].vdso = move->units[first_unit].vdso;
    }
    return 0;
}

/* Files that the engine itself has open for the daemon. */
static void collect_handle(void *owner, int fd)
{
    static struct fdinfo info;
    struct move *move = owner;
    char name[32], link[PATH_MAX];
    cleanup_fd infos = open("/proc/self/fdinfo", O_PATH | O_DIRECTORY | O_CLOEXEC);

    snprintf(name, sizeof name, "%d", fd);
    struct move_tree *tree = read_fdinfo(infos, name, &info) < 0 ? NULL : tree_of_mount(move, info.mount_id);
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(name, link, sizeof link - 1);
    int copy = tree && len >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
    if (copy < 0) {
        return;
    }
    link[len] = '\0';
    move->holders = grown(move->holders, move->holder_count, sizeof *move->holders);
    move->holders[move->holder_count++] = (struct holder){
        .unit = move->unit_count - 1,
        .fd = fd,
        .close_on_exec = true,
        .description = description_of(move, (size_t)(tree - move->trees), copy, link, &info),
    };
}

int move_collect(struct move *move, struct err *err)
{
    if (find_tree_ids(move, err) < 0) {
        return -1;
    }
    held_begin(move);
    unit_add(move, NULL, NULL);
    files_each_of(move->sandbox, collect_handle, move);
    for (size_t i = 0; i < move->frozen.count; i++) {
        struct subject *subject = &move->frozen.subjects[i];
        struct thread *thread = subject_thread(subject);
        if (collect_subject(move, subject, err) < 0 && !thread_was_killed(thread)) {
            return -1;
        }
    }
    return move->obstacles.count == 0 || move->obstacles.lasting ? 0 : -1;
}

static void description_free(struct description *description)
{
    fd_close(&description->old);
    fd_close(&description->new);
    free(description->path);
    free(description->was);
    free(description->locks);
    free(description);
}

void move_forget(struct move *move)
{
    for (size_t i = 0; i < MOVE_BUCKETS; i++) {
        while (move->descriptions[i]) {
            struct description *next = move->descriptions[i]->next_alike;
            description_free(move->descriptions[i]);
            move->descriptions[i] = next;
        }
    }
    for (size_t i = 0; i < move->unit_count; i++) {
        free(move->units[i].numbers);
    }
    for (size_t i = 0; i < move->left_count; i++) {
        description_free(move->lefts[i].description);
    }
    free(move->lefts);
    move->lefts = NULL;
    move->left_count = 0;
    watches_free(move);
    held_free(move);
    free(move->units);
    free(move->holders);
    free(move->mappings);
    free(move->places);
    move->units = NULL;
    move->holders = NULL;
    move->mappings = NULL;
    move->places = NULL;
    move->unit_count = move->holder_count = move->mapping_count = move->place_count = 0;
}
