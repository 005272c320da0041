/* Where the pages of images are: found through what they stand on, and read again from an index. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "reading.h"
#include "stored.h"

#define PAGE 4096u

static struct extent extent(uint64_t page, uint32_t count, uint64_t offset, size_t source)
{
    return (struct extent){.page = page,
                           .count = count,
                           .whole = count,
                           .bytes = offset ? count * PAGE : 0,
                           .offset = offset,
                           .source = source};
}

/* Three, each on the one before: the first has pages 10-19, 30-39 (zeros) and 60; the next has 12, 13 and 35; the last 35. */
static struct stored *make_chain(void)
{
    struct stored *chain = NULL;

    for (int i = 0; i < 3; i++) {
        const char id[] = {(char)('a' + i), '\0'};
        struct stored *stored = stored_new(id, 1, 1);
        struct body *body = stored->bodies;
        stored->base = chain;
        stored->depth = (unsigned)i;
        stored->pids[0] = 2;
        body->below = chain ? 0 : SIZE_MAX;
        if (i == 0) {
            body_add(body,
                     &(struct extent){.page = 10, .count = 10, .whole = 10, .bytes = 77, .offset = 100});
            body_add(body, &(struct extent){.page = 30, .count = 10});
            body_add(body, &(struct extent){.page = 60,
                                            .count = 1,
                                            .skip = 5,
                                            .whole = 9,
                                            .bytes = 7,
                                            .offset = 200,
                                            .source = stored_source(stored, "z")});
        } else if (i == 1) {
            const struct extent two = extent(12, 2, 300, 0), one = extent(35, 1, 400, 0);
            body_add(body, &two);
            body_add(body, &one);
        } else {
            const struct extent one = extent(35, 1, 500, 0);
            body_add(body, &one);
        }
        chain = stored;
    }
    return chain;
}

static void expect_found(const struct found_extent *found, const char *source, uint64_t page, uint32_t count,
                         uint32_t skip, uint64_t offset)
{
    CHECK(strcmp(found->source, source) == 0);
    CHECK(found->extent.page == page && found->extent.count == count && found->extent.offset == offset);
    CHECK(found->extent.bytes == 0 || found->extent.skip == skip);
}

static void test_finding(void)
{
    struct stored *chain = make_chain();
    struct ranges wanted = {0};
    struct found_extent *list;
    size_t count;

    ranges_append(&wanted, 11 * PAGE, 16 * PAGE);
    ranges_append(&wanted, 34 * PAGE, 37 * PAGE);
    ranges_append(&wanted, 60 * PAGE, 61 * PAGE);
    CHECK(stored_find(chain, 0, &wanted, &list, &count) && count == 7);
    expect_found(&list[0], "a", 11, 1, 1, 100);
    expect_found(&list[1], "b", 12, 2, 0, 300);
    expect_found(&list[2], "a", 14, 2, 4, 100);
    expect_found(&list[3], "a", 34, 1, 0, 0);
    expect_found(&list[4], "c", 35, 1, 0, 500);
    expect_found(&list[5], "a", 36, 1, 0, 0);
    expect_found(&list[6], "z", 60, 1, 5, 200);
    free(list);
    ranges_append(&wanted, 61 * PAGE, 62 * PAGE);
    CHECK(!stored_find(chain, 0, &wanted, &list, &count));
    free(list);
    CHECK(!stored_find(chain, 1, &wanted, &list, &count) && count == 0);
    ranges_free(&wanted);
    CHECK(stored_find(chain, 0, &wanted, &list, &count) && count == 0 && !list);
    CHECK(stored_body_of(chain, 2) == 0 && stored_body_of(chain, 3) == SIZE_MAX);
    stored_leave(chain);
}

static struct stored *unpack_index(struct pack *reader, const char *id, size_t bodies, char base[ID_MAX + 1])
{
    struct stored *stored = stored_new(id, bodies, 1);

    stored_pack(reader, stored, base);
    return stored;
}

static void test_an_index_is_read_as_it_was_written(void)
{
    struct stored *chain = make_chain(), *first = chain->base->base;
    char base[ID_MAX + 1] = "", with[ID_MAX + 1] = "a";
    struct pack pack = {0}, second = {0}, last = {0};

    stored_pack(&pack, first, base);
    struct pack reader = again(&pack);
    strcpy(base, "none");
    struct stored *got = unpack_index(&reader, "a", 1, base);
    CHECK(!reader.failure && reader.at == reader.end && base[0] == '\0');
    CHECK(got->source_count == 2 && strcmp(got->sources[1], "z") == 0 && got->pids[0] == 2);
    CHECK(got->bodies[0].count == 3 && got->bodies[0].below == SIZE_MAX);
    CHECK(memcmp(got->bodies[0].extents, first->bodies[0].extents, 3 * sizeof(struct extent)) == 0);
    stored_pack(&second, got, base);
    CHECK(second.out.len == pack.out.len && memcmp(second.out.data, pack.out.data, pack.out.len) == 0);
    stored_leave(got);
    for (size_t cut = 0; cut < pack.out.len; cut++) {
        reader = reading(pack.out.data, cut);
        stored_leave(unpack_index(&reader, "a", 1, base));
        CHECK(reader.failure);
    }
    reader = again(&pack);
    stored_leave(unpack_index(&reader, "b", 1, base)); /* it is another's */
    CHECK(reader.failure);
    first->sum[1] = 99;
    stored_pack(&last, chain->base, with);
    reader = again(&last);
    got = unpack_index(&reader, "b", 1, base);
    CHECK(!reader.failure && strcmp(base, "a") == 0 && got->depth == 1 && got->base_sum[1] == 99);
    stored_leave(got);
    stored_leave(chain);
    pack_free(&pack);
    pack_free(&second);
    pack_free(&last);
}

static bool is_index(const struct extent *extents, size_t count)
{
    struct stored *stored = stored_new("a", 1, 1);
    char base[ID_MAX + 1] = "";
    struct pack pack = {0};

    for (size_t i = 0; i < count; i++) {
        body_add(&stored->bodies[0], &extents[i]);
    }
    stored_pack(&pack, stored, base);
    const bool is_sound = !pack.failure;
    struct pack reader = again(&pack);
    stored_leave(unpack_index(&reader, "a", 1, base));
    CHECK(is_sound == !reader.failure);
    pack_free(&pack);
    stored_leave(stored);
    return is_sound;
}

static void test_hostile_indexes(void)
{
    const struct extent good = extent(5, 2, 100, 0);
    struct extent list[2] = {good, good};

    CHECK(is_index(&good, 1));
    CHECK(!is_index(list, 2)); /* the same pages twice */
    list[1].page = 7;
    CHECK(is_index(list, 2));
    list[1].page = 4;
    CHECK(!is_index(list, 2));
#define BAD(change)                                                                                          \
    do {                                                                                                     \
        struct extent bad = good;                                                                            \
        change;                                                                                              \
        CHECK(!is_index(&bad, 1));                                                                           \
    } while (0)
    BAD(bad.count = 0);
    BAD(bad.count = 3);
    BAD(bad.skip = 1);
    BAD(bad.skip = UINT32_MAX);
    BAD(bad.whole = EXTENT_PAGES + 1);
    BAD(bad.bytes = 2 * PAGE + 1);
    BAD(bad.source = 1);
    BAD(bad.page = UINT64_MAX / PAGE);
    BAD(bad.offset = INT64_MAX);
    BAD((bad.bytes = 0, bad.page = UINT64_MAX / PAGE - 1));
}

int main(void)
{
    test_finding();
    test_an_index_is_read_as_it_was_written();
    test_hostile_indexes();
    return DONE("stored");
}
