/* What inotify watches are on, and where that lies. It is not held open meanwhile: that would put off the event that it
 * was removed. */
#include "watched.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fd.h"
#include "sandbox.h"
#include "sys.h"

#define SEARCH_DEPTH 128
#define RESOLVE (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV)

/* ---- places that are known ---- */

struct watched *watched_find(const struct sandbox *sandbox, size_t tree, uint64_t inode)
{
    struct watched *watched = sandbox->watched[inode % WATCHED_BUCKETS];

    while (watched && (watched->tree != tree || watched->inode != inode)) {
        watched = watched->next;
    }
    return watched;
}

struct watched *watched_add(struct sandbox *sandbox, size_t tree, uint64_t inode)
{
    struct watched *watched = calloc(1, sizeof *watched);

    if (!watched) {
        die("out of memory");
    }
    struct watched **bucket = &sandbox->watched[inode % WATCHED_BUCKETS];
    *watched = (struct watched){.tree = tree, .inode = inode, .next = *bucket};
    *bucket = watched;
    return watched;
}

static void watched_free(struct watched *watched)
{
    free(watched->path);
    free(watched);
}

void watched_forget(struct sandbox *sandbox)
{
    for (size_t i = 0; i < WATCHED_BUCKETS; i++) {
        while (sandbox->watched[i]) {
            struct watched *next = sandbox->watched[i]->next;
            watched_free(sandbox->watched[i]);
            sandbox->watched[i] = next;
        }
    }
}

int watched_open(int dir, const char *path)
{
    int fd = sys_openat2(dir, path, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0, RESOLVE);

    if (fd_is_among_last(fd)) {
        close(fd);
        return -EMFILE;
    }
    return fd < 0 ? -errno : fd;
}

int watched_look(int dir, const char *path, uint64_t *inode)
{
    struct stat st;
    int fd = watched_open(dir, path);

    if (fd >= 0 && fstat(fd, &st) < 0) {
        int result = -errno;
        close(fd);
        return result;
    }
    *inode = fd < 0 ? 0 : st.st_ino;
    return fd;
}

void watched_not_missing(struct sandbox *sandbox)
{
    for (size_t i = 0; i < WATCHED_BUCKETS; i++) {
        for (struct watched *watched = sandbox->watched[i]; watched; watched = watched->next) {
            watched->missing = false;
        }
    }
}

void watched_have_moved(struct sandbox *sandbox)
{
    struct watched *all[WATCHED_BUCKETS];

    memcpy(all, sandbox->watched, sizeof all);
    memset(sandbox->watched, 0, sizeof sandbox->watched);
    for (size_t i = 0; i < WATCHED_BUCKETS; i++) {
        while (all[i]) {
            struct watched *watched = all[i];
            all[i] = watched->next;
            if (watched->new_inode) {
                watched_add(sandbox, watched->tree, watched->new_inode)->path = watched->path;
                watched->path = NULL;
            }
            watched_free(watched);
        }
    }
}

/* ---- searching ---- */

struct search {
    struct sandbox *sandbox;
    size_t tree;
    char path[PATH_MAX];
    size_t missing;
    int failure; /* why not everything could be looked at; 0 */
};

/* What is renamed or removed meanwhile is no failure, and nothing of the tree lies where another one is mounted. */
static void search_failed(struct search *search, int num)
{
    if (num != ENOENT && num != ENOTDIR && num != ELOOP && num != ESTALE && num != EXDEV) {
        search->failure = num;
    }
}

/* The last of the search's path. */
static void try_entry(struct search *search, int dir, const char *name)
{
    struct stat st;
    uint64_t inode;

    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return;
    }
    struct watched *watched = watched_find(search->sandbox, search->tree, st.st_ino);
    if (!watched || !watched->missing) {
        return;
    }
    cleanup_fd place = watched_look(dir, name, &inode);
    if (place < 0) {
        search_failed(search, -place);
    } else if (inode == watched->inode) {
        watched->path = strdup(search->path);
        if (!watched->path) {
            die("out of memory");
        }
        watched->missing = false;
        search->missing--;
    }
}

static int open_below(int dir, const char *name, uint64_t flags)
{
    return sys_openat2(dir, name, flags | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0, RESOLVE);
}

static void search_directory(struct search *search, int view_fd, int place, size_t len, unsigned depth);

static void search_entry(struct search *search, int view, int place, const struct dirent *entry, size_t len,
                         unsigned depth)
{
    const size_t room = sizeof search->path - len;
    const int added = snprintf(search->path + len, room, "%s%s", len ? "/" : "", entry->d_name);

    if ((size_t)added >= room) {
        search->failure = ENAMETOOLONG;
        return;
    }
    try_entry(search, place, entry->d_name);
    if (entry->d_type != DT_DIR) {
        return;
    }
    if (depth == SEARCH_DEPTH) {
        search->failure = ENAMETOOLONG;
        return;
    }
    cleanup_fd place_below = open_below(place, entry->d_name, O_PATH);
    cleanup_fd below = place_below < 0 ? -1 : open_below(view, entry->d_name, O_RDONLY);
    if (below < 0) {
        search_failed(search, errno);
        return;
    }
    search_directory(search, fd_steal(&below), place_below, len + (size_t)added, depth + 1);
}

/* The entries come from a view of the same files: reading the directory itself would be an event to its watchers. */
static void search_directory(struct search *search, int view_fd, int place, size_t len, unsigned depth)
{
    DIR *view = fdopendir(view_fd);
    struct dirent *entry;

    if (!view) {
        search_failed(search, errno);
        close(view_fd);
        return;
    }
    while (search->missing > 0 && (entry = readdir(view))) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            search_entry(search, dirfd(view), place, entry, len, depth);
        }
    }
    closedir(view);
}

static size_t count_missing(const struct sandbox *sandbox, size_t tree)
{
    size_t count = 0;

    for (size_t i = 0; i < WATCHED_BUCKETS; i++) {
        for (const struct watched *watched = sandbox->watched[i]; watched; watched = watched->next) {
            count += watched->tree == tree && watched->missing;
        }
    }
    return count;
}

/* Takes `view` over. */
static void search_view(struct search *search, int view)
{
    const int place = search->sandbox->trees[search->tree];

    strcpy(search->path, ".");
    try_entry(search, place, ".");
    search_directory(search, view, place, 0, 0);
}

/* What is watched or renamed was often made since the last checkpoint, and the head's upper is small. */
static int search_head(struct search *search, struct err *err)
{
    const struct sandbox *sandbox = search->sandbox;
    cleanup_fd upper = layer_open_upper(sandbox->head, search->tree);
    int view = upper < 0 ? upper : openat(upper, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (view < 0) {
        return err_system(err, upper < 0 ? -upper : errno, "open layer", "%s", sandbox->head);
    }
    search_view(search, view);
    return 0;
}

static int search_tree(struct search *search, struct err *err)
{
    const struct sandbox *sandbox = search->sandbox;
    struct chain chain = chain_push(&sandbox->chain, sandbox->head);
    cleanup_fd tree = layer_mount(sandbox->base, search->tree, &chain, NULL, err);

    chain_free(&chain);
    int view = tree < 0 ? -1 : openat(tree, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (view < 0) {
        return tree < 0 ? -1 : err_system(err, errno, "open root", "%s", sandbox->id);
    }
    search_view(search, view);
    return 0;
}

int watched_search(struct sandbox *sandbox, struct err *err)
{
    for (size_t tree = 0; tree < sandbox->base->tree_count; tree++) {
        struct search search = {.sandbox = sandbox, .tree = tree, .missing = count_missing(sandbox, tree)};
        if (search.missing > 0 && search_head(&search, err) < 0) {
            return -1;
        }
        if (search.missing > 0 && search_tree(&search, err) < 0) {
            return -1;
        }
        if (search.missing > 0 && search.failure) {
            return err_system(err, search.failure, "look for what is watched", "%s",
                              sandbox->base->trees[tree].path);
        }
    }
    return 0;
}
