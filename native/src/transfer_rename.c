#include "transfer.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "engine.h"
#include "fd.h"
#include "format.h"
#include "json.h"
#include "store.h"

struct renaming {
    const char *from, *to;
    uint64_t sum[2]; /* of its index, as it is now */
};

static const struct renaming *find(const struct renaming *list, size_t count, const char *id)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(list[i].from, id) == 0) {
            return &list[i];
        }
    }
    return NULL;
}

/* The names in an index: what it stands on must have its own already, where its pages lie must get one. */
static int rename_within(struct stored *stored, char parent[ID_MAX + 1], char base[ID_MAX + 1],
                         const struct renaming *list, size_t done, size_t count, struct err *err)
{
    const struct renaming *other = find(list, count, parent);

    strcpy(parent, other ? other->to : "");
    for (size_t i = 0; i < stored->source_count; i++) {
        other = find(list, count, stored->sources[i]);
        if (!other) {
            return err_set(err, ERR_NO_IMAGE, "there is no image %s", stored->sources[i]);
        }
        strcpy(stored->sources[i], other->to);
    }
    if (base[0]) {
        other = find(list, done, base);
        if (!other) {
            return err_set(err, ERR_NO_IMAGE, "there is no image %s", base);
        }
        strcpy(base, other->to);
        memcpy(stored->base_sum, other->sum, sizeof stored->base_sum);
    }
    strcpy(stored->id, list[done].to);
    return 0;
}

/* The index lies behind all else; only the tail follows. */
static int write_end(const struct format_file *file, struct stored *stored, char parent[ID_MAX + 1],
                     char base[ID_MAX + 1], struct renaming *one, struct err *err)
{
    struct format_tail tail = file->tail;
    struct pack pack = {0};

    pack_api_id(&pack, parent, true);
    stored_pack(&pack, stored, base);
    format_sum(pack.out.data, pack.out.len, tail.index_sum);
    tail.index_bytes = pack.out.len;
    format_seal(&tail);
    memcpy(one->sum, tail.index_sum, sizeof one->sum);
    const off_t at = (off_t)tail.index_at, end = at + (off_t)pack.out.len;
    const bool ok = !pack.failure &&
                    pwrite(file->fd, pack.out.data, pack.out.len, at) == (ssize_t)pack.out.len &&
                    pwrite(file->fd, &tail, sizeof tail, end) == (ssize_t)sizeof tail &&
                    ftruncate(file->fd, end + (off_t)sizeof tail) == 0;
    pack_free(&pack);
    return ok ? 0 : err_system(err, errno, "write image", "%s", one->to);
}

static int rename_one(const char *directory, struct renaming *list, size_t done, size_t count,
                      struct err *err)
{
    char parent[ID_MAX + 1], base[ID_MAX + 1], from[PATH_MAX], to[PATH_MAX];
    struct format_file file;

    if (format_open(&file, directory, list[done].from, err) < 0) {
        return -1;
    }
    struct stored *stored = store_read_index(&file, parent, base, err);
    snprintf(from, sizeof from, "%s/%s", directory, list[done].from);
    snprintf(to, sizeof to, "%s/%s", directory, list[done].to);
    fd_close(&file.fd);
    file.fd = stored ? open(from, O_WRONLY | O_NOFOLLOW | O_CLOEXEC) : -1;
    int result = !stored ? -1 : file.fd < 0 ? err_system(err, errno, "open image", "%s", from) : 0;
    result = result < 0 ? result : rename_within(stored, parent, base, list, done, count, err);
    result = result < 0 ? result : write_end(&file, stored, parent, base, &list[done], err);
    if (result == 0 && rename(from, to) < 0) {
        result = err_system(err, errno, "rename image", "%s", from);
    }
    stored_leave(stored);
    fd_close(&file.fd);
    return result;
}

int transfer_rename(const char *directory, char *const names[], int count)
{
    const size_t all = (size_t)count / 2;
    struct renaming *list = calloc(all + 1, sizeof *list);
    struct err err = {0};
    int result = count % 2 == 0 ? 0 : err_set(&err, ERR_BAD_REQUEST, "the last has no new name");

    if (!list) {
        die("out of memory");
    }
    for (size_t i = 0; i < all && result == 0; i++) {
        list[i] = (struct renaming){.from = names[2 * i], .to = names[2 * i + 1]};
        if (!is_id(list[i].from) || !is_id(list[i].to)) {
            result = err_set(&err, ERR_BAD_REQUEST, "an image has no such name");
        }
    }
    for (size_t i = 0; i < all && result == 0; i++) {
        result = rename_one(directory, list, i, all, &err);
    }
    if (result < 0) {
        json_print_error(&err);
    }
    free(list);
    return result < 0;
}
