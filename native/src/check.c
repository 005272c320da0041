#include "check_images.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base.h"
#include "fd.h"
#include "format.h"
#include "image.h"
#include "json.h"
#include "store.h"

#define PAGE_BYTES 4096u
#define EXTENT_BYTES (EXTENT_PAGES * PAGE_BYTES)
/* The base is not at hand: how many trees it has is for whoever brings the image in. */
#define TREES_MAX 1000u

/* Of an extent as it is in the file, and as it was. */
struct room {
    uint8_t raw[EXTENT_BYTES], pages[EXTENT_BYTES];
};

/* ---- pages ---- */

static int by_offset(const void *a, const void *b)
{
    const struct extent *left = a, *right = b;

    return (left->offset > right->offset) - (left->offset < right->offset);
}

/* Those that lie in the image's own file, in the order of the file. To be freed. */
static struct extent *own_extents(const struct stored *stored, size_t *count)
{
    size_t most = 0;

    for (size_t i = 0; i < stored->body_count; i++) {
        most += stored->bodies[i].count;
    }
    struct extent *list = malloc((most + 1) * sizeof *list);
    if (!list) {
        die("out of memory");
    }
    *count = 0;
    for (size_t i = 0; i < stored->body_count; i++) {
        const struct body *body = &stored->bodies[i];
        for (size_t j = 0; j < body->count; j++) {
            if (body->extents[j].bytes > 0 &&
                strcmp(stored->sources[body->extents[j].source], stored->id) == 0) {
                list[(*count)++] = body->extents[j];
            }
        }
    }
    qsort(list, *count, sizeof *list, by_offset);
    return list;
}

static int check_pages(const struct format_file *file, const struct stored *stored, struct room *room,
                       struct err *err)
{
    size_t count;
    struct extent *list = own_extents(stored, &count);
    bool are_whole = true;
    uint64_t end = 0;

    posix_fadvise(file->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    /* several may mean parts of what was written together: it is read once */
    for (size_t i = 0; are_whole && i < count; i++) {
        if (i > 0 && extent_is_same(&list[i - 1], &list[i])) {
            continue;
        }
        /* what was written lies side by side: so no more is read than there is */
        are_whole = list[i].offset >= end
                        ? format_read_extent(file, &list[i], room->raw, room->pages, err) != NULL
                        : format_damaged(file->id, "pages of it lie over each other", err) == 0;
        end = list[i].offset + list[i].bytes;
    }
    free(list);
    return are_whole ? 0 : -1;
}

/* ---- the whole ---- */

/* What the image says has its sum, whichever kernel it is of, but is only understood under its own: then `err` tells of the other
 * one, and the places of its pages are all that is known. */
static struct stored *read_places(const struct format_file *file, const char *directory, struct err *err)
{
    struct image *image = store_read(file->id, directory, TREES_MAX, err);

    if (image) {
        struct stored *stored = stored_share(image->stored);
        image_free(image);
        return stored;
    }
    return strcmp(err->code, ERR_OTHER_HOST) == 0 ? store_read_places(file, directory, err) : NULL;
}

static bool check_image(const char *directory, const char *id, struct room *room, uint64_t *bytes,
                        struct err *err)
{
    struct format_file file;

    if (format_open(&file, directory, id, err) < 0) {
        return false;
    }
    *bytes = file.bytes;
    struct stored *stored = read_places(&file, directory, err);
    const bool ok = stored && check_pages(&file, stored, room, err) == 0;
    stored_leave(stored);
    fd_close(&file.fd);
    return ok;
}

/* Else it may be whole: it could not be read, or is not understood by this engine. */
static bool is_damage(const struct err *err)
{
    return err->code && (strcmp(err->code, ERR_DAMAGED) == 0 || err->num == EIO);
}

static void print_image(const char *id, bool ok, const struct err *err, uint64_t bytes)
{
    printf("{\"id\":\"");
    json_print_text(id);
    printf("\",\"ok\":%s,\"damaged\":%s,\"detail\":\"", ok ? "true" : "false",
           !ok && is_damage(err) ? "true" : "false");
    json_print_text(err->message);
    if (err->num != 0) {
        printf(" ");
        json_print_text(err->object);
    }
    printf("\",\"bytes\":%llu}", (unsigned long long)bytes);
}

int check_images(const char *directory, char *const ids[], int count)
{
    struct room *room = malloc(sizeof *room);

    if (!room) {
        die("out of memory");
    }
    printf("{\"images\":[");
    for (int i = 0; i < count; i++) {
        struct err err = {0};
        uint64_t bytes = 0;
        const bool has_name = is_id(ids[i]);
        if (!has_name) {
            err_set(&err, ERR_BAD_REQUEST, "an image has no such name");
        }
        const bool ok = has_name && check_image(directory, ids[i], room, &bytes, &err);
        printf("%s", i == 0 ? "" : ",");
        print_image(ids[i], ok, &err, bytes);
    }
    printf("]}\n");
    free(room);
    return fflush(stdout) == 0 ? 0 : 1;
}
