#include "wire.h"

#include <math.h>
#include <string.h>

/* ---- writing ---- */

static uint8_t *out_room(struct out *out, size_t more)
{
    if (out->cap - out->len < more) {
        size_t cap = out->cap ? out->cap : 256;
        while (cap - out->len < more) {
            cap *= 2;
        }
        out->data = realloc(out->data, cap);
        if (!out->data) {
            die("out of memory");
        }
        out->cap = cap;
    }
    return out->data + out->len;
}

void out_free(struct out *out)
{
    free(out->data);
    *out = (struct out){0};
}

void out_raw(struct out *out, const void *data, size_t len)
{
    if (len > 0) {
        memcpy(out_room(out, len), data, len);
        out->len += len;
    }
}

void out_map(struct out *out)
{
    out->len += cbor_encode_indef_map_start(out_room(out, 1), 1);
}

void out_list(struct out *out)
{
    out->len += cbor_encode_indef_array_start(out_room(out, 1), 1);
}

void out_end(struct out *out)
{
    out->len += cbor_encode_break(out_room(out, 1), 1);
}

void out_text(struct out *out, const char *text)
{
    size_t len = strlen(text);
    out->len += cbor_encode_string_start(len, out_room(out, 9), 9);
    out_raw(out, text, len);
}

void out_uint(struct out *out, uint64_t value)
{
    out->len += cbor_encode_uint(value, out_room(out, 9), 9);
}

void out_int(struct out *out, int64_t value)
{
    if (value >= 0) {
        out_uint(out, (uint64_t)value);
    } else {
        out->len += cbor_encode_negint((uint64_t) - (value + 1), out_room(out, 9), 9);
    }
}

void out_bool(struct out *out, bool value)
{
    out->len += cbor_encode_bool(value, out_room(out, 1), 1);
}

void out_bytes(struct out *out, const void *data, size_t len)
{
    out->len += cbor_encode_bytestring_start(len, out_room(out, 9), 9);
    out_raw(out, data, len);
}

void out_key_text(struct out *out, const char *key, const char *text)
{
    out_text(out, key);
    out_text(out, text);
}

void out_key_uint(struct out *out, const char *key, uint64_t value)
{
    out_text(out, key);
    out_uint(out, value);
}

void out_key_int(struct out *out, const char *key, int64_t value)
{
    out_text(out, key);
    out_int(out, value);
}

void out_key_bool(struct out *out, const char *key, bool value)
{
    out_text(out, key);
    out_bool(out, value);
}

void out_key_bytes(struct out *out, const char *key, const void *data, size_t len)
{
    out_text(out, key);
    out_bytes(out, data, len);
}

/* ---- reading ---- */

/* The library's own questions about a simple value abort when it is a float. */
static bool is_simple(item value)
{
    return cbor_isa_float_ctrl(value) && cbor_float_get_width(value) == CBOR_FLOAT_0;
}

void out_key_map(struct out *out, const char *key, const struct out *inside)
{
    out_text(out, key);
    out_map(out);
    out_raw(out, inside->data, inside->len);
    out_end(out);
}

item item_get(item map, const char *key)
{
    size_t count = cbor_map_size(map), key_len = strlen(key);
    struct cbor_pair *pairs = cbor_map_handle(map);

    for (size_t i = 0; i < count; i++) {
        item name = pairs[i].key;
        if (cbor_isa_string(name) && cbor_string_is_definite(name) && cbor_string_length(name) == key_len &&
            memcmp(cbor_string_handle(name), key, key_len) == 0) {
            return is_simple(pairs[i].value) && cbor_is_null(pairs[i].value) ? NULL : pairs[i].value;
        }
    }
    return NULL;
}

static int bad(struct err *err, const char *key, const char *wanted)
{
    return err_set(err, ERR_BAD_REQUEST, "%s: %s wanted", key, wanted);
}

int item_string(item value, const char *what, char **out, struct err *err)
{
    const uint8_t *data;
    size_t len;

    *out = NULL;
    if (value && cbor_isa_string(value) && cbor_string_is_definite(value)) {
        data = cbor_string_handle(value);
        len = cbor_string_length(value);
    } else if (value && cbor_isa_bytestring(value) && cbor_bytestring_is_definite(value)) {
        data = cbor_bytestring_handle(value);
        len = cbor_bytestring_length(value);
    } else {
        return bad(err, what, "a string");
    }
    if (len > 0 && memchr(data, '\0', len)) {
        return bad(err, what, "a string without NUL bytes");
    }
    *out = calloc(1, len + 1);
    if (!*out) {
        die("out of memory");
    }
    if (len > 0) {
        memcpy(*out, data, len);
    }
    return 0;
}

int arg_string(item map, const char *key, char **out, struct err *err)
{
    return item_string(item_get(map, key), key, out, err);
}

int arg_optional_string(item map, const char *key, char **out, struct err *err)
{
    item value = item_get(map, key);

    *out = NULL;
    return value ? item_string(value, key, out, err) : 0;
}

int arg_uint(item map, const char *key, uint64_t max, uint64_t *out, struct err *err)
{
    item value = item_get(map, key);

    if (!value || !cbor_isa_uint(value) || cbor_get_int(value) > max) {
        return bad(err, key, "an unsigned integer in range");
    }
    *out = cbor_get_int(value);
    return 0;
}

int arg_optional_uint(item map, const char *key, uint64_t max, uint64_t fallback, uint64_t *out,
                      struct err *err)
{
    if (!item_get(map, key)) {
        *out = fallback;
        return 0;
    }
    return arg_uint(map, key, max, out, err);
}

int arg_number(item map, const char *key, double *out, struct err *err)
{
    item value = item_get(map, key);

    *out = 0;
    if (value && cbor_isa_uint(value)) {
        *out = (double)cbor_get_int(value);
    } else if (value && cbor_isa_float_ctrl(value) && !is_simple(value)) {
        *out = cbor_float_get_float(value);
    }
    return isfinite(*out) && *out > 0 ? 0 : bad(err, key, "a positive number");
}

int arg_bool(item map, const char *key, bool *out, struct err *err)
{
    item value = item_get(map, key);

    if (!value || !is_simple(value) || !cbor_is_bool(value)) {
        return bad(err, key, "true or false");
    }
    *out = cbor_get_bool(value);
    return 0;
}

int arg_optional_bool(item map, const char *key, bool fallback, bool *out, struct err *err)
{
    if (!item_get(map, key)) {
        *out = fallback;
        return 0;
    }
    return arg_bool(map, key, out, err);
}

int arg_bytes(item map, const char *key, const uint8_t **data, size_t *len, struct err *err)
{
    item value = item_get(map, key);

    if (!value || !cbor_isa_bytestring(value) || !cbor_bytestring_is_definite(value)) {
        return bad(err, key, "a byte string");
    }
    *data = cbor_bytestring_handle(value);
    *len = cbor_bytestring_length(value);
    return 0;
}

int arg_list(item map, const char *key, item *list, size_t *count, struct err *err)
{
    item value = item_get(map, key);

    if (!value || !cbor_isa_array(value)) {
        return bad(err, key, "a list");
    }
    *list = value;
    *count = cbor_array_size(value);
    return 0;
}

item list_at(item list, size_t index)
{
    return cbor_array_handle(list)[index];
}

int arg_strings(item map, const char *key, char ***out, struct err *err)
{
    item list;
    size_t count;

    if (arg_list(map, key, &list, &count, err) < 0) {
        return -1;
    }
    char **strings = calloc(count + 1, sizeof *strings);
    if (!strings) {
        die("out of memory");
    }
    for (size_t i = 0; i < count; i++) {
        if (item_string(list_at(list, i), key, &strings[i], err) < 0) {
            strings_free(strings);
            return -1;
        }
    }
    *out = strings;
    return 0;
}

void strings_free(char **strings)
{
    for (char **string = strings; string && *string; string++) {
        free(*string);
    }
    free(strings);
}

/* ---- frames ---- */

size_t frame_begin(struct out *out)
{
    size_t begin = out->len;
    out_raw(out, "\0\0\0\0", 4);
    return begin;
}

void frame_end(struct out *out, size_t begin)
{
    size_t len = out->len - begin - 4;

    if (len > WIRE_FRAME_MAX) {
        die("a frame of %zu bytes was made", len);
    }
    for (size_t i = 0; i < 4; i++) {
        out->data[begin + i] = (uint8_t)(len >> (8 * i));
    }
}

/* A frame may announce a list far larger than itself, and the library makes room for what is announced: so the
 * announcements are looked at first. */
struct scan {
    size_t limit;
    bool refused;
};

static void scan_collection(void *context, uint64_t count)
{
    struct scan *scan = context;

    scan->refused = scan->refused || count > scan->limit;
}

static bool plausible(const uint8_t *data, size_t len)
{
    struct cbor_callbacks callbacks = cbor_empty_callbacks;
    struct scan scan = {.limit = len};

    callbacks.array_start = scan_collection;
    callbacks.map_start = scan_collection;
    for (size_t done = 0; done < len && !scan.refused;) {
        struct cbor_decoder_result step = cbor_stream_decode(data + done, len - done, &callbacks, &scan);
        if (step.status != CBOR_DECODER_FINISHED) {
            return false;
        }
        done += step.read;
    }
    return !scan.refused;
}

cbor_item_t *frame_parse(const uint8_t *data, size_t len, size_t *used)
{
    struct cbor_load_result result;

    *used = 0;
    if (len < 4) {
        return NULL;
    }
    size_t body = (size_t)data[0] | (size_t)data[1] << 8 | (size_t)data[2] << 16 | (size_t)data[3] << 24;
    if (body > WIRE_FRAME_MAX) {
        *used = 4;
        return NULL;
    }
    if (len - 4 < body) {
        return NULL;
    }
    *used = 4 + body;
    if (!plausible(data + 4, body)) {
        return NULL;
    }
    cbor_item_t *message = cbor_load(data + 4, body, &result);
    if (message && (!cbor_isa_map(message) || result.read != body)) {
        cbor_decref(&message);
        return NULL;
    }
    return message;
}
