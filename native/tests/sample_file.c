#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "describe.h"
#include "format.h"
#include "sample.h"
#include "sample_handles.h"

#define PAGE 4096u

/* The file without a name has to be there: what it looks like is asked when it is packed. */
static void open_nameless(struct image *image)
{
    struct content *content = object_nameless.content(image->objects[NAMELESS].kept);

    content->fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (content->fd < 0 || ftruncate(content->fd, content->size) < 0 ||
        object_nameless.filled(image->objects[NAMELESS].kept) < 0) {
        fprintf(stderr, "sample: a file without a name needs root and /tmp\n");
        exit(1);
    }
}

static void put_pages(struct sample_file *file, struct body *body, uint64_t page, uint32_t count, int value)
{
    const size_t bytes = (size_t)count * PAGE;
    struct extent extent = {.page = page, .count = count, .whole = count, .bytes = (uint32_t)bytes};

    file->pages = realloc(file->pages, file->page_bytes + bytes);
    memset(file->pages + file->page_bytes, value, bytes);
    extent.offset = sizeof(struct format_head) + file->page_bytes;
    format_sum(file->pages + file->page_bytes, bytes, extent.sum);
    file->page_bytes += bytes;
    body_add(body, &extent);
}

static void put_memory(struct sample_file *file, struct body *body, size_t index, bool has_below)
{
    put_pages(file, body, 0x402, 1, 'a' + (int)index);
    if (has_below) {
        put_pages(file, body, 0x610, 1, 'y');
        put_pages(file, body, 0x620, 1, 'z');
    } else {
        put_pages(file, body, 0x600, 64, 'A' + (int)index);
        body_add(body, &(struct extent){.page = 0x640, .count = 16});
        put_pages(file, body, 0x700, 1, 'x');
    }
}

static uint8_t *take(struct pack *pack, size_t *size)
{
    uint8_t *bytes = kept(pack->out.data, pack->out.len);

    if (pack->failure) {
        fprintf(stderr, "sample: %s\n", pack->failure);
        exit(1);
    }
    *size = pack->out.len;
    pack_free(pack);
    return bytes;
}

struct stored *sample_make(struct sample_file *file, struct image *image, struct stored *base)
{
    struct contents contents = image_contents(image);
    const size_t bodies = image->process_count + contents.count;
    struct stored *stored = stored_new(image->id, bodies, image->process_count);
    struct pack description = {0}, index = {0};
    char parent[ID_MAX + 1] = "", base_id[ID_MAX + 1] = "";

    *file =
        (struct sample_file){.process_count = (uint32_t)image->process_count, .body_count = (uint32_t)bodies};
    if (base) {
        stored->base = stored_share(base);
        stored->depth = base->depth + 1;
        strcpy(base_id, base->id);
        strcpy(parent, base->id);
    }
    for (size_t i = 0; i < image->process_count; i++) {
        stored->pids[i] = image->processes[i].pid;
        stored->bodies[i].below = base ? i : SIZE_MAX;
        put_memory(file, &stored->bodies[i], i, base != NULL);
    }
    for (size_t i = 0; i < contents.count; i++) {
        put_pages(file, &stored->bodies[image->process_count + i], 0, 1, '0' + (int)i);
    }
    open_nameless(image);
    format_pack_circumstances(&description);
    image_pack(&description, image);
    file->description = take(&description, &file->description_bytes);
    pack_text(&index, parent, sizeof parent);
    stored_pack(&index, stored, base_id);
    file->index = take(&index, &file->index_bytes);
    format_sum(file->index, file->index_bytes, stored->sum);
    free(contents.list);
    return stored;
}

void sample_free(struct sample_file *file)
{
    free(file->pages);
    free(file->description);
    free(file->index);
}

uint8_t *sample_join(const struct sample_file *file, size_t *size)
{
    const struct format_head head = format_head();
    struct format_tail tail = {.description_at = sizeof head + file->page_bytes,
                               .description_bytes = file->description_bytes,
                               .index_bytes = file->index_bytes,
                               .process_count = file->process_count,
                               .body_count = file->body_count};

    tail.index_at = tail.description_at + tail.description_bytes;
    *size = tail.index_at + tail.index_bytes + sizeof tail;
    format_sum(file->description, file->description_bytes, tail.description_sum);
    format_sum(file->index, file->index_bytes, tail.index_sum);
    format_seal(&tail);
    uint8_t *bytes = handle_keep(*size);
    memcpy(bytes, &head, sizeof head);
    if (file->page_bytes > 0) {
        memcpy(bytes + sizeof head, file->pages, file->page_bytes);
    }
    memcpy(bytes + tail.description_at, file->description, file->description_bytes);
    memcpy(bytes + tail.index_at, file->index, file->index_bytes);
    memcpy(bytes + tail.index_at + tail.index_bytes, &tail, sizeof tail);
    return bytes;
}

void sample_write(const char *directory, const char *name, const void *bytes, size_t size)
{
    char path[256];

    snprintf(path, sizeof path, "%s/%s", directory, name);
    const int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, bytes, size) != (ssize_t)size || ftruncate(fd, (off_t)size) < 0) {
        fprintf(stderr, "sample: cannot write %s\n", path);
        exit(1);
    }
    close(fd);
}

void sample_tree(int tree)
{
    static const char *const names[] = {"bin", "bin/program", "lib", "lib/one.so"};
    const struct timespec times[] = {{SAMPLE_SECONDS, 5}, {SAMPLE_SECONDS, 5}};

    for (size_t i = 0; i < 4; i += 2) {
        mkdirat(tree, names[i], 0755);
        const int fd = openat(tree, names[i + 1], O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
        if (fd < 0 || ftruncate(fd, SAMPLE_MAPPED_BYTES) < 0 || futimens(fd, times) < 0) {
            fprintf(stderr, "sample: cannot make a tree\n");
            exit(1);
        }
        close(fd);
    }
}

struct stored *sample_store(const char *directory, const char *id, struct stored *base,
                            struct sample_file *file)
{
    struct image *image = sample_image(id);
    struct stored *stored = sample_make(file, image, base);
    size_t size;
    uint8_t *bytes = sample_join(file, &size);

    sample_write(directory, id, bytes, size);
    free(bytes);
    image_free(image);
    return stored;
}
