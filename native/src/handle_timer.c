/* Timers (timerfd). One that was set to a point in time is due then; any other has the time left that it had. */
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

#include "fd.h"
#include "handle.h"

#define SET_TICKS _IOW('T', 0, uint64_t)

struct kept_timer {
    int clock, flags;
    uint64_t ticks;
    struct itimerspec time;
};

static bool is_it(const struct seen *seen)
{
    return strcmp(seen->link, "anon_inode:[timerfd]") == 0;
}

static struct timespec time_after(const struct seen *seen, const char *key)
{
    const char *at = strstr(seen->fdinfo, key);
    long long seconds = 0, nanoseconds = 0;

    if (at) {
        sscanf(at + strlen(key), " (%lld, %lld)", &seconds, &nanoseconds);
    }
    return (struct timespec){.tv_sec = seconds, .tv_nsec = nanoseconds};
}

static bool is_zero(const struct timespec *time)
{
    return time->tv_sec == 0 && time->tv_nsec == 0;
}

static void make_absolute(int clock, struct timespec *time)
{
    struct timespec now;

    clock_gettime(clock, &now);
    time->tv_sec += now.tv_sec;
    time->tv_nsec += now.tv_nsec;
    if (time->tv_nsec >= 1000000000) {
        time->tv_nsec -= 1000000000;
        time->tv_sec++;
    }
}

/* What has fallen due unnoticed is only counted when somebody asks. */
static int capture_timer(const struct seen *seen, struct image_handle *handle)
{
    struct kept_timer *kept = handle->kept = handle_keep(sizeof *kept);
    struct itimerspec time;
    struct seen now;
    cleanup_fd own = seen_take(seen);

    if (own < 0 || timerfd_gettime(own, &time) < 0) {
        return own < 0 ? own : -errno;
    }
    int result = seen_again(seen, &now);
    if (result < 0) {
        return result;
    }
    kept->clock = (int)seen_number(&now, "clockid:", 10);
    kept->flags = (int)seen_number(&now, "settime flags:", 8);
    kept->ticks = seen_number(&now, "\nticks:", 10);
    kept->time.it_value = time_after(&now, "it_value:");
    kept->time.it_interval = time_after(&now, "it_interval:");
    if ((kept->flags & TFD_TIMER_ABSTIME) && !is_zero(&kept->time.it_value)) {
        make_absolute(kept->clock, &kept->time.it_value);
    }
    return 0;
}

static int set(const struct kept_timer *kept, int fd)
{
    if (!is_zero(&kept->time.it_value) && timerfd_settime(fd, kept->flags, &kept->time, NULL) < 0) {
        return -errno;
    }
    return kept->ticks > 0 && ioctl(fd, SET_TICKS, &kept->ticks) < 0 ? -errno : 0;
}

static int open_timer(const struct opening *opening, const struct image_handle *handle)
{
    const struct kept_timer *kept = handle->kept;
    cleanup_fd fd = opening_make(opening, SYS_timerfd_create, (uint64_t)kept->clock,
                                 TFD_CLOEXEC | (uint64_t)(handle->flags & O_NONBLOCK), 0, 0);
    int result = fd < 0 ? fd : set(kept, fd);

    return result < 0 ? result : fd_steal(&fd);
}

static void pack_handle(struct pack *pack, struct image_handle *handle)
{
    struct kept_timer *kept = pack_kept(pack, &handle->kept, sizeof *kept);

    PACK(pack, kept->clock);
    PACK(pack, kept->flags);
    PACK(pack, kept->ticks);
    PACK(pack, kept->time.it_value.tv_sec);
    PACK(pack, kept->time.it_value.tv_nsec);
    PACK(pack, kept->time.it_interval.tv_sec);
    PACK(pack, kept->time.it_interval.tv_nsec);
}

const struct handle_kind handle_timer = {
    .name = "timerfd", .is_it = is_it, .capture = capture_timer, .open = open_timer, .pack = pack_handle};
