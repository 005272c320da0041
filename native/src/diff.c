/* What the two mounted views show is the truth; the runs only tell where to look. A directory that goes on at the same
 * path below both runs can differ in those names alone that the runs have in it. One that does not, and one that only
 * one side has, is compared whole. Without recursion: what is still to do is a list. */
#include "diff.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "compare.h"
#include "fd.h"
#include "links.h"
#include "names.h"
#include "path.h"

enum { FROM, TO };

/* A directory to compare. */
struct item {
    struct item *next;
    char *path;
    bool is[2];            /* a directory on that side */
    bool placed;           /* it is on both, and the runs say where */
    struct place place[2]; /* if placed */
};

struct diff {
    const struct diff_side *side[2];
    struct item *todo;
    diff_tell *tell;
    void *context;
    struct err *err;
};

/* The directory being compared. */
struct comparing {
    const struct item *item;
    int view[2]; /* -1: not there */
    int *raw[2]; /* if placed: the place's parts, opened */
};

/* A name in it. */
struct pair {
    const char *name;
    bool is[2];
    struct stat st[2];
    bool looked_up;
    struct found found[2];
};

static int failed(struct diff *diff, int result, const char *step, const struct item *item, const char *name)
{
    return err_system(diff->err, -result, step, "%.120s/%.60s", item->path, name);
}

/* ---- the list ---- */

static struct item *push(struct diff *diff, const char *parent, const char *name)
{
    struct item *item = calloc(1, sizeof *item);

    if (!item) {
        die("out of memory");
    }
    item->path = name ? path_join(parent, name) : path_copy(parent);
    item->next = diff->todo;
    diff->todo = item;
    return item->path ? item : NULL;
}

static void item_free(struct item *item)
{
    place_free(&item->place[FROM]);
    place_free(&item->place[TO]);
    free(item->path);
    free(item);
}

/* The run agrees with the view that there is a directory. A living one may have gone on since. */
static bool is_place(const struct found *found)
{
    return found->kind == FOUND_DIRECTORY || (found->kind == FOUND_NOTHING && found->place.below);
}

static int push_pair(struct diff *diff, const struct comparing *comparing, struct pair *pair)
{
    struct item *item = push(diff, comparing->item->path, pair->name);

    if (!item) {
        return failed(diff, -ENAMETOOLONG, "compare", comparing->item, pair->name);
    }
    for (int side = FROM; side <= TO; side++) {
        item->is[side] = pair->is[side] && S_ISDIR(pair->st[side].st_mode);
    }
    item->placed = pair->looked_up && item->is[FROM] && item->is[TO] && is_place(&pair->found[FROM]) &&
                   is_place(&pair->found[TO]);
    for (int side = FROM; side <= TO && item->placed; side++) {
        item->place[side] = pair->found[side].place;
        pair->found[side].place = (struct place){0};
    }
    return 0;
}

/* ---- one name ---- */

static int look_up(struct diff *diff, const struct comparing *comparing, struct pair *pair)
{
    for (int side = FROM; side <= TO; side++) {
        int result = run_look_up(&diff->side[side]->run, &comparing->item->place[side], comparing->raw[side],
                                 pair->name, &pair->found[side]);
        if (result < 0) {
            return failed(diff, result, "look up", comparing->item, pair->name);
        }
    }
    pair->looked_up = true;
    return 0;
}

/* Neither run has anything of it and below them it is the same, or both have the same file. */
static bool is_untouched(const struct pair *pair)
{
    const struct found *from = &pair->found[FROM], *to = &pair->found[TO];

    if (!pair->looked_up || from->kind != to->kind) {
        return false;
    }
    return from->kind == FOUND_NOTHING ? same_below(&from->place, &to->place)
                                       : from->kind == FOUND_FILE && from->st.st_dev == to->st.st_dev &&
                                             from->st.st_ino == to->st.st_ino;
}

static bool is_same(const struct comparing *comparing, const struct pair *pair)
{
    const struct node from = {.dir = comparing->view[FROM], .name = pair->name};
    const struct node to = {.dir = comparing->view[TO], .name = pair->name};
    const struct stat *before = &pair->st[FROM], *now = &pair->st[TO];

    if (!same_looks(from, before, to, now)) {
        return false;
    }
    return !S_ISREG(now->st_mode) ||
           (before->st_size == now->st_size && same_content(from, to, now->st_size));
}

/* A link that stands for a socket or FIFO is what it stands for. */
static bool look(int view, const char *name, struct stat *st)
{
    struct held_mark mark;

    if (fstatat(view, name, st, AT_SYMLINK_NOFOLLOW) < 0) {
        return false;
    }
    if (S_ISLNK(st->st_mode) && held_mark_read(view, name, &mark)) {
        st->st_mode = mark.mode;
        st->st_size = 0;
    }
    return true;
}

static int compare_pair(struct diff *diff, const struct comparing *comparing, struct pair *pair)
{
    const struct item *item = comparing->item;

    for (int side = FROM; side <= TO; side++) {
        pair->is[side] =
            comparing->view[side] >= 0 && look(comparing->view[side], pair->name, &pair->st[side]);
    }
    if (!pair->is[FROM] && !pair->is[TO]) {
        return 0;
    }
    if (!pair->is[FROM] || !pair->is[TO] || !is_same(comparing, pair)) {
        cleanup_free char *path = path_join(item->path, pair->name);
        if (!path) {
            return failed(diff, -ENAMETOOLONG, "compare", item, pair->name);
        }
        const struct change change = {.path = path + 1,
                                      .before = pair->is[FROM] ? &pair->st[FROM] : NULL,
                                      .now = pair->is[TO] ? &pair->st[TO] : NULL};
        diff->tell(diff->context, &change);
    }
    bool is_directory = (pair->is[FROM] && S_ISDIR(pair->st[FROM].st_mode)) ||
                        (pair->is[TO] && S_ISDIR(pair->st[TO].st_mode));
    return is_directory ? push_pair(diff, comparing, pair) : 0;
}

static int compare_name(struct diff *diff, const struct comparing *comparing, const char *name)
{
    struct pair pair = {.name = name};
    int result = comparing->item->placed ? look_up(diff, comparing, &pair) : 0;

    if (result == 0 && !is_untouched(&pair)) {
        result = compare_pair(diff, comparing, &pair);
    }
    place_free(&pair.found[FROM].place);
    place_free(&pair.found[TO].place);
    return result;
}

/* ---- one directory ---- */

static int add_names(struct names *names, const struct comparing *comparing, int side, bool guided)
{
    size_t count = guided ? comparing->item->place[side].count : 1;
    const int *fds = guided ? comparing->raw[side] : &comparing->view[side];

    for (size_t i = 0; i < count; i++) {
        int result = fds[i] < 0 ? 0 : names_add(names, fds[i]);
        if (result < 0) {
            return result;
        }
    }
    return 0;
}

static int compare_names(struct diff *diff, const struct comparing *comparing)
{
    const struct item *item = comparing->item;
    bool guided = item->placed && same_below(&item->place[FROM], &item->place[TO]);
    struct names names = {0};
    int result = 0;

    for (int side = FROM; side <= TO && result == 0; side++) {
        result = add_names(&names, comparing, side, guided);
    }
    if (result < 0) {
        names_free(&names);
        return failed(diff, result, "read directory", item, "");
    }
    names_sort(&names);
    for (size_t i = 0; i < names.count && result == 0; i++) {
        result = compare_name(diff, comparing, names.list[i]);
    }
    names_free(&names);
    return result;
}

static int open_side(struct diff *diff, struct comparing *comparing, int side)
{
    const struct diff_side *of = diff->side[side];
    const struct item *item = comparing->item;

    if (item->is[side]) {
        comparing->view[side] = path_open_directory(of->view, item->path);
        if (comparing->view[side] < 0 && !of->run.live) {
            return failed(diff, comparing->view[side], "open directory", item, "");
        }
    }
    if (item->placed) {
        comparing->raw[side] = place_open(&of->run, &item->place[side]);
        return comparing->raw[side] ? 0 : failed(diff, -errno, "open layer", item, "");
    }
    return 0;
}

static int compare_item(struct diff *diff, const struct item *item)
{
    struct comparing comparing = {.item = item, .view = {-1, -1}};
    int result = 0;

    for (int side = FROM; side <= TO && result == 0; side++) {
        result = open_side(diff, &comparing, side);
    }
    if (result == 0) {
        result = compare_names(diff, &comparing);
    }
    for (int side = FROM; side <= TO; side++) {
        fd_close(&comparing.view[side]);
        if (comparing.raw[side]) {
            fds_close(comparing.raw[side], item->place[side].count);
        }
    }
    return result;
}

/* ---- all of them ---- */

static int compare_roots(struct diff *diff)
{
    struct item *root = push(diff, "", NULL);
    struct node node[2];
    struct stat st[2];

    if (!root) {
        die("out of memory");
    }
    root->placed = true;
    for (int side = FROM; side <= TO; side++) {
        node[side] = (struct node){.dir = diff->side[side]->view, .name = "."};
        root->is[side] = true;
        root->place[side] = run_root(&diff->side[side]->run);
        if (fstat(node[side].dir, &st[side]) < 0) {
            return failed(diff, -errno, "stat", root, "");
        }
    }
    if (!same_looks(node[FROM], &st[FROM], node[TO], &st[TO])) {
        diff->tell(diff->context, &(struct change){.path = "", .before = &st[FROM], .now = &st[TO]});
    }
    return 0;
}

int diff_run(const struct diff_side *from, const struct diff_side *to, diff_tell *tell, void *context,
             struct err *err)
{
    struct diff diff = {.side = {from, to}, .tell = tell, .context = context, .err = err};
    int result = compare_roots(&diff);

    while (diff.todo) {
        struct item *item = diff.todo;
        diff.todo = item->next;
        if (result == 0) {
            result = compare_item(&diff, item);
        }
        item_free(item);
    }
    return result;
}
