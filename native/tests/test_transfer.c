/* Layers that are packed and unpacked again, for another range of ids, are what they were. Needs root. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "check.h"
#include "compare_trees.h"
#include "fd.h"
#include "looks.h"
#include "path.h"
#include "stacks.h"
#include "transfers.h"
#include "tree.h"

#define OPEN_DIRECTORY (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
/* What stacks.c makes belongs to 70000 and the next, and to root. */
#define UIDS_FROM 65000u
#define UIDS_TO 0x40000000u

static struct world world;

/* ---- directories of families ---- */

static void make_directory(const char *path)
{
    CHECK(mkdir(path, 0700) == 0);
}

/* "from/layers/l0/fs0/upper", which is not there yet. */
static void make_layer(size_t layer, char path[64])
{
    snprintf(path, 64, "from/layers/l%zu", layer);
    make_directory(path);
    snprintf(path, 64, "from/layers/l%zu/fs0", layer);
    make_directory(path);
    snprintf(path, 64, "from/layers/l%zu/fs0/upper", layer);
}

static void begin_family(void)
{
    CHECK(fchdir(world.dir) == 0);
    make_directory("from");
    make_directory("from/layers");
    make_directory("from/images");
    make_directory("to");
}

static void end_family(void)
{
    CHECK(fchdir(world.dir) == 0);
    CHECK(tree_remove(AT_FDCWD, "from") == 0 && tree_remove(AT_FDCWD, "to") == 0);
}

/* Root's files become those of the first of the sandbox's users. */
static void own_node(int dir, const char *name)
{
    uint8_t capability[64];
    struct stat st;

    CHECK(fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0);
    const struct node node = {dir, name};
    const ssize_t size =
        lgetxattr(node_path(node).text, "security.capability", capability, sizeof capability);
    CHECK(fchownat(dir, name, st.st_uid < UIDS_FROM ? UIDS_FROM : st.st_uid,
                   st.st_gid < UIDS_FROM ? UIDS_FROM : st.st_gid, AT_SYMLINK_NOFOLLOW) == 0);
    CHECK(S_ISLNK(st.st_mode) || fchmodat(dir, name, st.st_mode & 07777, 0) == 0);
    CHECK(size <= 0 ||
          lsetxattr(node_path(node).text, "security.capability", capability, (size_t)size, 0) == 0);
}

static void own_tree(int dir)
{
    struct snapshot all = snapshot_take(dir);

    for (size_t i = 0; i < all.count; i++) {
        char path[4100];
        snprintf(path, sizeof path, "./%s", all.list[i].path);
        char *name = strrchr(path, '/');
        *name++ = '\0';
        cleanup_fd parent = openat(dir, path, OPEN_DIRECTORY);
        CHECK(parent >= 0);
        own_node(parent, *name ? name : ".");
    }
    snapshot_free(&all);
}

/* There and back; what it complains of if it does. */
static struct transfer carry(size_t layers, const char *told)
{
    char plan[4096];
    size_t length = 0;
    const int file = memfd_create("state", MFD_CLOEXEC);

    for (size_t i = 0; i < layers; i++) {
        length += (size_t)snprintf(plan + length, sizeof plan - length, "layer l%zu\n", i);
    }
    snprintf(plan + length, sizeof plan - length, "\n%s", told);
    CHECK(file >= 0);
    struct transfer transfer = pack_state("from", plan, UIDS_FROM, file);
    if (transfer.result == 0) {
        CHECK(lseek(file, 0, SEEK_SET) == 0);
        transfer = unpack_state("to", file, UIDS_TO);
        CHECK(strcmp(transfer.told, told) == 0);
    }
    close(file);
    return transfer;
}

static int open_upper(const char *side, size_t layer)
{
    char path[64];

    snprintf(path, sizeof path, "%s/layers/l%zu/fs0/upper", side, layer);
    const int fd = open(path, OPEN_DIRECTORY);
    CHECK(fd >= 0);
    return fd;
}

static void expect_carried(size_t layers)
{
    const struct transfer transfer = carry(layers, "{\"told\": 1}");
    struct moved moved = {.from = UIDS_FROM, .to = UIDS_TO};
    struct stat st;

    if (transfer.result < 0) {
        fprintf(stderr, "%s\n", transfer.complaint);
    }
    CHECK(transfer.result == 0);
    for (size_t i = 0; i < layers; i++) {
        cleanup_fd from = open_upper("from", i), to = open_upper("to", i);
        expect_moved(&moved, from, to);
    }
    /* what was noted of files with several names is gone */
    CHECK(stat("to/files", &st) < 0 && stat("to/images", &st) == 0);
    moved_free(&moved);
}

/* ---- what sandboxes leave ---- */

/* Its uppers become the layers of a family. */
static void settle(const struct stack *stack)
{
    char path[64], link[40], from[4096];

    begin_family();
    for (size_t i = 0; i < stack->count; i++) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", stack->layers[i]);
        const ssize_t length = readlink(link, from, sizeof from - 1);
        CHECK(length > 0);
        from[length] = '\0';
        make_layer(i, path);
        CHECK(rename(from, path) == 0);
        own_tree(stack->layers[i]);
    }
}

/* The newest may be another name of a file in the layer below. */
static void link_across(const struct stack *stack)
{
    struct snapshot below = snapshot_take(stack->layers[stack->count - 1]);

    for (size_t i = 0; i < below.count; i++) {
        if (S_ISREG(below.list[i].st.st_mode) && random_below(2) == 0) {
            char name[32];
            snprintf(name, sizeof name, "across-%zu", i);
            CHECK(linkat(stack->layers[stack->count - 1], below.list[i].path, stack->layers[0], name, 0) ==
                  0);
        }
    }
    snapshot_free(&below);
}

static void expect_same_view(const struct stack *stack)
{
    struct moved moved = {.from = UIDS_FROM, .to = UIDS_TO, .is_view = true};
    struct stack arrived = {.count = stack->count};

    for (size_t i = 0; i < stack->count; i++) {
        arrived.layers[i] = open_upper("to", i);
    }
    cleanup_fd from = stack_mount(&world, stack), to = stack_mount(&world, &arrived);
    expect_moved(&moved, from, to);
    for (size_t i = 0; i < stack->count; i++) {
        close(arrived.layers[i]);
    }
    moved_free(&moved);
}

static void stacks_are_carried(uint64_t seed)
{
    struct stack stack = {0};

    world_open(&world, seed);
    for (uint64_t i = 1 + random_below(4); i > 0; i--) {
        stack_grow(&world, &stack, (unsigned)random_below(random_below(4) ? 60 : 200));
    }
    settle(&stack);
    if (stack.count > 1 && random_below(2) == 0) {
        link_across(&stack);
    }
    expect_carried(stack.count);
    expect_same_view(&stack);
    CHECK(fchdir(world.dir) == 0);
    world_close(&world);
}

/* ---- one of each ---- */

static void set_list(const char *path, const char *name)
{
    static const struct {
        uint16_t tag, rights;
        uint32_t id;
    } entries[] = {{1, 7, UINT32_MAX},        {2, 6, UIDS_FROM + 7}, {4, 5, UINT32_MAX},
                   {8, 4, UIDS_FROM + 65535}, {16, 7, UINT32_MAX},   {32, 0, UINT32_MAX}};
    uint8_t list[4 + sizeof entries] = {2};

    memcpy(list + 4, entries, sizeof entries);
    CHECK(lsetxattr(path, name, list, sizeof list, 0) == 0);
}

/* Of the third version, which names root. */
static void set_capability(const char *path)
{
    const uint32_t words[] = {0x03000001, 1u << 10, 0, 0, 0, UIDS_FROM};

    CHECK(lsetxattr(path, "security.capability", words, sizeof words, 0) == 0);
}

static void make_socket(const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strcpy(name.sun_path, path);
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&name, sizeof name) == 0);
    close(fd);
}

static int make_file(const char *path)
{
    const int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);

    CHECK(fd >= 0 && write(fd, path, strlen(path)) == (ssize_t)strlen(path));
    return fd;
}

static void make_sparse(const char *path, off_t data, off_t end)
{
    cleanup_fd fd = make_file(path);

    CHECK(pwrite(fd, "data", 4, data) == 4 && ftruncate(fd, end) == 0);
}

static void mark(const char *path, const char *name, const char *value)
{
    CHECK(lsetxattr(path, name, value, strlen(value), 0) == 0);
}

static void make_one_of_each(void)
{
    char longest[256];

    close(make_file("plain"));
    CHECK(link("plain", "second") == 0);
    CHECK(symlink("/nowhere", "link") == 0 && link("link", "second-link") == 0);
    CHECK(mkfifo("fifo", 0620) == 0 && link("fifo", "second-fifo") == 0);
    make_socket("socket");
    CHECK(mknod("device", S_IFCHR | 0666, makedev(1, 3)) == 0 &&
          mknod("disk", S_IFBLK | 0600, makedev(8, 1)) == 0);
    CHECK(mknod("whiteout", S_IFCHR, 0) == 0 && link("whiteout", "second-whiteout") == 0);
    memset(longest, '\xff', 255);
    longest[255] = '\0';
    close(make_file(longest));
    close(make_file("\x01\n\"\\ \xc3"));
    make_sparse("trailing-hole", 4096, 100 << 20);
    make_sparse("many-blocks", 3 << 20, (3 << 20) + 4);
    CHECK(mkdir("opaque", 0) == 0 && mkdir("moved", 01777) == 0);
    mark("opaque", "trusted.overlay.opaque", "y");
    mark("moved", "trusted.overlay.redirect", "/elsewhere");
    mark("moved", "trusted.overlay.origin", "somewhere");
    close(make_file("held-file"));
    CHECK(symlink("x", "held") == 0);
    mark("held", "trusted.deltabox.held", "17 140755");
    close(make_file("hidden"));
    mark("hidden", "trusted.overlay.whiteout", "y");
}

static void set_looks(void)
{
    const struct timespec times[] = {{-5, 999999999}, {1LL << 33, 1}};
    static char value[3000];

    memset(value, 'v', sizeof value);
    set_list("plain", "system.posix_acl_access");
    set_list("moved", "system.posix_acl_default");
    close(make_file("able"));
    CHECK(chown("able", UIDS_FROM + 65535, UIDS_FROM + 1) == 0 && chmod("able", 06751) == 0);
    CHECK(lsetxattr("able", "user.long", value, sizeof value, 0) == 0 &&
          lsetxattr("able", "user.empty", "", 0, 0) == 0);
    set_capability("able");
    CHECK(utimensat(AT_FDCWD, "able", times, 0) == 0);
    CHECK(utimensat(AT_FDCWD, "link", times, AT_SYMLINK_NOFOLLOW) == 0);
}

/* As carry.c reads it. */
static void expect_groups(void)
{
    static const char wanted[] = "link\0second-link\0\0fifo\0second-fifo\0\0plain\0second\0";
    char groups[256];
    struct stat st;
    cleanup_fd fd = open("to/layers/l0/fs0/links", O_RDONLY | O_CLOEXEC);

    CHECK(fd >= 0 && read(fd, groups, sizeof groups) == sizeof wanted);
    for (const char *at = wanted, *end; at < wanted + sizeof wanted; at = end + 2) {
        end = memmem(at, (size_t)(wanted + sizeof wanted - at), "\0", 2);
        CHECK(end && memmem(groups, sizeof wanted, at, (size_t)(end + 2 - at)));
    }
    CHECK(stat("to/layers/l1/fs0/links", &st) < 0 && stat("to/layers/l2/fs0/links", &st) < 0);
}

static void one_of_each_is_carried(void)
{
    char path[64];

    world_open(&world, 1);
    begin_family();
    for (size_t i = 0; i < 3; i++) {
        make_layer(i, path);
        make_directory(path);
        cleanup_fd upper = open_upper("from", i);
        CHECK(fchdir(upper) == 0);
        if (i == 0) {
            make_one_of_each();
            own_tree(upper);
            set_looks();
        } else if (i == 2) {
            CHECK(link("../../../l0/fs0/upper/plain", "across") == 0);
            CHECK(link("../../../l0/fs0/upper/fifo", "across-fifo") == 0);
        }
        own_node(upper, ".");
        CHECK(fchdir(world.dir) == 0);
    }
    expect_carried(3);
    expect_groups();
    end_family();
    world_close(&world);
}

/* What it hides is not there to be hidden where it arrives. */
static void whiteouts_stay_hidden(void)
{
    struct stack stack = {0};
    char path[64];

    world_open(&world, 2);
    CHECK(fchdir(world.base) == 0);
    make_directory("of-the-host");
    close(make_file("of-the-host/removed"));
    close(make_file("of-the-host/kept"));
    const int mount = stack_push(&world, &stack);
    CHECK(unlinkat(mount, "of-the-host/removed", 0) == 0);
    close(mount);
    settle(&stack);
    CHECK(carry(1, "").result == 0);
    make_directory("other-base");
    snprintf(path, sizeof path, "to/layers/l0/fs0/upper");
    const struct stack arrived = {.layers = {open(path, OPEN_DIRECTORY)}, .count = 1};
    const int base = world.base;
    world.base = open("other-base", OPEN_DIRECTORY);
    cleanup_fd view = stack_mount(&world, &arrived);
    struct snapshot seen = snapshot_take(view);
    CHECK(snapshot_find(&seen, "of-the-host") && !snapshot_find(&seen, "of-the-host/removed"));
    CHECK(seen.count == 2);
    snapshot_free(&seen);
    close(world.base);
    close(arrived.layers[0]);
    world.base = base;
    world_close(&world);
}

/* ---- depth ---- */

/* Goes down so many directories with names of so many bytes, and makes them. */
static int make_deep(int at, unsigned levels, size_t length)
{
    char name[256];

    memset(name, 'd', length);
    name[length] = '\0';
    for (unsigned i = 0; i < levels; i++) {
        CHECK(mkdirat(at, name, 0755) == 0 && fchownat(at, name, UIDS_FROM, UIDS_FROM, 0) == 0);
        const int below = openat(at, name, OPEN_DIRECTORY);
        CHECK(below >= 0);
        close(at);
        at = below;
    }
    return at;
}

static bool is_at_the_bottom(int at, unsigned levels, size_t length, const char *wanted)
{
    char name[256];
    struct stat st;

    memset(name, 'd', length);
    name[length] = '\0';
    for (unsigned i = 0; i < levels; i++) {
        const int below = openat(at, name, OPEN_DIRECTORY);
        CHECK(below >= 0 && fstat(below, &st) == 0 && st.st_uid == UIDS_TO && (st.st_mode & 07777) == 0755);
        close(at);
        at = below;
    }
    const bool is = fstatat(at, wanted, &st, 0) == 0 && st.st_nlink == 2;
    close(at);
    return is;
}

static struct transfer carry_deep(unsigned levels, size_t length, const char *name)
{
    char path[64];

    begin_family();
    make_layer(0, path);
    make_directory(path);
    cleanup_fd upper = open_upper("from", 0);
    own_node(upper, ".");
    cleanup_fd bottom = make_deep(open_upper("from", 0), levels, length);
    cleanup_fd file = openat(bottom, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    CHECK(file >= 0 && fchown(file, UIDS_FROM, UIDS_FROM) == 0);
    CHECK(linkat(bottom, name, upper, "top", 0) == 0);
    return carry(1, "");
}

static void depth_is_carried(void)
{
    const unsigned levels = PATH_LIMIT / 256;
    char fits[256], longer[257];

    world_open(&world, 3);
    CHECK(carry_deep(5000, 1, "file").result == 0);
    CHECK(is_at_the_bottom(open_upper("to", 0), 5000, 1, "file"));
    end_family();
    memset(fits, 'f', 255);
    fits[255] = '\0';
    CHECK(carry_deep(levels - 1, 255, fits).result == 0);
    CHECK(is_at_the_bottom(open_upper("to", 0), levels - 1, 255, fits));
    end_family();
    snprintf(longer, sizeof longer, "%s", "f");
    const struct transfer refused = carry_deep(levels, 255, longer);
    CHECK(refused.result < 0 && strstr(refused.complaint, "\"errno\":36"));
    end_family();
    world_close(&world);
}

/* ---- what cannot go ---- */

static void expect_refused(const char *why)
{
    const struct transfer transfer = carry(1, "");

    CHECK(transfer.result < 0);
    if (!strstr(transfer.complaint, why)) {
        fprintf(stderr, "%s\n", transfer.complaint);
    }
    CHECK(strstr(transfer.complaint, why));
}

static void others_are_refused(void)
{
    char path[64];

    world_open(&world, 4);
    begin_family();
    make_layer(0, path);
    make_directory(path);
    cleanup_fd upper = open_upper("from", 0);
    own_node(upper, ".");
    CHECK(fchdir(upper) == 0);
    close(make_file("of-root"));
    CHECK(fchdir(world.dir) == 0);
    expect_refused("an id is not one of the sandbox's");
    CHECK(fchownat(upper, "of-root", UIDS_FROM, UIDS_FROM + 65536, 0) == 0);
    expect_refused("an id is not one of the sandbox's");
    CHECK(unlinkat(upper, "of-root", 0) == 0);
    CHECK(symlinkat("../../../images", upper, "link") == 0);
    own_node(upper, "link");
    CHECK(carry(1, "").result == 0);
    expect_refused("\"errno\":17"); /* to where something is */
    end_family();
    world_close(&world);
}

int main(void)
{
    const uint64_t first = stacks_first_seed(), count = stacks_wanted(40);

    stacks_begin("transfer");
    one_of_each_is_carried();
    whiteouts_stay_hidden();
    depth_is_carried();
    others_are_refused();
    for (uint64_t i = 0; i < count; i++) {
        stacks_are_carried(first + i);
    }
    stacks_end();
    return DONE("transfer");
}
