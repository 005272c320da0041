/* Counters (eventfd) and queues of signals (signalfd): what is told by the description alone. */
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>

#include "fd.h"
#include "handle.h"

/* ---- counters ---- */

struct kept_event {
    uint64_t count;
    bool is_semaphore;
};

static bool is_event(const struct seen *seen)
{
    return strcmp(seen->link, "anon_inode:[eventfd]") == 0;
}

static int capture_event(const struct seen *seen, struct image_handle *handle)
{
    struct kept_event *kept = handle->kept = handle_keep(sizeof *kept);

    kept->count = seen_number(seen, "eventfd-count:", 16);
    kept->is_semaphore = seen_number(seen, "eventfd-semaphore:", 10) != 0;
    /* only the kernel itself counts as far */
    return kept->count == UINT64_MAX ? seen_refuse(seen, "its counter has overflowed") : 0;
}

static int open_event(const struct opening *opening, const struct image_handle *handle)
{
    const struct kept_event *kept = handle->kept;
    const int flags = EFD_CLOEXEC | (handle->flags & O_NONBLOCK) | (kept->is_semaphore ? EFD_SEMAPHORE : 0);
    cleanup_fd fd = opening_make(opening, SYS_eventfd2, 0, (uint64_t)flags, 0, 0);

    if (fd >= 0 && kept->count > 0 && write(fd, &kept->count, sizeof kept->count) < 0) {
        return -errno;
    }
    return fd_steal(&fd);
}

static void pack_event(struct pack *pack, struct image_handle *handle)
{
    struct kept_event *kept = pack_kept(pack, &handle->kept, sizeof *kept);

    PACK(pack, kept->count);
    pack_check(pack, kept->count != UINT64_MAX, "a counter has overflowed");
    PACK(pack, kept->is_semaphore);
}

const struct handle_kind handle_event = {
    .name = "eventfd", .is_it = is_event, .capture = capture_event, .open = open_event, .pack = pack_event};

/* ---- signals ---- */

static bool is_signal(const struct seen *seen)
{
    return strcmp(seen->link, "anon_inode:[signalfd]") == 0;
}

static int capture_signal(const struct seen *seen, struct image_handle *handle)
{
    uint64_t *mask = handle->kept = handle_keep(sizeof *mask);

    *mask = seen_number(seen, "sigmask:", 16);
    return 0;
}

static int open_signal(const struct opening *opening, const struct image_handle *handle)
{
    const uint64_t mask = opening_data(opening, handle->kept, sizeof(uint64_t));

    return mask == 0 ? -EFAULT
                     : opening_make(opening, SYS_signalfd4, (uint64_t)-1, mask, sizeof(uint64_t),
                                    SFD_CLOEXEC | (uint64_t)(handle->flags & O_NONBLOCK));
}

static void pack_signal(struct pack *pack, struct image_handle *handle)
{
    uint64_t *mask = pack_kept(pack, &handle->kept, sizeof *mask);

    PACK(pack, *mask);
}

const struct handle_kind handle_signal = {.name = "signalfd",
                                          .is_it = is_signal,
                                          .capture = capture_signal,
                                          .open = open_signal,
                                          .pack = pack_signal};
