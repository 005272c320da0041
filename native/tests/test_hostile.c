/* Files of images that somebody has changed, with sums that are right: they are read or refused, never more than that; what
 * is read says the same when it is written again. test_hostile [SEED [SECONDS]] */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "changes.h"
#include "check.h"
#include "describe.h"
#include "format.h"
#include "handle.h"
#include "sample.h"
#include "store.h"
#include "tree.h"

#define SECONDS 5
#define CHANGES 6

static char directory[] = "/tmp/deltabox-test-XXXXXX";
/* ---- reading ---- */

static bool has_nameless(const struct image *image)
{
    for (size_t i = 0; i < image->object_count; i++) {
        if (image->objects[i].kind == &object_nameless) {
            return true;
        }
    }
    return false;
}

static void expect_same(const struct pack *written, const struct bytes *read)
{
    CHECK(!written->failure && written->out.len == read->size);
    CHECK(memcmp(written->out.data, read->data, read->size) == 0);
}

/* Nothing is read otherwise than it is said; the processor's flags may be fewer than ours. */
static void expect_the_same_again(struct image *image, const struct bytes *description, size_t circumstances,
                                  const struct bytes *index)
{
    const struct bytes described = {.data = description->data + circumstances,
                                    .size = description->size - circumstances};
    struct stored *stored = image->stored;
    char base[ID_MAX + 1] = "", parent[ID_MAX + 1] = "";
    struct pack again = {0}, places = {0};

    if (!has_nameless(image)) {
        image_pack(&again, image);
        expect_same(&again, &described);
    }
    struct pack reader = {.is_reading = true, .at = index->data, .end = index->data + index->size};
    pack_api_id(&reader, parent, true);
    pack_text(&places, parent, sizeof parent);
    if (stored->base) {
        strcpy(base, stored->base->id);
    }
    stored_pack(&places, stored, base);
    expect_same(&places, index);
    pack_free(&again);
    pack_free(&places);
}

/* How much of a description circumstances are. */
static size_t count_circumstances(const struct bytes *description)
{
    struct pack reader = {
        .is_reading = true, .at = description->data, .end = description->data + description->size};

    format_pack_circumstances(&reader);
    return (size_t)(reader.at - description->data);
}

static void fill(struct image *image, int tree)
{
    const int trees[SAMPLE_TREES] = {tree, tree};
    struct err err = {0};

    if (store_fill(image, directory, trees, &err) < 0) {
        CHECK(err.code && err.message[0]);
    }
}

struct counts {
    uint64_t rounds, read;
};

static void try_one(const struct sample_file *sample, struct counts *counts, int tree)
{
    const uint64_t which = draw(3);
    const struct bytes description =
        changed(sample->description, sample->description_bytes, which != 1 ? CHANGES : 0);
    const struct bytes index = changed(sample->index, sample->index_bytes, which != 0 ? CHANGES : 0);
    struct sample_file file = *sample;
    struct err err = {0};
    size_t size;

    file.description = description.data;
    file.description_bytes = description.size;
    file.index = index.data;
    file.index_bytes = index.size;
    file.body_count += draw(50) == 0;
    uint8_t *bytes = sample_join(&file, &size);
    sample_write(directory, "top", bytes, size);
    free(bytes);
    struct image *image = store_read("top", directory, SAMPLE_TREES, &err);
    CHECK(image || (err.code && err.message[0]));
    if (image) {
        expect_the_same_again(image, &description, count_circumstances(&description), &index);
        fill(image, tree);
        image_free(image);
        counts->read++;
    }
    /* what was never opened is not closed either */
    CHECK(fcntl(0, F_GETFD) >= 0);
    counts->rounds++;
    free(description.data);
    free(index.data);
}

/* ---- the whole ---- */

int main(int argc, char **argv)
{
    const uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    const time_t end = seconds_now() + (argc > 2 ? (time_t)strtol(argv[2], NULL, 10) : SECONDS);
    struct sample_file base, top;
    struct counts counts = {0};
    char path[64];

    printf("hostile: seed %llu, files in %s\n", (unsigned long long)seed, mkdtemp(directory));
    fflush(stdout);
    draw_seed(seed);
    struct stored *first = sample_store(directory, "base", NULL, &base),
                  *second = sample_store(directory, "top", first, &top);
    snprintf(path, sizeof path, "%s/tree", directory);
    CHECK(mkdir(path, 0755) == 0);
    const int tree = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    sample_tree(tree);
    while (seconds_now() < end) {
        for (int i = 0; i < 100; i++) {
            try_one(&top, &counts, tree);
        }
    }
    printf("hostile: of %llu files %llu were read\n", (unsigned long long)counts.rounds,
           (unsigned long long)counts.read);
    close(tree);
    stored_leave(first);
    stored_leave(second);
    sample_free(&base);
    sample_free(&top);
    CHECK(tree_remove(AT_FDCWD, directory) == 0);
    return DONE("hostile");
}
