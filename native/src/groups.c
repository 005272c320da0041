#include "groups.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>

#include "error.h"
#include "fd.h"
#include "layer.h"

struct group_name {
    uint64_t file, at; /* where it begins among the names */
    uint32_t size;     /* with its end */
};

int groups_begin(struct groups *groups, int directory)
{
    const int fd = openat(directory, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    *groups = (struct groups){.names = fd < 0 ? NULL : fdopen(fd, "w+")};
    return groups->names ? 0 : -errno;
}

int groups_add(struct groups *groups, uint64_t file, const char *directory, const char *name)
{
    const size_t size = strlen(directory) + 1 + strlen(name) + 1;

    if (size > PATH_MAX) { /* nobody could go there */
        return 0;
    }
    if ((groups->count & (groups->count - 1)) == 0) {
        groups->list = realloc(groups->list, (groups->count ? 2 * groups->count : 1) * sizeof *groups->list);
        if (!groups->list) {
            die("out of memory");
        }
    }
    groups->list[groups->count++] =
        (struct group_name){.file = file, .at = groups->size, .size = (uint32_t)size};
    groups->size += size;
    return fprintf(groups->names, "%s/%s", directory, name) < 0 || putc('\0', groups->names) == EOF ? -errno
                                                                                                    : 0;
}

static int by_file(const void *left, const void *right)
{
    const struct group_name *a = left, *b = right;

    return a->file != b->file ? (a->file > b->file) - (a->file < b->file) : (a->at > b->at) - (a->at < b->at);
}

/* Without the slash in front of it. */
static bool write_name(const struct groups *groups, const struct group_name *name, FILE *file)
{
    char text[PATH_MAX];

    return pread(fileno(groups->names), text, name->size, (off_t)name->at) == (ssize_t)name->size &&
           fwrite(text + 1, name->size - 1, 1, file) == 1;
}

/* Those with one name here only have the others in other layers. */
static void leave_out_single(struct groups *groups)
{
    size_t kept = 0;

    qsort(groups->list, groups->count, sizeof *groups->list, by_file);
    for (size_t i = 0; i < groups->count; i++) {
        const uint64_t file = groups->list[i].file;
        const bool is_first = i == 0 || groups->list[i - 1].file != file;
        const bool is_last = i + 1 == groups->count || groups->list[i + 1].file != file;
        if (!is_first || !is_last) {
            groups->list[kept++] = groups->list[i];
        }
    }
    groups->count = kept;
}

static int write_all(const struct groups *groups, FILE *file)
{
    bool ok = fflush(groups->names) == 0;

    for (size_t i = 0; ok && i < groups->count; i++) {
        const bool is_last = i + 1 == groups->count || groups->list[i + 1].file != groups->list[i].file;
        ok = write_name(groups, &groups->list[i], file) && (!is_last || putc('\0', file) != EOF);
    }
    return ok ? 0 : errno ? -errno : -EIO;
}

static int write_beside(struct groups *groups, int tree)
{
    int fd = openat(tree, LAYER_LINKS, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w");

    if (!file) {
        const int result = -errno;
        fd_close(&fd);
        return result;
    }
    const int result = write_all(groups, file);
    return fclose(file) != 0 && result == 0 ? -errno : result;
}

int groups_write(struct groups *groups, int tree)
{
    if (groups->count > 0) {
        leave_out_single(groups);
    }
    const int result = groups->count > 0 ? write_beside(groups, tree) : 0;

    groups->count = 0;
    groups->size = 0;
    rewind(groups->names);
    return result;
}

void groups_free(struct groups *groups)
{
    free(groups->list);
    if (groups->names) {
        fclose(groups->names);
    }
    *groups = (struct groups){0};
}
