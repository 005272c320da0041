/* The kernel refuses a lower layer that lies below another one (ELOOP), and with the host's own file system as the
 * base every layer in the data directory does. So base and seed make a read-only overlay of their own, on a
 * superblock of its own, and that is the lowest layer of every sandbox's overlay. The seeds are on a small tmpfs,
 * which also holds the mount points, in the engine's own mount namespace (kernels before 6.14 take no detached mount
 * as a layer). */
#include "base.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "fd.h"
#include "layer.h"
#include "overlay.h"
#include "pool.h"
#include "seed.h"

struct base *bases;

/* ---- looking up ---- */

bool is_id(const char *text)
{
    const size_t length = strlen(text);

    return length > 0 && length <= ID_MAX && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") == length;
}

int arg_id(item args, const char *key, char out[ID_MAX + 1], struct err *err)
{
    cleanup_free char *id = NULL;

    if (arg_string(args, key, &id, err) < 0) {
        return -1;
    }
    if (!is_id(id)) {
        return err_set(err, ERR_BAD_REQUEST, "%s: 1-%d of a-z, 0-9 and - wanted", key, ID_MAX);
    }
    strcpy(out, id);
    return 0;
}

static struct base *base_find(const char *id)
{
    struct base *base = bases;

    while (base && strcmp(base->id, id) != 0) {
        base = base->next;
    }
    return base;
}

struct base *arg_base(item args, struct err *err)
{
    char id[ID_MAX + 1];

    if (arg_id(args, "base", id, err) < 0) {
        return NULL;
    }
    struct base *base = base_find(id);
    if (!base) {
        err_set(err, ERR_NO_BASE, "no base is called %s", id);
    }
    return base;
}

/* ---- the workshop ---- */

static int make_place(int workshop, const char *name)
{
    if (mkdirat(workshop, name, 0755) < 0 ||
        fchownat(workshop, name, engine.uid_base, engine.uid_base, 0) < 0) {
        return -errno;
    }
    int fd = openat(workshop, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int attach_at(int workshop, const char *name, int mount)
{
    if ((mkdirat(workshop, name, 0755) < 0 && errno != EEXIST) ||
        move_mount(mount, "", workshop, name, MOVE_MOUNT_F_EMPTY_PATH) < 0) {
        return -errno;
    }
    return 0;
}

/* A tmpfs at `dir`; unmounting it lazily takes along what is attached in it. */
static int open_workshop(const char *dir, struct err *err)
{
    cleanup_fd fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
    if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0700", 0) < 0 ||
        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
        return err_system(err, errno, "mount tmpfs", "%s", dir);
    }
    cleanup_fd mount = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID);
    if (mount < 0 || mkdir(dir, 0700) < 0) {
        return err_system(err, errno, "mount tmpfs", "%s", dir);
    }
    if (move_mount(mount, "", AT_FDCWD, dir, MOVE_MOUNT_F_EMPTY_PATH) < 0) {
        err_system(err, errno, "mount tmpfs", "%s", dir);
        rmdir(dir);
        return -1;
    }
    return fd_steal(&mount);
}

static void close_workshop(const char *dir)
{
    if (umount2(dir, MNT_DETACH) < 0 && errno != EINVAL && errno != ENOENT) {
        log_line("unmount %s: %s", dir, strerror(errno));
    }
    rmdir(dir);
}

/* A host directory, read-only and with shifted ids. */
static int attach_source(int workshop, const char *name, const char *source, int user_ns, struct err *err)
{
    struct mount_attr attributes = {
        .attr_set = MOUNT_ATTR_IDMAP | MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV,
        .userns_fd = (uint64_t)user_ns,
        .propagation = MS_PRIVATE,
    };
    cleanup_fd fd = open_tree(AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

    if (fd < 0) {
        return err_system(err, errno, "open base", "%s", source);
    }
    if (mount_setattr(fd, "", AT_EMPTY_PATH, &attributes, sizeof attributes) < 0) {
        return err_system(err, errno, "shift ids", "%s", source);
    }
    int result = attach_at(workshop, name, fd);
    return result < 0 ? err_system(err, -result, "attach base", "%s", source) : fd_steal(&fd);
}

static int attach_base(int workshop, const char *name, int seed, int source, struct err *err)
{
    const int lowers[] = {seed, source};
    const struct overlay_plan plan = {.lowers = lowers, .count = 2, .upper = -1, .work = -1};
    cleanup_fd mount = overlay_mount(&plan);

    if (mount < 0) {
        return err_system(err, -mount, "mount base", "%s", name);
    }
    int result = attach_at(workshop, name, mount);
    return result < 0 ? err_system(err, -result, "attach base", "%s", name) : fd_steal(&mount);
}

/* ---- the trees ---- */

/* The root's seed hides and adds what it is told to, and has a mount point for every volume. */
static int fill_root_seed(const struct base *base, int fd, int source, item description, struct err *err)
{
    char link[32], path[PATH_MAX];

    snprintf(link, sizeof link, "/proc/self/fd/%d", source);
    ssize_t len = readlink(link, path, sizeof path - 1);
    if (len < 0) {
        return err_system(err, errno, "read link", "%s", link);
    }
    path[len] = '\0';
    const struct seed seed = {.fd = fd, .base = source, .base_path = path};
    if (seed_build(&seed, description, err) < 0) {
        return -1;
    }
    for (size_t i = 1; i < base->tree_count; i++) {
        if (seed_mount_point(&seed, base->trees[i].path, err) < 0) {
            return -1;
        }
    }
    return 0;
}

/* A volume's seed is empty; the top of the stack decides how the volume's root looks. */
static int fill_volume_seed(const struct base_tree *tree, int seed, int source, struct err *err)
{
    struct stat st;

    if (fstat(source, &st) < 0 || fchown(seed, st.st_uid, st.st_gid) < 0 ||
        fchmod(seed, st.st_mode & 07777) < 0) {
        return err_system(err, errno, "copy mode", "%s", tree->source);
    }
    const struct timespec times[] = {st.st_atim, st.st_mtim};
    return futimens(seed, times) < 0 ? err_system(err, errno, "copy times", "%s", tree->source) : 0;
}

/* Names in the workshop. */
struct tree_names {
    char source[32], seed[32], base[32];
};

static struct tree_names tree_names(size_t index)
{
    struct tree_names names;

    snprintf(names.source, sizeof names.source, "source%zu", index);
    snprintf(names.seed, sizeof names.seed, "seed%zu", index);
    snprintf(names.base, sizeof names.base, "base%zu", index);
    return names;
}

static int build_tree(struct base *base, size_t index, int workshop, int user_ns, item description,
                      struct err *err)
{
    struct base_tree *tree = &base->trees[index];
    const struct tree_names names = tree_names(index);

    cleanup_fd source = attach_source(workshop, names.source, tree->source, user_ns, err);
    if (source < 0) {
        return -1;
    }
    cleanup_fd seed = make_place(workshop, names.seed);
    if (seed < 0) {
        return err_system(err, -seed, "make directory", "%s", names.seed);
    }
    if ((index == 0 ? fill_root_seed(base, seed, source, description, err)
                    : fill_volume_seed(tree, seed, source, err)) < 0) {
        return -1;
    }
    tree->mount = attach_base(workshop, names.base, seed, source, err);
    return tree->mount < 0 ? -1 : 0;
}

int base_refresh(struct base *base, size_t index, struct err *err)
{
    const struct tree_names names = tree_names(index);
    struct base_tree *tree = &base->trees[index];

    if (unshare(CLONE_NEWNS) < 0) {
        return err_system(err, errno, "own mount namespace", "%s", base->dir);
    }
    cleanup_fd workshop = open(base->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    cleanup_fd source = openat(workshop, names.source, O_PATH | O_DIRECTORY | O_CLOEXEC);
    cleanup_fd seed = openat(workshop, names.seed, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (workshop < 0 || source < 0 || seed < 0) {
        return err_system(err, errno, "open base", "%s", base->dir);
    }
    int mount = attach_base(workshop, names.base, seed, source, err);
    if (mount < 0) {
        return -1;
    }
    fd_close(&tree->mount);
    tree->mount = mount;
    return 0;
}

static int build(struct base *base, item description, struct err *err)
{
    cleanup_fd workshop = open_workshop(base->dir, err);
    const int user_ns = workshop < 0 ? -1 : pool_user_namespace();

    if (user_ns < 0) {
        return -1;
    }
    for (size_t i = 0; i < base->tree_count; i++) {
        if (build_tree(base, i, workshop, user_ns, description, err) < 0) {
            return -1;
        }
    }
    return 0;
}

/* ---- opening and closing ---- */

static void base_free(struct base *base)
{
    for (size_t i = 0; i < base->tree_count; i++) {
        fd_close(&base->trees[i].mount);
        free(base->trees[i].path);
        free(base->trees[i].source);
    }
    free(base->trees);
    free(base->dir);
    stock_close(&base->stock);
    free(base);
}

static int parse_trees(struct base *base, item args, struct err *err)
{
    item list;
    size_t count;

    if (arg_list(args, "volumes", &list, &count, err) < 0) {
        return -1;
    }
    base->trees = calloc(count + 1, sizeof *base->trees);
    if (!base->trees || !(base->trees[0].path = strdup("/"))) {
        die("out of memory");
    }
    base->tree_count = 1;
    base->trees[0].mount = -1;
    if (arg_string(args, "source", &base->trees[0].source, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        struct base_tree *tree = &base->trees[base->tree_count++];
        item entry = list_at(list, i);
        tree->mount = -1;
        if (!cbor_isa_map(entry)) {
            return err_set(err, ERR_BAD_REQUEST, "volumes: maps wanted");
        }
        if (arg_string(entry, "path", &tree->path, err) < 0 ||
            arg_string(entry, "source", &tree->source, err) < 0) {
            return -1;
        }
        if (tree->path[0] != '/' || tree->path[1] == '\0') {
            return err_set(err, ERR_BAD_REQUEST, "volumes: %s is no absolute path below /", tree->path);
        }
    }
    return 0;
}

static int scatter(item args, struct err *err)
{
    char **busy;

    if (arg_strings(args, "busy", &busy, err) < 0) {
        return -1;
    }
    for (char **directory = busy; *directory; directory++) {
        layer_scatter(*directory);
    }
    strings_free(busy);
    return 0;
}

static int open_stock(struct base *base, item args, struct err *err)
{
    cleanup_free char *dir = NULL;

    if (arg_optional_string(args, "stock", &dir, err) < 0) {
        return -1;
    }
    if (dir) {
        stock_open(&base->stock, dir);
    }
    return 0;
}

static int open_base(struct base *base, struct request *request, struct err *err)
{
    uint64_t start = now_usec();
    item description = item_get(request->args, "seed");

    if (!description || !cbor_isa_map(description)) {
        return err_set(err, ERR_BAD_REQUEST, "seed: a map wanted");
    }
    if (arg_string(request->args, "dir", &base->dir, err) < 0 || parse_trees(base, request->args, err) < 0 ||
        scatter(request->args, err) < 0 || open_stock(base, request->args, err) < 0) {
        return -1;
    }
    if (build(base, description, err) < 0) {
        close_workshop(base->dir);
        return -1;
    }
    out_text(&request->ok, "timings");
    out_map(&request->ok);
    out_key_uint(&request->ok, "base", now_usec() - start);
    out_end(&request->ok);
    return 0;
}

int op_base_open(struct request *request, struct err *err)
{
    char id[ID_MAX + 1];

    if (arg_id(request->args, "base", id, err) < 0) {
        return -1;
    }
    if (base_find(id)) {
        return err_set(err, ERR_EXISTS, "base %s is open", id);
    }
    struct base *base = calloc(1, sizeof *base);
    if (!base) {
        die("out of memory");
    }
    strcpy(base->id, id);
    if (open_base(base, request, err) < 0) {
        base_free(base);
        return -1;
    }
    base->next = bases;
    bases = base;
    return OP_DONE;
}

void bases_end(void)
{
    for (struct base *base = bases; base; base = base->next) {
        stock_close(&base->stock);
    }
}
