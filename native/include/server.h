/* The engine's socket: one connection at a time, requests in, replies and events out. */
#pragma once

#include "engine.h"

int server_listen(const char *path, struct err *err);
void server_close(void);

/* `ok` holds the inside of the reply's map (may be NULL). A reply to a connection that is gone is dropped. */
void reply_ok(const struct reply_to *to, const struct out *ok);
void reply_part(const struct reply_to *to, const struct out *part);
void reply_error(const struct reply_to *to, const struct err *err);
/* With more of the error's map, encoded. */
void reply_error_with(const struct reply_to *to, const struct err *err, const struct out *more);
void reply_raw_frames(const struct reply_to *to, const void *data, size_t len);

/* The inside of an event's map, `event` included; dropped when nobody is connected (hello tells the state). */
void send_event(const struct out *event);
