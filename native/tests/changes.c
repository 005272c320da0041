#include "changes.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "pack.h"

#define PIECE 64

static uint64_t state;

void draw_seed(uint64_t seed)
{
    state = seed * 0x9e3779b97f4a7c15ULL + 1;
}

uint64_t draw(uint64_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return below ? state % below : 0;
}

time_t seconds_now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec;
}

/* ---- changing bytes ---- */

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

struct bytes changed(const uint8_t *data, size_t size, unsigned most)
{
    struct bytes bytes = {.data = malloc(2 * size), .size = size, .room = 2 * size};
    const uint64_t changes = most > 0 ? 1 + draw(most) : 0;

    CHECK(bytes.data != NULL);
    memcpy(bytes.data, data, size);
    for (uint64_t i = 0; i < changes; i++) {
        change(&bytes);
    }
    return bytes;
}
