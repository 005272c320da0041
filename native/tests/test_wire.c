#include <string.h>

#include "check.h"
#include "wire.h"

static size_t build(struct out *out)
{
    size_t frame = frame_begin(out);

    out_map(out);
    out_key_uint(out, "id", 7);
    out_key_text(out, "op", "hello");
    out_key_bool(out, "yes", true);
    out_key_int(out, "minus", -5);
    out_key_bytes(out, "data", "\0\1\2", 3);
    out_text(out, "list");
    out_list(out);
    out_text(out, "a");
    out_bytes(out, "b", 1);
    out_end(out);
    out_end(out);
    frame_end(out, frame);
    return out->len;
}

static void test_what_is_written_is_read(void)
{
    struct out out = {0};
    struct err err = {0};
    size_t len = build(&out), used, data_len;
    uint64_t id;
    bool yes;
    const uint8_t *data;
    char **list, *op;

    for (size_t cut = 0; cut < len; cut++) {
        CHECK(frame_parse(out.data, cut, &used) == NULL && used == 0);
    }
    cbor_item_t *message = frame_parse(out.data, len, &used);
    CHECK(message && used == len);
    CHECK(arg_uint(message, "id", 100, &id, &err) == 0 && id == 7);
    CHECK(arg_uint(message, "id", 6, &id, &err) < 0);
    CHECK(strcmp(err.code, ERR_BAD_REQUEST) == 0);
    CHECK(arg_uint(message, "minus", 100, &id, &err) < 0);
    CHECK(arg_string(message, "op", &op, &err) == 0 && strcmp(op, "hello") == 0);
    free(op);
    CHECK(arg_string(message, "data", &op, &err) < 0); /* it has a NUL */
    CHECK(arg_string(message, "none", &op, &err) < 0);
    CHECK(arg_bool(message, "yes", &yes, &err) == 0 && yes);
    CHECK(arg_bytes(message, "data", &data, &data_len, &err) == 0 && data_len == 3);
    CHECK(arg_strings(message, "list", &list, &err) == 0);
    CHECK(strcmp(list[0], "a") == 0 && strcmp(list[1], "b") == 0 && !list[2]);
    strings_free(list);
    cbor_decref(&message);
    out_free(&out);
}

static void touch(const cbor_item_t *message)
{
    struct err err = {0};
    const uint8_t *data;
    size_t len;
    uint64_t number;
    bool yes;
    char *text, **list;

    arg_uint(message, "id", UINT64_MAX, &number, &err);
    arg_bool(message, "yes", &yes, &err);
    arg_bytes(message, "data", &data, &len, &err);
    if (arg_string(message, "op", &text, &err) == 0) {
        free(text);
    }
    if (arg_strings(message, "list", &list, &err) == 0) {
        strings_free(list);
    }
}

/* Frames with any bytes changed are refused or read, never more than that; sanitizers watch. */
static void test_damaged_frames(void)
{
    struct out out = {0};
    size_t len = build(&out), used;
    unsigned state = 1;

    for (int round = 0; round < 50000; round++) {
        uint8_t *copy = memcpy(malloc(len), out.data, len);
        for (int i = 0; i < 1 + round % 4; i++) {
            state = state * 1103515245 + 12345;
            size_t at = 4 + (state >> 8) % (len - 4);
            state = state * 1103515245 + 12345;
            copy[at] = (uint8_t)(state >> 16);
        }
        cbor_item_t *message = frame_parse(copy, len, &used);
        CHECK(used == len);
        if (message) {
            touch(message);
            cbor_decref(&message);
        }
        free(copy);
    }
    out_free(&out);
}

static void test_a_frame_too_large(void)
{
    const uint8_t huge[4] = {0xff, 0xff, 0xff, 0x7f};
    size_t used;

    CHECK(frame_parse(huge, sizeof huge, &used) == NULL && used > 0);
}

int main(void)
{
    test_what_is_written_is_read();
    test_damaged_frames();
    test_a_frame_too_large();
    return DONE("wire");
}
