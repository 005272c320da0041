#include "job.h"

#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <signal.h>

#include "child.h"
#include "fd.h"
#include "loop.h"
#include "server.h"

#define FLUSH_BYTES (64 * 1024)

struct job {
    struct child child;
    struct source source;
    int fd;
    struct out in; /* received, not yet a whole frame */
    struct reply_to reply_to;
};

static void job_flush(struct job_out *out)
{
    size_t done = 0;

    while (done < out->frames.len) {
        ssize_t wrote = RETRY_EINTR(write(out->fd, out->frames.data + done, out->frames.len - done));
        if (wrote < 0) {
            _exit(1);
        }
        done += (size_t)wrote;
    }
    out->frames.len = 0;
}

static void job_frame(struct job_out *out, const char *kind, const struct out *inside)
{
    size_t frame = frame_begin(&out->frames);

    out_map(&out->frames);
    out_key_uint(&out->frames, "id", out->reply_to.id);
    out_text(&out->frames, kind);
    out_map(&out->frames);
    out_raw(&out->frames, inside->data, inside->len);
    out_end(&out->frames);
    out_end(&out->frames);
    frame_end(&out->frames, frame);
    if (out->frames.len >= FLUSH_BYTES) {
        job_flush(out);
    }
}

void job_part(struct job_out *out, const struct out *inside)
{
    job_frame(out, "part", inside);
}

__attribute__((noreturn)) static void job_child(const struct reply_to *to, int fd, job_work *work,
                                                void *argument)
{
    struct job_out out = {.reply_to = *to, .fd = fd};
    struct out ok = {0};
    struct err err = {0};

    child_reset_signals();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (work(&out, argument, &ok, &err) == 0) {
        job_frame(&out, "ok", &ok);
        job_flush(&out);
        _exit(0);
    }
    struct out inside = {0};
    out_key_text(&inside, "code", err.code);
    out_key_int(&inside, "errno", err.num);
    out_key_text(&inside, "step", err.step);
    out_key_bytes(&inside, "object", err.object, strlen(err.object));
    out_key_bytes(&inside, "message", err.message, strlen(err.message));
    job_frame(&out, "error", &inside);
    job_flush(&out);
    _exit(0);
}

static size_t whole_frames(const struct out *in)
{
    size_t done = 0;

    while (in->len - done >= 4) {
        const uint8_t *at = in->data + done;
        size_t body = (size_t)at[0] | (size_t)at[1] << 8 | (size_t)at[2] << 16 | (size_t)at[3] << 24;
        if (in->len - done - 4 < body) {
            break;
        }
        done += 4 + body;
    }
    return done;
}

static void job_ready(struct source *source, uint32_t events)
{
    struct job *job = source->owner;
    uint8_t buffer[FLUSH_BYTES];

    (void)events;
    ssize_t got = RETRY_EINTR(read(job->fd, buffer, sizeof buffer));
    if (got <= 0) {
        loop_remove(&job->source);
        fd_close(&job->fd);
        return;
    }
    out_raw(&job->in, buffer, (size_t)got);
    size_t whole = whole_frames(&job->in);
    reply_raw_frames(&job->reply_to, job->in.data, whole);
    memmove(job->in.data, job->in.data + whole, job->in.len - whole);
    job->in.len -= whole;
}

static void job_ended(struct child *child, const siginfo_t *info)
{
    struct job *job = child->owner;

    while (job->fd >= 0) { /* its writing end is closed, so this ends */
        job_ready(&job->source, 0);
    }
    if (info->si_code != CLD_EXITED || info->si_status != 0) {
        struct err err = {0};
        err_set(&err, ERR_SYSTEM, "a worker of the engine was killed");
        reply_error(&job->reply_to, &err);
    }
    out_free(&job->in);
    free(job);
}

int job_start(const struct reply_to *to, job_work *work, void *argument, struct err *err)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0) {
        return err_system(err, errno, "pipe", "worker");
    }
    cleanup_fd reading = ends[0], writing = ends[1];
    pid_t pid = fork();
    if (pid == 0) {
        job_child(to, writing, work, argument);
    }
    if (pid < 0) {
        return err_system(err, errno, "fork", "worker");
    }
    struct job *job = calloc(1, sizeof *job);
    if (!job) {
        die("out of memory");
    }
    job->fd = fd_steal(&reading);
    job->reply_to = *to;
    child_watch(&job->child, pid, job_ended, job);
    loop_add(&job->source, job->fd, EPOLLIN, job_ready, job);
    return OP_LATER;
}
