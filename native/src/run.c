/* The rules are those of the kernel's ovl_lookup: a whiteout or anything that is no directory ends the search, so does
 * an opaque directory; a redirect changes the name that is looked for in the layers below, and an absolute one leaves
 * the parent's directories and starts again at the roots of the layers below. Beginnings of an absolute name may be
 * redirected once more on the way down. */
#include "run.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "error.h"
#include "fd.h"
#include "path.h"

#define OPEN_DIRECTORY (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC)

struct lookup {
    const struct run *run;
    char *name; /* one component, or a path from the roots once that was redirected to */
    bool is_directory, stop;
    struct found *found;
};

/* ---- attributes ---- */

ssize_t name_xattr(int dir, const char *name, const char *attribute, void *value, size_t size)
{
    char path[NAME_MAX + 40];

    snprintf(path, sizeof path, "/proc/self/fd/%d/%s", dir, name);
    return lgetxattr(path, attribute, value, size);
}

ssize_t name_xattrs(int dir, const char *name, char *list, size_t size)
{
    char path[NAME_MAX + 40];

    snprintf(path, sizeof path, "/proc/self/fd/%d/%s", dir, name);
    return llistxattr(path, list, size);
}

static bool is_whiteout(int dir, const char *name, const struct stat *st)
{
    if (S_ISCHR(st->st_mode)) {
        return st->st_rdev == makedev(0, 0);
    }
    return S_ISREG(st->st_mode) && st->st_size == 0 &&
           name_xattr(dir, name, "trusted.overlay.whiteout", NULL, 0) >= 0;
}

static bool is_opaque(int dir, const char *name)
{
    char value;

    return name_xattr(dir, name, "trusted.overlay.opaque", &value, 1) == 1 && value == 'y';
}

/* An absolute redirect has no empty component, a relative one no slash. */
static bool is_valid_redirect(const char *value, size_t len)
{
    if (len == 0 || strlen(value) != len) {
        return false;
    }
    return value[0] == '/' ? !strstr(value, "//") && value[len - 1] != '/' : !strchr(value, '/');
}

/* 1 when there is one, 0, or -errno. */
static int read_redirect(int dir, const char *name, char value[PATH_LIMIT + 1])
{
    ssize_t len = name_xattr(dir, name, "trusted.overlay.redirect", value, PATH_LIMIT);

    if (len < 0) {
        return errno == ENODATA || errno == ENOTSUP || errno == ENOENT ? 0 : -errno;
    }
    value[len] = '\0';
    return is_valid_redirect(value, (size_t)len) ? 1 : -EINVAL;
}

/* ---- one component ---- */

/* Replaces the component that begins at `prefix` in the name by what it is redirected to. */
static int follow_redirect(struct lookup *lookup, int dir, const char *component, size_t prefix,
                           const char *rest)
{
    static char value[PATH_LIMIT + 1];
    int result = read_redirect(dir, component, value);

    if (result <= 0) {
        return result;
    }
    if (value[0] == '/') {
        lookup->stop = false;
        prefix = 0;
    }
    size_t value_len = strlen(value), rest_len = strlen(rest);
    if (prefix + value_len + rest_len > PATH_LIMIT) {
        return -ENAMETOOLONG;
    }
    char *name = malloc(prefix + value_len + rest_len + 1);
    if (!name) {
        die("out of memory");
    }
    memcpy(name, lookup->name, prefix);
    memcpy(name + prefix, value, value_len);
    memcpy(name + prefix + value_len, rest, rest_len + 1);
    free(lookup->name);
    lookup->name = name;
    return 0;
}

/* A component of the name in a raw directory. 1 when it belongs to what is looked for, 0, or -errno. */
static int look_at(struct lookup *lookup, int dir, const char *component, size_t prefix, const char *rest,
                   struct stat *st)
{
    bool last = *rest == '\0';

    if (fstatat(dir, component, st, AT_SYMLINK_NOFOLLOW) < 0) {
        return errno == ENOENT || errno == ENAMETOOLONG || (lookup->run->live && errno == ESTALE) ? 0
                                                                                                  : -errno;
    }
    if (is_whiteout(dir, component, st)) {
        lookup->stop = true;
        return 0;
    }
    if (!S_ISDIR(st->st_mode)) {
        lookup->stop = true;
        return last && !lookup->is_directory;
    }
    lookup->is_directory |= last;
    if (is_opaque(dir, component)) {
        lookup->stop = true;
        return 1;
    }
    int result = follow_redirect(lookup, dir, component, prefix, rest);
    return result < 0 ? result : 1;
}

/* ---- one layer ---- */

static void keep(struct lookup *lookup, size_t layer, char *path, const struct stat *st)
{
    struct found *found = lookup->found;
    struct place *place = &found->place;

    place->parts = realloc(place->parts, (place->count + 1) * sizeof *place->parts);
    if (!place->parts || !path) {
        die("out of memory");
    }
    if (place->count == 0) {
        found->st = *st;
    }
    place->parts[place->count++] = (struct part){.layer = layer, .path = path};
}

static int look_in_parent(struct lookup *lookup, const struct part *parent, int dir)
{
    struct stat st;
    cleanup_free char *path = path_join(parent->path, lookup->name);

    if (!path) {
        return -ENAMETOOLONG;
    }
    cleanup_free char *component = path_copy(lookup->name);
    int result = look_at(lookup, dir, component, 0, "", &st);
    if (result == 1) {
        keep(lookup, parent->layer, path, &st);
        path = NULL;
    }
    return result;
}

/* Walks a path from a layer's root. The end of the name stays the same while its beginning is redirected, so the
 * place in it is counted from the end. */
static int look_from_root(struct lookup *lookup, size_t layer)
{
    cleanup_fd dir = openat(lookup->run->uppers[layer], ".", OPEN_DIRECTORY);
    cleanup_free char *path = path_copy(lookup->name);
    size_t left = strlen(lookup->name) - 1;
    char component[NAME_MAX + 1];
    struct stat st;

    while (dir >= 0) {
        size_t begin = strlen(lookup->name) - left;
        size_t len = strcspn(lookup->name + begin, "/");
        if (len > NAME_MAX) {
            return 0;
        }
        memcpy(component, lookup->name + begin, len);
        component[len] = '\0';
        cleanup_free char *rest = path_copy(lookup->name + begin + len);
        int result = look_at(lookup, dir, component, begin, rest, &st);
        if (result <= 0) {
            return result;
        }
        if (len == left) {
            keep(lookup, layer, path, &st);
            path = NULL;
            return 1;
        }
        int next = openat(dir, component, OPEN_DIRECTORY);
        fd_close(&dir);
        dir = next;
        left -= len + 1;
    }
    return lookup->run->live ? 0 : -errno;
}

/* ---- all layers ---- */

static int look_everywhere(struct lookup *lookup, const struct place *parent, const int *fds)
{
    size_t layer = lookup->run->count;

    for (size_t i = 0; i < parent->count && !lookup->stop && lookup->name[0] != '/'; i++) {
        if (fds[i] < 0) {
            continue;
        }
        size_t before = lookup->found->place.count;
        int result = look_in_parent(lookup, &parent->parts[i], fds[i]);
        if (result < 0) {
            return result;
        }
        if (before == 0 && lookup->found->place.count == 1) {
            lookup->found->parent_part = i;
        }
        layer = parent->parts[i].layer + 1;
    }
    if (lookup->name[0] != '/') {
        return 0;
    }
    for (; layer < lookup->run->count && !lookup->stop; layer++) {
        int result = look_from_root(lookup, layer);
        if (result < 0) {
            return result;
        }
    }
    return 0;
}

static int conclude(struct lookup *lookup, const struct place *parent)
{
    struct found *found = lookup->found;
    struct place *place = &found->place;

    found->kind = lookup->is_directory ? FOUND_DIRECTORY
                  : place->count > 0   ? FOUND_FILE
                  : lookup->stop       ? FOUND_HIDDEN
                                       : FOUND_NOTHING;
    if (lookup->stop) {
        return 0;
    }
    if (lookup->name[0] == '/') {
        place->below = lookup->name;
        lookup->name = NULL;
    } else if (parent->below) {
        place->below = path_join(parent->below, lookup->name);
        return place->below ? 0 : -ENAMETOOLONG;
    }
    return 0;
}

int run_look_up(const struct run *run, const struct place *parent, const int *fds, const char *name,
                struct found *found)
{
    struct lookup lookup = {.run = run, .name = path_copy(name), .found = found};

    *found = (struct found){0};
    int result = look_everywhere(&lookup, parent, fds);
    if (result == 0) {
        result = conclude(&lookup, parent);
    }
    free(lookup.name);
    if (result < 0) {
        place_free(&found->place);
    }
    return result;
}

/* ---- places ---- */

struct place run_root(const struct run *run)
{
    struct place root = {.parts = calloc(run->count + 1, sizeof *root.parts), .below = path_copy("")};

    if (!root.parts) {
        die("out of memory");
    }
    for (root.count = 0; root.count < run->count; root.count++) {
        root.parts[root.count] = (struct part){.layer = root.count, .path = path_copy("")};
    }
    return root;
}

/* EXDEV: it was moved out of the layer while the way to it was walked. */
static bool has_vanished(int result)
{
    return result == -ENOENT || result == -ENOTDIR || result == -ELOOP || result == -ESTALE ||
           result == -EXDEV;
}

int *place_open(const struct run *run, const struct place *place)
{
    int *fds = calloc(place->count + 1, sizeof *fds);

    if (!fds) {
        die("out of memory");
    }
    for (size_t i = 0; i < place->count; i++) {
        fds[i] = path_open_directory(run->uppers[place->parts[i].layer], place->parts[i].path);
        if (fds[i] < 0 && !(run->live && has_vanished(fds[i]))) {
            int result = fds[i];
            fds_close(fds, i);
            errno = -result;
            return NULL;
        }
    }
    return fds;
}

void place_free(struct place *place)
{
    for (size_t i = 0; i < place->count; i++) {
        free(place->parts[i].path);
    }
    free(place->parts);
    free(place->below);
    *place = (struct place){0};
}

bool same_below(const struct place *left, const struct place *right)
{
    return left->below && right->below ? strcmp(left->below, right->below) == 0
                                       : !left->below && !right->below;
}
