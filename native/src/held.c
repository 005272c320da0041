/* Sockets and FIFOs are found by the inode of their name, and that belongs to the tree they were made in. So when a tree
 * is left, the old inode stays reachable: it is mounted in a small place of the engine's own inside, and a symbolic link
 * leads there from the name. A link can be removed, renamed and bound again like the thing itself, which a mount over
 * the name could not. No frozen layer ever holds such a link: it is made a socket or FIFO again when its upper is left. */
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <linux/un.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/pidfd.h>

#include "fd.h"
#include "move.h"
#include "root.h"
#include "sys.h"

#define OPEN_DIRECTORY (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

static struct held *find_held(const struct sandbox *sandbox, const struct stat *st)
{
    struct held *held = sandbox->held;

    while (held && (held->device != st->st_dev || held->inode != st->st_ino)) {
        held = held->next;
    }
    return held;
}

static const struct held *find_alive(const struct sandbox *sandbox, uint64_t number)
{
    const struct held *held = sandbox->held;

    while (held && (held->number != number || !held->alive)) {
        held = held->next;
    }
    return held;
}

void held_forget(struct sandbox *sandbox)
{
    while (sandbox->held) {
        struct held *next = sandbox->held->next;
        free(sandbox->held);
        sandbox->held = next;
    }
}

/* ---- collecting ---- */

void held_begin(struct move *move)
{
    for (struct held *held = move->sandbox->held; held; held = held->next) {
        held->alive = false;
    }
}

bool held_is_alive(struct move *move, const struct stat *st)
{
    struct held *held = find_held(move->sandbox, st);

    if (held) {
        held->alive = true;
    }
    return held != NULL;
}

bool held_find_path(const struct move *move, const struct stat *st, const char **path, size_t *tree)
{
    const struct held *held = find_held(move->sandbox, st);

    *path = NULL;
    for (*tree = 0; held && *tree < move->tree_count; ++*tree) {
        const struct link_scan *links = &move->trees[*tree].links;
        for (size_t i = 0; i < links->mark_count; i++) {
            if (links->marks[i].inode == held->number) {
                *path = links->marks[i].path;
                return true;
            }
        }
    }
    return held != NULL;
}

static bool is_collected(const struct move *move, const struct stat *st)
{
    for (const struct holding *holding = move->holdings; holding; holding = holding->next) {
        if (holding->st.st_dev == st->st_dev && holding->st.st_ino == st->st_ino) {
            return true;
        }
    }
    return false;
}

/* `place` is taken over: where the thing's name was bound or opened. */
static void collect(struct move *move, size_t tree, int place)
{
    cleanup_fd own = place;
    char path[PATH_MAX];
    struct stat st;

    if (fstat(own, &st) < 0 || is_collected(move, &st) || move_path_of(&move->trees[tree], own, path) < 0) {
        return; /* without a name nobody finds it but those who have it */
    }
    struct holding *holding = calloc(1, sizeof *holding);
    if (!holding || !(holding->path = strdup(path))) {
        die("out of memory");
    }
    holding->place = fd_steal(&own);
    holding->tree = tree;
    holding->st = st;
    holding->number = ++move->sandbox->last_held;
    holding->next = move->holdings;
    move->holdings = holding;
}

void held_collect_socket(struct move *move, const struct unit *unit, int number)
{
    cleanup_fd socket = pidfd_getfd(unit->pidfd, number, 0);
    int place = socket < 0 ? -1 : ioctl(socket, SIOCUNIXFILE); /* refused where no path is bound */
    struct stat st;

    if (place < 0) {
        return;
    }
    fcntl(place, F_SETFD, FD_CLOEXEC);
    size_t tree = move_tree_of(move, place);
    if (tree < move->tree_count) {
        collect(move, tree, place);
        return;
    }
    if (fstat(place, &st) == 0) {
        held_is_alive(move, &st);
    }
    close(place);
}

void held_collect_fifo(struct move *move, const struct description *description)
{
    const struct move_tree *tree = &move->trees[description->tree];
    int place = !description->path
                    ? -1
                    : sys_openat2(tree->old, description->path, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0,
                                  RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);

    if (place >= 0) {
        collect(move, description->tree, place);
    }
}

void held_free(struct move *move)
{
    while (move->holdings) {
        struct holding *next = move->holdings->next;
        fd_close(&move->holdings->place);
        free(move->holdings->path);
        free(move->holdings);
        move->holdings = next;
    }
}

/* ---- names ---- */

/* What was there when the tree was mounted may lie in a directory that the upper does not have yet: setting what it has
 * brings it there, with all that lead to it. */
static int raise_parent(const struct move_tree *tree, const char *path)
{
    char parent[PATH_MAX];
    struct stat st;
    const char *slash = strrchr(path, '/');

    if (!slash) {
        return 0;
    }
    snprintf(parent, sizeof parent, "%.*s", (int)(slash - path), path);
    cleanup_fd raised =
        sys_openat2(tree->old_upper, parent, OPEN_DIRECTORY, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
    if (raised >= 0) {
        return 0;
    }
    cleanup_fd dir = sys_openat2(tree->old, parent, OPEN_DIRECTORY, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
    return dir < 0 || fstat(dir, &st) < 0 || fchmod(dir, st.st_mode & 07777) < 0 ? -errno : 0;
}

/* In the old upper's place in the new one: links for what is held already and for what will be. */
int held_carry(struct move *move, size_t tree, struct carry *carry)
{
    const struct link_scan *links = &move->trees[tree].links;
    int result = 0;

    for (size_t i = 0; result == 0 && i < links->mark_count; i++) {
        const struct held *held = find_alive(move->sandbox, links->marks[i].inode);
        if (held) {
            const struct held_mark mark = {.number = held->number, .mode = held->mode};
            result = carry_mark(carry, links->marks[i].path, &mark, held->uid, held->gid);
        }
    }
    for (const struct holding *holding = move->holdings; result == 0 && holding; holding = holding->next) {
        if (holding->tree == tree) {
            const struct held_mark mark = {.number = holding->number, .mode = holding->st.st_mode};
            result = raise_parent(&move->trees[tree], holding->path);
            result = result < 0
                         ? result
                         : carry_mark(carry, holding->path, &mark, holding->st.st_uid, holding->st.st_gid);
        }
    }
    return result;
}

/* A link that is left behind in what is now a frozen layer. */
static int make_node_again(int upper, const char *path, const struct held *held)
{
    char parent[PATH_MAX];
    struct stat st;
    const char *slash = strrchr(path, '/');

    snprintf(parent, sizeof parent, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    cleanup_fd dir = sys_openat2(upper, parent, OPEN_DIRECTORY, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
    const char *name = slash ? slash + 1 : path;
    if (dir < 0 || fstat(dir, &st) < 0 || unlinkat(dir, name, 0) < 0 ||
        mknodat(dir, name, held->mode, 0) < 0 ||
        fchownat(dir, name, held->uid, held->gid, AT_SYMLINK_NOFOLLOW) < 0 ||
        fchmodat(dir, name, held->mode & 07777, 0) < 0 ||
        utimensat(dir, name, held->times, AT_SYMLINK_NOFOLLOW) < 0) {
        return -errno;
    }
    const struct timespec times[] = {st.st_atim, st.st_mtim};
    return futimens(dir, times) < 0 ? -errno : 0;
}

static const struct held *find_number(const struct sandbox *sandbox, uint64_t number)
{
    const struct held *held = sandbox->held;

    while (held && held->number != number) {
        held = held->next;
    }
    return held;
}

void held_clean_layer(const struct move *move)
{
    for (size_t tree = 0; tree < move->tree_count; tree++) {
        const struct link_scan *links = &move->trees[tree].links;
        for (size_t i = 0; i < links->mark_count; i++) {
            const struct held *held = find_number(move->sandbox, links->marks[i].inode);
            int result = !held ? 0 : make_node_again(move->trees[tree].old_upper, links->marks[i].path, held);
            if (result < 0) {
                log_line("clean %s in a frozen layer: %s", links->marks[i].path, strerror(-result));
            }
        }
    }
}

/* ---- mounts, in the cell's mount namespace ---- */

static int open_room(const struct move *move)
{
    int fd =
        sys_openat2(move->trees[0].old, ROOT_HELD, OPEN_DIRECTORY, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
    return fd < 0 ? -errno : fd;
}

static int hold(int room, struct holding *holding)
{
    struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY}; /* the node, not what is behind it */
    char name[24];

    snprintf(name, sizeof name, "%u", holding->number);
    cleanup_fd point = openat(room, name, O_RDONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    cleanup_fd mount =
        point < 0 ? -1 : open_tree(holding->place, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (mount < 0 || mount_setattr(mount, "", AT_EMPTY_PATH, &read_only, sizeof read_only) < 0 ||
        move_mount(mount, "", point, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0) {
        int failure = -errno;
        unlinkat(room, name, 0);
        return failure;
    }
    holding->mounted = true;
    return 0;
}

/* The room is the working directory. */
static void release(unsigned number)
{
    char name[24];

    snprintf(name, sizeof name, "%u", number);
    if (umount2(name, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 || unlink(name) < 0) {
        log_line("release what is held: %s", strerror(errno));
    }
}

int held_mount(struct move *move, struct err *err)
{
    int result = 0;

    if (!move->holdings) {
        return 0;
    }
    cleanup_fd room = open_room(move);
    if (room < 0) {
        return err_system(err, -room, "open", "/%s", ROOT_HELD);
    }
    if (setns(move->sandbox->cell->mount_ns, CLONE_NEWNS) < 0) {
        return err_system(err, errno, "enter mount namespace", "/");
    }
    for (struct holding *holding = move->holdings; result == 0 && holding; holding = holding->next) {
        result = hold(room, holding);
        if (result < 0) {
            result = err_system(err, -result, "hold", "%.180s", holding->path);
        }
    }
    root_back_to_own_namespace();
    return result;
}

void held_unmount(struct move *move)
{
    cleanup_fd room = move->holdings ? open_room(move) : -1;

    if (room < 0 || setns(move->sandbox->cell->mount_ns, CLONE_NEWNS) < 0) {
        return;
    }
    if (fchdir(room) < 0) {
        die("enter /%s: %s", ROOT_HELD, strerror(errno));
    }
    for (struct holding *holding = move->holdings; holding; holding = holding->next) {
        if (holding->mounted) {
            release(holding->number);
            holding->mounted = false;
        }
    }
    root_back_to_own_namespace();
}

/* What nobody has open any more is given up; what was found in this move is held from now on. */
void held_commit(struct move *move)
{
    struct sandbox *sandbox = move->sandbox;

    for (struct held **link = &sandbox->held; *link;) {
        struct held *held = *link;
        if (held->alive) {
            link = &held->next;
            continue;
        }
        *link = held->next;
        move->released = realloc(move->released, (move->released_count + 1) * sizeof *move->released);
        if (!move->released) {
            die("out of memory");
        }
        move->released[move->released_count++] = held->number;
        free(held);
    }
    for (struct holding *holding = move->holdings; holding; holding = holding->next) {
        struct held *held = calloc(1, sizeof *held);
        if (!held) {
            die("out of memory");
        }
        *held = (struct held){.number = holding->number,
                              .device = holding->st.st_dev,
                              .inode = holding->st.st_ino,
                              .mode = holding->st.st_mode,
                              .uid = holding->st.st_uid,
                              .gid = holding->st.st_gid,
                              .times = {holding->st.st_atim, holding->st.st_mtim},
                              .next = sandbox->held};
        sandbox->held = held;
    }
}

/* After the move: the room has moved along and lies in the new root. */
void held_release(struct move *move, int new_root)
{
    cleanup_fd room = move->released_count == 0 ? -1
                                                : sys_openat2(new_root, ROOT_HELD, OPEN_DIRECTORY, 0,
                                                              RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);

    if (room >= 0 && setns(move->sandbox->cell->mount_ns, CLONE_NEWNS) == 0) {
        for (size_t i = 0; fchdir(room) == 0 && i < move->released_count; i++) {
            release(move->released[i]);
        }
        root_back_to_own_namespace();
    }
    free(move->released);
    move->released = NULL;
    move->released_count = 0;
}
