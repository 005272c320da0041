#include "layer.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "copy.h"
#include "fd.h"
#include "overlay.h"
#include "tree.h"

#define OPEN_DIRECTORY (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

/* ---- chains ---- */

int arg_chain(item args, const char *key, struct chain *chain, struct err *err)
{
    if (arg_strings(args, key, &chain->layers, err) < 0) {
        return -1;
    }
    if (chain_length(chain) > CHAIN_MAX) {
        return err_set(err, ERR_BAD_REQUEST, "%s: at most %d layers", key, CHAIN_MAX);
    }
    for (char **layer = chain->layers; *layer; layer++) {
        if ((*layer)[0] != '/') {
            return err_set(err, ERR_BAD_REQUEST, "%s: absolute paths wanted", key);
        }
    }
    return 0;
}

void chain_free(struct chain *chain)
{
    strings_free(chain->layers);
    chain->layers = NULL;
}

size_t chain_length(const struct chain *chain)
{
    size_t count = 0;

    while (chain->layers && chain->layers[count]) {
        count++;
    }
    return count;
}

static char *copy_string(const char *text)
{
    char *copy = strdup(text);

    if (!copy) {
        die("out of memory");
    }
    return copy;
}

static struct chain copy_behind(size_t room, const struct chain *chain)
{
    const size_t count = chain_length(chain);
    struct chain copy = {.layers = calloc(room + count + 1, sizeof *copy.layers)};

    if (!copy.layers) {
        die("out of memory");
    }
    for (size_t i = 0; i < count; i++) {
        copy.layers[room + i] = copy_string(chain->layers[i]);
    }
    return copy;
}

struct chain chain_copy(const struct chain *chain)
{
    return copy_behind(0, chain);
}

struct chain chain_push(const struct chain *chain, const char *head)
{
    struct chain pushed = copy_behind(1, chain);

    pushed.layers[0] = copy_string(head);
    return pushed;
}

bool chain_same(const struct chain *a, const struct chain *b)
{
    const size_t count = chain_length(a);

    if (chain_length(b) != count) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (strcmp(a->layers[i], b->layers[i]) != 0) {
            return false;
        }
    }
    return true;
}

/* ---- on disk ---- */

int layer_open_upper(const char *layer, size_t tree)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/fs%zu/upper", layer, tree);
    int fd = open(path, OPEN_DIRECTORY);
    return fd < 0 ? -errno : fd;
}

static int open_top(const struct base *base, size_t tree, const struct chain *below)
{
    if (below->layers && below->layers[0]) {
        return layer_open_upper(below->layers[0], tree);
    }
    int fd = openat(base->trees[tree].mount, ".", OPEN_DIRECTORY);
    return fd < 0 ? -errno : fd;
}

void layer_scatter(const char *directory)
{
    cleanup_fd dir = open(directory, OPEN_DIRECTORY);
    int flags;

    if (dir >= 0 && ioctl(dir, FS_IOC_GETFLAGS, &flags) == 0 && !(flags & FS_TOPDIR_FL)) {
        flags |= FS_TOPDIR_FL;
        ioctl(dir, FS_IOC_SETFLAGS, &flags);
    }
}

int layer_make_tree(int layer, size_t tree)
{
    char name[32];

    snprintf(name, sizeof name, "fs%zu", tree);
    if (mkdirat(layer, name, 0700) < 0) {
        return -errno;
    }
    cleanup_fd dir = openat(layer, name, OPEN_DIRECTORY);
    if (dir < 0 || mkdirat(dir, "upper", 0700) < 0 || mkdirat(dir, "work", 0700) < 0) {
        return -errno;
    }
    int upper = openat(dir, "upper", OPEN_DIRECTORY);
    return upper < 0 ? -errno : upper;
}

int layer_fill(const char *layer, size_t trees)
{
    cleanup_fd dir = open(layer, OPEN_DIRECTORY);
    int result = dir < 0 ? -errno : 0;

    for (size_t tree = 0; result == 0 && tree < trees; tree++) {
        cleanup_fd upper = layer_make_tree(dir, tree);
        result = upper < 0 ? upper : 0;
    }
    return result;
}

static int make_here(const char *layer, size_t trees)
{
    return mkdir(layer, 0700) < 0 && errno != EEXIST ? -errno : layer_fill(layer, trees);
}

int layer_make(const char *layer, struct base *base, const struct chain *below, struct err *err)
{
    int result = stock_move(base, layer) ? 0 : make_here(layer, base->tree_count);

    result = result < 0 ? result : layer_copy_roots(layer, base, below);
    return result < 0 ? err_system(err, -result, "make layer", "%s", layer) : 0;
}

int layer_copy_roots(const char *layer, const struct base *base, const struct chain *below)
{
    int result = 0;

    for (size_t tree = 0; result == 0 && tree < base->tree_count; tree++) {
        cleanup_fd top = open_top(base, tree, below);
        cleanup_fd upper = layer_open_upper(layer, tree);
        result = top < 0 ? top : upper < 0 ? upper : copy_descriptor_looks(top, upper);
    }
    return result;
}

/* ---- looking ---- */

static uint64_t mix(uint64_t hash, const void *data, size_t len)
{
    for (const uint8_t *at = data; len > 0; at++, len--) {
        hash = (hash ^ *at) * 0x100000001b3;
    }
    return hash;
}

/* Entries count regardless of their order: a directory need not keep one. */
static void print_directory(int fd, uint64_t above, size_t most, struct layer_print *print)
{
    DIR *dir = fdopendir(fd);
    struct dirent *entry;

    if (!dir) {
        close(fd);
        print->entries = SIZE_MAX;
        return;
    }
    while (print->entries <= most && (entry = readdir(dir))) {
        struct stat st;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
            print->entries = SIZE_MAX;
            break;
        }
        uint64_t path = mix(above, entry->d_name, strlen(entry->d_name) + 1);
        const uint64_t facts[] = {path,
                                  st.st_ino,
                                  st.st_mode,
                                  st.st_nlink,
                                  (uint64_t)st.st_size,
                                  (uint64_t)st.st_ctim.tv_sec,
                                  (uint64_t)st.st_ctim.tv_nsec};
        print->hash += mix(0xcbf29ce484222325, facts, sizeof facts);
        print->entries++;
        if (S_ISDIR(st.st_mode)) {
            int below = openat(dirfd(dir), entry->d_name, OPEN_DIRECTORY);
            if (below < 0) {
                print->entries = SIZE_MAX;
                break;
            }
            print_directory(below, path, most, print);
        }
    }
    if (print->entries > most) {
        print->entries = SIZE_MAX;
    }
    closedir(dir);
}

struct layer_print layer_print(const char *layer, const struct base *base, size_t most)
{
    struct layer_print print = {0};

    for (size_t tree = 0; tree < base->tree_count && print.entries <= most; tree++) {
        int upper = layer_open_upper(layer, tree);
        if (upper < 0) {
            print.entries = SIZE_MAX;
        } else {
            print_directory(upper, tree, most, &print);
        }
    }
    return print;
}

/* All that belongs to a directory itself, in an order that is the file system's. */
static ssize_t read_xattrs(int fd, char *out, size_t cap)
{
    static char names[65536];
    ssize_t len = flistxattr(fd, names, sizeof names);
    size_t used = 0;

    for (const char *name = names; len > 0 && name < names + len; name += strlen(name) + 1) {
        size_t name_len = strlen(name) + 1;
        if (strncmp(name, "trusted.overlay.", strlen("trusted.overlay.")) == 0) {
            continue;
        }
        if (used + name_len > cap) {
            return -1;
        }
        memcpy(out + used, name, name_len);
        used += name_len;
        ssize_t size = fgetxattr(fd, name, out + used, cap - used);
        if (size < 0) {
            return -1;
        }
        used += (size_t)size;
    }
    return len < 0 ? -1 : (ssize_t)used;
}

static bool same_root(int a, int b)
{
    static char left[65536], right[65536];
    struct stat x, y;
    ssize_t left_len = read_xattrs(a, left, sizeof left), right_len = read_xattrs(b, right, sizeof right);

    return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_mode == y.st_mode && x.st_uid == y.st_uid &&
           x.st_gid == y.st_gid && x.st_mtim.tv_sec == y.st_mtim.tv_sec &&
           x.st_mtim.tv_nsec == y.st_mtim.tv_nsec && left_len == right_len && left_len >= 0 &&
           memcmp(left, right, (size_t)left_len) == 0;
}

bool layer_has_roots_of(const char *layer, const struct base *base, const struct chain *below)
{
    for (size_t tree = 0; tree < base->tree_count; tree++) {
        cleanup_fd top = open_top(base, tree, below);
        cleanup_fd upper = layer_open_upper(layer, tree);
        if (top < 0 || upper < 0 || !same_root(top, upper)) {
            return false;
        }
    }
    return true;
}

void layer_unmake(const char *layer)
{
    cleanup_fd dir = open(layer, OPEN_DIRECTORY);
    char name[32];

    for (size_t tree = 0; dir >= 0; tree++) {
        struct stat st;
        snprintf(name, sizeof name, "fs%zu", tree);
        if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
            return;
        }
        int result = tree_remove(dir, name);
        if (result < 0) {
            log_line("remove %s/%s: %s", layer, name, strerror(-result));
        }
    }
}

/* ---- mounting ---- */

static int open_lowers(const struct base *base, size_t tree, const struct chain *chain, int *lowers,
                       size_t count, struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        lowers[i] = layer_open_upper(chain->layers[i], tree);
        if (lowers[i] < 0) {
            return err_system(err, -lowers[i], "open layer", "%s", chain->layers[i]);
        }
    }
    lowers[count] = base->trees[tree].mount;
    return 0;
}

static int open_head(const char *head, size_t tree, int *upper, int *work)
{
    char path[PATH_MAX];

    *upper = layer_open_upper(head, tree);
    if (*upper < 0) {
        return *upper;
    }
    snprintf(path, sizeof path, "%s/fs%zu/work", head, tree);
    *work = open(path, OPEN_DIRECTORY);
    return *work < 0 ? -errno : 0;
}

int layer_mount(const struct base *base, size_t tree, const struct chain *chain, const char *head,
                struct err *err)
{
    int lowers[CHAIN_MAX + 1];
    size_t count = chain_length(chain);
    cleanup_fd upper = -1, work = -1;

    memset(lowers, -1, sizeof lowers);
    int result = head ? open_head(head, tree, &upper, &work) : 0;
    if (result < 0) {
        return err_system(err, -result, "open layer", "%s", head);
    }
    result = open_lowers(base, tree, chain, lowers, count, err);
    if (result == 0) {
        const struct overlay_plan plan = {.lowers = lowers, .count = count + 1, .upper = upper, .work = work};
        result = overlay_mount(&plan);
        if (result < 0) {
            result = err_system(err, -result, "mount overlay", "%s on %s", head ? head : "chain",
                                base->trees[tree].path);
        }
    }
    for (size_t i = 0; i < count; i++) {
        fd_close(&lowers[i]);
    }
    return result;
}
