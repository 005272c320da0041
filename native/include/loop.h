/* The event loop: one thread, epoll. A handler may remove any source, itself included. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

struct source {
    int fd; /* not owned */
    uint32_t events;
    void (*ready)(struct source *source, uint32_t events);
    void *owner;
};

void loop_init(void);
void loop_add(struct source *source, int fd, uint32_t events, void (*ready)(struct source *, uint32_t),
              void *owner);
void loop_set(struct source *source, uint32_t events);
void loop_remove(struct source *source); /* harmless on a source that is not in the loop */
/* Work for when nothing else waits, a piece at a time, in this order; true: there is more. All but that for now waits also for what those who
 * have just been answered may ask next. */
enum idle { IDLE_NOW, IDLE_SOON, IDLE_LATER, IDLES };
void loop_when_idle(enum idle idle, bool (*work)(void));
/* Nothing for later is begun so soon. */
void loop_rest(unsigned ms);
/* Waits for input outside of the loop; false when none has come by then. */
bool loop_await(int fd, uint64_t deadline);
void loop_run(void); /* until loop_stop */
void loop_stop(void);
