/* A process started through the API: its streams, its end. */
#pragma once

#include "loop.h"
#include "sandbox.h"
#include "spool.h"

struct waiting_read {
    struct reply_to reply_to;
    uint64_t offset, max;
    bool wait; /* else answered with what there is */
    struct waiting_read *next;
};

struct stream {
    struct process *process;
    struct source source;
    int fd;          /* read end, -1 once ended; a terminal's master belongs to the process */
    bool open;       /* more may come */
    bool draining;   /* the process has ended; what it wrote is still being taken */
    bool settled;    /* of a terminal: nothing was left */
    uint64_t target; /* of a pipe: where the process's own bytes end */
    struct spool spool;
    struct waiting_read *waiting;
};

struct input {
    struct source source;
    int fd; /* write end, -1 when closed */
    uint8_t *data;
    size_t len, sent;
    bool busy;
    struct reply_to reply_to;
};

struct process {
    char id[ID_MAX + 1];
    struct sandbox *sandbox;
    const struct cell *cell; /* NULL once that is gone */
    struct child child;
    int pidfd;
    pid_t pid; /* inside */
    pid_t host_pid;
    struct stream streams[2];
    struct input input;
    int terminal; /* master, -1 without one */
    bool has_terminal, has_stdin;
    bool started; /* the program runs, or has run */
    struct source report;
    int report_fd; /* tells whether exec worked; -1 once it has */
    struct reply_to start_reply;
    bool ended;    /* reaped */
    bool reported; /* process.exit was sent */
    int exit_code, signal;
    bool oom_killed;
    struct process *next;
};

struct process *arg_process(item args, struct err *err);
void process_describe(const struct process *process, struct out *out);
/* Waits until every start in the sandbox has led to a running program or failed; false when one is kept waiting. */
bool processes_settle(const struct sandbox *sandbox, uint64_t deadline);
/* A command as it is before its program is attached to it: an old one again, which has let go of what it ran, or one
 * made anew under that name. NULL with err. */
struct process *process_again(struct sandbox *sandbox, const char *id, bool terminal, struct err *err);
/* Its end is told from here on. */
void process_watch(struct process *process);
/* Drops everything the engine holds of an ended process. */
void process_free(struct process *process);
void process_unlink_output(const struct process *process);

/* stream.c */
void stream_open(struct stream *stream, struct process *process, int fd);
void stream_wake(struct stream *stream);  /* after hold or release changed */
void stream_serve(struct stream *stream); /* answers the reads that can be answered */
/* The process has ended: what is in the pipe now is its last output. */
void stream_drain(struct stream *stream);
bool stream_drained(const struct stream *stream);
void stream_end_now(struct stream *stream); /* what still comes is nobody's */
void stream_close(struct stream *stream);
/* In process.c: called when a stream has made progress after the end of its process. */
void process_progress(struct process *process);

/* input.c */
int input_write(struct process *process, const uint8_t *data, size_t len, const struct reply_to *reply_to,
                struct err *err);
void input_close(struct process *process);
