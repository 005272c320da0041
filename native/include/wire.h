/* The engine's side of the wire (docs/engine-protocol.md): frames, CBOR in and out. */
#pragma once

#include <cbor.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

#define WIRE_VERSION 1
#define WIRE_FRAME_MAX (1u << 20)

/* ---- writing: a growing buffer with CBOR items; maps and arrays are of indefinite length ---- */
struct out {
    uint8_t *data;
    size_t len, cap;
};

void out_free(struct out *out);
void out_map(struct out *out);
void out_list(struct out *out);
void out_end(struct out *out); /* closes the innermost map or list */
void out_text(struct out *out, const char *text);
void out_uint(struct out *out, uint64_t value);
void out_int(struct out *out, int64_t value);
void out_bool(struct out *out, bool value);
void out_bytes(struct out *out, const void *data, size_t len);
void out_raw(struct out *out, const void *data, size_t len); /* items that are encoded already */

/* key and value in one */
void out_key_text(struct out *out, const char *key, const char *text);
void out_key_uint(struct out *out, const char *key, uint64_t value);
void out_key_int(struct out *out, const char *key, int64_t value);
void out_key_bool(struct out *out, const char *key, bool value);
void out_key_bytes(struct out *out, const char *key, const void *data, size_t len);
void out_key_map(struct out *out, const char *key, const struct out *inside);

/* ---- reading: a request's map; what is asked for wrongly fills err and returns <0 ---- */
typedef const cbor_item_t *item;

item item_get(item map, const char *key); /* NULL when absent or null */
/* A string the caller frees. Text and byte strings both do; a NUL inside is refused. */
int item_string(item value, const char *what, char **out, struct err *err);
int arg_string(item map, const char *key, char **out, struct err *err);
int arg_optional_string(item map, const char *key, char **out, struct err *err); /* *out NULL when absent */
int arg_uint(item map, const char *key, uint64_t max, uint64_t *out, struct err *err);
int arg_optional_uint(item map, const char *key, uint64_t max, uint64_t fallback, uint64_t *out,
                      struct err *err);
/* An integer or float that is larger than 0 and finite. */
int arg_number(item map, const char *key, double *out, struct err *err);
int arg_bool(item map, const char *key, bool *out, struct err *err);
int arg_optional_bool(item map, const char *key, bool fallback, bool *out, struct err *err);
int arg_bytes(item map, const char *key, const uint8_t **data, size_t *len, struct err *err);
int arg_list(item map, const char *key, item *list, size_t *count, struct err *err);
item list_at(item list, size_t index);
/* NULL-terminated; free with strings_free. */
int arg_strings(item map, const char *key, char ***out, struct err *err);
void strings_free(char **strings);

/* ---- frames ---- */
/* Starts a frame; frame_end fills its length in. */
size_t frame_begin(struct out *out);
void frame_end(struct out *out, size_t begin);
/* The request's map if data holds one whole frame: *used is its length. NULL and *used 0: more bytes are needed;
 * NULL and *used > 0: the frame is malformed. The caller releases it with cbor_decref. */
cbor_item_t *frame_parse(const uint8_t *data, size_t len, size_t *used);
