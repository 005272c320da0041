/* The fields of images: what is written is read, and what cannot have been written is not. */
#include <string.h>

#include "check.h"
#include "engine.h"
#include "reading.h"
#include "sample.h"

#define PAGE 4096u

static void test_numbers(void)
{
    static const int64_t numbers[] = {0, 1, -1, 63, 64, -64, -65, INT32_MAX, INT64_MAX, INT64_MIN};
    struct pack pack = {0};

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        CHECK(pack_number(&pack, numbers[i]) == numbers[i]);
    }
    CHECK(pack.out.len == 5 * 1 + 2 * 2 + 5 + 2 * 10);
    struct pack reader = again(&pack);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        CHECK(pack_number(&reader, 5) == numbers[i]);
    }
    CHECK(!reader.failure && reader.at == reader.end);
    CHECK(pack_number(&reader, 5) == 0 && reader.failure);
    pack_free(&pack);
}

static bool is_number(const char *bytes, size_t count)
{
    struct pack reader = reading(bytes, count);

    pack_number(&reader, 0);
    return !reader.failure;
}

static void test_numbers_that_are_none(void)
{
    CHECK(!is_number("", 0));
    CHECK(!is_number("\x80", 1));
    CHECK(!is_number("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12));
    CHECK(is_number("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10));
    CHECK(!is_number("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10));
    CHECK(!is_number("\x80\x00", 2));
}

static void test_numbers_too_large(void)
{
    struct pack pack = {0};
    uint8_t byte = 0;
    bool yes = false;
    unsigned positive = 0;

    pack_number(&pack, 256);
    pack_number(&pack, 2);
    pack_number(&pack, -1);
    struct pack reader = again(&pack);
    PACK(&reader, byte);
    CHECK(reader.failure && strcmp(reader.failure, "a number is too large") == 0 && reader.at == reader.end);
    reader = reading(pack.out.data + 2, 2);
    PACK(&reader, yes);
    CHECK(reader.failure);
    reader = reading(pack.out.data + 3, 1);
    PACK(&reader, positive);
    CHECK(reader.failure);
    pack_free(&pack);
}

static void test_texts(void)
{
    struct pack pack = {0};
    char seven[8] = "seven77", room[8], small[7];

    pack_text(&pack, seven, sizeof seven);
    CHECK(pack.out.len == 8);
    struct pack reader = again(&pack);
    pack_text(&reader, room, sizeof room);
    CHECK(!reader.failure && strcmp(room, seven) == 0);
    reader = again(&pack);
    pack_text(&reader, small, sizeof small);
    CHECK(reader.failure && small[0] == '\0');
    reader = reading(pack.out.data, 7);
    pack_text(&reader, room, sizeof room);
    CHECK(reader.failure && room[0] == '\0');
    reader = reading("\x04"
                     "a\0",
                     3);
    pack_text(&reader, room, sizeof room);
    CHECK(reader.failure);
    pack_free(&pack);
}

static bool is_api_id(const char *id, bool or_none)
{
    char copy[ID_MAX + 1];
    struct pack pack = {0};

    strcpy(copy, id);
    pack_api_id(&pack, copy, or_none);
    pack_free(&pack);
    return !pack.failure;
}

static void test_ids_of_the_api(void)
{
    CHECK(is_api_id("command-1", false) && is_api_id("", true));
    CHECK(!is_api_id("", false) && !is_api_id("../up", true) && !is_api_id("a/b", true) &&
          !is_api_id("A", true));
}

static void test_strings_and_bytes(void)
{
    struct pack pack = {0};
    char *text = (char *)"text", *none = NULL, *got = (char *)"";
    uint8_t *data = (uint8_t *)"\0\1\2", *empty = NULL, *read;
    size_t three = 3, zero = 0, count;

    pack_string(&pack, &text);
    pack_string(&pack, &none);
    pack_bytes(&pack, &data, &three);
    pack_bytes(&pack, &empty, &zero);
    struct pack reader = again(&pack);
    got = NULL;
    pack_string(&reader, &got);
    CHECK(strcmp(got, "text") == 0);
    free(got);
    got = NULL;
    pack_string(&reader, &got);
    CHECK(!got);
    pack_bytes(&reader, &read, &count);
    CHECK(count == 3 && memcmp(read, "\0\1\2", 3) == 0);
    free(read);
    pack_bytes(&reader, &read, &count);
    CHECK(count == 0 && read && !reader.failure && reader.at == reader.end);
    free(read);
    reader = reading("\x06\x01\x02", 3); /* three, of which two are there */
    pack_bytes(&reader, &read, &count);
    CHECK(reader.failure && count == 0 && read);
    free(read);
    reader = reading("\x02\x04"
                     "a\0",
                     4);
    got = NULL;
    pack_string(&reader, &got);
    CHECK(reader.failure);
    free(got);
    pack_free(&pack);
}

static void pack_word(struct pack *pack, uint64_t *word)
{
    PACK(pack, *word);
}

static void test_lists(void)
{
    struct pack pack = {0};
    uint64_t words[] = {5, 6, 7, 8, 9}, *list = words;
    size_t count = 5;

    PACK_LIST(&pack, list, count, pack_word);
    struct pack reader = again(&pack);
    PACK_LIST(&reader, list, count, pack_word);
    CHECK(!reader.failure && count == 5 && memcmp(list, words, sizeof words) == 0);
    free(list);
    reader = reading(pack.out.data, pack.out.len - 1);
    PACK_LIST(&reader, list, count, pack_word);
    CHECK(reader.failure && count == 0 && list); /* five cannot be in four bytes */
    free(list);
    reader = reading("\x06\x02\x80\x80", 4);
    PACK_LIST(&reader, list, count, pack_word);
    CHECK(reader.failure && count == 2 && list[0] == 1 && list[1] == 0);
    free(list);
    pack_free(&pack);
}

struct wide {
    char room[4096];
};

static void pack_wide(struct pack *pack, struct wide *wide)
{
    PACK(pack, wide->room[0]);
}

/* A list has no more memory than a file of its length may ask for. */
static void test_lists_that_grow_without_bound(void)
{
    const size_t claimed = 1u << 20;
    uint8_t *bytes = calloc(1, claimed + 8);
    struct pack pack = {0};
    struct wide *list;
    size_t count;

    pack_number(&pack, (int64_t)claimed);
    memcpy(bytes, pack.out.data, pack.out.len);
    struct pack reader = reading(bytes, claimed + 8);
    PACK_LIST(&reader, list, count, pack_wide);
    CHECK(reader.failure && strcmp(reader.failure, "it says much in few bytes") == 0 && count < 300);
    free(list);
    reader = reading(bytes, claimed + 8);
    PACK_COUNT(&reader, list, count, 1000);
    CHECK(reader.failure && count == 0);
    free(list);
    free(bytes);
    pack_free(&pack);
}

static void test_ranges(void)
{
    struct pack pack = {0};
    struct ranges ranges = {0}, got = {0};

    ranges_append(&ranges, 0, PAGE);
    ranges_append(&ranges, 3 * PAGE, 10 * PAGE);
    ranges_append(&ranges, 0x7fffffffe000, 0x7ffffffff000);
    pack_ranges(&pack, &ranges);
    struct pack reader = again(&pack);
    pack_ranges(&reader, &got);
    CHECK(!reader.failure && got.count == 3 && memcmp(got.list, ranges.list, 3 * sizeof *got.list) == 0);
    ranges_free(&got);
    reader = reading("\x02\x00\x00", 3); /* no pages */
    pack_ranges(&reader, &got);
    CHECK(reader.failure && got.count == 0);
    reader = reading("\x04\x00\x02\x00\x02", 5); /* two that touch are one */
    pack_ranges(&reader, &got);
    CHECK(reader.failure && got.count == 1);
    ranges_free(&got);
    ranges_append(&ranges, 0x7ffffffff000, 0x800000000000); /* joined, and over the end */
    pack_free(&pack);
    pack = (struct pack){0};
    pack_ranges(&pack, &ranges);
    CHECK(pack.failure && strcmp(pack.failure, "pages lie outside of memory") == 0);
    ranges_free(&ranges);
    pack_free(&pack);
}

static void test_ids_and_indices(void)
{
    struct pack pack = {0};
    uint32_t last = SAMPLE_UID + ID_RANGE - 1, beyond = SAMPLE_UID + ID_RANGE, below = SAMPLE_UID - 1, id = 0;
    size_t two = 2, none = SIZE_MAX, index;

    engine.uid_base = SAMPLE_UID;
    pack_id(&pack, &last);
    pack_index(&pack, &two, 3, false);
    pack_index(&pack, &none, 3, true);
    CHECK(!pack.failure);
    struct pack reader = again(&pack);
    engine.uid_base = 5 * SAMPLE_UID; /* another engine */
    pack_id(&reader, &id);
    CHECK(id == 5 * SAMPLE_UID + ID_RANGE - 1);
    pack_index(&reader, &index, 3, false);
    CHECK(index == 2);
    pack_index(&reader, &index, 3, true);
    CHECK(index == SIZE_MAX && !reader.failure);
    engine.uid_base = SAMPLE_UID;
    reader = reading(pack.out.data + 3, pack.out.len - 3);
    pack_index(&reader, &index, 2, false);
    CHECK(reader.failure);
    reader = reading(pack.out.data + 4, pack.out.len - 4);
    pack_index(&reader, &index, 3, false);
    CHECK(reader.failure);
    pack_free(&pack);
    pack = (struct pack){0};
    pack_id(&pack, &beyond);
    CHECK(pack.failure);
    pack_free(&pack);
    pack = (struct pack){0};
    pack_id(&pack, &below);
    CHECK(pack.failure);
    pack_free(&pack);
}

int main(void)
{
    test_numbers();
    test_numbers_that_are_none();
    test_numbers_too_large();
    test_texts();
    test_ids_of_the_api();
    test_strings_and_bytes();
    test_lists();
    test_lists_that_grow_without_bound();
    test_ranges();
    test_ids_and_indices();
    return DONE("pack");
}
