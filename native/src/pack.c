#include "pack.h"

#include <string.h>

#include "engine.h"
#include "fd.h"

#define PAGE_BYTES 4096u
#define TASK_END 0x7ffffffff000ULL
/* So many bytes of memory for each that is read, and as many more for anything. */
#define GROWTH 32u
#define GROWTH_FREE (1u << 20)

void pack_free(struct pack *pack)
{
    out_free(&pack->out);
}

void pack_check(struct pack *pack, bool holds, const char *what)
{
    if (!holds && !pack->failure) {
        pack->failure = what;
        pack->at = pack->end;
    }
}

static size_t bytes_left(const struct pack *pack)
{
    return (size_t)(pack->end - pack->at);
}

/* ---- numbers: seven bits in each byte, the lowest first; the sign is the lowest bit of all ---- */

static uint64_t read_varint(struct pack *pack)
{
    uint64_t value = 0;

    for (unsigned shift = 0; pack->at < pack->end && shift < 64; shift += 7) {
        const uint8_t byte = *pack->at++;
        const uint64_t bits = byte & 0x7f;
        pack->read++;
        value |= bits << shift;
        if (byte < 0x80) { /* one way to write each number */
            const bool is_one = bits << shift >> shift == bits && (byte > 0 || shift == 0);
            pack_check(pack, is_one, "a number is written as none is");
            return is_one ? value : 0;
        }
    }
    pack_check(pack, false, "a number has no end");
    return 0;
}

static void write_varint(struct pack *pack, uint64_t value)
{
    uint8_t bytes[10];
    size_t count = 0;

    for (; value >= 0x80; value >>= 7) {
        bytes[count++] = (uint8_t)(value | 0x80);
    }
    bytes[count++] = (uint8_t)value;
    out_raw(&pack->out, bytes, count);
}

int64_t pack_number(struct pack *pack, int64_t value)
{
    if (!pack->is_reading) {
        write_varint(pack, (uint64_t)value << 1 ^ (uint64_t)(value >> 63));
        return value;
    }
    const uint64_t coded = read_varint(pack);
    return (int64_t)(coded >> 1 ^ -(coded & 1));
}

/* ---- bytes ---- */

void pack_raw(struct pack *pack, void *data, size_t size)
{
    if (!pack->is_reading) {
        out_raw(&pack->out, data, size);
        return;
    }
    pack_check(pack, bytes_left(pack) >= size, "it ends too early");
    if (pack->failure) {
        memset(data, 0, size);
        return;
    }
    memcpy(data, pack->at, size);
    pack->at += size;
    pack->read += size;
}

void pack_text(struct pack *pack, char *text, size_t room)
{
    size_t length = pack->is_reading ? 0 : strnlen(text, room - 1);

    PACK(pack, length);
    pack_check(pack, length < room, "a text is too long");
    if (pack->failure) {
        length = 0;
    }
    pack_raw(pack, text, length);
    if (pack->is_reading) {
        text[length] = '\0';
        pack_check(pack, strlen(text) == length, "a text has a NUL in it");
    }
}

void pack_api_id(struct pack *pack, char id[ID_MAX + 1], bool or_none)
{
    pack_text(pack, id, ID_MAX + 1);
    pack_check(pack, pack->failure || is_id(id) || (or_none && !id[0]), "an id is none");
}

static void *made(size_t size)
{
    void *room = calloc(1, size);

    if (!room) {
        die("out of memory");
    }
    return room;
}

void pack_bytes(struct pack *pack, uint8_t **data, size_t *count)
{
    PACK(pack, *count);
    if (pack->is_reading) {
        pack_check(pack, *count <= bytes_left(pack), "it ends too early");
        *count = pack->failure ? 0 : *count;
        *data = made(*count + 1);
    }
    pack_raw(pack, *data, *count);
}

void pack_string(struct pack *pack, char **text)
{
    bool is_there = *text != NULL;

    PACK(pack, is_there);
    if (!is_there) {
        *text = NULL;
        return;
    }
    size_t length = pack->is_reading ? 0 : strlen(*text);
    pack_bytes(pack, (uint8_t **)text, &length);
    pack_check(pack, strlen(*text) == length, "a text has a NUL in it");
}

/* ---- structures ---- */

/* Room for one more; doubled, as lists are that are added to elsewhere. */
static void *grown(void *list, size_t count, size_t size)
{
    if (count == 0 || (count & (count - 1)) != 0) { /* there is room for one from the beginning */
        return list;
    }
    list = realloc(list, 2 * count * size);
    if (!list) {
        die("out of memory");
    }
    memset((char *)list + count * size, 0, count * size);
    return list;
}

static void read_list(struct pack *pack, void **list, size_t *count, size_t size, pack_each *each)
{
    const size_t wanted = *count;

    pack_check(pack, wanted <= bytes_left(pack), "a list is too long");
    *list = made(size);
    for (*count = 0; *count < wanted && !pack->failure;) {
        *list = grown(*list, *count, size);
        pack->room += size;
        each(pack, (char *)*list + (*count)++ * size);
        pack_check(pack, pack->room / GROWTH <= pack->read + GROWTH_FREE / GROWTH,
                   "it says much in few bytes");
    }
}

void pack_list(struct pack *pack, void **list, size_t *count, size_t size, pack_each *each)
{
    PACK(pack, *count);
    if (pack->is_reading) {
        read_list(pack, list, count, size, each);
        return;
    }
    for (size_t i = 0; i < *count; i++) {
        each(pack, (char *)*list + i * size);
    }
}

void pack_count(struct pack *pack, void **list, size_t *count, size_t size, size_t least)
{
    PACK(pack, *count);
    if (pack->is_reading) {
        pack_check(pack, *count <= bytes_left(pack) / least, "a list is too long");
        *count = pack->failure ? 0 : *count;
        *list = made((*count + 1) * size);
    }
}

void pack_items(struct pack *pack, void *list, size_t *count, size_t size, pack_each *each)
{
    const size_t wanted = *count;

    for (size_t i = 0; i < wanted; i++) {
        if (pack->failure) {
            *count = pack->is_reading ? i : wanted;
            return;
        }
        each(pack, (char *)list + i * size);
    }
}

void pack_ranges(struct pack *pack, struct ranges *ranges)
{
    size_t count = ranges->count;
    uint64_t at = 0;

    PACK(pack, count);
    for (size_t i = 0; i < count && !pack->failure; i++) {
        struct range range = pack->is_reading ? (struct range){0} : ranges->list[i];
        uint64_t gap = (range.start - at) / PAGE_BYTES, pages = (range.end - range.start) / PAGE_BYTES;
        PACK(pack, gap);
        PACK(pack, pages);
        pack_check(pack,
                   pages > 0 && (gap > 0 || i == 0) && gap <= TASK_END / PAGE_BYTES &&
                       pages <= TASK_END / PAGE_BYTES && at + (gap + pages) * PAGE_BYTES <= TASK_END,
                   "pages lie outside of memory");
        if (pack->is_reading && !pack->failure) {
            ranges_append(ranges, at + gap * PAGE_BYTES, at + (gap + pages) * PAGE_BYTES);
        }
        at += (gap + pages) * PAGE_BYTES;
    }
}

void pack_id(struct pack *pack, uint32_t *id)
{
    uint32_t inside = *id - engine.uid_base;

    PACK(pack, inside);
    pack_check(pack, inside < ID_RANGE, "an id is not one of the sandbox's");
    *id = inside + engine.uid_base;
}

void pack_index(struct pack *pack, size_t *index, size_t count, bool or_none)
{
    PACK(pack, *index);
    pack_check(pack, *index < count || (or_none && *index == SIZE_MAX), "it names what is not there");
}

void pack_tree(struct pack *pack, size_t *tree)
{
    PACK(pack, *tree);
    pack_check(pack, !pack->is_reading || *tree < pack->tree_count, "it names a tree that is not there");
}

void pack_address(struct pack *pack, void *address, socklen_t *size, size_t room)
{
    PACK(pack, *size);
    pack_check(pack, *size <= room, "a name is too long");
    pack_raw(pack, address, pack->failure ? 0 : *size);
}

void pack_take(struct pack *pack, size_t *left, size_t size)
{
    pack_check(pack, size <= *left, "it has fewer bytes");
    *left -= pack->failure ? 0 : size;
}

void *pack_kept(struct pack *pack, void **kept, size_t size)
{
    if (pack->is_reading) {
        *kept = made(size);
    }
    return *kept;
}
