/* Reading what store.c has written. The files are not trusted: whatever is read is checked by its sum and by what it says. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "ancestor.h"
#include "areas.h"
#include "describe.h"
#include "family.h"
#include "fd.h"
#include "format.h"
#include "handle.h"
#include "memory.h"
#include "room.h"
#include "segment.h"
#include "store.h"
#include "stored.h"
#include "whereabouts.h"

#define PAGE_BYTES 4096u
#define EXTENT_BYTES (EXTENT_PAGES * PAGE_BYTES)
#define CHAIN_DEPTH_MAX 64u

static int damaged(const char *id, const char *what, struct err *err)
{
    if (strcmp(what, PACK_OTHER_KERNEL) == 0 || strcmp(what, PACK_OTHER_PROCESSOR) == 0) {
        return err_set(err, ERR_OTHER_HOST, "the image %s: %s", id, what);
    }
    return format_damaged(id, what, err);
}

/* ---- where the pages are ---- */

static struct stored *find_loaded(const char *id)
{
    for (const struct image *image = images; image; image = image->next) {
        for (struct stored *stored = image->stored; stored; stored = stored->base) {
            if (strcmp(stored->id, id) == 0) {
                return stored_share(stored);
            }
        }
    }
    return NULL;
}

static bool stands_well(const struct stored *stored)
{
    for (size_t i = 0; i < stored->body_count; i++) {
        const size_t below = stored->bodies[i].below;
        if (below != SIZE_MAX && (!stored->base || below >= stored->base->process_count)) {
            return false;
        }
    }
    for (size_t i = stored->process_count; i < stored->body_count; i++) {
        if (stored->bodies[i].below != SIZE_MAX) {
            return false;
        }
    }
    return stored->base ? stored->depth == stored->base->depth + 1 &&
                              memcmp(stored->base_sum, stored->base->sum, sizeof stored->base_sum) == 0
                        : stored->depth == 0;
}

struct stored *store_read_index(const struct format_file *file, char parent[ID_MAX + 1],
                                char base[ID_MAX + 1], struct err *err)
{
    const struct format_tail *tail = &file->tail;
    uint8_t *data = format_read(file, tail->index_at, tail->index_bytes, tail->index_sum, "its index", err);

    if (!data) {
        return NULL;
    }
    struct pack pack = {.is_reading = true, .at = data, .end = data + tail->index_bytes};
    pack_check(&pack, tail->body_count <= BODIES_MAX && tail->body_count <= tail->index_bytes,
               "its index is too short");
    struct stored *stored = pack.failure ? NULL : stored_new(file->id, tail->body_count, tail->process_count);
    if (stored) {
        pack_api_id(&pack, parent, true);
        stored_pack(&pack, stored, base);
        pack_check(&pack, pack.at == pack.end, "its index is too long");
        pack_check(&pack, stored->depth < CHAIN_DEPTH_MAX, "it stands on too many others");
    }
    free(data);
    if (pack.failure) {
        stored_leave(stored);
        damaged(file->id, pack.failure, err);
        return NULL;
    }
    memcpy(stored->sum, tail->index_sum, sizeof stored->sum);
    stored->bytes = file->bytes;
    return stored;
}

/* With all that it stands on; what is known already is shared. */
static struct stored *read_chain(const struct format_file *top, const char *directory,
                                 char parent[ID_MAX + 1], struct err *err)
{
    char base[ID_MAX + 1], ignored[ID_MAX + 1];
    struct stored *first = store_read_index(top, parent, base, err);

    for (struct stored *at = first; at && base[0]; at = at->base) {
        struct format_file file;
        if ((at->base = find_loaded(base))) {
            break;
        }
        if (format_open(&file, directory, base, err) < 0) {
            stored_leave(first);
            return NULL;
        }
        at->base = store_read_index(&file, ignored, base, err);
        fd_close(&file.fd);
        if (!at->base) {
            stored_leave(first);
            return NULL;
        }
        if (at->base->depth + 1 != at->depth) {
            break; /* a circle, or something else: told below */
        }
    }
    for (const struct stored *at = first; at; at = at->base) {
        if (!stands_well(at)) {
            damaged(at->id, "it does not fit to what it stands on", err);
            stored_leave(first);
            return NULL;
        }
    }
    return first;
}

/* ---- what it says ---- */

static bool fits(const struct image *image, const struct stored *stored)
{
    struct contents contents = image_contents((struct image *)image);
    const bool same = stored->process_count == image->process_count &&
                      stored->body_count == image->process_count + contents.count;

    free(contents.list);
    for (size_t i = 0; same && i < image->process_count; i++) {
        if (stored->pids[i] != image->processes[i].pid) {
            return false;
        }
    }
    return same;
}

static bool can_be_made(const struct image *image)
{
    struct family family;
    const char *reason;
    const bool can = family_plan(&family, image, &reason) == NULL;

    family_free(&family);
    return can;
}

static struct image *describe(const struct format_file *file, size_t tree_count, struct err *err)
{
    const struct format_tail *tail = &file->tail;
    uint8_t *data = format_read(file, tail->description_at, tail->description_bytes, tail->description_sum,
                                "its description", err);

    if (!data) {
        return NULL;
    }
    struct pack pack = {
        .is_reading = true, .at = data, .end = data + tail->description_bytes, .tree_count = tree_count};
    struct image *image = handle_keep(sizeof *image);
    strcpy(image->id, file->id);
    format_pack_circumstances(&pack);
    image_pack(&pack, image);
    pack_check(&pack, pack.at == pack.end, "its description is too long");
    pack_check(&pack, pack.failure || (image->process_count > 0 && can_be_made(image)),
               "its processes do not fit together");
    free(data);
    if (pack.failure) {
        damaged(file->id, pack.failure, err);
        image_free(image);
        return NULL;
    }
    return image;
}

struct image *store_read(const char *id, const char *directory, size_t tree_count, struct err *err)
{
    struct format_file file;
    char parent[ID_MAX + 1];

    if (format_open(&file, directory, id, err) < 0) {
        return NULL;
    }
    struct image *image = describe(&file, tree_count, err);
    if (image && !(image->stored = read_chain(&file, directory, parent, err))) {
        image_free(image);
        image = NULL;
    }
    fd_close(&file.fd);
    if (image && !fits(image, image->stored)) {
        damaged(id, "its pages are not those of its processes", err);
        image_free(image);
        image = NULL;
    }
    return image;
}

struct stored *store_read_places(const struct format_file *file, const char *directory, struct err *err)
{
    char parent[ID_MAX + 1];

    return read_chain(file, directory, parent, err);
}

/* ---- pages ---- */

/* An extent as it is in the file, and as it was. */
struct unpacked {
    uint8_t *raw, *pages;
    struct found_extent what;
    const uint8_t *whole; /* one of the two; NULL: nothing yet */
};

struct filling {
    struct image *image;
    const char *directory;
    const int *trees;
    struct format_file *files; /* those that have been opened */
    size_t file_count;
    struct unpacked whole, part; /* the last one that was wanted whole, and of which pages were */
    size_t content;              /* the next one */
    struct err *err;
};

static const struct format_file *file_of(struct filling *this, const char *id)
{
    for (size_t i = 0; i < this->file_count; i++) {
        if (strcmp(this->files[i].id, id) == 0) {
            return &this->files[i];
        }
    }
    this->files = realloc(this->files, (this->file_count + 1) * sizeof *this->files);
    if (!this->files) {
        die("out of memory");
    }
    struct format_file *file = &this->files[this->file_count];
    if (format_open(file, this->directory, id, this->err) < 0) {
        return NULL;
    }
    this->file_count++;
    return file;
}

static const uint8_t *unpack(struct filling *this, struct unpacked *into, const struct found_extent *found)
{
    const struct format_file *file = file_of(this, found->source);

    return file ? format_read_extent(file, &found->extent, into->raw, into->pages, this->err) : NULL;
}

/* All its pages, of which some are meant. What a newer image has written between them makes many parts of an extent: it is
 * read once. NULL with err. */
static const uint8_t *read_extent(struct filling *this, const struct found_extent *found)
{
    struct unpacked *into = found->extent.count < found->extent.whole ? &this->part : &this->whole;

    if (!into->whole || !extent_is_same(&into->what.extent, &found->extent) ||
        strcmp(into->what.source, found->source) != 0) {
        into->whole = unpack(this, into, found);
        into->what = *found;
    }
    return into->whole;
}

static struct unpacked room_for_extent(void)
{
    return (struct unpacked){.raw = handle_keep(EXTENT_BYTES), .pages = handle_keep(EXTENT_BYTES)};
}

/* ---- memory ---- */

static int read_memory(struct filling *this, struct memory *memory, const struct found_extent *list,
                       size_t count)
{
    uint8_t *at = memory->late;

    for (size_t i = 0; i < count; i++) {
        const struct extent *extent = &list[i].extent;
        const size_t bytes = (size_t)extent->count * PAGE_BYTES;
        if (extent->bytes > 0) {
            const uint8_t *whole = read_extent(this, &list[i]);
            if (!whole) {
                return -1;
            }
            memcpy(at, whole + (size_t)extent->skip * PAGE_BYTES, bytes);
        }
        at += bytes;
    }
    return 0;
}

static void add_pieces(struct memory *memory)
{
    const uint8_t *at = memory->late;

    memory->pieces = handle_keep((memory->fresh.count + 1) * sizeof *memory->pieces);
    for (size_t i = 0; i < memory->fresh.count; i++) {
        const struct range *range = &memory->fresh.list[i];
        memory->pieces[memory->piece_count++] = (struct piece){.range = *range, .content = at};
        at += range->end - range->start;
    }
}

static int fill_memory_of(struct filling *this, size_t index)
{
    struct memory *memory = &this->image->processes[index].memory;
    struct found_extent *list;
    size_t count;

    if (!stored_find(this->image->stored, index, &memory->fresh, &list, &count)) {
        free(list);
        return damaged(this->image->id, "pages of it are nowhere", this->err);
    }
    memory->late_size = ranges_bytes(&memory->fresh);
    if (memory->late_size > 0 && !(memory->late = room_take(memory->late_size))) {
        free(list);
        return err_system(this->err, ENOMEM, "make room", "image %s", this->image->id);
    }
    const int result = read_memory(this, memory, list, count);
    add_pieces(memory);
    free(list);
    return result;
}

/* ---- contents ---- */

static int write_extent(struct filling *this, const struct found_extent *found, const struct content *content)
{
    const struct extent *extent = &found->extent;
    const uint64_t at = extent->page * PAGE_BYTES;
    const uint8_t *whole = read_extent(this, found);

    if (!whole) {
        return -1;
    }
    if (at >= (uint64_t)content->size) {
        return damaged(this->image->id, "a content is longer than it was", this->err);
    }
    const uint64_t left = (uint64_t)content->size - at, bytes = (uint64_t)extent->count * PAGE_BYTES;
    const size_t size = (size_t)(left < bytes ? left : bytes);
    const ssize_t wrote =
        RETRY_EINTR(pwrite(content->fd, whole + (size_t)extent->skip * PAGE_BYTES, size, (off_t)at));
    return wrote == (ssize_t)size ? 0
                                  : err_system(this->err, wrote < 0 ? errno : ENOSPC, "write content",
                                               "image %s", this->image->id);
}

static int fill_content(struct filling *this, struct content *content, int fd)
{
    const struct stored *stored = this->image->stored;
    const struct body *body = &stored->bodies[stored->process_count + this->content++];

    content->fd = fd;
    if (fd < 0 || ftruncate(fd, content->size) < 0) {
        return err_system(this->err, errno, "make content", "image %s", this->image->id);
    }
    for (size_t i = 0; i < body->count; i++) {
        const struct extent *extent = &body->extents[i];
        const struct found_extent found = {.extent = *extent, .source = stored->sources[extent->source]};
        if (extent->bytes > 0 && write_extent(this, &found, content) < 0) {
            return -1;
        }
    }
    return 0;
}

static int fill_object(struct filling *this, struct image_object *object)
{
    const struct object_kind *kind = object->kind;

    if (!kind->content) {
        return 0;
    }
    const int fd = kind == &object_nameless ? open(this->directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)
                                            : memfd_create("deltabox", MFD_CLOEXEC);
    if (fill_content(this, kind->content(object->kept), fd) < 0) {
        return -1;
    }
    const int result = kind->filled ? kind->filled(object->kept) : 0;
    return result < 0 ? err_system(this->err, -result, "make content", "image %s", this->image->id) : 0;
}

static int fill_whereabouts(struct filling *this, struct whereabouts *where)
{
    if (where->path) {
        return 0;
    }
    const int fd = openat(this->trees[0], ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fill_content(this, &where->content, fd) < 0) {
        return -1;
    }
    const int result = looks_set(&where->looks, where->content.fd);
    return result < 0 ? err_system(this->err, -result, "make content", "image %s", this->image->id) : 0;
}

/* In the order that image_contents has them in. */
static int fill_contents(struct filling *this)
{
    struct image *image = this->image;
    int result = 0;

    for (size_t i = 0; result == 0 && i < image->object_count; i++) {
        result = fill_object(this, &image->objects[i]);
    }
    for (size_t i = 0; result == 0 && i < image->segment_count; i++) {
        result = fill_content(this, &image->segments[i].content, memfd_create("deltabox", MFD_CLOEXEC));
    }
    for (size_t i = 0; result == 0 && i < image->process_count; i++) {
        struct memory *memory = &image->processes[i].memory;
        for (size_t j = 0; result == 0 && j < memory->file_count; j++) {
            result = fill_whereabouts(this, &memory->files[j].where);
        }
        result = result < 0 ? result : fill_whereabouts(this, &memory->program_where);
    }
    return result;
}

/* ---- the whole ---- */

/* Of one that grows only those have to be mapped that its template has not. */
static bool is_needed(const struct memory *memory, size_t file, const struct ranges *kept)
{
    for (size_t i = 0; i < memory->area_count; i++) {
        const struct area *area = &memory->areas[i];
        const struct ranges whole = {.list = &(struct range){area->start, area->end}, .count = 1};
        if (area->kind == AREA_FILE && area->file == file) {
            struct ranges missing = ranges_without(&whole, kept);
            const bool is_missing = missing.count > 0;
            ranges_free(&missing);
            if (is_missing) {
                return true;
            }
        }
    }
    return false;
}

static int open_file(struct filling *this, struct area_file *file, const struct image_process *origin)
{
    file->fd = file->inode ? whereabouts_open_mapped(origin, file->device, file->inode, this->err)
                           : whereabouts_open(&file->where, this->trees, this->err);
    return file->fd < 0 ? -1 : 0;
}

static int open_files(struct filling *this, size_t index)
{
    struct image_process *process = &this->image->processes[index];
    struct memory *memory = &process->memory;
    const struct image_process *origin = image_origin(process);
    const struct ranges none = {0};
    struct ranges kept = origin ? areas_common(&origin->memory, memory) : none;
    int result = 0;

    for (size_t i = 0; result == 0 && i < memory->file_count; i++) {
        if (!origin || is_needed(memory, i, &kept)) {
            result = open_file(this, &memory->files[i], origin);
        }
    }
    ranges_free(&kept);
    if (result == 0 && !origin) {
        memory->program = whereabouts_open(&memory->program_where, this->trees, this->err);
        result = memory->program < 0 ? -1 : 0;
    }
    return result;
}

int store_fill(struct image *image, const char *directory, const int *trees, struct err *err)
{
    struct filling this = {.image = image,
                           .directory = directory,
                           .trees = trees,
                           .whole = room_for_extent(),
                           .part = room_for_extent(),
                           .err = err};
    int result = fill_contents(&this);

    for (size_t i = 0; result == 0 && i < image->process_count; i++) {
        ancestor_find(image, i);
        result = open_files(&this, i);
        result = result < 0 ? result : fill_memory_of(&this, i);
    }
    for (size_t i = 0; i < this.file_count; i++) {
        fd_close(&this.files[i].fd);
    }
    free(this.files);
    free(this.whole.raw);
    free(this.whole.pages);
    free(this.part.raw);
    free(this.part.pages);
    return result;
}
