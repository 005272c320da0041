#include "loop.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "engine.h"
#include "error.h"
#include "fd.h"

static int epoll_fd = -1;
static bool stopping;
static bool (*idle_work[IDLES])(void);
static uint64_t rest; /* until then nobody begins what is not urgent */

void loop_init(void)
{
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0) {
        die("epoll_create1: %s", strerror(errno));
    }
}

void loop_add(struct source *source, int fd, uint32_t events, void (*ready)(struct source *, uint32_t),
              void *owner)
{
    struct epoll_event event = {.events = events, .data.ptr = source};

    *source = (struct source){.fd = fd, .events = events, .ready = ready, .owner = owner};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
        die("epoll_ctl add: %s", strerror(errno));
    }
}

void loop_set(struct source *source, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = source};

    if (!source->ready || source->events == events) {
        return;
    }
    source->events = events;
    if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, source->fd, &event) < 0) {
        die("epoll_ctl mod: %s", strerror(errno));
    }
}

void loop_remove(struct source *source)
{
    if (!source->ready) {
        return;
    }
    if (epoll_ctl(epoll_fd, EPOLL_CTL_DEL, source->fd, NULL) < 0) {
        die("epoll_ctl del: %s", strerror(errno));
    }
    *source = (struct source){.fd = -1};
}

void loop_when_idle(enum idle idle, bool (*work)(void))
{
    idle_work[idle] = work;
}

void loop_rest(unsigned ms)
{
    rest = now_usec() + ms * 1000ULL;
}

static enum idle next_idle(void)
{
    enum idle idle = IDLE_NOW;

    while (idle < IDLES && !idle_work[idle]) {
        idle++;
    }
    return idle;
}

/* How many milliseconds to wait for something else; -1: as long as it takes. */
static int patience(void)
{
    const enum idle idle = next_idle();
    const uint64_t now = now_usec();

    return idle == IDLES ? -1 : idle == IDLE_NOW || rest <= now ? 0 : (int)((rest - now + 999) / 1000);
}

static void work_while_idle(void)
{
    const enum idle idle = next_idle();

    if (idle < IDLES && (idle == IDLE_NOW || rest <= now_usec()) && !idle_work[idle]()) {
        idle_work[idle] = NULL;
    }
}

bool loop_await(int fd, uint64_t deadline)
{
    struct pollfd waiting = {.fd = fd, .events = POLLIN};
    uint64_t now = now_usec();

    return RETRY_EINTR(poll(&waiting, 1, now < deadline ? (int)((deadline - now + 999) / 1000) : 0)) > 0;
}

void loop_run(void)
{
    while (!stopping) {
        /* One event a turn: a handler may free any other source, so none may be waiting in an array. */
        struct epoll_event event;
        int count = epoll_wait(epoll_fd, &event, 1, patience());
        if (count < 0 && errno != EINTR) {
            die("epoll_wait: %s", strerror(errno));
        }
        if (count == 1) {
            struct source *source = event.data.ptr;
            source->ready(source, event.events);
        } else if (count == 0) {
            work_while_idle();
        }
    }
}

void loop_stop(void)
{
    stopping = true;
}
