#include "ranges.h"

#include <stdbool.h>
#include <stdlib.h>

#include "error.h"

void ranges_free(struct ranges *ranges)
{
    free(ranges->list);
    *ranges = (struct ranges){0};
}

void ranges_append(struct ranges *ranges, uint64_t start, uint64_t end)
{
    if (start >= end) {
        return;
    }
    if (ranges->count > 0 && ranges->list[ranges->count - 1].end == start) {
        ranges->list[ranges->count - 1].end = end;
        return;
    }
    if (ranges->count == ranges->room) {
        ranges->room = ranges->room ? ranges->room * 2 : 32;
        ranges->list = realloc(ranges->list, ranges->room * sizeof *ranges->list);
        if (!ranges->list) {
            die("out of memory");
        }
    }
    ranges->list[ranges->count++] = (struct range){.start = start, .end = end};
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

struct ranges ranges_both(const struct ranges *a, const struct ranges *b)
{
    struct ranges both = {0};

    for (size_t i = 0, j = 0; i < a->count && j < b->count;) {
        ranges_append(&both, later(a->list[i].start, b->list[j].start),
                      earlier(a->list[i].end, b->list[j].end));
        if (a->list[i].end < b->list[j].end) {
            i++;
        } else {
            j++;
        }
    }
    return both;
}

struct ranges ranges_either(const struct ranges *a, const struct ranges *b)
{
    struct ranges either = {0};
    struct range last = {0, 0};

    for (size_t i = 0, j = 0; i < a->count || j < b->count;) {
        bool from_a = j == b->count || (i < a->count && a->list[i].start <= b->list[j].start);
        struct range next = from_a ? a->list[i++] : b->list[j++];
        if (next.start <= last.end) {
            last.end = later(last.end, next.end);
            continue;
        }
        ranges_append(&either, last.start, last.end);
        last = next;
    }
    ranges_append(&either, last.start, last.end);
    return either;
}

struct ranges ranges_without(const struct ranges *a, const struct ranges *b)
{
    struct ranges left = {0};

    for (size_t i = 0, j = 0; i < a->count; i++) {
        uint64_t start = a->list[i].start;
        while (j < b->count && b->list[j].end <= start) {
            j++;
        }
        for (size_t k = j; k < b->count && b->list[k].start < a->list[i].end; k++) {
            ranges_append(&left, start, earlier(b->list[k].start, a->list[i].end));
            start = later(start, b->list[k].end);
        }
        ranges_append(&left, start, a->list[i].end);
    }
    return left;
}

uint64_t ranges_bytes(const struct ranges *ranges)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < ranges->count; i++) {
        bytes += ranges->list[i].end - ranges->list[i].start;
    }
    return bytes;
}
