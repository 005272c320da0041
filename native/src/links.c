#include "links.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "error.h"
#include "fd.h"
#include "sys.h"

#define OPEN_DIRECTORY (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

struct link_directory {
    char *path;
    struct timespec changed; /* before its entries were read */
    struct link_name *names, *marks;
    size_t name_count, mark_count;
    bool gone;
};

static void *grown(void *list, size_t count, size_t size)
{
    if ((count & (count - 1)) == 0) { /* doubles */
        list = realloc(list, (count ? count * 2 : 1) * size);
        if (!list) {
            die("out of memory");
        }
    }
    return list;
}

static void free_names(struct link_name **names, size_t *count)
{
    for (size_t i = 0; i < *count; i++) {
        free((*names)[i].path);
    }
    free(*names);
    *names = NULL;
    *count = 0;
}

static void clear_names(struct link_directory *directory)
{
    free_names(&directory->names, &directory->name_count);
    free_names(&directory->marks, &directory->mark_count);
}

static void add_name(struct link_name **names, size_t *count, uint64_t inode, char *path)
{
    *names = grown(*names, *count, sizeof **names);
    (*names)[(*count)++] = (struct link_name){.inode = inode, .path = path};
}

static char *join(const char *directory, const char *name)
{
    char *path = NULL;

    if (asprintf(&path, "%s%s%s", directory, *directory ? "/" : "", name) < 0) {
        die("out of memory");
    }
    return path;
}

/* Overlayfs gives all its whiteouts one inode. */
static bool is_whiteout(const struct stat *st)
{
    return S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0);
}

bool held_mark_parse(const void *value, size_t size, struct held_mark *mark)
{
    char text[HELD_MARK_BYTES] = "", end;

    if (size >= sizeof text) {
        return false;
    }
    memcpy(text, value, size);
    return sscanf(text, "%u %o%c", &mark->number, &mark->mode, &end) == 2 &&
           (S_ISSOCK(mark->mode) || S_ISFIFO(mark->mode));
}

bool held_mark_read(int dir, const char *name, struct held_mark *mark)
{
    char path[NAME_MAX + 40], value[HELD_MARK_BYTES];

    snprintf(path, sizeof path, "/proc/self/fd/%d/%s", dir, name);
    ssize_t len = lgetxattr(path, HELD_MARK, value, sizeof value);
    return len >= 0 && held_mark_parse(value, (size_t)len, mark);
}

int held_mark_write(int dir, const char *name, const struct held_mark *mark)
{
    char path[NAME_MAX + 40], value[HELD_MARK_BYTES];

    snprintf(path, sizeof path, "/proc/self/fd/%d/%s", dir, name);
    int len = snprintf(value, sizeof value, "%u %o", mark->number, mark->mode);
    return lsetxattr(path, HELD_MARK, value, (size_t)len, 0) < 0 ? -errno : 0;
}

static size_t add_directory(struct link_scan *scan, char *path)
{
    scan->directories = grown(scan->directories, scan->directory_count, sizeof *scan->directories);
    scan->directories[scan->directory_count] = (struct link_directory){.path = path};
    return scan->directory_count++;
}

static int by_path(const void *a, const void *b)
{
    const struct link_name *left = a, *right = b;

    return strcmp(left->path, right->path);
}

/* The directories that are there already, in the order of their paths. */
static void list_known(struct link_scan *scan)
{
    scan->known = calloc(scan->directory_count + 1, sizeof *scan->known);
    if (!scan->known) {
        die("out of memory");
    }
    for (scan->known_count = 0; scan->known_count < scan->directory_count; scan->known_count++) {
        scan->known[scan->known_count] =
            (struct link_name){.inode = scan->known_count, .path = scan->directories[scan->known_count].path};
    }
    qsort(scan->known, scan->known_count, sizeof *scan->known, by_path);
}

static bool is_known(const struct link_scan *scan, char *path)
{
    const struct link_name wanted = {.path = path};
    const struct link_name *found =
        scan->known ? bsearch(&wanted, scan->known, scan->known_count, sizeof *scan->known, by_path) : NULL;

    return found && !scan->directories[found->inode].gone;
}

static void read_entry(struct link_scan *scan, size_t index, int dir, const char *name)
{
    struct link_directory *directory = &scan->directories[index];
    struct stat st;

    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
        fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return;
    }
    if (S_ISDIR(st.st_mode)) {
        char *path = join(directory->path, name);
        if (is_known(scan, path)) {
            free(path);
        } else {
            add_directory(scan, path);
        }
        return;
    }
    struct held_mark mark;
    if (scan->want_marks && S_ISLNK(st.st_mode) && held_mark_read(dir, name, &mark)) {
        add_name(&directory->marks, &directory->mark_count, mark.number, join(directory->path, name));
    } else if (st.st_nlink > 1 && !is_whiteout(&st)) {
        add_name(&directory->names, &directory->name_count, st.st_ino, join(directory->path, name));
    }
}

/* Directories that are not known yet are added at the end. */
static int read_directory(struct link_scan *scan, size_t index, int upper)
{
    const char *path = scan->directories[index].path;
    struct stat st;
    struct dirent *entry;

    clear_names(&scan->directories[index]);
    /* the upper may change at any moment: a link in a directory's place is not followed */
    int fd = sys_openat2(upper, *path ? path : ".", OPEN_DIRECTORY, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
    if (fd < 0 || fstat(fd, &st) < 0) {
        scan->directories[index].gone = true; /* renamed or removed meanwhile */
        fd_close(&fd);
        return errno == ENOENT || errno == ENOTDIR || errno == ELOOP || errno == EXDEV ? 0 : -errno;
    }
    scan->directories[index].gone = false;
    scan->directories[index].changed = st.st_ctim;
    DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return -ENOMEM;
    }
    while ((entry = readdir(dir))) {
        if (entry->d_type == DT_DIR || entry->d_type == DT_UNKNOWN || entry->d_type == DT_REG ||
            entry->d_type == DT_LNK || entry->d_type == DT_FIFO) {
            read_entry(scan, index, dirfd(dir), entry->d_name);
        }
    }
    closedir(dir);
    return 0;
}

static int read_new(struct link_scan *scan, size_t from, int upper)
{
    int result = 0;

    for (size_t at = from; result == 0 && at < scan->directory_count; at++) {
        result = read_directory(scan, at, upper);
    }
    return result;
}

int links_scan(struct link_scan *scan, int upper, bool want_marks)
{
    *scan = (struct link_scan){.want_marks = want_marks};
    add_directory(scan, join("", ""));
    return read_new(scan, 0, upper);
}

static bool has_changed(const struct link_directory *directory, int upper)
{
    struct stat st;

    return fstatat(upper, *directory->path ? directory->path : ".", &st, AT_SYMLINK_NOFOLLOW) < 0 ||
           st.st_ctim.tv_sec != directory->changed.tv_sec || st.st_ctim.tv_nsec != directory->changed.tv_nsec;
}

static int by_inode(const void *a, const void *b)
{
    const struct link_name *left = a, *right = b;

    return left->inode != right->inode ? (left->inode > right->inode) - (left->inode < right->inode)
                                       : strcmp(left->path, right->path);
}

static void gather_names(struct link_scan *scan)
{
    for (size_t i = 0; i < scan->directory_count; i++) {
        const struct link_directory *directory = &scan->directories[i];
        for (size_t j = 0; j < directory->name_count; j++) {
            add_name(&scan->names, &scan->name_count, directory->names[j].inode, directory->names[j].path);
        }
        for (size_t j = 0; j < directory->mark_count; j++) {
            add_name(&scan->marks, &scan->mark_count, directory->marks[j].inode, directory->marks[j].path);
        }
    }
    if (scan->name_count > 0) {
        qsort(scan->names, scan->name_count, sizeof *scan->names, by_inode);
    }
}

/* Every name of a file lies in the upper, so as many must have been found as it has. */
static bool is_complete(const struct link_scan *scan, int upper)
{
    for (size_t i = 0, end; i < scan->name_count; i = end) {
        struct stat st;
        for (end = i; end < scan->name_count && scan->names[end].inode == scan->names[i].inode;) {
            end++;
        }
        if (fstatat(upper, scan->names[i].path, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            st.st_ino != scan->names[i].inode || st.st_nlink != end - i) {
            return false;
        }
    }
    return true;
}

int links_finish(struct link_scan *scan, int upper)
{
    const size_t known = scan->directory_count;
    int result = 0;

    list_known(scan);
    for (size_t i = 0; result == 0 && i < known; i++) {
        if (has_changed(&scan->directories[i], upper)) {
            result = read_directory(scan, i, upper);
        }
    }
    result = result == 0 ? read_new(scan, known, upper) : result;
    gather_names(scan);
    if (result < 0 || is_complete(scan, upper)) {
        return result;
    }
    /* a file got its second name while its first directory stayed as it was */
    bool want_marks = scan->want_marks;
    links_free(scan);
    result = links_scan(scan, upper, want_marks);
    gather_names(scan);
    return result;
}

const char *links_directory(const struct link_scan *scan, size_t index)
{
    return scan->directories[index].gone ? NULL : scan->directories[index].path;
}

void links_free(struct link_scan *scan)
{
    for (size_t i = 0; i < scan->directory_count; i++) {
        clear_names(&scan->directories[i]);
        free(scan->directories[i].path);
    }
    free(scan->directories);
    free(scan->known);
    free(scan->names);
    free(scan->marks);
    *scan = (struct link_scan){0};
}
