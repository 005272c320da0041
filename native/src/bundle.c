#include "bundle.h"

#include <string.h>
#include <xxhash.h>
#include <zstd.h>

#include "fd.h"

#define MAGIC "DBXSTATE"
#define ZSTD_LEVEL 1
/* The attributes of one file and its name. */
#define RECORD_MAX (16u << 20)

struct head {
    char magic[8];
    uint32_t version, reserved;
};

struct block_head {
    uint32_t raw_bytes, bytes; /* equal: it stands as it is; both 0: the end */
    uint64_t sum[2];
};

int bundle_damaged(const char *what, struct err *err)
{
    return err_set(err, ERR_DAMAGED, "the file is damaged: %s", what);
}

/* ---- whole blocks ---- */

/* That no block is left out, doubled or moved is seen too. */
static void sum_block(const struct bundle *bundle, const struct block_head *head, const void *data,
                      uint64_t sum[2])
{
    const uint64_t seed = bundle->number * 2 + (head->bytes == head->raw_bytes);
    const XXH128_hash_t hash = XXH3_128bits_withSeed(data, head->bytes, seed);

    sum[0] = hash.low64;
    sum[1] = hash.high64;
}

static int write_whole(const struct bundle *bundle, const void *data, size_t size, struct err *err)
{
    for (const uint8_t *at = data; size > 0;) {
        const ssize_t done = RETRY_EINTR(write(bundle->fd, at, size));
        if (done < 0) {
            return err_system(err, errno, "write", "the file");
        }
        at += done;
        size -= (size_t)done;
    }
    return 0;
}

static int read_whole(const struct bundle *bundle, void *data, size_t size, struct err *err)
{
    for (uint8_t *at = data; size > 0;) {
        const ssize_t done = RETRY_EINTR(read(bundle->fd, at, size));
        if (done <= 0) {
            return done < 0 ? err_system(err, errno, "read", "the file")
                            : bundle_damaged("it ends too early", err);
        }
        at += done;
        size -= (size_t)done;
    }
    return 0;
}

static int write_block(struct bundle *bundle, struct err *err)
{
    struct block_head head = {.raw_bytes = (uint32_t)bundle->used, .bytes = (uint32_t)bundle->used};
    const uint8_t *data = bundle->block;
    const size_t packed = bundle->used ? ZSTD_compress(bundle->packed, ZSTD_compressBound(BUNDLE_BLOCK), data,
                                                       bundle->used, ZSTD_LEVEL)
                                       : 0;

    if (packed > 0 && !ZSTD_isError(packed) && packed < bundle->used) {
        head.bytes = (uint32_t)packed;
        data = bundle->packed;
    }
    sum_block(bundle, &head, data, head.sum);
    bundle->number++;
    bundle->used = 0;
    return write_whole(bundle, &head, sizeof head, err) < 0 ? -1 : write_whole(bundle, data, head.bytes, err);
}

static int read_block(struct bundle *bundle, struct err *err)
{
    struct block_head head;
    uint64_t sum[2];

    if (read_whole(bundle, &head, sizeof head, err) < 0) {
        return -1;
    }
    if (head.raw_bytes > BUNDLE_BLOCK || head.bytes > head.raw_bytes ||
        (head.bytes == 0 && head.raw_bytes > 0)) {
        return bundle_damaged("a block is too long", err);
    }
    uint8_t *data = head.bytes == head.raw_bytes ? bundle->block : bundle->packed;
    if (read_whole(bundle, data, head.bytes, err) < 0) {
        return -1;
    }
    sum_block(bundle, &head, data, sum);
    if (sum[0] != head.sum[0] || sum[1] != head.sum[1]) {
        return bundle_damaged("a block is not what was written", err);
    }
    if (data == bundle->packed &&
        ZSTD_decompress(bundle->block, BUNDLE_BLOCK, data, head.bytes) != head.raw_bytes) {
        return bundle_damaged("a block cannot be unpacked", err);
    }
    bundle->number++;
    bundle->used = head.raw_bytes;
    bundle->at = 0;
    bundle->has_ended = head.raw_bytes == 0;
    return 0;
}

/* ---- the stream ---- */

static int begin(const struct bundle *bundle, struct err *err)
{
    struct head head = {.version = BUNDLE_VERSION};

    memcpy(head.magic, MAGIC, sizeof head.magic);
    if (!bundle->is_reading) {
        return write_whole(bundle, &head, sizeof head, err);
    }
    if (read_whole(bundle, &head, sizeof head, err) < 0) {
        return -1;
    }
    if (memcmp(head.magic, MAGIC, sizeof head.magic) != 0 || head.reserved != 0) {
        return err_set(err, ERR_BAD_REQUEST, "the file is no exported checkpoint");
    }
    if (head.version != BUNDLE_VERSION) {
        return err_set(err, ERR_VERSION, "the file has format %u, this version knows %u", head.version,
                       BUNDLE_VERSION);
    }
    return 0;
}

int bundle_begin(struct bundle *bundle, int fd, bool is_reading, struct err *err)
{
    *bundle = (struct bundle){.fd = fd, .is_reading = is_reading};
    bundle->block = malloc(BUNDLE_BLOCK);
    bundle->packed = malloc(ZSTD_compressBound(BUNDLE_BLOCK));
    if (!bundle->block || !bundle->packed) {
        die("out of memory");
    }
    return begin(bundle, err);
}

int bundle_put(struct bundle *bundle, const void *data, size_t size, struct err *err)
{
    for (const uint8_t *at = data; size > 0;) {
        const size_t room = BUNDLE_BLOCK - bundle->used, part = size < room ? size : room;
        memcpy(bundle->block + bundle->used, at, part);
        bundle->used += part;
        at += part;
        size -= part;
        if (bundle->used == BUNDLE_BLOCK && write_block(bundle, err) < 0) {
            return -1;
        }
    }
    return 0;
}

int bundle_end(struct bundle *bundle, struct err *err)
{
    if (bundle->used > 0 && write_block(bundle, err) < 0) {
        return -1;
    }
    return write_block(bundle, err);
}

const uint8_t *bundle_some(struct bundle *bundle, uint64_t most, size_t *size, struct err *err)
{
    if (bundle->at == bundle->used && !bundle->has_ended && read_block(bundle, err) < 0) {
        return NULL;
    }
    if (bundle->has_ended) {
        bundle_damaged("it ends too early", err);
        return NULL;
    }
    const uint8_t *some = bundle->block + bundle->at;
    const size_t left = bundle->used - bundle->at;
    *size = left < most ? left : (size_t)most;
    bundle->at += *size;
    return some;
}

int bundle_get(struct bundle *bundle, void *data, size_t size, struct err *err)
{
    for (uint8_t *at = data; size > 0;) {
        size_t part;
        const uint8_t *some = bundle_some(bundle, size, &part, err);
        if (!some) {
            return -1;
        }
        memcpy(at, some, part);
        at += part;
        size -= part;
    }
    return 0;
}

int bundle_expect_end(struct bundle *bundle, struct err *err)
{
    char more;

    if (bundle->at < bundle->used || read_block(bundle, err) < 0 || !bundle->has_ended) {
        return err->code ? -1 : bundle_damaged("it is too long", err);
    }
    return RETRY_EINTR(read(bundle->fd, &more, 1)) == 0 ? 0
                                                        : bundle_damaged("something follows its end", err);
}

void bundle_free(struct bundle *bundle)
{
    free(bundle->block);
    free(bundle->packed);
    *bundle = (struct bundle){.fd = -1};
}

/* ---- records ---- */

int bundle_put_record(struct bundle *bundle, bundle_pack *each, void *thing, struct err *err)
{
    struct pack pack = {0};

    each(&pack, thing);
    const uint32_t size = (uint32_t)pack.out.len;
    int result;
    if (pack.failure || pack.out.len > RECORD_MAX) {
        result =
            err_set(err, ERR_REFUSED, "%s", pack.failure ? pack.failure : "it says too much of one file");
    } else {
        result = bundle_put(bundle, &size, sizeof size, err);
        result = result < 0 ? result : bundle_put(bundle, pack.out.data, size, err);
    }
    pack_free(&pack);
    return result;
}

int bundle_get_record(struct bundle *bundle, bundle_pack *each, void *thing, struct err *err)
{
    uint32_t size;

    if (bundle_get(bundle, &size, sizeof size, err) < 0) {
        return -1;
    }
    if (size > RECORD_MAX) {
        return bundle_damaged("it says too much of one file", err);
    }
    cleanup_free char *bytes = malloc(size + 1);
    if (!bytes) {
        die("out of memory");
    }
    if (bundle_get(bundle, bytes, size, err) < 0) {
        return -1;
    }
    struct pack pack = {.is_reading = true, .at = (uint8_t *)bytes, .end = (uint8_t *)bytes + size};
    each(&pack, thing);
    pack_check(&pack, pack.at == pack.end, "it is too long");
    return pack.failure ? bundle_damaged(pack.failure, err) : 0;
}
