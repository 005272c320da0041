/* Bytes as somebody changes them who does not know what they mean, or does: a bit, a byte, a number, a piece more or less. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct bytes {
    uint8_t *data;
    size_t size, room;
};

void draw_seed(uint64_t seed);
uint64_t draw(uint64_t below);
time_t seconds_now(void);
/* A copy with one to `most` changes, or none; to be freed. */
struct bytes changed(const uint8_t *data, size_t size, unsigned most);
