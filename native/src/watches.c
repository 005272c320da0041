/* inotify watches hang on inodes of the old trees and are hung on those of the new ones, under the same numbers. The
 * kernel tells of a watched inode its number alone; its path is looked for, and kept for as long as it leads there. */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#include "fd.h"
#include "move.h"
#include "watched.h"

#define SET_NEXT_WATCH _IOW('I', 0, int32_t)

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
        struct watch watch = {0};
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

void watches_collect(struct move *move, struct subject *subject, int number, int fd, const char *fdinfo)
{
    cleanup_fd own = fd;
    int waiting = 0;

    if (is_known(move, own)) {
        return;
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
        return;
    }
    qsort(notifier->watches, notifier->watch_count, sizeof *notifier->watches, by_number);
    if (ioctl(notifier->fd, FIONREAD, &waiting) < 0 || waiting > 0) {
        obstacle_add_descriptor(&move->obstacles, subject, number, "anon_inode:inotify", false,
                                "it has not read all its events yet");
    }
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

/* ---- knowing ---- */

/* Removed, and private to those who have it open, like its watch. */
static bool has_no_name(const struct move *move, const struct watched *watched)
{
    const struct description *description = move->descriptions[watched->inode % MOVE_BUCKETS];

    while (description && (description->tree != watched->tree || description->inode != watched->inode ||
                           description->st.st_nlink > 0)) {
        description = description->next_alike;
    }
    return description != NULL;
}

static bool leads_there(const struct move *move, const struct watched *watched)
{
    uint64_t inode;
    cleanup_fd fd = watched_look(move->trees[watched->tree].old, watched->path, &inode);

    return fd >= 0 && inode == watched->inode;
}

static void know_watch(struct move *move, const struct watch *watch)
{
    struct watched *watched = watched_find(move->sandbox, watch->tree, watch->inode);

    if (!watched) {
        watched = watched_add(move->sandbox, watch->tree, watch->inode);
    }
    if (watched->path && !leads_there(move, watched)) {
        free(watched->path);
        watched->path = NULL;
    }
    watched->missing = !watched->path && !has_no_name(move, watched);
    move->watches_unknown = move->watches_unknown || watched->missing;
}

void watches_know(struct move *move)
{
    watched_not_missing(move->sandbox);
    for (const struct notifier *notifier = move->notifiers; notifier; notifier = notifier->next) {
        for (size_t i = 0; i < notifier->watch_count; i++) {
            know_watch(move, &notifier->watches[i]);
        }
    }
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

int watch_put(int inotify, const struct watch *watch, int place)
{
    char path[32];
    int32_t number = (int32_t)watch->number;

    snprintf(path, sizeof path, "/proc/self/fd/%d", place);
    if (ioctl(inotify, SET_NEXT_WATCH, number) < 0) {
        return -errno;
    }
    int got = inotify_add_watch(inotify, path, watch->mask);
    return got < 0 ? -errno : got != number ? -EEXIST : 0;
}

static int move_watch(const struct move *move, const struct notifier *notifier, struct watch *watch)
{
    struct watched *watched = watched_find(move->sandbox, watch->tree, watch->inode);

    if (!watched->path) {
        return 0;
    }
    cleanup_fd place = watched_look(move->trees[watch->tree].new, watched->path, &watched->new_inode);
    if (place < 0) {
        return place;
    }
    int result = remove_watch(notifier, watch);
    watch->moved = result == 0;
    return result < 0 ? result : watch_put(notifier->fd, watch, place);
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

static void move_watch_back(const struct move *move, const struct notifier *notifier, struct watch *watch)
{
    struct watched *watched = watched_find(move->sandbox, watch->tree, watch->inode);

    watched->new_inode = 0;
    if (!watch->moved) {
        return;
    }
    remove_watch(notifier, watch);
    cleanup_fd place = watched_open(move->trees[watch->tree].old, watched->path);
    int result = place < 0 ? place : watch_put(notifier->fd, watch, place);
    if (result < 0) {
        log_line("put back watch %u: %s", watch->number, strerror(-result));
    }
    watch->moved = false;
}

void watches_move_back(struct move *move)
{
    for (struct notifier *notifier = move->notifiers; notifier; notifier = notifier->next) {
        for (size_t i = 0; i < notifier->watch_count; i++) {
            move_watch_back(move, notifier, &notifier->watches[i]);
        }
    }
}
