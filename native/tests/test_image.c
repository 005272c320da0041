/* Files of images: they are read as they were written, or refused. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "format.h"
#include "handle.h"
#include "sample.h"
#include "store.h"
#include "tree.h"
#include "whereabouts.h"

#define PAGE 4096u

static char directory[] = "/tmp/deltabox-test-XXXXXX";

/* ---- files ---- */

static void expect_refused(const char *id, const char *code, const char *named)
{
    struct err err = {0};
    struct image *image = store_read(id, directory, SAMPLE_TREES, &err);

    if (image || strcmp(err.code, code) != 0 || !strstr(err.message, named)) {
        fprintf(stderr, "%s: %s %s\n", id, image ? "was read" : err.code, err.message);
    }
    CHECK(!image && strcmp(err.code, code) == 0 && strstr(err.message, named));
}

static void test_a_file_is_read_as_it_was_written(void)
{
    struct sample_file file, next;
    struct stored *first = sample_store(directory, "first", NULL, &file),
                  *second = sample_store(directory, "second", first, &next);
    struct err err = {0};
    struct image *image = store_read("second", directory, SAMPLE_TREES, &err);
    char tree_path[64], *trees_path[] = {tree_path};
    int trees[SAMPLE_TREES];

    CHECK(image && strcmp(image->id, "second") == 0 && image->process_count == 3);
    CHECK(image->stored->depth == 1 && strcmp(image->stored->base->id, "first") == 0);
    CHECK(memcmp(image->stored->base->sum, first->sum, sizeof first->sum) == 0);
    CHECK(!whereabouts_have_names(image));
    snprintf(tree_path, sizeof tree_path, "%s/tree", directory);
    CHECK(mkdir(trees_path[0], 0755) == 0);
    trees[0] = trees[1] = open(tree_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    sample_tree(trees[0]);
    CHECK(store_fill(image, directory, trees, &err) == 0);
    for (size_t i = 0; i < 3; i++) {
        const struct memory *memory = &image->processes[i].memory;
        CHECK(memory->piece_count == 3 && memory->late_size == 82 * PAGE);
        CHECK(memory->pieces[0].content[0] == 'a' + (int)i && memory->pieces[1].content[0] == 'A' + (int)i);
        CHECK(memory->pieces[1].content[63 * PAGE] == 'A' + (int)i &&
              memory->pieces[1].content[64 * PAGE] == 0);
        CHECK(memory->pieces[1].content[16 * PAGE] == 'y' && memory->pieces[1].content[32 * PAGE] == 'z');
        CHECK(memory->pieces[1].content[17 * PAGE] == 'A' + (int)i);
        CHECK(memory->pieces[2].content[PAGE - 1] == 'x');
        CHECK(memory->program >= 0 && memory->files[0].fd >= 0 && memory->files[1].fd >= 0);
    }
    char byte;
    CHECK(pread(image->processes[2].memory.files[1].fd, &byte, 1, 4095) == 1 && byte == '0' + 5);
    CHECK(pread(image->processes[2].memory.files[1].fd, &byte, 1, 4096) == 1 && byte == 0);
    image_free(image);
    close(trees[0]);
    stored_leave(first);
    stored_leave(second);
    sample_free(&file);
    sample_free(&next);
}

static void test_every_byte_counts(void)
{
    struct sample_file file;
    struct stored *stored = sample_store(directory, "flip", NULL, &file);
    size_t size;
    uint8_t *bytes = sample_join(&file, &size);
    const size_t from = sizeof(struct format_head) + file.page_bytes;

    for (size_t at = from; at < size; at++) {
        bytes[at] ^= 1u << at % 8;
        sample_write(directory, "flip", bytes, size);
        expect_refused("flip", ERR_DAMAGED, "flip");
        bytes[at] ^= 1u << at % 8;
    }
    for (size_t at = 0; at < sizeof(struct format_head); at++) {
        bytes[at] ^= 1;
        sample_write(directory, "flip", bytes, size);
        expect_refused("flip", at >= 8 && at < 12 ? ERR_NO_IMAGE : ERR_DAMAGED, "flip");
        bytes[at] ^= 1;
    }
    free(bytes);
    stored_leave(stored);
    sample_free(&file);
}

static void test_every_length_counts(void)
{
    struct sample_file file;
    struct stored *stored = sample_store(directory, "short", NULL, &file);
    size_t size;
    uint8_t *bytes = sample_join(&file, &size);
    char path[64];

    snprintf(path, sizeof path, "%s/short", directory);
    CHECK(truncate(path, (off_t)size + 1) == 0);
    expect_refused("short", ERR_DAMAGED, "short");
    for (size_t length = size; length-- > 0;) {
        const bool is_content = length > 300 && length < size - 2000 && length % 61 != 0;
        if (!is_content) {
            CHECK(truncate(path, (off_t)length) == 0);
            expect_refused("short", ERR_DAMAGED, "short");
        }
    }
    free(bytes);
    stored_leave(stored);
    sample_free(&file);
}

static void test_what_is_no_image(void)
{
    char path[64];

    expect_refused("nowhere", ERR_NO_IMAGE, "nowhere");
    snprintf(path, sizeof path, "%s/fifo", directory);
    CHECK(mkfifo(path, 0600) == 0);
    expect_refused("fifo", ERR_DAMAGED, "fifo"); /* and nobody waits for it */
    snprintf(path, sizeof path, "%s/place", directory);
    CHECK(mkdir(path, 0700) == 0);
    expect_refused("place", ERR_DAMAGED, "place");
    snprintf(path, sizeof path, "%s/link", directory);
    CHECK(symlink("first", path) == 0);
    expect_refused("link", ERR_SYSTEM, "open image");
}

/* Pages that are not what was written are noticed when they are read. */
static void test_damaged_pages(void)
{
    struct sample_file file;
    struct stored *stored = sample_store(directory, "pages", NULL, &file);
    struct err err = {0};
    size_t size;
    uint8_t *bytes = sample_join(&file, &size);
    char tree_path[64];

    snprintf(tree_path, sizeof tree_path, "%s/tree", directory);
    const int tree = open(tree_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), trees[SAMPLE_TREES] = {tree, tree};
    for (size_t at = 0; at < file.page_bytes; at += 5 * PAGE + 1) {
        bytes[sizeof(struct format_head) + at] ^= 1;
        sample_write(directory, "pages", bytes, size);
        bytes[sizeof(struct format_head) + at] ^= 1;
        struct image *image = store_read("pages", directory, SAMPLE_TREES, &err);
        CHECK(image);
        CHECK(store_fill(image, directory, trees, &err) < 0);
        CHECK(strcmp(err.code, ERR_DAMAGED) == 0 && strstr(err.message, "pages"));
        image_free(image);
    }
    close(tree);
    free(bytes);
    stored_leave(stored);
    sample_free(&file);
}

/* ---- what they stand on ---- */

static void test_a_base_that_is_missing_or_another(void)
{
    struct sample_file file, next, other;
    struct stored *base = sample_store(directory, "base", NULL, &file),
                  *top = sample_store(directory, "top", base, &next);
    char path[64];

    snprintf(path, sizeof path, "%s/base", directory);
    CHECK(unlink(path) == 0);
    expect_refused("top", ERR_NO_IMAGE, "there is no image base");
    stored_leave(base);
    /* of the same name */
    struct image *image = sample_image("base");
    base = sample_make(&other, image, NULL);
    base->bodies[0].extents[0].offset++;
    struct pack index = {0};
    char none[ID_MAX + 1] = "";
    pack_text(&index, none, sizeof none);
    stored_pack(&index, base, none);
    CHECK(index.out.len <= other.index_bytes + 8);
    free(other.index);
    other.index = memcpy(malloc(index.out.len), index.out.data, index.out.len);
    other.index_bytes = index.out.len;
    size_t size;
    uint8_t *bytes = sample_join(&other, &size);
    sample_write(directory, "base", bytes, size);
    expect_refused("top", ERR_DAMAGED, "top");
    free(bytes);
    pack_free(&index);
    image_free(image);
    stored_leave(base);
    stored_leave(top);
    sample_free(&file);
    sample_free(&next);
    sample_free(&other);
}

/* A stored that says it stands on another, written as a file. */
static void write_on(const char *id, const char *base, unsigned depth)
{
    struct stored standing = {.depth = depth - 1};
    struct sample_file file;
    struct image *image = sample_image(id);
    struct stored *stored = sample_make(&file, image, NULL);
    struct pack index = {0};
    char base_id[ID_MAX + 1] = "", none[ID_MAX + 1] = "";

    strcpy(base_id, base);
    stored->depth = depth;
    stored->base = &standing;
    pack_text(&index, none, sizeof none);
    stored_pack(&index, stored, base_id);
    stored->base = NULL;
    free(file.index);
    file.index = memcpy(malloc(index.out.len), index.out.data, index.out.len);
    file.index_bytes = index.out.len;
    size_t size;
    uint8_t *bytes = sample_join(&file, &size);
    sample_write(directory, id, bytes, size);
    free(bytes);
    pack_free(&index);
    stored_leave(stored);
    image_free(image);
    sample_free(&file);
}

static void test_circles(void)
{
    write_on("circle", "circle", 1);
    expect_refused("circle", ERR_DAMAGED, "circle");
    write_on("left", "right", 5);
    write_on("right", "left", 4);
    expect_refused("left", ERR_DAMAGED, "left");
    write_on("right", "left", 6);
    expect_refused("left", ERR_DAMAGED, "left");
    write_on("deep", "first", 64);
    expect_refused("deep", ERR_DAMAGED, "it stands on too many others");
    write_on("far", "first", 2);
    expect_refused("far", ERR_DAMAGED, "far");
    write_on("path", "../first", 1);
    expect_refused("path", ERR_DAMAGED, "path");
}

/* ---- families ---- */

static void write_changed(const char *id, void (*change)(struct image *image))
{
    struct image *image = sample_image(id);
    struct sample_file file;
    size_t size;

    change(image);
    stored_leave(sample_make(&file, image, NULL));
    uint8_t *bytes = sample_join(&file, &size);
    sample_write(directory, id, bytes, size);
    free(bytes);
    image_free(image);
    sample_free(&file);
}

static void group_of_another_session(struct image *image)
{
    image->processes[1].session = 5;
    image->processes[1].group = 2;
}

static void leader_that_is_in_another_session(struct image *image)
{
    image->processes[1].parent = 0;
}

static void have_children_of_all_sessions(struct image *image)
{
    const size_t count = 4000;

    image->processes[0].reaps_orphans = 0;
    image->zombies = realloc(image->zombies, count * sizeof *image->zombies);
    for (size_t i = 0; i < count; i++) {
        image->zombies[i] = (struct image_zombie){.pid = 20 + (pid_t)i,
                                                  .parent = 2,
                                                  .group = 5000 + (pid_t)i,
                                                  .session = 10000 + (pid_t)(count - i)};
    }
    image->zombie_count = count;
}

static void test_families_that_cannot_be(void)
{
    write_changed("family", group_of_another_session);
    expect_refused("family", ERR_DAMAGED, "family is damaged: its processes do not fit together");
    write_changed("family", leader_that_is_in_another_session);
    expect_refused("family", ERR_DAMAGED, "family is damaged: its processes do not fit together");
    write_changed("family", have_children_of_all_sessions); /* found out in less than a lifetime */
    expect_refused("family", ERR_DAMAGED, "family is damaged: its processes do not fit together");
}

/* ---- where it was taken ---- */

static void test_another_host(void)
{
    struct sample_file file;
    struct stored *stored = sample_store(directory, "host", NULL, &file);
    const size_t machine = 1 + file.description[0] / 2;
    size_t size;

    file.description[machine + 1] ^= 1; /* the release, behind its length */
    uint8_t *bytes = sample_join(&file, &size);
    sample_write(directory, "host", bytes, size);
    expect_refused("host", ERR_OTHER_HOST, "host");
    free(bytes);
    stored_leave(stored);
    sample_free(&file);
}

int main(void)
{
    CHECK(mkdtemp(directory) != NULL);
    test_a_file_is_read_as_it_was_written();
    test_every_byte_counts();
    test_every_length_counts();
    test_what_is_no_image();
    test_damaged_pages();
    test_a_base_that_is_missing_or_another();
    test_circles();
    test_families_that_cannot_be();
    test_another_host();
    CHECK(tree_remove(AT_FDCWD, directory) == 0);
    return DONE("image");
}
