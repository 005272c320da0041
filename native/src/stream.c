#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>

#include "fd.h"
#include "process.h"
#include "server.h"

#define PUMP_BYTES (64 * 1024)
#define READ_MAX (512 * 1024)
#define SETTLE_PIECES_MAX 256

static bool ended(const struct stream *stream)
{
    return !stream->open;
}

static void answer(struct stream *stream, struct waiting_read *read)
{
    static uint8_t data[READ_MAX];
    struct out ok = {0};
    struct err err = {0};
    uint64_t offset = read->offset;

    int64_t got = spool_get(&stream->spool, &offset, data, (size_t)read->max);
    if (got < 0) {
        err_system(&err, (int)-got, "read output", "%s", stream->process->id);
        reply_error(&read->reply_to, &err);
        return;
    }
    out_key_uint(&ok, "offset", offset);
    out_key_bytes(&ok, "data", data, (size_t)got);
    out_key_bool(&ok, "end", ended(stream) && offset + (uint64_t)got >= stream->spool.written);
    reply_ok(&read->reply_to, &ok);
    out_free(&ok);
}

void stream_serve(struct stream *stream)
{
    for (struct waiting_read **link = &stream->waiting; *link;) {
        struct waiting_read *read = *link;
        if (read->wait && read->offset >= stream->spool.written && !ended(stream)) {
            link = &read->next;
            continue;
        }
        *link = read->next;
        answer(stream, read);
        free(read);
    }
}

static void stream_end(struct stream *stream)
{
    loop_remove(&stream->source);
    if (!stream->process->has_terminal) {
        fd_close(&stream->fd);
    }
    stream->fd = -1;
    stream->open = false;
}

/* Moves one piece from the pipe to the ring. False when nothing more can be moved now. */
static bool pump(struct stream *stream)
{
    static uint8_t data[PUMP_BYTES];
    size_t room = spool_room(&stream->spool);

    if (room == 0) {
        loop_set(&stream->source,
                 0); /* until a reader releases some: the process waits, as on any full pipe */
        return false;
    }
    ssize_t got = RETRY_EINTR(read(stream->fd, data, room < sizeof data ? room : sizeof data));
    if (got < 0 && errno == EAGAIN) {
        return false;
    }
    if (got <= 0) { /* a terminal whose last user is gone gives EIO */
        stream_end(stream);
        return false;
    }
    for (size_t done = 0; done < (size_t)got;) {
        int64_t put = spool_put(&stream->spool, data + done, (size_t)got - done);
        if (put <= 0) {
            log_line("output of %s lost: %s", stream->process->id, strerror((int)-put));
            break;
        }
        done += (size_t)put;
    }
    return true;
}

/* What a terminal still has on its way is in no count the kernel gives, but poll hands it over before it says that
 * there is nothing. The bound is for a background process that goes on printing. */
static void settle(struct stream *stream)
{
    struct pollfd poll_fd = {.fd = stream->fd, .events = POLLIN};

    for (int piece = 0; piece < SETTLE_PIECES_MAX && stream->open; piece++) {
        if (spool_room(&stream->spool) == 0) {
            return; /* goes on when a reader has released some */
        }
        if (poll(&poll_fd, 1, 0) == 0 || !(poll_fd.revents & POLLIN)) {
            break;
        }
        pump(stream);
    }
    stream->settled = true;
}

static void stream_ready(struct source *source, uint32_t events)
{
    struct stream *stream = source->owner;

    (void)events;
    pump(stream);
    if (stream->draining && stream->process->has_terminal) {
        settle(stream);
    }
    stream_serve(stream);
    process_progress(stream->process); /* may free the stream */
}

void stream_open(struct stream *stream, struct process *process, int fd)
{
    stream->process = process;
    stream->fd = fd;
    stream->open = true;
    loop_add(&stream->source, fd, EPOLLIN, stream_ready, stream);
}

void stream_wake(struct stream *stream)
{
    if (!stream->open || spool_room(&stream->spool) == 0) {
        return;
    }
    loop_set(&stream->source, EPOLLIN);
    if (stream->draining && stream->process->has_terminal && !stream->settled) {
        settle(stream);
        stream_serve(stream);
        process_progress(stream->process);
    }
}

void stream_drain(struct stream *stream)
{
    int waiting = 0;

    if (!stream->open) {
        return;
    }
    stream->draining = true;
    if (stream->process->has_terminal) {
        settle(stream);
    } else {
        ioctl(stream->fd, FIONREAD, &waiting);
        stream->target = stream->spool.written + (uint64_t)waiting;
        while (stream->open && stream->spool.written < stream->target && pump(stream)) {
        }
    }
    stream_serve(stream);
}

bool stream_drained(const struct stream *stream)
{
    if (!stream->open) {
        return true;
    }
    return stream->draining &&
           (stream->process->has_terminal ? stream->settled : stream->spool.written >= stream->target);
}

void stream_end_now(struct stream *stream)
{
    if (stream->open) {
        stream_end(stream);
    }
}

void stream_close(struct stream *stream)
{
    if (stream->open) {
        stream_end(stream);
    }
    stream_serve(stream);
    spool_close(&stream->spool);
}
