/* Images that are made by hand, as another kernel has left them: what is in them is not understood, all sums are compared. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <zstd.h>

#include "check.h"
#include "check_images.h"
#include "fd.h"
#include "format.h"

#define PAGE 4096u
#define PAGES 3u

static uint64_t last_sum[2]; /* of an index */
static char directory[] = "/tmp/dbx-check-XXXXXX";

static void path_of(const char *id, char path[256])
{
    snprintf(path, 256, "%s/%s", directory, id);
}

static void add(struct out *file, const void *data, size_t size)
{
    out_raw(file, data, size);
}

static void describe(struct out *file, struct format_tail *tail)
{
    struct pack pack = {0};

    format_pack_circumstances(&pack);
    pack.out.data[2] ^= 1; /* of the machine's name */
    tail->description_at = file->len;
    tail->description_bytes = pack.out.len;
    format_sum(pack.out.data, pack.out.len, tail->description_sum);
    add(file, pack.out.data, pack.out.len);
    pack_free(&pack);
}

static void list(struct out *file, struct format_tail *tail, struct stored *stored, const char *base)
{
    struct pack pack = {0};
    char parent[ID_MAX + 1] = "", base_id[ID_MAX + 1];

    snprintf(base_id, sizeof base_id, "%s", base);
    pack_text(&pack, parent, sizeof parent);
    stored_pack(&pack, stored, base_id);
    tail->process_count = 1;
    tail->body_count = 1;
    tail->index_at = file->len;
    tail->index_bytes = pack.out.len;
    format_sum(pack.out.data, pack.out.len, tail->index_sum);
    add(file, pack.out.data, pack.out.len);
    pack_free(&pack);
}

/* Pages as they are, then the same compressed. Returns the bytes of the file. */
static off_t make_image(const char *id, const char *base)
{
    const struct format_head head = format_head();
    struct format_tail tail = {0};
    struct out file = {0};
    struct stored *stored = stored_new(id, 1, 1);
    uint8_t pages[PAGES * PAGE], squeezed[2 * PAGES * PAGE];
    char path[256];

    for (size_t i = 0; i < sizeof pages; i++) {
        pages[i] = (uint8_t)(i / 16);
    }
    add(&file, &head, sizeof head);
    struct extent extent = {.count = PAGES, .whole = PAGES, .bytes = sizeof pages, .offset = file.len};
    format_sum(pages, sizeof pages, extent.sum);
    add(&file, pages, sizeof pages);
    body_add(&stored->bodies[0], &extent);
    extent = (struct extent){.page = 10, .count = 1, .skip = 1, .whole = PAGES, .offset = file.len};
    extent.bytes = (uint32_t)ZSTD_compress(squeezed, sizeof squeezed, pages, sizeof pages, 1);
    format_sum(squeezed, extent.bytes, extent.sum);
    add(&file, squeezed, extent.bytes);
    body_add(&stored->bodies[0], &extent);
    stored->depth = base[0] ? 1 : 0;
    stored->bodies[0].below = base[0] ? 0 : SIZE_MAX;
    if (base[0]) { /* which was the last to be made */
        stored->base = stored_new(base, 1, 1);
        memcpy(stored->base->sum, last_sum, sizeof last_sum);
    }
    describe(&file, &tail);
    list(&file, &tail, stored, base);
    memcpy(last_sum, tail.index_sum, sizeof last_sum);
    format_seal(&tail);
    add(&file, &tail, sizeof tail);
    path_of(id, path);
    cleanup_fd fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    CHECK(write(fd, file.data, file.len) == (ssize_t)file.len);
    const off_t bytes = (off_t)file.len;
    stored_leave(stored);
    out_free(&file);
    return bytes;
}

static void flip(const char *id, off_t at)
{
    char path[256];
    uint8_t byte;

    path_of(id, path);
    cleanup_fd fd = open(path, O_RDWR);
    CHECK(pread(fd, &byte, 1, at) == 1);
    byte = (uint8_t)~byte;
    CHECK(pwrite(fd, &byte, 1, at) == 1);
}

/* What is told of them, by a process of its own: it prints. */
static void told(char *const ids[], int count, char said[1024])
{
    int ends[2], status;

    CHECK(pipe(ends) == 0);
    fflush(stdout);
    const pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], 1);
        _exit(check_images(directory, ids, count));
    }
    close(ends[1]);
    const ssize_t got = read(ends[0], said, 1023);
    said[got > 0 ? got : 0] = '\0';
    close(ends[0]);
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

static bool is_whole(const char *id)
{
    char *const ids[] = {(char *)id}; /* NOLINT */
    char said[1024];

    told(ids, 1, said);
    return strstr(said, "\"ok\":true") != NULL;
}

static void test_whole(off_t bytes)
{
    char *const ids[] = {"above", "below", "none"};
    char said[1024], expected[1024];

    told(ids, 3, said);
    snprintf(
        expected, sizeof expected,
        "{\"images\":["
        "{\"id\":\"above\",\"ok\":true,\"damaged\":false,\"detail\":\"the image above: " PACK_OTHER_KERNEL
        "\",\"bytes\":%ld},"
        "{\"id\":\"below\",\"ok\":true,\"damaged\":false,\"detail\":\"the image below: " PACK_OTHER_KERNEL
        "\",\"bytes\":",
        (long)bytes);
    CHECK(strncmp(said, expected, strlen(expected)) == 0);
    CHECK(strstr(said, "{\"id\":\"none\",\"ok\":false,\"damaged\":false,\"detail\":\"there is no image "
                       "none\",\"bytes\":0}]}\n"));
}

static void test_every_byte(off_t bytes)
{
    for (off_t at = 0; at < bytes; at += at < 300 || at > bytes - 400 ? 1 : 211) {
        flip("above", at);
        CHECK(!is_whole("above"));
        flip("above", at);
    }
    CHECK(is_whole("above"));
}

static void test_chain(void)
{
    flip("below", sizeof(struct format_head) + 5);
    CHECK(!is_whole("below"));
    CHECK(is_whole("above")); /* pages in other files are not its own */
    flip("below", sizeof(struct format_head) + 5);
    char path[256];
    path_of("below", path);
    CHECK(unlink(path) == 0);
    CHECK(!is_whole("above"));
}

static void test_names(void)
{
    CHECK(!is_whole("../above"));
    CHECK(!is_whole(""));
    CHECK(!is_whole("a\"b"));
}

int main(void)
{
    char path[256];

    CHECK(mkdtemp(directory) != NULL);
    make_image("below", "");
    const off_t bytes = make_image("above", "below");
    test_whole(bytes);
    test_every_byte(bytes);
    test_chain();
    test_names();
    path_of("above", path);
    unlink(path);
    rmdir(directory);
    return DONE("check");
}
