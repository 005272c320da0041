#include "seed.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "engine.h"
#include "fd.h"
#include "root.h"
#include "sys.h"

/* ---- paths: absolute in the base, made free of symbolic links ---- */

/* The path without links of what `path` leads to in the base, relative to its root; -errno when there is nothing. */
static int canonical_existing(const struct seed *seed, const char *path, char out[PATH_MAX])
{
    char link[64], whole[PATH_MAX];
    size_t prefix = strlen(seed->base_path);

    cleanup_fd fd =
        sys_openat2(seed->base, path, O_PATH | O_CLOEXEC, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
    if (fd < 0) {
        return -errno;
    }
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, whole, sizeof whole - 1);
    if (len < 0) {
        return -errno;
    }
    whole[len] = '\0';
    if (strncmp(whole, seed->base_path, prefix) != 0) {
        return -EXDEV;
    }
    const char *inside = whole + prefix;
    while (*inside == '/') {
        inside++;
    }
    strcpy(out, inside);
    return 0;
}

/* Like canonical_existing, and what does not exist stays as it was written. With `keep_last` a link at the end
 * stands for itself. */
static int canonical(const struct seed *seed, const char *path, bool keep_last, char out[PATH_MAX])
{
    char parent[PATH_MAX], above[PATH_MAX];

    if (!keep_last) {
        int result = canonical_existing(seed, path, out);
        if (result != -ENOENT) {
            return result;
        }
    }
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/') {
        len--;
    }
    size_t cut = len;
    while (cut > 0 && path[cut - 1] != '/') {
        cut--;
    }
    if (cut == 0 || cut >= PATH_MAX || len - cut == 0) {
        return -EINVAL;
    }
    memcpy(parent, path, cut);
    parent[cut] = '\0';
    int result = strcmp(parent, "/") == 0 ? (above[0] = '\0', 0) : canonical(seed, parent, false, above);
    if (result < 0) {
        return result;
    }
    int wrote = snprintf(out, PATH_MAX, "%s%s%.*s", above, *above ? "/" : "", (int)(len - cut), path + cut);
    return wrote >= PATH_MAX ? -ENAMETOOLONG : 0;
}

/* ---- making ---- */

/* A directory of the seed decides owner and mode of the merged one, so it copies those of the base's. */
static int make_directory(const struct seed *seed, const char *relative)
{
    struct stat st;

    if (mkdirat(seed->fd, relative, 0755) < 0) {
        return errno == EEXIST ? 0 : -errno;
    }
    if (fstatat(seed->base, relative, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        st = (struct stat){.st_mode = S_IFDIR | 0755, .st_uid = engine.uid_base, .st_gid = engine.uid_base};
    }
    if (fchownat(seed->fd, relative, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) < 0 ||
        fchmodat(seed->fd, relative, st.st_mode & 07777, 0) < 0) {
        return -errno;
    }
    return 0;
}

static int make_directories(const struct seed *seed, const char *relative, bool with_last)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s", relative);
    for (char *slash = path; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        int result = make_directory(seed, path);
        *slash = '/';
        if (result < 0) {
            return result;
        }
    }
    return with_last && *path ? make_directory(seed, path) : 0;
}

static int make_whiteout(const struct seed *seed, const char *path)
{
    char relative[PATH_MAX];
    struct stat st;

    int result = canonical(seed, path, false, relative);
    if (result < 0) {
        return result;
    }
    if (fstatat(seed->base, relative, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return 0;
    }
    result = make_directories(seed, relative, false);
    if (result < 0) {
        return result;
    }
    return mknodat(seed->fd, relative, S_IFCHR, makedev(0, 0)) < 0 && errno != EEXIST ? -errno : 0;
}

static int make_plain_directory(const struct seed *seed, const char *path, mode_t mode, bool opaque)
{
    char relative[PATH_MAX];

    int result = canonical(seed, path, false, relative);
    if (result < 0 || (result = make_directories(seed, relative, true)) < 0) {
        return result;
    }
    cleanup_fd fd = openat(seed->fd, relative, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fchown(fd, engine.uid_base, engine.uid_base) < 0 || fchmod(fd, mode) < 0) {
        return -errno;
    }
    return opaque && fsetxattr(fd, "trusted.overlay.opaque", "y", 1, 0) < 0 ? -errno : 0;
}

static int make_file(const struct seed *seed, const char *path, mode_t mode, const uint8_t *data, size_t len)
{
    char relative[PATH_MAX];

    int result = canonical(seed, path, true, relative);
    if (result < 0 || (result = make_directories(seed, relative, false)) < 0) {
        return result;
    }
    unlinkat(seed->fd, relative, 0);
    cleanup_fd fd = openat(seed->fd, relative, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 || fchown(fd, engine.uid_base, engine.uid_base) < 0 || fchmod(fd, mode) < 0) {
        return -errno;
    }
    if (len == 0) {
        return 0;
    }
    ssize_t wrote = write(fd, data, len);
    return wrote < 0 ? -errno : (size_t)wrote < len ? -ENOSPC : 0;
}

static int make_link(const struct seed *seed, const char *relative, const char *target)
{
    if (symlinkat(target, seed->fd, relative) < 0 ||
        fchownat(seed->fd, relative, engine.uid_base, engine.uid_base, AT_SYMLINK_NOFOLLOW) < 0) {
        return -errno;
    }
    return 0;
}

/* /dev is part of the state like any directory, so that /dev/shm is; only the device nodes are mounted onto it. */
static int make_dev(const struct seed *seed)
{
    static const char *const nodes[] = {"null", "zero", "full", "random", "urandom", "tty"};
    static const char *const links[][2] = {{"dev/fd", "/proc/self/fd"},
                                           {"dev/stdin", "/proc/self/fd/0"},
                                           {"dev/stdout", "/proc/self/fd/1"},
                                           {"dev/stderr", "/proc/self/fd/2"},
                                           {"dev/ptmx", "pts/ptmx"}};
    int result = make_plain_directory(seed, "/dev", 0755, true);

    for (size_t i = 0; result == 0 && i < sizeof nodes / sizeof *nodes; i++) {
        char path[32];
        snprintf(path, sizeof path, "/dev/%s", nodes[i]);
        result = make_file(seed, path, 0666, NULL, 0);
    }
    for (size_t i = 0; result == 0 && i < sizeof links / sizeof *links; i++) {
        result = make_link(seed, links[i][0], links[i][1]);
    }
    if (result == 0 && (result = make_plain_directory(seed, "/dev/pts", 0755, false)) == 0 &&
        (result = make_plain_directory(seed, "/dev/shm", 01777, false)) == 0) {
        result = make_plain_directory(seed, "/" ROOT_HELD, 0755, false);
    }
    return result;
}

/* Its content is each cell's own, and is never part of the state. */
static int make_generation(const struct seed *seed)
{
    char relative[PATH_MAX];
    int result = make_plain_directory(seed, "/run/deltabox", 0755, true);

    if (result == 0) {
        result = canonical(seed, "/run/deltabox/" ROOT_GENERATION, false, relative);
    }
    return result < 0 ? result : make_link(seed, relative, "/" ROOT_HELD "/" ROOT_GENERATION);
}

/* ---- the description ---- */

static int build_hidden(const struct seed *seed, item description, struct err *err)
{
    char **paths;

    if (arg_strings(description, "hide", &paths, err) < 0) {
        return -1;
    }
    int failed = 0;
    for (char **path = paths; *path && !failed; path++) {
        int result = make_whiteout(seed, *path);
        if (result < 0) {
            failed = err_system(err, -result, "seed: hide", "%s", *path);
        }
    }
    strings_free(paths);
    return failed;
}

static int build_directory(const struct seed *seed, item entry, struct err *err)
{
    cleanup_free char *path = NULL;
    uint64_t mode;
    bool opaque;

    if (!cbor_isa_map(entry)) {
        return err_set(err, ERR_BAD_REQUEST, "directories: maps wanted");
    }
    if (arg_string(entry, "path", &path, err) < 0 || arg_uint(entry, "mode", 07777, &mode, err) < 0 ||
        arg_bool(entry, "opaque", &opaque, err) < 0) {
        return -1;
    }
    int result = make_plain_directory(seed, path, (mode_t)mode, opaque);
    return result < 0 ? err_system(err, -result, "seed: directory", "%s", path) : 0;
}

static int build_file(const struct seed *seed, item entry, struct err *err)
{
    cleanup_free char *path = NULL;
    const uint8_t *content;
    size_t len;
    uint64_t mode;

    if (!cbor_isa_map(entry)) {
        return err_set(err, ERR_BAD_REQUEST, "files: maps wanted");
    }
    if (arg_string(entry, "path", &path, err) < 0 || arg_uint(entry, "mode", 07777, &mode, err) < 0 ||
        arg_bytes(entry, "content", &content, &len, err) < 0) {
        return -1;
    }
    int result = make_file(seed, path, (mode_t)mode, content, len);
    return result < 0 ? err_system(err, -result, "seed: file", "%s", path) : 0;
}

int seed_build(const struct seed *seed, item description, struct err *err)
{
    item list;
    size_t count;

    if (arg_list(description, "directories", &list, &count, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        if (build_directory(seed, list_at(list, i), err) < 0) {
            return -1;
        }
    }
    int result = make_dev(seed);
    if (result < 0) {
        return err_system(err, -result, "seed: directory", "/dev");
    }
    if ((result = make_generation(seed)) < 0) {
        return err_system(err, -result, "seed: directory", "/run/deltabox");
    }
    if (build_hidden(seed, description, err) < 0 || arg_list(description, "files", &list, &count, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        if (build_file(seed, list_at(list, i), err) < 0) {
            return -1;
        }
    }
    return 0;
}

int seed_mount_point(const struct seed *seed, const char *path, struct err *err)
{
    char relative[PATH_MAX];

    int result = canonical(seed, path, false, relative);
    if (result == 0) {
        result = make_directories(seed, relative, true);
    }
    return result < 0 ? err_system(err, -result, "seed: mount point", "%s", path) : 0;
}
