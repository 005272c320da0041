/* Directory by directory, without recursion: what is still to do is a list, and each directory is found again by its
 * path. A directory of the merged layer looks like the newest of the raw ones it stands for; whiteouts, opaque marks
 * and redirects are made anew, as they speak of what lies below the whole run. */
#include "merge.h"

#include <fcntl.h>
#include <search.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "copy.h"
#include "fd.h"
#include "names.h"
#include "path.h"

/* A directory to fill: it is there, but for its attributes. */
struct item {
    struct item *next;
    char *path; /* in the merged layer */
    struct place place;
    bool opaque;    /* what lies below the run at its path must not show */
    char *redirect; /* or shows from elsewhere; NULL */
};

/* A file with several names that could not be linked from its layer is copied for the first one. */
struct copied {
    dev_t dev;
    ino_t ino;
    char *path; /* of the copy */
};

struct merge {
    const struct run *run;
    int target;
    struct item *todo;
    void *copies;  /* tree of struct copied */
    nlink_t links; /* as many as an inode can have */
    int whiteout;  /* a whiteout to make links to; -1 */
    bool wrote;    /* data, which is not on disk by itself when the names are */
    struct err *err;
};

/* The directory being filled. */
struct filling {
    const struct item *item;
    int *raw; /* the item's parts, opened */
    int fd;
    bool hides; /* it has got a whiteout */
};

static int failed(struct merge *merge, int result, const char *step, const struct filling *filling,
                  const char *name)
{
    return err_system(merge->err, -result, step, "%.120s/%.60s", filling->item->path, name);
}

/* ---- copies of files with several names ---- */

static int by_inode(const void *left_copied, const void *right_copied)
{
    const struct copied *left = left_copied, *right = right_copied;

    return left->dev != right->dev   ? (left->dev < right->dev ? -1 : 1)
           : left->ino != right->ino ? (left->ino < right->ino ? -1 : 1)
                                     : 0;
}

static void free_copied(void *node)
{
    struct copied *copied = node;

    free(copied->path);
    free(copied);
}

static void remember_copy(struct merge *merge, const struct stat *st, const struct filling *filling,
                          const char *name)
{
    struct copied *copied = malloc(sizeof *copied);

    if (!copied) {
        die("out of memory");
    }
    *copied =
        (struct copied){.dev = st->st_dev, .ino = st->st_ino, .path = path_join(filling->item->path, name)};
    if (!copied->path || !tsearch(copied, &merge->copies, by_inode)) {
        die("out of memory");
    }
}

/* 1 when the file had been copied and has got this name too, 0, or -errno. */
static int link_to_copy(struct merge *merge, const struct stat *st, const struct node to)
{
    const struct copied key = {.dev = st->st_dev, .ino = st->st_ino};
    struct copied **known = st->st_nlink > 1 ? tfind(&key, &merge->copies, by_inode) : NULL;

    if (!known) {
        return 0;
    }
    cleanup_fd file = path_open(merge->target, (*known)->path, O_PATH);
    if (file < 0) {
        return file;
    }
    return linkat(file, "", to.dir, to.name, AT_EMPTY_PATH) < 0 ? -errno : 1;
}

/* ---- one file ---- */

static int copy_regular(struct merge *merge, struct node from, struct node to, off_t size)
{
    cleanup_fd data = openat(from.dir, from.name, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC);

    merge->wrote = true;
    return data < 0 ? -errno : copy_content(data, to, size);
}

static int copy_file(struct merge *merge, const struct filling *filling, struct node from, struct node to,
                     const struct stat *st)
{
    int result = link_to_copy(merge, st, to);

    if (result != 0) {
        return result < 0 ? result : 0;
    }
    result = S_ISREG(st->st_mode) ? copy_regular(merge, from, to, st->st_size) : copy_special(from, to, st);
    result = result == 0 ? copy_looks(from, to, st) : result;
    if (result == 0 && st->st_nlink > 1) {
        remember_copy(merge, st, filling, to.name);
    }
    return result;
}

/* A link keeps inode number, extents and the file's other names. No other error of link than "too many" and "not
 * here" (quota projects) is a reason to copy; one inode's names are all linked or all copied. */
static int add_file(struct merge *merge, const struct filling *filling, const char *name,
                    const struct found *found)
{
    const struct node from = {.dir = filling->raw[found->parent_part], .name = name};
    const struct node to = {.dir = filling->fd, .name = name};

    if (found->st.st_nlink <= merge->links / 2) {
        if (linkat(from.dir, name, to.dir, name, 0) == 0) {
            return 0;
        }
        if (errno != EXDEV) {
            return failed(merge, -errno, "link", filling, name);
        }
    }
    int result = copy_file(merge, filling, from, to, &found->st);
    return result < 0 ? failed(merge, result, "copy", filling, name) : 0;
}

/* One inode does for many whiteouts. */
static int add_whiteout(struct merge *merge, struct filling *filling, const char *name)
{
    filling->hides = true;
    if (merge->whiteout >= 0 && linkat(merge->whiteout, "", filling->fd, name, AT_EMPTY_PATH) == 0) {
        return 0;
    }
    if (mknodat(filling->fd, name, S_IFCHR, makedev(0, 0)) < 0) {
        return failed(merge, -errno, "hide", filling, name);
    }
    fd_close(&merge->whiteout);
    merge->whiteout = openat(filling->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    return 0;
}

/* ---- one directory ---- */

/* How the merged directory, child of one that goes on at `parent_below`, goes on where `place` does. */
static void plan_marks(struct item *item, const char *parent_below)
{
    const char *below = item->place.below, *name = path_name(item->path);
    size_t parent_len = parent_below ? strlen(parent_below) : 0;

    if (!below) {
        item->opaque = parent_below != NULL;
        return;
    }
    const char *shown = path_name(below);
    bool same_parent = parent_below && (size_t)(shown - below) == parent_len + 1 &&
                       memcmp(below, parent_below, parent_len) == 0;
    if (!same_parent || strcmp(shown, name) != 0) {
        item->redirect = path_copy(same_parent ? shown : below);
    }
}

static int add_directory(struct merge *merge, const struct filling *filling, const char *name,
                         struct found *found)
{
    struct item *item = calloc(1, sizeof *item);

    if (!item) {
        die("out of memory");
    }
    item->next = merge->todo;
    merge->todo = item;
    item->path = path_join(filling->item->path, name);
    if (!item->path) {
        return failed(merge, -ENAMETOOLONG, "merge", filling, name);
    }
    item->place = found->place;
    found->place = (struct place){0};
    plan_marks(item, filling->item->place.below);
    return mkdirat(filling->fd, name, 0700) < 0 ? failed(merge, -errno, "make directory", filling, name) : 0;
}

static int add_name(struct merge *merge, struct filling *filling, const char *name)
{
    const struct place *place = &filling->item->place;
    struct found found;
    int result = run_look_up(merge->run, place, filling->raw, name, &found);

    if (result < 0) {
        return failed(merge, result, "look up", filling, name);
    }
    switch (found.kind) {
    case FOUND_NOTHING:
        break;
    case FOUND_HIDDEN:
        result = place->below ? add_whiteout(merge, filling, name) : 0;
        break;
    case FOUND_DIRECTORY:
        result = add_directory(merge, filling, name, &found);
        break;
    case FOUND_FILE:
        result = add_file(merge, filling, name, &found);
        break;
    }
    place_free(&found.place);
    return result;
}

/* Where nothing lies below, the kernel lists a directory as it is, whiteouts too, unless it has an origin. */
static int mark_directory(const struct filling *filling, struct node to)
{
    const struct item *item = filling->item;
    int result = 0;

    if (filling->hides && name_xattr(to.dir, to.name, "trusted.overlay.origin", NULL, 0) < 0) {
        result = set_overlay_xattr(to, "trusted.overlay.origin", "");
    }
    if (result == 0 && item->opaque) {
        result = set_overlay_xattr(to, "trusted.overlay.opaque", "y");
    }
    if (result == 0 && item->redirect) {
        result = set_overlay_xattr(to, "trusted.overlay.redirect", item->redirect);
    }
    return result;
}

static int finish_directory(struct merge *merge, const struct filling *filling)
{
    const struct node from = {.dir = filling->raw[0], .name = "."}, to = {.dir = filling->fd, .name = "."};
    struct stat st;

    if (fstat(from.dir, &st) < 0) {
        return failed(merge, -errno, "stat", filling, "");
    }
    int result = copy_looks(from, to, &st);
    if (result == 0) {
        result = mark_directory(filling, to);
    }
    return result < 0 ? failed(merge, result, "copy attributes", filling, "") : 0;
}

static int fill(struct merge *merge, struct filling *filling)
{
    struct names names = {0};
    int result = 0;

    for (size_t i = 0; i < filling->item->place.count && result == 0; i++) {
        result = names_add(&names, filling->raw[i]);
    }
    if (result < 0) {
        names_free(&names);
        return failed(merge, result, "read directory", filling, "");
    }
    names_sort(&names);
    for (size_t i = 0; i < names.count && result == 0; i++) {
        result = add_name(merge, filling, names.list[i]);
    }
    names_free(&names);
    return result == 0 ? finish_directory(merge, filling) : result;
}

static int open_and_fill(struct merge *merge, const struct item *item)
{
    cleanup_fd fd = path_open_directory(merge->target, item->path);
    struct filling filling = {.item = item, .fd = fd};

    if (fd < 0) {
        return failed(merge, fd, "open directory", &filling, "");
    }
    filling.raw = place_open(merge->run, &item->place);
    if (!filling.raw) {
        return failed(merge, -errno, "open layer", &filling, "");
    }
    int result = fill(merge, &filling);
    fds_close(filling.raw, item->place.count);
    return result;
}

/* ---- all of them ---- */

static void item_free(struct item *item)
{
    place_free(&item->place);
    free(item->path);
    free(item->redirect);
    free(item);
}

static void start(struct merge *merge)
{
    long links = fpathconf(merge->target, _PC_LINK_MAX);

    merge->links = links > 0 ? (nlink_t)links : 127;
    merge->todo = calloc(1, sizeof *merge->todo);
    if (!merge->todo) {
        die("out of memory");
    }
    merge->todo->path = path_copy("");
    merge->todo->place = run_root(merge->run);
}

int merge_run(const struct run *run, int target, struct err *err)
{
    struct merge merge = {.run = run, .target = target, .whiteout = -1, .err = err};
    int result = 0;

    for (start(&merge); merge.todo;) {
        struct item *item = merge.todo;
        merge.todo = item->next;
        if (result == 0) {
            result = open_and_fill(&merge, item);
        }
        item_free(item);
    }
    if (result == 0 && merge.wrote && syncfs(target) < 0) {
        result = err_system(err, errno, "merge: sync", "%zu layers", run->count);
    }
    fd_close(&merge.whiteout);
    tdestroy(merge.copies, free_copied);
    return result;
}
