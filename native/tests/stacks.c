#include "stacks.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "check.h"
#include "overlay.h"
#include "tree.h"

#define OPEN_DIRECTORY (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

static int scratch = -1;
static char scratch_path[64];
static bool in_world;
static uint64_t world_seed, state;

/* ---- the run of a test program ---- */

static void tell_seed(void)
{
    if (in_world) {
        fprintf(stderr, "DELTABOX_SEED=%" PRIu64 " DELTABOX_STACKS=1 does it again\n", world_seed);
    }
}

void stacks_begin(const char *name)
{
    const char *dir = getenv("DELTABOX_TEST_DIR");

    if (geteuid() != 0) {
        printf("%s: skipped, mounting overlays needs root\n", name);
        exit(getenv("CI") ? 1 : 0);
    }
    snprintf(scratch_path, sizeof scratch_path, "%s/deltabox-test-XXXXXX", dir ? dir : "/tmp");
    CHECK(mkdtemp(scratch_path) != NULL);
    CHECK(unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
    if (!dir) {
        CHECK(mount("tmpfs", scratch_path, "tmpfs", 0, NULL) == 0);
    }
    scratch = open(scratch_path, OPEN_DIRECTORY);
    CHECK(scratch >= 0);
    atexit(tell_seed);
}

void stacks_end(void)
{
    CHECK(chdir("/") == 0);
    close(scratch);
    umount2(scratch_path, MNT_DETACH);
    CHECK(tree_remove(AT_FDCWD, scratch_path) == 0);
}

static uint64_t from_environment(const char *name, uint64_t usual)
{
    const char *value = getenv(name);

    return value ? strtoull(value, NULL, 10) : usual;
}

uint64_t stacks_first_seed(void)
{
    return from_environment("DELTABOX_SEED", 1);
}

uint64_t stacks_wanted(uint64_t usual)
{
    return from_environment("DELTABOX_STACKS", usual);
}

void random_seed(uint64_t seed)
{
    state = seed;
}

/* splitmix64 */
uint64_t random_below(uint64_t bound)
{
    uint64_t z = state += 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (z ^ z >> 31) % bound;
}

/* ---- worlds ---- */

static int keep(struct world *world, int fd)
{
    CHECK(fd >= 0 && world->fd_count < sizeof world->fds / sizeof *world->fds);
    return world->fds[world->fd_count++] = fd;
}

int world_directory(struct world *world)
{
    char name[16];

    snprintf(name, sizeof name, "%u", world->made++);
    CHECK(mkdirat(world->dir, name, 0755) == 0);
    return keep(world, openat(world->dir, name, OPEN_DIRECTORY));
}

/* As the engine's bases are: an overlay itself. */
static int wrap_base(struct world *world)
{
    const int lowers[] = {world_directory(world), world->base};
    const struct overlay_plan plan = {.lowers = lowers, .count = 2, .upper = -1, .work = -1};
    int mount = keep(world, overlay_mount(&plan));

    CHECK(mkdirat(world->dir, "base", 0700) == 0);
    CHECK(move_mount(mount, "", world->dir, "base", MOVE_MOUNT_F_EMPTY_PATH) == 0);
    return mount;
}

void world_open(struct world *world, uint64_t seed)
{
    *world = (struct world){.dir = -1};
    world_seed = state = seed;
    in_world = true;
    CHECK(mkdirat(scratch, "world", 0700) == 0);
    world->dir = openat(scratch, "world", OPEN_DIRECTORY);
    CHECK(world->dir >= 0);
    world->base = world_directory(world);
    do_random(world->base, 200);
    if (random_below(4) == 0) {
        world->base = wrap_base(world);
    }
}

void world_close(struct world *world)
{
    CHECK(fchdir(world->dir) == 0);
    umount2("base", MNT_DETACH);
    while (world->fd_count > 0) {
        close(world->fds[--world->fd_count]);
    }
    close(world->dir);
    CHECK(fchdir(scratch) == 0);
    CHECK(tree_remove(scratch, "world") == 0);
    in_world = false;
}

static int mount_over(const struct world *world, const struct stack *stack, int upper, int work)
{
    int lowers[STACK_MAX + 1];

    memcpy(lowers, stack->layers, stack->count * sizeof *lowers);
    lowers[stack->count] = world->base;
    const struct overlay_plan plan = {
        .lowers = lowers, .count = stack->count + 1, .upper = upper, .work = work};
    int mount = overlay_mount(&plan);
    if (mount < 0) {
        fprintf(stderr, "mount: %s\n", strerror(-mount));
    }
    CHECK(mount >= 0);
    return mount;
}

int stack_mount(const struct world *world, const struct stack *stack)
{
    return stack->count > 0 ? mount_over(world, stack, -1, -1) : openat(world->base, ".", OPEN_DIRECTORY);
}

int stack_push(struct world *world, struct stack *stack)
{
    int upper = world_directory(world), work = world_directory(world);

    CHECK(stack->count < STACK_MAX);
    int mount = mount_over(world, stack, upper, work);
    memmove(stack->layers + 1, stack->layers, stack->count * sizeof *stack->layers);
    stack->layers[0] = upper;
    stack->count++;
    return mount;
}

void stack_grow(struct world *world, struct stack *stack, unsigned operations)
{
    int mount = stack_push(world, stack);

    do_random(mount, operations);
    CHECK(fchdir(scratch) == 0);
    close(mount);
}

struct stack stack_below(const struct stack *stack, size_t count)
{
    struct stack below = {.count = stack->count - count};

    memcpy(below.layers, stack->layers + count, below.count * sizeof *below.layers);
    return below;
}

/* ---- random things ---- */

/* Few names, so that most of them exist and one thing gets in the way of another. */
struct random_path random_path(void)
{
    static const char *const names[] = {"a", "b", "c", "d", "odd \n\xff"};
    struct random_path path = {""};
    uint64_t depth = 1 + random_below(random_below(4) ? 3 : 5);

    for (uint64_t i = 0; i < depth; i++) {
        strcat(path.text, i ? "/" : "");
        strcat(path.text, names[random_below(random_below(4) ? 3 : 5)]);
    }
    return path;
}

static void make_parents(const char *path)
{
    struct random_path parent;

    for (size_t i = 0; path[i]; i++) {
        parent.text[i] = '\0';
        if (path[i] == '/') {
            mkdir(parent.text, 0755);
        }
        parent.text[i] = path[i];
    }
}

static int write_random(const char *path, int flags, off_t at)
{
    char data[600];
    int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | flags, 0600 | random_below(0100));
    size_t len = random_below(random_below(4) ? 60 : sizeof data);

    if (fd < 0) {
        return -1;
    }
    for (size_t i = 0; i < len; i++) {
        data[i] = (char)random_below(256);
    }
    ssize_t wrote = pwrite(fd, data, len, at);
    close(fd);
    return (int)wrote;
}

static int set_random_xattr(const char *path)
{
    /* capabilities as the kernel keeps those of a user namespace whose root is 70000; an access control list that
     * gives user 70001 more than the group has */
    static const unsigned char capability[] = {1, 0, 0, 3, 0, 4, 0, 0, 0,    0,    0, 0,
                                               0, 0, 0, 0, 0, 0, 0, 0, 0x70, 0x11, 1, 0};
    static const unsigned char acl[] = {2,    0,    0,    0,    1,    0,    7,    0,    0xff, 0xff, 0xff,
                                        0xff, 2,    0,    6,    0,    0x71, 0x11, 1,    0,    4,    0,
                                        5,    0,    0xff, 0xff, 0xff, 0xff, 0x10, 0,    7,    0,    0xff,
                                        0xff, 0xff, 0xff, 0x20, 0,    5,    0,    0xff, 0xff, 0xff, 0xff};
    char value[8];

    snprintf(value, sizeof value, "%u", (unsigned)random_below(3));
    switch (random_below(6)) {
    case 0:
        return lsetxattr(path, "security.capability", capability, sizeof capability, 0);
    case 1:
        return lsetxattr(path, "system.posix_acl_access", acl, sizeof acl, 0);
    case 2:
        return lsetxattr(path, "system.posix_acl_default", acl, sizeof acl, 0);
    case 3:
        return lremovexattr(path, "user.test");
    case 4:
        return lsetxattr(path, "user.other", value, strlen(value), 0);
    default:
        return lsetxattr(path, "user.test", value, strlen(value), 0);
    }
}

static int set_random_times(const char *path)
{
    const struct timespec times[] = {{.tv_nsec = UTIME_OMIT},
                                     {.tv_sec = (time_t)random_below(1000000), .tv_nsec = 5}};

    return utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW);
}

static int make_tree(const char *path)
{
    char below[80];

    if (mkdir(path, 0755) < 0) {
        return -1;
    }
    snprintf(below, sizeof below, "%s/a", path);
    mkdir(below, 0711);
    snprintf(below, sizeof below, "%s/a/b", path);
    write_random(below, O_CREAT, 0);
    snprintf(below, sizeof below, "%s/c", path);
    return write_random(below, O_CREAT, 0);
}

static int change_looks(const char *path)
{
    switch (random_below(4)) {
    case 0:
        return chmod(path, (mode_t)random_below(010000));
    case 1:
        return lchown(path, 70000 + (uid_t)random_below(3), 70000 + (gid_t)random_below(3));
    case 2:
        return set_random_times(path);
    default:
        return set_random_xattr(path);
    }
}

static int make_special(const char *path)
{
    switch (random_below(4)) {
    case 0:
        return mknod(path, S_IFIFO | 0640, 0);
    case 1:
        return mknod(path, S_IFSOCK | 0600, 0);
    case 2:
        return mknod(path, S_IFCHR | 0600, makedev(1, 3));
    default:
        return symlink(random_path().text, path);
    }
}

static int rename_random(const char *path)
{
    const struct random_path other = random_path();
    uint64_t how = random_below(6);

    return renameat2(AT_FDCWD, path, AT_FDCWD, other.text,
                     how == 0   ? RENAME_EXCHANGE
                     : how == 1 ? RENAME_NOREPLACE
                                : 0);
}

static int do_one(const char *path)
{
    switch (random_below(30)) {
    case 0 ... 2:
        make_parents(path);
        return write_random(path, O_CREAT | O_TRUNC, 0);
    case 3 ... 5:
        return write_random(path, 0, (off_t)random_below(300));
    case 6:
        return write_random(path, O_CREAT, (off_t)random_below(50000));
    case 7:
        return truncate(path, (off_t)random_below(1000));
    case 8 ... 10:
        make_parents(path);
        return make_tree(path);
    case 11:
        return rmdir(path);
    case 12:
        return unlink(path);
    case 13:
        return strchr(path, '/') ? tree_remove(AT_FDCWD, path) : 0;
    case 14: /* what was there is gone, and something else of that name is there */
        tree_remove(AT_FDCWD, path);
        return make_tree(path);
    case 15 ... 20:
        return rename_random(path);
    case 21 ... 22:
        return linkat(AT_FDCWD, path, AT_FDCWD, random_path().text, 0);
    case 23:
        return make_special(path);
    default:
        return change_looks(path);
    }
}

uint64_t do_random(int mount, unsigned operations)
{
    uint64_t digest = 0;

    CHECK(fchdir(mount) == 0);
    for (unsigned i = 0; i < operations; i++) {
        const struct random_path path = random_path();
        errno = 0;
        int result = do_one(path.text);
        digest = digest * 31 + (uint64_t)(result < 0 ? errno : result);
    }
    return digest;
}

/* ---- what is to be seen ---- */

static void describe_content(FILE *out, int dir, const char *name)
{
    unsigned char data[4096];
    uint64_t hash = 0xcbf29ce484222325;
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    ssize_t got = 0;

    CHECK(fd >= 0);
    while ((got = read(fd, data, sizeof data)) > 0) {
        for (ssize_t i = 0; i < got; i++) {
            hash = (hash ^ data[i]) * 0x100000001b3;
        }
    }
    CHECK(got == 0);
    close(fd);
    fprintf(out, " %" PRIx64, hash);
}

static int by_text(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

static void describe_xattrs(FILE *out, int dir, const char *name)
{
    char path[300], list[4096], *names[64];
    size_t count = 0;

    snprintf(path, sizeof path, "/proc/self/fd/%d/%s", dir, name);
    ssize_t len = llistxattr(path, list, sizeof list);
    CHECK(len >= 0 || errno == ENOTSUP);
    for (char *at = list; len > 0 && at < list + len; at += strlen(at) + 1) {
        if (strncmp(at, "trusted.SGI_", strlen("trusted.SGI_")) !=
            0) { /* XFS: access control lists once more */
            names[count++] = at;
        }
    }
    qsort(names, count, sizeof *names, by_text);
    for (size_t i = 0; i < count; i++) {
        unsigned char value[1024];
        ssize_t size = lgetxattr(path, names[i], value, sizeof value);
        fprintf(out, " %s=", names[i]);
        for (ssize_t at = 0; at < size; at++) {
            fprintf(out, "%02x", value[at]);
        }
    }
}

static char *describe(int dir, const char *name, const struct stat *st)
{
    char *looks = NULL;
    size_t len;
    FILE *out = open_memstream(&looks, &len);

    fprintf(out, "%o %u %u %jx %jd", st->st_mode, st->st_uid, st->st_gid, (uintmax_t)st->st_rdev,
            S_ISDIR(st->st_mode) ? 0 : (intmax_t)st->st_size);
    if (S_ISREG(st->st_mode)) {
        describe_content(out, dir, name);
    } else if (S_ISLNK(st->st_mode)) {
        char target[128] = "";
        CHECK(readlinkat(dir, name, target, sizeof target - 1) >= 0);
        fprintf(out, " %s", target);
    }
    describe_xattrs(out, dir, name);
    fclose(out);
    return looks;
}

static struct record *add_record(struct snapshot *snapshot, int dir, const char *name, const char *path)
{
    snapshot->list = realloc(snapshot->list, (snapshot->count + 1) * sizeof *snapshot->list);
    CHECK(snapshot->list != NULL);
    struct record *record = &snapshot->list[snapshot->count++];
    *record = (struct record){.path = strdup(path)};
    if (fstatat(dir, name, &record->st, AT_SYMLINK_NOFOLLOW) < 0) {
        record->broken = errno;
        record->looks = strdup(strerror(errno));
    } else {
        record->looks = describe(dir, name, &record->st);
    }
    return record;
}

static void take(struct snapshot *snapshot, int fd, const char *path)
{
    DIR *dir = fdopendir(fd);
    struct dirent *entry;

    CHECK(dir != NULL);
    while ((entry = readdir(dir))) {
        char below[4096];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        snprintf(below, sizeof below, "%s%s%s", path, *path ? "/" : "", entry->d_name);
        const struct record *record = add_record(snapshot, dirfd(dir), entry->d_name, below);
        if (S_ISDIR(record->st.st_mode)) {
            int sub = openat(dirfd(dir), entry->d_name, OPEN_DIRECTORY);
            CHECK(sub >= 0);
            take(snapshot, sub, below);
        }
    }
    closedir(dir);
}

static int by_path(const void *left, const void *right)
{
    return strcmp(((const struct record *)left)->path, ((const struct record *)right)->path);
}

struct snapshot snapshot_take(int dir)
{
    struct snapshot snapshot = {0};

    add_record(&snapshot, dir, ".", "");
    int top = openat(dir, ".", OPEN_DIRECTORY);
    CHECK(top >= 0);
    take(&snapshot, top, "");
    qsort(snapshot.list, snapshot.count, sizeof *snapshot.list, by_path);
    return snapshot;
}

void snapshot_free(struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->count; i++) {
        free(snapshot->list[i].path);
        free(snapshot->list[i].looks);
    }
    free(snapshot->list);
    *snapshot = (struct snapshot){0};
}

struct record *snapshot_find(const struct snapshot *snapshot, const char *path)
{
    const struct record key = {.path = (char *)(uintptr_t)path};

    return bsearch(&key, snapshot->list, snapshot->count, sizeof *snapshot->list, by_path);
}
