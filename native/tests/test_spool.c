#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "spool.h"

#define CAPACITY (64 * 1024)

static char dir_path[] = "/tmp/deltabox-test-XXXXXX";

/* The byte that stands at `offset` of the test's stream. */
static char byte_at(uint64_t offset)
{
    return (char)(offset * 2654435761u >> 13);
}

static void put(struct spool *spool, size_t len)
{
    static char data[4 * CAPACITY];

    for (size_t i = 0; i < len; i++) {
        data[i] = byte_at(spool->written + i);
    }
    CHECK(spool_put(spool, data, len) == (int64_t)len);
}

static void expect(const struct spool *spool, uint64_t from, uint64_t first, size_t count)
{
    static char data[4 * CAPACITY];
    uint64_t offset = from;

    CHECK(spool_get(spool, &offset, data, count) == (int64_t)count);
    CHECK(offset == first);
    for (size_t i = 0; i < count; i++) {
        if (data[i] != byte_at(first + i)) {
            CHECK(data[i] == byte_at(first + i));
        }
    }
}

static void test_old_bytes_go(int dir)
{
    struct spool spool;

    CHECK(spool_create(&spool, dir, "a", CAPACITY) == 0);
    put(&spool, 1000);
    expect(&spool, 0, 0, 1000);
    expect(&spool, 990, 990, 10);
    for (int i = 0; i < 300; i++) {
        put(&spool, 997);
    }
    CHECK(spool_oldest(&spool) == spool.written - CAPACITY);
    expect(&spool, 0, spool.written - CAPACITY, CAPACITY);
    expect(&spool, spool.written - 5, spool.written - 5, 5);
    expect(&spool, spool.written, spool.written, 0);
    spool_close(&spool);
}

static void test_hold_keeps_them(int dir)
{
    struct spool spool;
    char byte = 'x';

    CHECK(spool_create(&spool, dir, "b", CAPACITY) == 0);
    spool.hold = true;
    put(&spool, CAPACITY);
    CHECK(spool_room(&spool) == 0);
    CHECK(spool_put(&spool, &byte, 1) == 0);
    spool.released = 10;
    CHECK(spool_room(&spool) == 10);
    put(&spool, 10);
    expect(&spool, 10, 10, CAPACITY);
    spool_close(&spool);
}

static void test_a_name_is_taken_once(int dir)
{
    struct spool spool;

    CHECK(spool_create(&spool, dir, "a", CAPACITY) == -EEXIST);
}

/* On a full disk the ring ends where it is and goes round there. */
static void test_full_disk(int dir)
{
    struct spool spool;
    char fill[4096] = {0};

    if (mount("none", dir_path, "tmpfs", 0, "size=256k") < 0) {
        fprintf(stderr, "spool: the full disk needs root\n");
        exit(1);
    }
    int small = open(dir_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    CHECK(spool_create(&spool, small, "c", 4 << 20) == 0);
    int filler = openat(small, "filler", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    while (write(filler, fill, sizeof fill) > 0) {
    }
    for (int i = 0; i < 100; i++) {
        put(&spool, 4000);
    }
    CHECK(spool.capacity < 256 * 1024);
    CHECK(spool.capacity >= CAPACITY);
    expect(&spool, 0, spool.written - spool.capacity, (size_t)spool.capacity);
    spool_close(&spool);
    close(filler);
    close(small);
    CHECK(umount2(dir_path, 0) == 0);
    (void)dir;
}

int main(void)
{
    CHECK(mkdtemp(dir_path) != NULL);
    int dir = open(dir_path, O_PATH | O_DIRECTORY | O_CLOEXEC);

    test_old_bytes_go(dir);
    test_hold_keeps_them(dir);
    test_a_name_is_taken_once(dir);
    CHECK(unlinkat(dir, "a", 0) == 0 && unlinkat(dir, "b", 0) == 0);
    test_full_disk(dir);
    close(dir);
    CHECK(rmdir(dir_path) == 0);
    return DONE("spool");
}
