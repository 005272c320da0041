#include "pins.h"

#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "copy.h"
#include "error.h"
#include "fd.h"
#include "names.h"
#include "path.h"
#include "run.h"

#define ORIGINS "origins"
#define OPEN_DIRECTORY (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

/* ---- everything in an upper that is no directory ---- */

struct walk_item {
    struct walk_item *next;
    char *path;
};

typedef int walk_visit(void *context, int dir, const char *name, const struct stat *st);

static void walk_push(struct walk_item **todo, char *path)
{
    struct walk_item *item = malloc(sizeof *item);

    if (!item) {
        die("out of memory");
    }
    *item = (struct walk_item){.next = *todo, .path = path};
    *todo = item;
}

static int walk_directory(struct walk_item **todo, const char *path, int dir, walk_visit *visit,
                          void *context)
{
    struct names names = {0};
    int result = names_add(&names, dir);

    names_sort(&names);
    for (size_t i = 0; i < names.count && result == 0; i++) {
        struct stat st;
        if (fstatat(dir, names.list[i], &st, AT_SYMLINK_NOFOLLOW) < 0) {
            continue; /* gone meanwhile */
        }
        if (!S_ISDIR(st.st_mode)) {
            result = visit(context, dir, names.list[i], &st);
        } else {
            char *below = path_join(path, names.list[i]);
            if (below) {
                walk_push(todo, below);
            }
        }
    }
    names_free(&names);
    return result;
}

/* Without recursion; a directory that is not there any more when its turn comes is passed over, and so is what lies
 * deeper than a merge goes. */
static int walk(int root, walk_visit *visit, void *context)
{
    struct walk_item *todo = NULL;
    int result = 0;

    for (walk_push(&todo, path_copy("")); todo;) {
        struct walk_item *item = todo;
        todo = item->next;
        cleanup_fd dir = result == 0 ? path_open_directory(root, item->path) : -1;
        if (dir >= 0) {
            result = walk_directory(&todo, item->path, dir, visit, context);
        }
        free(item->path);
        free(item);
    }
    return result;
}

/* ---- collecting ---- */

struct pin {
    dev_t dev;
    ino_t ino;
};

static int by_inode(const void *left_pin, const void *right_pin)
{
    const struct pin *left = left_pin, *right = right_pin;

    return left->dev != right->dev   ? (left->dev < right->dev ? -1 : 1)
           : left->ino != right->ino ? (left->ino < right->ino ? -1 : 1)
                                     : 0;
}

/* The kernel's struct ovl_fb: a file handle with a header. */
struct origin {
    uint8_t version, magic, len, flags, type;
    uint8_t uuid[16];
    uint8_t handle[];
};

static int open_origin(int dir, const char *name)
{
    char value[256];
    struct {
        struct file_handle header;
        unsigned char handle[MAX_HANDLE_SZ];
    } file;
    const struct origin *origin = (const struct origin *)value;
    ssize_t len = name_xattr(dir, name, "trusted.overlay.origin", value, sizeof value);

    /* an empty one stands for something that has no handle */
    if (len <= (ssize_t)sizeof *origin || origin->magic != 0xfb ||
        len - (ssize_t)sizeof *origin > MAX_HANDLE_SZ) {
        return -1;
    }
    file.header.handle_bytes = (unsigned)len - (unsigned)sizeof *origin;
    file.header.handle_type = origin->type;
    memcpy(file.header.f_handle, origin->handle, file.header.handle_bytes);
    return open_by_handle_at(dir, &file.header, O_PATH | O_CLOEXEC);
}

static int collect(void *context, int dir, const char *name, const struct stat *file)
{
    struct pins *pins = context;
    struct stat st;
    cleanup_fd origin = open_origin(dir, name);

    (void)file;
    if (origin < 0 || fstat(origin, &st) < 0) {
        return 0;
    }
    struct pin *pin = malloc(sizeof *pin);
    if (!pin) {
        die("out of memory");
    }
    *pin = (struct pin){.dev = st.st_dev, .ino = st.st_ino};
    struct pin **known = tsearch(pin, &pins->tree, by_inode);
    if (!known) {
        die("out of memory");
    }
    if (*known != pin) {
        free(pin);
    } else {
        pins->grew |= st.st_nlink > 1;
    }
    return 0;
}

int pins_collect(struct pins *pins, int upper)
{
    return walk(upper, collect, pins);
}

void pins_free(struct pins *pins)
{
    tdestroy(pins->tree, free);
    *pins = (struct pins){0};
}

/* ---- setting aside ---- */

struct setting_aside {
    const struct pins *pins;
    int layer, origins;
};

/* The directory gets its times back: it shows them. */
static int exchange(const struct setting_aside *aside, int dir, const char *name, const char *number)
{
    struct stat st;

    if (fstat(dir, &st) < 0 || renameat2(dir, name, aside->origins, number, RENAME_EXCHANGE) < 0) {
        return -errno;
    }
    const struct timespec times[] = {st.st_atim, st.st_mtim};
    return futimens(dir, times) < 0 ? -errno : 0;
}

/* A frozen layer is on disk, and stays so. */
static int copy_durably(struct node from, struct node to, off_t size)
{
    cleanup_fd data = openat(from.dir, from.name, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC);
    int result = data < 0 ? -errno : copy_content(data, to, size);

    if (result < 0) {
        return result;
    }
    cleanup_fd copy = openat(to.dir, to.name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    return copy < 0 || fdatasync(copy) < 0 ? -errno : 0;
}

static int copy_node(struct node from, struct node to, const struct stat *st)
{
    unlinkat(to.dir, to.name, 0); /* of a try that came to nothing */
    int result = S_ISREG(st->st_mode) ? copy_durably(from, to, st->st_size) : copy_special(from, to, st);
    return result == 0 ? copy_looks(from, to, st) : result;
}

static int set_aside(void *context, int dir, const char *name, const struct stat *st)
{
    struct setting_aside *aside = context;
    const struct pin key = {.dev = st->st_dev, .ino = st->st_ino};
    char number[24];

    if (st->st_nlink > 1 || !tfind(&key, &aside->pins->tree, by_inode)) {
        return 0;
    }
    if (aside->origins < 0) {
        if (mkdirat(aside->layer, ORIGINS, 0700) < 0 && errno != EEXIST) {
            return -errno;
        }
        aside->origins = openat(aside->layer, ORIGINS, OPEN_DIRECTORY);
        if (aside->origins < 0) {
            return -errno;
        }
    }
    snprintf(number, sizeof number, "%ju", (uintmax_t)st->st_ino);
    const struct node from = {.dir = dir, .name = name}, to = {.dir = aside->origins, .name = number};
    int result = copy_node(from, to, st);
    return result == 0 ? exchange(aside, dir, name, number) : result;
}

int pins_set_aside(const struct pins *pins, int upper, int layer)
{
    struct setting_aside aside = {.pins = pins, .layer = layer, .origins = -1};
    int result = pins->tree ? walk(upper, set_aside, &aside) : 0;

    fd_close(&aside.origins);
    return result;
}

int pins_move(int from_layer, int to_layer)
{
    struct names names = {0};
    cleanup_fd from = openat(from_layer, ORIGINS, OPEN_DIRECTORY);

    if (from < 0) {
        return errno == ENOENT ? 0 : -errno;
    }
    if (mkdirat(to_layer, ORIGINS, 0700) < 0 && errno != EEXIST) {
        return -errno;
    }
    cleanup_fd to = openat(to_layer, ORIGINS, OPEN_DIRECTORY);
    int result = to < 0 ? -errno : names_add(&names, from);
    names_sort(&names);
    for (size_t i = 0; i < names.count && result == 0; i++) {
        result = renameat(from, names.list[i], to, names.list[i]) < 0 ? -errno : 0;
    }
    names_free(&names);
    return result;
}
