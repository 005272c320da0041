/* Exported files that somebody has changed, with sums that are right: what comes out of them stays in its directory and belongs to the
 * sandbox, or they are refused. Images whose names are changed likewise. Needs root. test_hostile_transfer [SEED [SECONDS]] */
#include <fcntl.h>
#include <ftw.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "bundle.h"
#include "changes.h"
#include "check.h"
#include "engine.h"
#include "fd.h"
#include "format.h"
#include "looks.h"
#include "sample.h"
#include "store.h"
#include "transfers.h"
#include "tree.h"

#define SECONDS 4
#define CHANGES 4
#define UIDS 0x40000000u
#define OPEN_DIRECTORY (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
/* What a file system takes for a name, and for attributes that do not fit beside its inode. */
#define NODE_BYTES 16384u

static char directory[] = "/tmp/deltabox-test-XXXXXX";

/* ---- a file that is right ---- */

static void set_list(const char *path)
{
    static const uint32_t list[] = {2,          0x60001, UINT32_MAX, 0x40002, UIDS + 7,  0x40004,
                                    UINT32_MAX, 0x60010, UINT32_MAX, 0x20,    UINT32_MAX};

    CHECK(lsetxattr(path, "system.posix_acl_access", list, sizeof list, 0) == 0);
}

static void make_file(const char *path, size_t size)
{
    cleanup_fd fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    static char data[8192];

    memset(data, 'x', size);
    CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size && ftruncate(fd, (off_t)size + 10000) == 0);
}

static int own(const char *path, const struct stat *st, int type, struct FTW *place)
{
    (void)type;
    (void)place;
    CHECK(lchown(path, UIDS, UIDS + 1) == 0);
    return !S_ISLNK(st->st_mode) && chmod(path, st->st_mode & 07777) < 0;
}

/* Names and values are as long as what tries to get out. */
static void make_family(void)
{
    CHECK(mkdir("from", 0700) == 0 && mkdir("from/images", 0700) == 0 && mkdir("from/layers", 0700) == 0);
    CHECK(mkdir("from/layers/one", 0700) == 0 && mkdir("from/layers/one/fs0", 0700) == 0);
    CHECK(mkdir("from/layers/one/fs0/upper", 0700) == 0 && mkdir("from/layers/two", 0700) == 0);
    CHECK(mkdir("from/layers/two/fs0", 0700) == 0 && mkdir("from/layers/two/fs0/upper", 0700) == 0);
    CHECK(mkdir("from/layers/two/fs1", 0700) == 0 && mkdir("from/layers/two/fs1/upper", 0700) == 0);
    make_file("from/images/image", 300);
    CHECK(chdir("from/layers/one/fs0/upper") == 0);
    CHECK(mkdir("ab", 0755) == 0 && mkdir("ab/cd", 02755) == 0);
    make_file("ab/..-sentinel", 100);
    make_file("ab/cd/file", 5000);
    make_file("listed", 1);
    CHECK(link("ab/cd/file", "second") == 0 && link("ab/cd/file", "../../../two/fs1/upper/third") == 0);
    CHECK(symlink("../../../../../../sentinel", "cd") == 0 && link("cd", "ef") == 0);
    CHECK(mknod("fifo", S_IFIFO | 0600, 0) == 0 && mknod("device", S_IFCHR | 0666, makedev(1, 3)) == 0);
    CHECK(mknod("gone", S_IFCHR, 0) == 0);
    CHECK(lsetxattr("ab", "trusted.overlay.opaque", "y", 1, 0) == 0);
    CHECK(lsetxattr("ab/cd", "trusted.overlay.redirect", "/etc", 4, 0) == 0);
    CHECK(lsetxattr("listed", "user.overlay_metacopy...", "y", 1, 0) == 0);
    CHECK(lsetxattr("listed", "user.of_a_security_module", "y", 1, 0) == 0);
    CHECK(chdir(directory) == 0 && nftw("from/layers", own, 16, FTW_PHYS) == 0);
    CHECK(lsetxattr("from/layers/one/fs0/upper/cd", "trusted.deltabox.held", "1 140644", 8, 0) == 0);
    set_list("from/layers/one/fs0/upper/listed");
}

/* What the blocks hold. */
static struct bytes read_stream(int fd)
{
    struct bundle bundle;
    struct err err = {0};
    struct bytes bytes = {.data = malloc(1 << 20), .room = 1 << 20};
    size_t size;

    CHECK(lseek(fd, 0, SEEK_SET) == 0 && bundle_begin(&bundle, fd, true, &err) == 0);
    for (const uint8_t *some; (some = bundle_some(&bundle, bytes.room - bytes.size, &size, &err));) {
        memcpy(bytes.data + bytes.size, some, size);
        bytes.size += size;
    }
    CHECK(bundle.has_ended && bytes.size < bytes.room);
    bundle_free(&bundle);
    return bytes;
}

static int write_stream(const struct bytes *bytes)
{
    const int fd = memfd_create("changed", MFD_CLOEXEC);
    struct bundle bundle;
    struct err err = {0};

    CHECK(fd >= 0 && bundle_begin(&bundle, fd, false, &err) == 0);
    CHECK(bundle_put(&bundle, bytes->data, bytes->size, &err) == 0 && bundle_end(&bundle, &err) == 0);
    bundle_free(&bundle);
    CHECK(lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

static struct bytes make_stream(void)
{
    const int fd = memfd_create("stream", MFD_CLOEXEC);

    CHECK(fd >= 0);
    CHECK(pack_state("from", "image image\nlayer one\nlayer two\n\n{}", UIDS, fd).result == 0);
    const struct bytes bytes = read_stream(fd);
    close(fd);
    return bytes;
}

/* ---- what must not change ---- */

static struct stat sentinel[3];
static const char *const sentinels[] = {"sentinel", "in", "in/sentinel"};

static void look_at_sentinels(struct stat *looks)
{
    for (size_t i = 0; i < 3; i++) {
        CHECK(lstat(sentinels[i], &looks[i]) == 0);
    }
}

static bool is_as_before(const struct stat *before, const struct stat *now)
{
    return before->st_ino == now->st_ino && before->st_nlink == now->st_nlink &&
           before->st_mode == now->st_mode && before->st_uid == now->st_uid &&
           before->st_size == now->st_size && before->st_ctim.tv_sec == now->st_ctim.tv_sec &&
           before->st_ctim.tv_nsec == now->st_ctim.tv_nsec;
}

static void expect_nothing_outside(void)
{
    struct stat now[3];

    look_at_sentinels(now);
    for (size_t i = 0; i < 3; i++) {
        CHECK(is_as_before(&sentinel[i], &now[i]));
    }
}

/* ---- what may come out ---- */

static uint64_t bytes_made;
static size_t nodes_made;
static bool is_whole;

static bool is_owned(uint32_t id)
{
    return id - UIDS < ID_RANGE;
}

static void expect_owned_list(const char *path, const char *name)
{
    uint32_t list[2048];
    const ssize_t size = lgetxattr(path, name, list, sizeof list);

    for (ssize_t i = 1; i < size / 4; i += 2) {
        CHECK(list[i + 1] == UINT32_MAX || is_owned(list[i + 1]));
    }
}

static void expect_attributes(const char *path)
{
    char names[65536];
    const ssize_t length = llistxattr(path, names, sizeof names);

    for (const char *name = names; name < names + (length < 0 ? 0 : length); name += strlen(name) + 1) {
        const bool is_list = strncmp(name, "system.posix_acl_", 17) == 0;
        CHECK(is_list || strncmp(name, "user.", 5) == 0 || speaks_of_place(name) ||
              strcmp(name, "security.capability") == 0 || strcmp(name, "trusted.overlay.origin") == 0 ||
              strcmp(name, "trusted.deltabox.held") == 0);
        if (is_list) {
            expect_owned_list(path, name);
        }
    }
}

/* What overlayfs hides with is nobody's; what was begun when it failed is root's and nobody else's to read. */
static int expect_kept_in(const char *path, const struct stat *st, int type, struct FTW *place)
{
    const bool is_of_layer = strstr(path, "/upper") != NULL;
    const bool is_whiteout = S_ISCHR(st->st_mode) && st->st_rdev == 0;

    (void)type;
    (void)place;
    nodes_made++;
    bytes_made += (uint64_t)st->st_blocks * 512;
    if (is_of_layer && is_whole && !is_whiteout) {
        CHECK(is_owned(st->st_uid) && is_owned(st->st_gid));
    }
    CHECK((is_owned(st->st_uid) && is_owned(st->st_gid)) || (st->st_uid == 0 && st->st_gid == 0));
    CHECK(st->st_uid != 0 || !(st->st_mode & (S_ISUID | S_ISGID)));
    expect_attributes(path);
    return 0;
}

struct counts {
    uint64_t rounds, taken;
};

static struct transfer unpack_bytes(const struct bytes *bytes)
{
    const int fd = write_stream(bytes);

    CHECK(mkdir("in/room", 0700) == 0);
    look_at_sentinels(sentinel);
    const struct transfer transfer = unpack_state("in/room", fd, UIDS);
    expect_nothing_outside();
    close(fd);
    bytes_made = nodes_made = 0;
    is_whole = transfer.result == 0;
    CHECK(nftw("in/room", expect_kept_in, 16, FTW_PHYS) == 0);
    CHECK(bytes_made <= bytes->size + nodes_made * NODE_BYTES);
    CHECK(tree_remove(AT_FDCWD, "in/room") == 0);
    return transfer;
}

static void try_changed(const struct bytes *right, struct counts *counts)
{
    struct bytes bytes = changed(right->data, right->size, CHANGES);

    counts->rounds++;
    counts->taken += unpack_bytes(&bytes).result == 0;
    free(bytes.data);
}

/* ---- what tries to get out ---- */

struct attempt {
    const char *is, *shall_be; /* as long */
    const char *why;
};

static void replace(struct bytes *bytes, const struct attempt *attempt)
{
    const size_t length = strlen(attempt->is);
    uint8_t *at = memmem(bytes->data, bytes->size, attempt->is, length);

    CHECK(at != NULL);
    memcpy(at, attempt->shall_be, length);
}

static void nothing_gets_out(const struct bytes *right)
{
    static const struct attempt attempts[] = {
        {"..-sentinel", "../sentinel", "a name is none"},
        {"\x04"
         "ab",
         "\x04..", "a name is none"},
        {"\x04"
         "ef",
         "\x04/f", "a name is none"},
        {"\x06"
         "one",
         "\x06../", "an id is none"},
        {"image", "../im", "an id is none"},
        {"\x06"
         "two",
         "\x06one", "\"errno\":17"},
        {"third", "..\0rd", "a text has a NUL in it"},
        {"\x04"
         "cd",
         "\x04"
         "ab",
         ""}, /* a directory in itself */
        {"\x04"
         "ef",
         "\x04"
         "cd",
         "\"errno\":17"},
        {"user.overlay_metacopy...", "trusted.overlay.metacopy", "an attribute is none of a sandbox's"},
        {"user.of_a_security_module", "security.selinux_and_more", "an attribute is none of a sandbox's"},
        {"user.of_a_security_module", "trusted.SGI_ACL_FILE_or_a", "an attribute is none of a sandbox's"},
        {"user.of_a_security_module", "system.posix_acl_accessor", "an attribute is none of a sandbox's"},
        {"1 140644", "1 100644", "a file stands for none that can be"},
        {"1 140644", "1 040755", "a file stands for none that can be"},
        {"1 140644", "-/../etc", "a file stands for none that can be"},
    };

    for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++) {
        struct bytes bytes = changed(right->data, right->size, 0);
        replace(&bytes, &attempts[i]);
        const struct transfer transfer = unpack_bytes(&bytes);
        const bool is_right = *attempts[i].why
                                  ? transfer.result < 0 && strstr(transfer.complaint, attempts[i].why)
                                  : transfer.result == 0;
        if (!is_right) {
            fprintf(stderr, "%s: %s\n", attempts[i].shall_be, transfer.complaint);
        }
        CHECK(is_right);
        free(bytes.data);
    }
}

/* ---- images ---- */

static void write_image(const char *name, const struct sample_file *file, bool change_tail)
{
    struct format_tail tail;
    size_t size;
    uint8_t *bytes = sample_join(file, &size);

    memcpy(&tail, bytes + size - sizeof tail, sizeof tail);
    for (uint64_t i = change_tail ? 1 + draw(CHANGES) : 0; i > 0; i--) {
        ((uint8_t *)&tail)[draw(offsetof(struct format_tail, magic))] ^= (uint8_t)(1u << draw(8));
    }
    format_seal(&tail);
    memcpy(bytes + size - sizeof tail, &tail, sizeof tail);
    sample_write("images", name, bytes, size);
    free(bytes);
}

static void expect_renamed(void)
{
    char parent[ID_MAX + 1], base[ID_MAX + 1];
    struct format_file opened;
    struct err err = {0};

    CHECK(format_open(&opened, "images", "top2", &err) == 0);
    struct stored *stored = store_read_index(&opened, parent, base, &err);
    CHECK(stored && (!parent[0] || strcmp(parent, "base2") == 0 || strcmp(parent, "top2") == 0));
    CHECK(!base[0] || strcmp(base, "base2") == 0);
    for (size_t i = 0; i < stored->source_count; i++) {
        CHECK(strcmp(stored->sources[i], "base2") == 0 || strcmp(stored->sources[i], "top2") == 0);
    }
    stored_leave(stored);
    fd_close(&opened.fd);
}

static void try_image(const struct sample_file *base, const struct sample_file *top, struct counts *counts)
{
    char *const names[] = {"base", "base2", "top", "top2"};
    const uint64_t which = draw(8);
    const struct bytes index = changed(top->index, top->index_bytes, which > 0 ? CHANGES : 0);
    struct sample_file file = *top;

    file.index = index.data;
    file.index_bytes = index.size;
    write_image("base", base, false);
    write_image("top", &file, which < 2);
    look_at_sentinels(sentinel);
    const bool is_renamed = rename_images("images", names, 4).result == 0;
    expect_nothing_outside();
    if (is_renamed) {
        expect_renamed();
    }
    counts->taken += is_renamed;
    counts->rounds++;
    CHECK(tree_remove(AT_FDCWD, "images") == 0 && mkdir("images", 0700) == 0);
    free(index.data);
}

static void images_are_renamed_or_refused(time_t end)
{
    struct sample_file base, top;
    struct counts counts = {0};

    CHECK(mkdir("images", 0700) == 0);
    struct stored *first = sample_store("images", "base", NULL, &base),
                  *second = sample_store("images", "top", first, &top);
    do {
        try_image(&base, &top, &counts);
    } while (seconds_now() < end);
    printf("hostile transfer: of %llu images %llu were renamed\n", (unsigned long long)counts.rounds,
           (unsigned long long)counts.taken);
    stored_leave(first);
    stored_leave(second);
    sample_free(&base);
    sample_free(&top);
}

/* ---- the whole ---- */

int main(int argc, char **argv)
{
    const uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    const time_t seconds = argc > 2 ? (time_t)strtol(argv[2], NULL, 10) : SECONDS, start = seconds_now();
    struct counts counts = {0};

    if (geteuid() != 0) {
        printf("hostile transfer: skipped, owners are only given by root\n");
        return getenv("CI") ? 1 : 0;
    }
    CHECK(mkdtemp(directory) != NULL && chdir(directory) == 0);
    printf("hostile transfer: seed %llu, files in %s\n", (unsigned long long)seed, directory);
    draw_seed(seed);
    make_family();
    make_file("sentinel", 10);
    CHECK(mkdir("in", 0700) == 0);
    make_file("in/sentinel", 10);
    struct bytes right = make_stream();
    CHECK(unpack_bytes(&right).result == 0);
    nothing_gets_out(&right);
    while (seconds_now() < start + seconds * 3 / 4) {
        try_changed(&right, &counts);
    }
    printf("hostile transfer: of %llu files %llu were taken in\n", (unsigned long long)counts.rounds,
           (unsigned long long)counts.taken);
    images_are_renamed_or_refused(start + seconds);
    free(right.data);
    CHECK(chdir("/") == 0 && tree_remove(AT_FDCWD, directory) == 0);
    return DONE("hostile transfer");
}
