/* Watches (inotify), under their numbers. Where they are is known since the trees are about to be left. */
#include <fcntl.h>
#include <limits.h>
#include <linux/kcmp.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "fd.h"
#include "handle.h"

struct kept_watch {
    struct watch watch;
    char *path;
};

struct kept_inotify {
    struct kept_watch *watches;
    size_t count;
};

static bool is_it(const struct seen *seen)
{
    return strcmp(seen->link, "anon_inode:inotify") == 0;
}

static void forget(void *kept)
{
    struct kept_inotify *inotify = kept;

    for (size_t i = 0; i < inotify->count; i++) {
        free(inotify->watches[i].path);
    }
    free(inotify->watches);
    free(inotify);
}

static const struct notifier *find_notifier(const struct seen *seen, int own)
{
    const struct notifier *notifier = seen->move->notifiers;

    while (notifier && !is_same_description(notifier->fd, own)) {
        notifier = notifier->next;
    }
    return notifier;
}

static size_t count_watches(const struct seen *seen)
{
    size_t count = 0;

    for (const char *line = strstr(seen->fdinfo, "\ninotify "); line; line = strstr(line + 1, "\ninotify ")) {
        count++;
    }
    return count;
}

static int keep_watches(const struct seen *seen, const struct notifier *notifier, struct kept_inotify *kept)
{
    kept->watches = handle_keep((notifier->watch_count + 1) * sizeof *kept->watches);
    for (size_t i = 0; i < notifier->watch_count; i++) {
        const struct watch *watch = &notifier->watches[i];
        const struct watched *watched = watched_find(seen->move->sandbox, watch->tree, watch->inode);
        struct kept_watch *at = &kept->watches[kept->count++];
        *at = (struct kept_watch){.watch = *watch};
        /* what has no name any more is gone for its watch with the checkpoint */
        if (watched && watched->path && !(at->path = strdup(watched->path))) {
            die("out of memory");
        }
    }
    return 0;
}

static int capture_inotify(const struct seen *seen, struct image_handle *handle)
{
    struct kept_inotify *kept = handle->kept = handle_keep(sizeof *kept);
    cleanup_fd own = seen_take(seen);
    const struct notifier *notifier = own < 0 ? NULL : find_notifier(seen, own);
    int waiting = 0;

    if (own < 0 || !notifier) {
        return own < 0 ? own : -ENOENT;
    }
    if (ioctl(own, FIONREAD, &waiting) < 0 || waiting > 0) {
        return seen_wait(seen, "it has not read all its events yet");
    }
    if (count_watches(seen) != notifier->watch_count) {
        return seen_refuse(seen, "it watches something outside of the trees");
    }
    return keep_watches(seen, notifier, kept);
}

/* It is told that the file goes, as it would have been told. */
static int put_on_gone(int inotify, const struct watch *watch, int tree)
{
    struct watch any = *watch;
    cleanup_fd file = openat(tree, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    any.mask &= ~(unsigned)IN_ONLYDIR;
    return file < 0 ? -errno : watch_put(inotify, &any, file);
}

static int open_inotify(const struct opening *opening, const struct image_handle *handle)
{
    const struct kept_inotify *kept = handle->kept;
    cleanup_fd fd = opening_make(opening, SYS_inotify_init1,
                                 IN_CLOEXEC | (uint64_t)(handle->flags & O_NONBLOCK), 0, 0, 0);
    int result = fd < 0 ? fd : 0;

    for (size_t i = 0; result == 0 && i < kept->count; i++) {
        const struct watch *watch = &kept->watches[i].watch;
        if (!kept->watches[i].path) {
            result = put_on_gone(fd, watch, opening->stage->trees[watch->tree]);
            continue;
        }
        cleanup_fd place = watched_open(opening->stage->trees[watch->tree], kept->watches[i].path);
        result = place < 0 ? place : watch_put(fd, watch, place);
    }
    return result < 0 ? result : fd_steal(&fd);
}

static void know_place(struct sandbox *sandbox, size_t tree, const char *path)
{
    uint64_t inode;
    cleanup_fd place = watched_look(sandbox->trees[tree], path, &inode);

    if (place < 0 || watched_find(sandbox, tree, inode)) {
        return;
    }
    struct watched *watched = watched_add(sandbox, tree, inode);
    watched->path = strdup(path);
    if (!watched->path) {
        die("out of memory");
    }
}

void watched_know_image(struct sandbox *sandbox, const struct image *image)
{
    for (size_t i = 0; i < image->handle_count; i++) {
        const struct kept_inotify *kept = image->handles[i].kept;
        for (size_t j = 0; image->handles[i].kind == &handle_inotify && j < kept->count; j++) {
            if (kept->watches[j].path) {
                know_place(sandbox, kept->watches[j].watch.tree, kept->watches[j].path);
            }
        }
    }
}

static void pack_watch(struct pack *pack, struct kept_watch *watch)
{
    PACK(pack, watch->watch.number);
    pack_check(pack, watch->watch.number > 0 && watch->watch.number <= INT_MAX, "a watch has no number");
    PACK(pack, watch->watch.mask);
    pack_tree(pack, &watch->watch.tree);
    pack_string(pack, &watch->path);
}

static void pack_handle(struct pack *pack, struct image_handle *handle)
{
    struct kept_inotify *kept = pack_kept(pack, &handle->kept, sizeof *kept);

    PACK_LIST(pack, kept->watches, kept->count, pack_watch);
}

const struct handle_kind handle_inotify = {.name = "inotify",
                                           .is_it = is_it,
                                           .capture = capture_inotify,
                                           .open = open_inotify,
                                           .pack = pack_handle,
                                           .forget = forget};
