#include "format.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <xxhash.h>
#include <zstd.h>

#include "fd.h"

#define HEAD_MAGIC "DBXIMAGE"
#define TAIL_MAGIC "DBXWHOLE"
#define PART_MAX (256ULL << 20)
#define PAGE_BYTES 4096u
#define FLAGS_BYTES 4096

/* ---- sums ---- */

void format_sum(const void *data, size_t size, uint64_t sum[2])
{
    const XXH128_hash_t hash = XXH3_128bits(data, size);

    sum[0] = hash.low64;
    sum[1] = hash.high64;
}

bool format_is_sum(const void *data, size_t size, const uint64_t sum[2])
{
    uint64_t actual[2];

    format_sum(data, size, actual);
    return actual[0] == sum[0] && actual[1] == sum[1];
}

static uint64_t sum_of(const struct format_tail *tail)
{
    return XXH3_64bits(tail, offsetof(struct format_tail, sum));
}

/* ---- head and tail ---- */

struct format_head format_head(void)
{
    struct format_head head = {.version = FORMAT_VERSION};

    memcpy(head.magic, HEAD_MAGIC, sizeof head.magic);
    return head;
}

void format_seal(struct format_tail *tail)
{
    memcpy(tail->magic, TAIL_MAGIC, sizeof tail->magic);
    tail->sum = sum_of(tail);
}

int format_damaged(const char *id, const char *what, struct err *err)
{
    return err_set(err, ERR_DAMAGED, "the image %s is damaged: %s", id, what);
}

static bool is_within(const struct format_file *file, uint64_t at, uint64_t bytes)
{
    return at <= file->bytes && bytes <= file->bytes - at;
}

/* Each part begins where the one before ends: nothing is in the file that no sum is of. */
static bool are_in_order(const struct format_file *file)
{
    const struct format_tail *tail = &file->tail;
    const uint64_t end = file->bytes - sizeof *tail;

    return tail->description_at >= sizeof(struct format_head) && tail->index_at <= end &&
           tail->description_at <= tail->index_at &&
           tail->description_bytes == tail->index_at - tail->description_at &&
           tail->index_bytes == end - tail->index_at;
}

static int read_ends(struct format_file *file, struct err *err)
{
    struct format_head head;
    struct format_tail *tail = &file->tail;
    struct stat st;

    if (fstat(file->fd, &st) < 0) {
        return err_system(err, errno, "look at image", "%s", file->id);
    }
    if (!S_ISREG(st.st_mode)) {
        return format_damaged(file->id, "it is no file", err);
    }
    file->bytes = (uint64_t)st.st_size;
    if (file->bytes < sizeof head + sizeof *tail ||
        pread(file->fd, &head, sizeof head, 0) != (ssize_t)sizeof head ||
        pread(file->fd, tail, sizeof *tail, st.st_size - (off_t)sizeof *tail) != (ssize_t)sizeof *tail) {
        return format_damaged(file->id, "it is too short", err);
    }
    if (memcmp(head.magic, HEAD_MAGIC, sizeof head.magic) != 0) {
        return format_damaged(file->id, "it is no image", err);
    }
    if (head.version != FORMAT_VERSION) {
        return err_set(err, ERR_NO_IMAGE, "the image %s has format %u, this engine knows %u", file->id,
                       head.version, FORMAT_VERSION);
    }
    if (memcmp(tail->magic, TAIL_MAGIC, sizeof tail->magic) != 0 || tail->sum != sum_of(tail) ||
        head.reserved != 0 || !are_in_order(file) || tail->process_count > tail->body_count) {
        return format_damaged(file->id, "its end is not what was written", err);
    }
    return 0;
}

int format_open(struct format_file *file, const char *directory, const char *id, struct err *err)
{
    char path[4096];

    *file = (struct format_file){.fd = -1};
    snprintf(file->id, sizeof file->id, "%s", id);
    snprintf(path, sizeof path, "%s/%s", directory, id);
    cleanup_fd fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT ? err_set(err, ERR_NO_IMAGE, "there is no image %s", id)
                               : err_system(err, errno, "open image", "%s", path);
    }
    file->fd = fd;
    if (read_ends(file, err) < 0) {
        file->fd = -1;
        return -1;
    }
    fd_steal(&fd);
    return 0;
}

uint8_t *format_read(const struct format_file *file, uint64_t at, uint64_t bytes, const uint64_t sum[2],
                     const char *what, struct err *err)
{
    if (bytes > PART_MAX || !is_within(file, at, bytes)) {
        format_damaged(file->id, what, err);
        return NULL;
    }
    uint8_t *data = malloc(bytes + 1);
    if (!data) {
        die("out of memory");
    }
    const ssize_t got = RETRY_EINTR(pread(file->fd, data, bytes, (off_t)at));
    if (got == (ssize_t)bytes && format_is_sum(data, bytes, sum)) {
        return data;
    }
    if (got < 0) {
        err_system(err, errno, "read image", "%s", file->id);
    } else {
        format_damaged(file->id, what, err);
    }
    free(data);
    return NULL;
}

const uint8_t *format_read_extent(const struct format_file *file, const struct extent *extent, uint8_t *raw,
                                  uint8_t *pages, struct err *err)
{
    const size_t whole = (size_t)extent->whole * PAGE_BYTES;
    const ssize_t got = RETRY_EINTR(pread(file->fd, raw, extent->bytes, (off_t)extent->offset));

    if (got < 0) {
        err_system(err, errno, "read image", "%s", file->id);
        return NULL;
    }
    if ((size_t)got != extent->bytes || !format_is_sum(raw, extent->bytes, extent->sum)) {
        format_damaged(file->id, "pages of it are not what was written", err);
        return NULL;
    }
    if (extent->bytes == whole) {
        return raw;
    }
    if (ZSTD_decompress(pages, whole, raw, extent->bytes) != whole) {
        format_damaged(file->id, "pages of it cannot be unpacked", err);
        return NULL;
    }
    return pages;
}

/* ---- circumstances ---- */

/* Programs have looked at what the processor can do, and use it. */
static const char *processor_flags(void)
{
    static char flags[FLAGS_BYTES];
    char line[FLAGS_BYTES];
    FILE *file = flags[0] ? NULL : fopen("/proc/cpuinfo", "re");

    while (file && !flags[0] && fgets(line, sizeof line, file)) {
        const char *colon = strchr(line, ':');
        if (colon && (strncmp(line, "flags", 5) == 0 || strncmp(line, "Features", 8) == 0)) {
            snprintf(flags, sizeof flags, "%.*s ", (int)strcspn(colon + 1, "\n"), colon + 1);
        }
    }
    if (file) {
        fclose(file);
    }
    return flags;
}

static bool has_all_flags(char *wanted)
{
    const char *has = processor_flags();
    char *rest = NULL, word[64];

    for (const char *flag = strtok_r(wanted, " ", &rest); flag; flag = strtok_r(NULL, " ", &rest)) {
        snprintf(word, sizeof word, " %.60s ", flag);
        if (!strstr(has, word)) {
            return false;
        }
    }
    return true;
}

/* The kernel's code in each process is the same as long as the kernel is. */
static uint64_t kernel_code_sum(void)
{
    const uint8_t *vdso = (const uint8_t *)getauxval(AT_SYSINFO_EHDR); /* NOLINT */

    return vdso ? XXH3_64bits(vdso, 4096) : 0;
}

void format_pack_circumstances(struct pack *pack)
{
    struct utsname own, name;
    char flags[FLAGS_BYTES];
    uint64_t code = kernel_code_sum();

    uname(&own);
    name = own;
    snprintf(flags, sizeof flags, "%s", processor_flags());
    pack_text(pack, name.machine, sizeof name.machine);
    pack_text(pack, name.release, sizeof name.release);
    pack_text(pack, name.version, sizeof name.version);
    pack_raw(pack, &code, sizeof code);
    pack_text(pack, flags, sizeof flags);
    pack_check(pack,
               strcmp(name.machine, own.machine) == 0 && strcmp(name.release, own.release) == 0 &&
                   strcmp(name.version, own.version) == 0 && code == kernel_code_sum(),
               PACK_OTHER_KERNEL);
    pack_check(pack, has_all_flags(flags), PACK_OTHER_PROCESSOR);
}
