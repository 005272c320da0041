/* inotify watches hang on inodes of the old trees and are hung on those of the new ones, under the same numbers. The
 * kernel tells of a watched inode its number alone; its name is looked for once and then followed by a descriptor. */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#include "fd.h"
#include "move.h"
#include "sys.h"

#define SET_NEXT_WATCH _IOW('I', 0, int32_t)
#define SEARCH_DEPTH 128

/* ---- places that are known ---- */

static struct watched *find_watched(const struct sandbox *sandbox, size_t tree, uint64_t inode)
{
    struct watched *watched = sandbox->watched[inode % WATCHED_BUCKETS];

    while (watched && (watched->tree != tree || watched->inode != inode)) {
        watched = watched->next;
    }
    return watched;
}

static struct watched *add_watched(struct sandbox *sandbox, size_t tree, uint64_t inode)
{
    struct watched *watched = calloc(1, sizeof *watched);

    if (!watched) {
        die("out of memory");
    }
    struct watched **bucket = &sandbox->watched[inode % WATCHED_BUCKETS];
    *watched = (struct watched){.tree = tree, .inode = inode, .place = -1, .next = *bucket};
    *bucket = watched;
    return watched;
}

void watched_forget(struct sandbox *sandbox)
{
    for (size_t i = 0; i < WATCHED_BUCKETS; i++) {
        while (sandbox->watched[i]) {
            struct watched *next = sandbox->watched[i]->next;
            fd_close(&sandbox->watched[i]->place);
            free(sandbox->watched[i]);
            sandbox->watched[i] = next;
        }
    }
}

/* ---- collecting ---- */

static size_t tree_of_device(const struct move *move, unsigned device)
{
    size_t tree = 0;

    while (tree < move->tree_count && makedev(device >> 20, device & 0xfffff) != move->trees[tree].dev) {
        tree++;
    }
    return tree;
}

static void add_watch(struct notifier *notifier, const struct watch *watch)
{
    notifier->watches = realloc(notifier->watches, (notifier->watch_count + 1) * sizeof *notifier->watches);
    if (!notifier->watches) {
        die("out of memory");
    }
    notifier->watches[notifier->watch_count++] = *watch;
}

/* "inotify wd:1 ino:9e7e sdev:800013 mask:800afce ignored_mask:0 ..." */
static void parse_watches(struct move *move, struct notifier *notifier, const char *text)
{
    for (const char *line = strstr(text, "\ninotify "); line; line = strstr(line + 1, "\ninotify ")) {
        struct watch watch = {.new_place = -1};
        unsigned long long inode;
        unsigned device;
        if (sscanf(line, "\ninotify wd:%x ino:%llx sdev:%x mask:%x", &watch.number, &inode, &device,
                   &watch.mask) != 4) {
            continue;
        }
        watch.tree = tree_of_device(move, device);
        watch.inode = inode;
        if (watch.tree < move->tree_count && watch.mask) {
            add_watch(notifier, &watch);
        }
    }
}

static bool is_known(const struct move *move, int fd)
{
    for (const struct notifier *notifier = move->notifiers; notifier; notifier = notifier->next) {
        if (is_same_description(notifier->fd, fd)) {
            return true;
        }
    }
    return false;
}

static int by_number(const void *a, const void *b)
{
    const struct watch *left = a, *right = b;

    return (left->number > right->number) - (left->number < right->number);
}

int watches_collect(struct move *move, struct subject *subject, int fd, const char *fdinfo)
{
    cleanup_fd own = fd;
    int waiting = 0;

    if (is_known(move, own)) {
        return 0;
    }
    struct notifier *notifier = calloc(1, sizeof *notifier);
    if (!notifier) {
        die("out of memory");
    }
    notifier->next = move->notifiers;
    notifier->fd = fd_steal(&own);
    notifier->subject = subject;
    move->notifiers = notifier;
    parse_watches(move, notifier, fdinfo);
    if (notifier->watch_count == 0) {
        return 0;
    }
    qsort(notifier->watches, notifier->watch_count, sizeof *notifier->watches, by_number);
    if (ioctl(notifier->fd, FIONREAD, &waiting) < 0 || waiting > 0) {
        obstacle_add(&move->obstacles, subject, "inotify", false, "it has not read all its events yet");
        return -1;
    }
    for (size_t i = 0; i < notifier->watch_count; i++) {
        const struct watch *watch = &notifier->watches[i];
        if (!find_watched(move->sandbox, watch->tree, watch->inode)) {
            add_watched(move->sandbox, watch->tree, watch->inode);
            move->watches_unknown = true;
        }
    }
    return 0;
}

void watches_free(struct move *move)
{
    while (move->notifiers) {
        struct notifier *next = move->notifiers->next;
        fd_close(&move->notifiers->fd);
        free(move->notifiers->watches);
        free(move->notifiers);
        move->notifiers = next;
    }
}

/* ---- searching, while the sandbox runs ---- */

struct search {
    struct sandbox *sandbox;
    size_t tree;
    size_t missing;
    int failure; /* why not everything could be looked at; 0 */
};

/* What is renamed or removed meanwhile is no failure. */
static void search_failed(struct search *search)
{
    if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP && errno != ESTALE) {
        search->failure = errno;
    }
}

static void try_entry(struct search *search, int dir, const char *name)
{
    struct stat st;

    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return;
    }
    struct watched *watched = find_watched(search->sandbox, search->tree, st.st_ino);
    if (!watched || watched->place >= 0) {
        return;
    }
    int place = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (place < 0) {
        search_failed(search);
    } else if (fd_is_among_last(place)) {
        search->failure = EMFILE;
        fd_close(&place);
    }
    if (place >= 0 && fstat(place, &st) == 0 && st.st_ino == watched->inode) {
        watched->place = place;
        search->missing--;
    } else {
        fd_close(&place);
    }
}

/* The entries come from a view of the same files: reading the directory itself would be an event to its watchers. */
static void search_directory(struct search *search, int view_fd, int place, unsigned depth)
{
    DIR *view = fdopendir(view_fd);
    struct dirent *entry;

    if (!view) {
        search_failed(search);
        close(view_fd);
        return;
    }
    while (search->missing > 0 && (entry = readdir(view))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        try_entry(search, place, entry->d_name);
        if (entry->d_type != DT_DIR) {
            continue;
        }
        if (depth == SEARCH_DEPTH) {
            search->failure = ENAMETOOLONG;
            continue;
        }
        cleanup_fd place_below = openat(place, entry->d_name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int below = openat(dirfd(view), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (below >= 0 && place_below >= 0) {
            search_directory(search, below, place_below, depth + 1);
        } else {
            search_failed(search);
            fd_close(&below);
        }
    }
    closedir(view);
}

static size_t count_missing(const struct sandbox *sandbox, size_t tree)
{
    size_t count = 0;

    for (size_t i = 0; i < WATCHED_BUCKETS; i++) {
        for (const struct watched *watched = sandbox->watched[i]; watched; watched = watched->next) {
            count += watched->tree == tree && watched->place < 0 && !watched->searched;
        }
    }
    return count;
}

static int search_tree(struct search *search, struct err *err)
{
    struct sandbox *sandbox = search->sandbox;
    struct chain chain = chain_push(&sandbox->chain, sandbox->head);
    cleanup_fd view = layer_mount(sandbox->base, search->tree, &chain, NULL, err);

    chain_free(&chain);
    int root = view < 0 ? -1 : openat(view, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0) {
        return view < 0 ? -1 : err_system(err, errno, "open root", "%s", sandbox->id);
    }
    try_entry(search, sandbox->trees[search->tree], ".");
    search_directory(search, root, sandbox->trees[search->tree], 0);
    return 0;
}

int watches_search(struct sandbox *sandbox, struct err *err)
{
    for (size_t tree = 0; tree < sandbox->base->tree_count; tree++) {
        struct search search = {.sandbox = sandbox, .tree = tree, .missing = count_missing(sandbox, tree)};
        if (search.missing > 0 && search_tree(&search, err) < 0) {
            return -1;
        }
        if (search.missing > 0 && search.failure) {
            return err_system(err, search.failure, "look for what is watched", "%s",
                              sandbox->base->trees[tree].path);
        }
    }
    for (size_t i = 0; i < WATCHED_BUCKETS; i++) {
        for (struct watched *watched = sandbox->watched[i]; watched; watched = watched->next) {
            watched->searched =
                true; /* what has no name is private to those who have it open, like its watch */
        }
    }
    return 0;
}

/* ---- moving ---- */

/* The kernel says that a watch was removed; nobody inside may read that. */
static int remove_watch(const struct notifier *notifier, const struct watch *watch)
{
    char event[sizeof(struct inotify_event) + NAME_MAX + 1];

    if (inotify_rm_watch(notifier->fd, (int)watch->number) < 0) {
        return -errno;
    }
    return read(notifier->fd, event, sizeof event) < 0 ? -errno : 0;
}

static int put_watch(const struct notifier *notifier, const struct watch *watch, int place)
{
    char path[32];
    int32_t number = (int32_t)watch->number;

    snprintf(path, sizeof path, "/proc/self/fd/%d", place);
    if (ioctl(notifier->fd, SET_NEXT_WATCH, number) < 0) {
        return -errno;
    }
    int got = inotify_add_watch(notifier->fd, path, watch->mask);
    return got < 0 ? -errno : got != number ? -EEXIST : 0;
}

/* Where the watched thing lies in the new trees; follows renames. */
static int find_new_place(const struct move *move, const struct watched *watched)
{
    const struct move_tree *tree = &move->trees[watched->tree];
    char path[PATH_MAX];
    struct stat st;

    if (move_path_of(tree, watched->place, path) < 0 || fstat(watched->place, &st) < 0) {
        return -errno;
    }
    int fd = sys_openat2(tree->new, path, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0,
                         RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
    if (fd_is_among_last(fd)) {
        close(fd);
        return -EMFILE;
    }
    return fd < 0 ? -errno : fd;
}

static int move_watch(const struct move *move, const struct notifier *notifier, struct watch *watch)
{
    const struct watched *watched = find_watched(move->sandbox, watch->tree, watch->inode);

    if (!watched || watched->place < 0) {
        return 0;
    }
    watch->new_place = find_new_place(move, watched);
    if (watch->new_place == -ENOENT) {
        watch->new_place = -1; /* removed, and held open by somebody */
        return 0;
    }
    if (watch->new_place < 0) {
        return watch->new_place;
    }
    int result = remove_watch(notifier, watch);
    watch->moved = result == 0;
    return result < 0 ? result : put_watch(notifier, watch, watch->new_place);
}

int watches_move(struct move *move, struct err *err)
{
    for (struct notifier *notifier = move->notifiers; notifier; notifier = notifier->next) {
        for (size_t i = 0; i < notifier->watch_count; i++) {
            int result = move_watch(move, notifier, &notifier->watches[i]);
            if (result < 0) {
                return err_system(err, -result, "move watch", "process %d, watch %u",
                                  notifier->subject->inner, notifier->watches[i].number);
            }
        }
    }
    return 0;
}

void watches_move_back(struct move *move)
{
    for (struct notifier *notifier = move->notifiers; notifier; notifier = notifier->next) {
        for (size_t i = 0; i < notifier->watch_count; i++) {
            struct watch *watch = &notifier->watches[i];
            const struct watched *watched = find_watched(move->sandbox, watch->tree, watch->inode);
            if (watch->moved) {
                remove_watch(notifier, watch);
                int result = put_watch(notifier, watch, watched->place);
                if (result < 0) {
                    log_line("put back watch %u: %s", watch->number, strerror(-result));
                }
                watch->moved = false;
            }
            fd_close(&watch->new_place);
        }
    }
}

/* The places of the new trees are the known ones now; those nobody watches any more are forgotten. */
void watches_moved(struct move *move)
{
    struct sandbox *sandbox = move->sandbox;

    watched_forget(sandbox);
    for (struct notifier *notifier = move->notifiers; notifier; notifier = notifier->next) {
        for (size_t i = 0; i < notifier->watch_count; i++) {
            struct watch *watch = &notifier->watches[i];
            struct stat st;
            if (!watch->moved || fstat(watch->new_place, &st) < 0 ||
                find_watched(sandbox, watch->tree, st.st_ino)) {
                continue;
            }
            struct watched *watched = add_watched(sandbox, watch->tree, st.st_ino);
            watched->place = fd_steal(&watch->new_place);
            watched->searched = true;
        }
        for (size_t i = 0; i < notifier->watch_count; i++) {
            fd_close(&notifier->watches[i].new_place);
        }
    }
}
