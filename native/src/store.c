#include "store.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <zstd.h>

#include "describe.h"
#include "fault.h"
#include "fd.h"
#include "format.h"
#include "loop.h"
#include "server.h"
#include "stored.h"
#include "template.h"

#define PAGE_BYTES 4096u
#define EXTENT_BYTES (EXTENT_PAGES * PAGE_BYTES)
#define BUFFER_BYTES (1u << 20)
/* So much is on its way to the disk at a time, and as much again may wait for it. */
#define WINDOW_BYTES (8ULL << 20)
/* What is changed of a content is found out in pieces of so many pages. */
#define CONTENT_PAGES 8u
/* Images between two that tell of all their pages. */
#define DEPTH_MAX 16u
#define LEVEL 1

/* Of a process: what is looked at while the engine goes on. */
struct part {
    struct ranges fresh, common; /* pages that the base does not have, and such that it has */
    size_t below;                /* its body there; SIZE_MAX: none */
};

struct storing {
    struct image *image;
    struct part *parts;
    struct stored *stored, *base; /* what is being made, and what it stands on */
    char parent[ID_MAX + 1];
    struct contents contents;
    struct pack description;
    char *directory;
    struct reply_to to;
    struct source source;
    pthread_t thread;
    sem_t stands; /* the thread is on its own */
    int ended;    /* an eventfd */
    atomic_bool is_cancelled;
    int result;
    struct err err;
    /* the file */
    int fd;
    uint64_t at; /* with what is in the buffer */
    size_t filled;
    uint8_t *buffer, *pages, *squeezed;
    ZSTD_CCtx *compressor;
    /* of the contents of the base */
    struct found_extent *known;
    size_t known_count;
};

/* ---- the file ---- */

static int failed(struct storing *this, int result, const char *step)
{
    return err_system(&this->err, -result, step, "image %s", this->stored->id);
}

static int flush(struct storing *this)
{
    const uint64_t from = this->at - this->filled;
    size_t done = 0;

    while (done < this->filled) {
        ssize_t wrote =
            RETRY_EINTR(pwrite(this->fd, this->buffer + done, this->filled - done, (off_t)(from + done)));
        if (wrote <= 0) {
            return failed(this, wrote < 0 ? -errno : -ENOSPC, "write image");
        }
        done += (size_t)wrote;
    }
    this->filled = 0;
    const uint64_t window = this->at / WINDOW_BYTES;
    if (from / WINDOW_BYTES < window) { /* where it cannot be asked for, the kernel sees to it */
        sync_file_range(this->fd, (off_t)((window - 1) * WINDOW_BYTES), WINDOW_BYTES, SYNC_FILE_RANGE_WRITE);
        if (window > 1) {
            sync_file_range(this->fd, (off_t)((window - 2) * WINDOW_BYTES), WINDOW_BYTES,
                            SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
        }
    }
    return 0;
}

static int put(struct storing *this, const void *data, size_t size)
{
    for (size_t done = 0; done < size;) {
        const size_t room = BUFFER_BYTES - this->filled, part = size - done < room ? size - done : room;
        memcpy(this->buffer + this->filled, (const uint8_t *)data + done, part);
        this->filled += part;
        this->at += part;
        done += part;
        if (this->filled == BUFFER_BYTES && flush(this) < 0) {
            return -1;
        }
    }
    return 0;
}

/* ---- pages ---- */

static bool is_zero(const uint8_t *page)
{
    static const uint8_t zeros[PAGE_BYTES];

    return memcmp(page, zeros, PAGE_BYTES) == 0;
}

/* Pages of a content that the base has are not written again. */
static const struct found_extent *find_known(const struct storing *this, const uint64_t sum[2],
                                             uint32_t count)
{
    size_t low = 0, high = this->known_count;

    while (low < high) {
        const size_t middle = (low + high) / 2;
        const struct extent *at = &this->known[middle].extent;
        if (at->sum[0] < sum[0] || (at->sum[0] == sum[0] && at->sum[1] < sum[1])) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    const struct found_extent *found = low < this->known_count ? &this->known[low] : NULL;
    return found && found->extent.sum[0] == sum[0] && found->extent.sum[1] == sum[1] &&
                   found->extent.whole == count
               ? found
               : NULL;
}

static int put_extent(struct storing *this, struct body *body, uint64_t page, const uint8_t *data,
                      uint32_t count, bool is_content)
{
    struct extent extent = {.page = page, .count = count, .whole = count, .offset = this->at};
    const size_t bytes = (size_t)count * PAGE_BYTES;
    const uint8_t *from = data;
    size_t size = bytes;

    if (this->compressor) {
        const size_t squeezed = ZSTD_compress2(this->compressor, this->squeezed, bytes, data, bytes);
        if (!ZSTD_isError(squeezed) && squeezed < bytes) {
            from = this->squeezed;
            size = squeezed;
        }
    }
    extent.bytes = (uint32_t)size;
    format_sum(from, size, extent.sum);
    const struct found_extent *known = is_content ? find_known(this, extent.sum, count) : NULL;
    if (known) {
        extent.bytes = known->extent.bytes;
        extent.offset = known->extent.offset;
        extent.source = stored_source(this->stored, known->source);
        body_add(body, &extent);
        return 0;
    }
    body_add(body, &extent);
    return put(this, from, size);
}

/* Runs of pages that are zeros, and of such that are not. */
static int put_pages(struct storing *this, struct body *body, uint64_t first, const uint8_t *data,
                     uint32_t count, bool is_content)
{
    for (uint32_t i = 0; i < count;) {
        const bool zero = is_zero(data + (size_t)i * PAGE_BYTES);
        uint32_t end = i + 1;
        while (end < count && is_zero(data + (size_t)end * PAGE_BYTES) == zero) {
            end++;
        }
        if (zero) {
            body_add(body, &(struct extent){.page = first + i, .count = end - i});
        } else if (put_extent(this, body, first + i, data + (size_t)i * PAGE_BYTES, end - i, is_content) <
                   0) {
            return -1;
        }
        i = end;
    }
    return atomic_load(&this->is_cancelled) ? err_set(&this->err, ERR_NO_IMAGE, "the image was dropped") : 0;
}

/* ---- processes ---- */

static int put_ranges(struct storing *this, struct body *body, const struct image_process *process,
                      const struct ranges *ranges)
{
    for (size_t i = 0; i < ranges->count; i++) {
        for (uint64_t at = ranges->list[i].start; at < ranges->list[i].end;) {
            const uint64_t left = ranges->list[i].end - at;
            const struct range piece = {at, at + (left < EXTENT_BYTES ? left : EXTENT_BYTES)};
            const int result = subject_read_pages(&process->template->puppet.subject, &piece, this->pages);
            if (result < 0) {
                return failed(this, result, "read template");
            }
            if (put_pages(this, body, piece.start / PAGE_BYTES, this->pages,
                          (uint32_t)((piece.end - piece.start) / PAGE_BYTES), false) < 0) {
                return -1;
            }
            at = piece.end;
        }
    }
    return 0;
}

static int by_page(const void *a, const void *b)
{
    const struct extent *left = a, *right = b;

    return (left->page > right->page) - (left->page < right->page);
}

/* What is not its own is where the base says. */
static bool add_common(struct storing *this, struct body *body, size_t below, const struct ranges *common)
{
    struct found_extent *list;
    size_t count;
    const bool is_whole = stored_find(this->base, below, common, &list, &count);

    for (size_t i = 0; is_whole && i < count; i++) {
        struct extent extent = list[i].extent;
        extent.source = extent.bytes > 0 ? stored_source(this->stored, list[i].source) : 0;
        body_add(body, &extent);
    }
    free(list);
    return is_whole;
}

static int put_process(struct storing *this, size_t index)
{
    const struct image_process *process = &this->image->processes[index];
    const struct part *part = &this->parts[index];
    struct body *body = &this->stored->bodies[index];
    bool has_common = part->below != SIZE_MAX;

    if (has_common && this->stored->base) {
        body->below = part->below;
    } else if (has_common) {
        has_common = add_common(this, body, part->below, &part->common);
    }
    const int result = put_ranges(this, body, process, has_common ? &part->fresh : &process->memory.own);
    if (body->count > 0) {
        qsort(body->extents, body->count, sizeof *body->extents, by_page);
    }
    return result;
}

/* ---- contents ---- */

static int by_sum(const void *a, const void *b)
{
    const struct extent *left = &((const struct found_extent *)a)->extent;
    const struct extent *right = &((const struct found_extent *)b)->extent;
    const int first = (left->sum[0] > right->sum[0]) - (left->sum[0] < right->sum[0]);

    return first ? first : (left->sum[1] > right->sum[1]) - (left->sum[1] < right->sum[1]);
}

static void know_base(struct storing *this)
{
    const struct stored *base = this->base;
    size_t most = 0;

    for (size_t i = base ? base->process_count : 0; base && i < base->body_count; i++) {
        most += base->bodies[i].count;
    }
    if (most == 0) {
        return;
    }
    this->known = calloc(most, sizeof *this->known);
    if (!this->known) {
        die("out of memory");
    }
    for (size_t i = base->process_count; i < base->body_count; i++) {
        for (size_t j = 0; j < base->bodies[i].count; j++) {
            const struct extent *extent = &base->bodies[i].extents[j];
            if (extent->bytes > 0) {
                this->known[this->known_count++] =
                    (struct found_extent){.extent = *extent, .source = base->sources[extent->source]};
            }
        }
    }
    qsort(this->known, this->known_count, sizeof *this->known, by_sum);
}

static int put_data(struct storing *this, struct body *body, const struct content *content, off_t at,
                    off_t end)
{
    while (at < end) {
        const off_t left = end - at, most = CONTENT_PAGES * PAGE_BYTES;
        const size_t bytes = (size_t)(left < most ? left : most);
        const uint32_t pages = (uint32_t)((bytes + PAGE_BYTES - 1) / PAGE_BYTES);
        memset(this->pages, 0, (size_t)pages * PAGE_BYTES);
        const ssize_t got = RETRY_EINTR(pread(content->fd, this->pages, bytes, at));
        if (got != (ssize_t)bytes) {
            return failed(this, got < 0 ? -errno : -EIO, "read content");
        }
        if (put_pages(this, body, (uint64_t)at / PAGE_BYTES, this->pages, pages, true) < 0) {
            return -1;
        }
        at += (off_t)bytes;
    }
    return 0;
}

/* Where nothing is said there are zeros. */
static int put_content(struct storing *this, struct body *body, const struct content *content)
{
    const off_t block = CONTENT_PAGES * PAGE_BYTES;

    for (off_t at = 0; at < content->size;) {
        const off_t data = lseek(content->fd, at, SEEK_DATA);
        if (data < 0) {
            return errno == ENXIO ? 0 : failed(this, -errno, "read content");
        }
        const off_t hole = lseek(content->fd, data, SEEK_HOLE);
        if (hole < 0) {
            return failed(this, -errno, "read content");
        }
        const off_t from = data / block * block, whole = (hole + block - 1) / block * block;
        const off_t to = whole < content->size ? whole : content->size;
        if (put_data(this, body, content, from > at ? from : at, to) < 0) {
            return -1;
        }
        at = to;
    }
    return 0;
}

/* ---- the whole ---- */

static int put_end(struct storing *this)
{
    struct stored *stored = this->stored;
    struct format_tail tail = {.process_count = (uint32_t)stored->process_count,
                               .body_count = (uint32_t)stored->body_count};
    struct pack index = {0};
    char base[ID_MAX + 1];
    int result;

    snprintf(base, sizeof base, "%s", stored->base ? stored->base->id : "");
    pack_text(&index, this->parent, sizeof this->parent);
    stored_pack(&index, stored, base);
    tail.description_at = this->at;
    tail.description_bytes = this->description.out.len;
    format_sum(this->description.out.data, this->description.out.len, tail.description_sum);
    result = put(this, this->description.out.data, this->description.out.len);
    tail.index_at = this->at;
    tail.index_bytes = index.out.len;
    format_sum(index.out.data, index.out.len, tail.index_sum);
    memcpy(stored->sum, tail.index_sum, sizeof stored->sum);
    result = result < 0 ? result : put(this, index.out.data, index.out.len);
    format_seal(&tail);
    result = result < 0 ? result : put(this, &tail, sizeof tail);
    pack_free(&index);
    return result < 0 ? result : flush(this);
}

static int write_all(struct storing *this)
{
    const struct format_head head = format_head();
    struct stored *stored = this->stored;
    int result = put(this, &head, sizeof head);

    for (size_t i = 0; result == 0 && i < stored->process_count; i++) {
        result = put_process(this, i);
    }
    know_base(this);
    for (size_t i = 0; result == 0 && i < this->contents.count; i++) {
        result = put_content(this, &stored->bodies[stored->process_count + i], this->contents.list[i]);
    }
    result = result < 0 ? result : put_end(this);
    stored->bytes = this->at;
    return result;
}

static void path_of(const struct storing *this, const char *suffix, char path[4096])
{
    snprintf(path, 4096, "%s/%s%s", this->directory, this->stored->id, suffix);
}

/* A part of an image is never seen under its name. */
static int write_file(struct storing *this)
{
    char part[4096], whole[4096];

    path_of(this, ".part", part);
    path_of(this, "", whole);
    this->fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (this->fd < 0) {
        return failed(this, -errno, "make image");
    }
    int result = write_all(this);
    fd_close(&this->fd);
    if (result == 0 && rename(part, whole) < 0) {
        result = failed(this, -errno, "name image");
    }
    if (result < 0) {
        unlink(part);
    }
    return result;
}

/* Whoever shares its directories with a thread cannot enter mount namespaces. */
static void *run(void *argument)
{
    struct storing *this = argument;
    const uint64_t one = 1;

    if (unshare(CLONE_FS) < 0) {
        die("a thread cannot have its own directories: %s", strerror(errno));
    }
    sem_post(&this->stands);
    this->result = write_file(this);
    if (RETRY_EINTR(write(this->ended, &one, sizeof one)) < 0) {
        die("tell of an image's end: %s", strerror(errno));
    }
    return NULL;
}

static void storing_free(struct storing *this)
{
    loop_remove(&this->source);
    for (size_t i = 0; i < this->stored->process_count; i++) {
        ranges_free(&this->parts[i].fresh);
        ranges_free(&this->parts[i].common);
    }
    free(this->parts);
    fd_close(&this->ended);
    stored_leave(this->stored);
    stored_leave(this->base);
    pack_free(&this->description);
    free(this->contents.list);
    free(this->directory);
    free(this->buffer);
    free(this->pages);
    free(this->squeezed);
    free(this->known);
    ZSTD_freeCCtx(this->compressor);
    free(this);
}

void store_tell(const struct stored *stored, struct out *ok)
{
    out_key_uint(ok, "bytes", stored->bytes);
    out_text(ok, "needs");
    out_list(ok);
    if (stored->base) {
        out_text(ok, stored->base->id);
    }
    for (size_t i = 1; i < stored->source_count; i++) {
        out_text(ok, stored->sources[i]);
    }
    out_end(ok);
}

static void tell(const struct storing *this)
{
    struct out ok = {0};

    store_tell(this->stored, &ok);
    reply_ok(&this->to, &ok);
    out_free(&ok);
}

static void end(struct storing *this)
{
    struct image *image = this->image;

    pthread_join(this->thread, NULL);
    image->storing = NULL;
    if (this->result == 0) {
        stored_leave(image->stored);
        image->stored = stored_share(this->stored);
        tell(this);
    } else {
        reply_error(&this->to, &this->err);
    }
    storing_free(this);
}

static void has_ended(struct source *source, uint32_t events)
{
    (void)events;
    end(source->owner);
}

void store_cancel(struct image *image)
{
    if (image->storing) {
        atomic_store(&image->storing->is_cancelled, true);
        end(image->storing);
    }
}

/* ---- beginning ---- */

/* The state that most of it has come from. */
static void find_base(struct storing *this)
{
    for (size_t i = 0; i < this->image->process_count && !this->parent[0]; i++) {
        const struct image_process *process = &this->image->processes[i];
        const struct image *origin = process->memory.grows ? image_find(process->origin) : NULL;
        if (origin) {
            strcpy(this->parent, origin->id);
            this->base = origin->stored ? stored_share(origin->stored) : NULL;
        }
    }
}

static void plan_part(struct storing *this, size_t index)
{
    const struct image_process *process = &this->image->processes[index];
    const struct memory *memory = &process->memory;
    struct part *part = &this->parts[index];
    const bool may_share = this->base && memory->grows && strcmp(process->origin, this->base->id) == 0;

    part->below = may_share ? stored_body_of(this->base, process->origin_pid) : SIZE_MAX;
    if (part->below != SIZE_MAX) {
        part->fresh = ranges_both(&memory->own, &memory->fresh);
        part->common = ranges_without(&memory->own, &part->fresh);
    }
}

static void *room(size_t size)
{
    void *made = calloc(1, size);

    if (!made) {
        die("out of memory");
    }
    return made;
}

static struct storing *prepare(struct image *image, const char *directory, bool compress)
{
    struct storing *this = calloc(1, sizeof *this);

    if (!this || !(this->directory = strdup(directory))) {
        die("out of memory");
    }
    this->image = image;
    this->ended = this->fd = -1;
    sem_init(&this->stands, 0, 0);
    this->contents = image_contents(image);
    this->stored = stored_new(image->id, image->process_count + this->contents.count, image->process_count);
    for (size_t i = 0; i < image->process_count; i++) {
        this->stored->pids[i] = image->processes[i].pid;
    }
    find_base(this);
    if (this->base && this->base->depth + 1 < DEPTH_MAX) {
        this->stored->base = stored_share(this->base);
        this->stored->depth = this->base->depth + 1;
    }
    this->parts = room((image->process_count + 1) * sizeof *this->parts);
    for (size_t i = 0; i < image->process_count; i++) {
        plan_part(this, i);
    }
    this->buffer = room(BUFFER_BYTES);
    this->pages = room(EXTENT_BYTES);
    this->squeezed = room(EXTENT_BYTES);
    if (compress && (this->compressor = ZSTD_createCCtx())) {
        ZSTD_CCtx_setParameter(this->compressor, ZSTD_c_compressionLevel, LEVEL);
    }
    format_pack_circumstances(&this->description);
    image_pack(&this->description, image);
    return this;
}

int store_begin(struct image *image, const char *directory, bool compress, const struct reply_to *to,
                struct err *err)
{
    if (image->storing) {
        return err_set(err, ERR_BUSY, "the image %s is on its way to the disk", image->id);
    }
    struct storing *this = prepare(image, directory, compress);
    this->to = *to;
    if (this->description.failure) {
        err_set(err, ERR_SYSTEM, "the image %s: %s", image->id, this->description.failure);
        storing_free(this);
        return -1;
    }
    this->ended = eventfd(0, EFD_CLOEXEC);
    if (this->ended < 0) {
        err_system(err, errno, "eventfd", "image %s", image->id);
        storing_free(this);
        return -1;
    }
    const int failure = pthread_create(&this->thread, NULL, run, this);
    if (failure != 0) {
        err_system(err, failure, "start thread", "image %s", image->id);
        storing_free(this);
        return -1;
    }
    RETRY_EINTR(sem_wait(&this->stands));
    image->storing = this;
    loop_add(&this->source, this->ended, EPOLLIN, has_ended, this);
    return OP_LATER;
}
