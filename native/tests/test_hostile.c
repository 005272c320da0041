/* Files of images that somebody has changed, with sums that are right: they are read or refused, never more than that; what
 * is read says the same when it is written again. test_hostile [SEED [SECONDS]] */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "describe.h"
#include "format.h"
#include "handle.h"
#include "sample.h"
#include "store.h"
#include "tree.h"

#define SECONDS 5
#define CHANGES 6
#define PIECE 64

static char directory[] = "/tmp/deltabox-test-XXXXXX";
static uint64_t state;

static uint64_t draw(uint64_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return below ? state % below : 0;
}

static time_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec;
}

/* ---- changing bytes ---- */

struct bytes {
    uint8_t *data;
    size_t size, room;
};

static void put_in(struct bytes *bytes, size_t at, const uint8_t *from, size_t count)
{
    if (bytes->size + count <= bytes->room) {
        memmove(bytes->data + at + count, bytes->data + at, bytes->size - at);
        memcpy(bytes->data + at, from, count);
        bytes->size += count;
    }
}

static void take_out(struct bytes *bytes, size_t at, size_t count)
{
    count = count < bytes->size - at ? count : bytes->size - at;
    memmove(bytes->data + at, bytes->data + at + count, bytes->size - at - count);
    bytes->size -= count;
}

/* What numbers are likely to be wrong by. */
static size_t strange_number(uint8_t number[10])
{
    static const int64_t strange[] = {0,         -1,         1,         2,         INT32_MAX,
                                      INT32_MIN, UINT32_MAX, INT64_MAX, INT64_MIN, 4096};
    struct pack pack = {0};

    pack_number(&pack, strange[draw(sizeof strange / sizeof *strange)] ^ (int64_t)draw(4));
    const size_t count = pack.out.len;
    memcpy(number, pack.out.data, count);
    pack_free(&pack);
    return count;
}

static void change(struct bytes *bytes)
{
    const size_t at = draw(bytes->size), from = draw(bytes->size);
    const size_t left = bytes->size - (at > from ? at : from), count = 1 + draw(left < PIECE ? left : PIECE);
    uint8_t piece[PIECE + 1];

    if (bytes->size < 2) {
        return;
    }
    switch (draw(7)) {
    case 0:
        bytes->data[at] ^= (uint8_t)(1u << draw(8));
        break;
    case 1:
        bytes->data[at] = (uint8_t)draw(256);
        break;
    case 2:
        bytes->data[at] = (uint8_t)(bytes->data[at] + 2 * draw(5) - 4);
        break;
    case 3:
        take_out(bytes, at, 1);
        put_in(bytes, at, piece, strange_number(piece));
        break;
    case 4:
        memcpy(piece, bytes->data + from, count < left ? count : left);
        put_in(bytes, at, piece, count < left ? count : left);
        break;
    case 5:
        memmove(bytes->data + at, bytes->data + from, count < left ? count : left);
        break;
    default:
        take_out(bytes, at, 1 + draw(4));
    }
}

static struct bytes changed(const uint8_t *data, size_t size, bool change_it)
{
    struct bytes bytes = {.data = malloc(2 * size), .size = size, .room = 2 * size};
    const uint64_t changes = change_it ? 1 + draw(CHANGES) : 0;

    memcpy(bytes.data, data, size);
    for (uint64_t i = 0; i < changes; i++) {
        change(&bytes);
    }
    return bytes;
}

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
    const struct bytes description = changed(sample->description, sample->description_bytes, which != 1);
    const struct bytes index = changed(sample->index, sample->index_bytes, which != 0);
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

static struct stored *write_sample(const char *id, struct stored *base, struct sample_file *file)
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

int main(int argc, char **argv)
{
    const uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    const time_t end = now() + (argc > 2 ? (time_t)strtol(argv[2], NULL, 10) : SECONDS);
    struct sample_file base, top;
    struct counts counts = {0};
    char path[64];

    printf("hostile: seed %llu, files in %s\n", (unsigned long long)seed, mkdtemp(directory));
    fflush(stdout);
    state = seed * 0x9e3779b97f4a7c15ULL + 1;
    struct stored *first = write_sample("base", NULL, &base), *second = write_sample("top", first, &top);
    snprintf(path, sizeof path, "%s/tree", directory);
    CHECK(mkdir(path, 0755) == 0);
    const int tree = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    sample_tree(tree);
    while (now() < end) {
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
