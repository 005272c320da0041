#include "names.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "error.h"
#include "fd.h"

static void append(struct names *names, const char *name)
{
    size_t len = strlen(name) + 1;

    if (names->bytes_cap - names->bytes_len < len) {
        names->bytes_cap = (names->bytes_cap + len) * 2;
        names->bytes = realloc(names->bytes, names->bytes_cap);
        if (!names->bytes) {
            die("out of memory");
        }
    }
    memcpy(names->bytes + names->bytes_len, name, len);
    names->bytes_len += len;
    names->count++;
}

int names_add(struct names *names, int dir)
{
    int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_NOATIME | O_CLOEXEC);
    DIR *stream = copy < 0 ? NULL : fdopendir(copy);
    struct dirent *entry;

    if (!stream) {
        int result = -errno;
        fd_close(&copy);
        return result;
    }
    while ((errno = 0, entry = readdir(stream))) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            append(names, entry->d_name);
        }
    }
    int result = -errno;
    closedir(stream);
    return result;
}

static int by_bytes(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

void names_sort(struct names *names)
{
    size_t kept = 0;
    char *name = names->bytes;

    names->list = calloc(names->count + 1, sizeof *names->list);
    if (!names->list) {
        die("out of memory");
    }
    for (size_t i = 0; i < names->count; i++) {
        names->list[i] = name;
        name += strlen(name) + 1;
    }
    qsort(names->list, names->count, sizeof *names->list, by_bytes);
    for (size_t i = 0; i < names->count; i++) {
        if (kept == 0 || strcmp(names->list[kept - 1], names->list[i]) != 0) {
            names->list[kept++] = names->list[i];
        }
    }
    names->count = kept;
}

void names_free(struct names *names)
{
    free(names->list);
    free(names->bytes);
    *names = (struct names){0};
}
