/* Interest lists (epoll). An entry is known by a description and the number it had when it was added, so it is added
 * again by a process, under that number, whatever else has the number now. */
#include <fcntl.h>
#include <linux/kcmp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

#include "fd.h"
#include "handle.h"

struct interest {
    int number;
    struct epoll_event event;
    size_t handle;
};

struct kept_epoll {
    struct interest *interests;
    size_t count;
    unsigned height; /* of those that wait for one another, this one the topmost; 0: not counted yet */
};

#define HEIGHT_MAX 8 /* the kernel's own limit is below */

static bool is_it(const struct seen *seen)
{
    return strcmp(seen->link, "anon_inode:[eventpoll]") == 0;
}

static int capture_epoll(const struct seen *seen, struct image_handle *handle)
{
    (void)seen;
    handle->kept = handle_keep(sizeof(struct kept_epoll));
    return 0;
}

static void forget(void *kept)
{
    struct kept_epoll *epoll = kept;

    free(epoll->interests);
    free(epoll);
}

/* ---- completing ---- */

struct target {
    const struct seen *seen;
    struct kcmp_epoll_slot slot;
};

static long order_of_target(const struct known_description *known, const void *with)
{
    const struct target *target = with;
    long order = syscall(SYS_kcmp, known->unit->thread->tid, target->seen->unit->thread->tid, KCMP_EPOLL_TFD,
                         known->number, &target->slot);

    return order == 1 ? 2 : order == 2 ? 1 : order; /* it is asked the other way round */
}

static size_t count_before(const struct kept_epoll *kept, int number)
{
    size_t count = 0;

    for (size_t i = 0; i < kept->count; i++) {
        count += kept->interests[i].number == number;
    }
    return count;
}

static struct interest *add_interest(struct kept_epoll *kept)
{
    kept->interests = realloc(kept->interests, (kept->count + 1) * sizeof *kept->interests);
    if (!kept->interests) {
        die("out of memory");
    }
    return &kept->interests[kept->count];
}

/* "tfd:        3 events: 80000019 data:                3  pos:0 ino:12 sdev:10" */
static int complete(const struct seen *seen, struct image_handle *handle)
{
    struct kept_epoll *kept = handle->kept;

    for (const char *line = strstr(seen->fdinfo, "\ntfd:"); line; line = strstr(line + 1, "\ntfd:")) {
        struct interest *interest = add_interest(kept);
        unsigned long long data;
        unsigned events;
        if (sscanf(line, "\ntfd: %d events: %x data: %llx", &interest->number, &events, &data) != 3) {
            return -EPROTO;
        }
        if (!(events & (EPOLLERR | EPOLLHUP))) {
            return seen_wait(seen, "EPOLLONESHOT has disarmed an entry of it, which was not armed again yet");
        }
        const struct target target = {.seen = seen,
                                      .slot = {.efd = (uint32_t)seen->number,
                                               .tfd = (uint32_t)interest->number,
                                               .toff = (uint32_t)count_before(kept, interest->number)}};
        interest->event = (struct epoll_event){.events = events, .data.u64 = data};
        interest->handle = handle_find(seen->image, order_of_target, &target);
        if (interest->handle == SIZE_MAX) {
            return seen_refuse(seen, "it waits for something that no process has open");
        }
        kept->count += interest->handle != HANDLE_REFUSED;
    }
    return 0;
}

/* ---- opening ---- */

/* What it waits for is opened here, where it still can be. */
static int open_epoll(const struct opening *opening, const struct image_handle *handle)
{
    const struct kept_epoll *kept = handle->kept;
    int fd = opening_make(opening, SYS_epoll_create1, EPOLL_CLOEXEC, 0, 0, 0);

    for (size_t i = 0; fd >= 0 && i < kept->count; i++) {
        int result = opening_fd(opening, kept->interests[i].handle);
        if (result < 0) {
            close(fd);
            fd = result;
        }
    }
    return fd;
}

static const struct image_descriptor *descriptor_at(const struct image_process *process, int number)
{
    for (size_t i = 0; i < process->descriptor_count; i++) {
        if (process->descriptors[i].number == number) {
            return &process->descriptors[i];
        }
    }
    return NULL;
}

/* For a moment the number leads to what is waited for. */
static int add_borrowed(const struct opening *opening, const struct interest *interest, int epoll,
                        const struct image_descriptor *in_place, uint64_t event)
{
    struct inject *inject = &opening->revived->puppet.inject;
    const uint64_t number = (uint64_t)interest->number;
    int result = inject_run_clear(inject), brought;

    if (result < 0 || (result = hand_over(&opening->revived->puppet.hand,
                                          &opening->revival->opened[interest->handle], 1, &brought)) < 0) {
        return result;
    }
    size_t saved = in_place ? inject_add(inject, SYS_fcntl, number, F_DUPFD_CLOEXEC, 0, 0, 0, 0) : 0;
    if (brought != interest->number) {
        inject_add(inject, SYS_dup3, (uint64_t)brought, number, O_CLOEXEC, 0, 0, 0);
    }
    result = subject_write(inject->subject, event, &interest->event, sizeof interest->event);
    inject_add(inject, SYS_epoll_ctl, (uint64_t)epoll, EPOLL_CTL_ADD, number, event, 0, 0);
    result = result < 0 ? result : inject_run(inject);
    const int kept = (int)inject->calls[saved].result;
    inject_clear(inject);
    if (result < 0) {
        return result;
    }
    if (in_place) {
        inject_add(inject, SYS_dup3, (uint64_t)kept, number, in_place->close_on_exec ? O_CLOEXEC : 0, 0, 0,
                   0);
        inject_add(inject, SYS_close, (uint64_t)kept, 0, 0, 0, 0, 0);
    } else {
        inject_add(inject, SYS_close, number, 0, 0, 0, 0, 0);
    }
    if (brought != interest->number) {
        inject_add(inject, SYS_close, (uint64_t)brought, 0, 0, 0, 0, 0);
    }
    return inject_run_clear(inject);
}

#define AT_ONCE 128

static int finish(const struct opening *opening, const struct image_handle *handle, int number)
{
    const struct kept_epoll *kept = handle->kept;
    struct inject *inject = &opening->revived->puppet.inject;
    int result = 0;

    for (size_t i = 0; result == 0 && i < kept->count; i++) {
        const struct interest *interest = &kept->interests[i];
        const struct image_descriptor *there = descriptor_at(opening->revived->image, interest->number);
        const uint64_t event = inject_data(inject) + inject->count * sizeof interest->event;
        if (!there || there->handle != interest->handle) {
            result = add_borrowed(opening, interest, number, there, event);
            continue;
        }
        result = subject_write(inject->subject, event, &interest->event, sizeof interest->event);
        inject_add(inject, SYS_epoll_ctl, (uint64_t)number, EPOLL_CTL_ADD, (uint64_t)interest->number, event,
                   0, 0);
        if (result == 0 && inject->count == AT_ONCE) {
            result = inject_run_clear(inject);
        }
    }
    return result < 0 ? result : inject_run_clear(inject);
}

static void pack_interest(struct pack *pack, struct interest *interest)
{
    uint32_t events = interest->event.events;
    uint64_t data = interest->event.data.u64;

    PACK(pack, interest->number);
    pack_check(pack, interest->number >= 0, "a descriptor has no number");
    PACK(pack, events);
    PACK(pack, data);
    interest->event = (struct epoll_event){.events = events, .data.u64 = data};
    pack_index(pack, &interest->handle, pack->image->handle_count, false);
}

static void pack_handle(struct pack *pack, struct image_handle *handle)
{
    struct kept_epoll *kept = pack_kept(pack, &handle->kept, sizeof *kept);

    PACK_LIST(pack, kept->interests, kept->count, pack_interest);
}

/* Each is opened when the first is that waits for it. */
static bool count_height(const struct image *image, size_t handle, unsigned most)
{
    struct kept_epoll *kept = image->handles[handle].kept;
    unsigned height = 1;

    if (most == 0 || kept->height > 0) {
        return kept->height > 0 && kept->height <= most;
    }
    for (size_t i = 0; i < kept->count; i++) {
        const size_t below = kept->interests[i].handle;
        if (image->handles[below].kind != &handle_epoll) {
            continue;
        }
        if (!count_height(image, below, most - 1)) {
            return false;
        }
        const unsigned beneath = ((const struct kept_epoll *)image->handles[below].kept)->height;
        height = beneath + 1 > height ? beneath + 1 : height;
    }
    kept->height = height;
    return true;
}

static bool fits(const struct image *image, size_t handle)
{
    return count_height(image, handle, HEIGHT_MAX);
}

const struct handle_kind handle_epoll = {.name = "epoll",
                                         .is_it = is_it,
                                         .capture = capture_epoll,
                                         .complete = complete,
                                         .open = open_epoll,
                                         .finish = finish,
                                         .pack = pack_handle,
                                         .fits = fits,
                                         .forget = forget};
