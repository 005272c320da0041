/* Lists of address ranges: ascending, apart from each other. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct range {
    uint64_t start, end;
};

struct ranges {
    struct range *list;
    size_t count, room;
};

void ranges_free(struct ranges *ranges);
/* At the end; joined to the last one where they touch. An empty one is left out. */
void ranges_append(struct ranges *ranges, uint64_t start, uint64_t end);
/* The caller frees what they return. */
struct ranges ranges_both(const struct ranges *a, const struct ranges *b);
struct ranges ranges_either(const struct ranges *a, const struct ranges *b);
struct ranges ranges_without(const struct ranges *a, const struct ranges *b);
uint64_t ranges_bytes(const struct ranges *ranges);
