#include <string.h>
#include <termios.h>

#include "fd.h"
#include "process.h"
#include "server.h"

static void finish(struct process *process, int failure)
{
    struct input *input = &process->input;
    struct err err = {0};

    input->busy = false;
    free(input->data);
    input->data = NULL;
    loop_set(&input->source, 0);
    if (failure) {
        err_set(&err, ERR_STDIN_CLOSED, "%s no longer reads its standard input", process->id);
        reply_error(&input->reply_to, &err);
    } else {
        reply_ok(&input->reply_to, NULL);
    }
}

static void push(struct process *process)
{
    struct input *input = &process->input;

    while (input->sent < input->len) {
        ssize_t wrote = RETRY_EINTR(write(input->fd, input->data + input->sent, input->len - input->sent));
        if (wrote < 0 && errno == EAGAIN) {
            loop_set(&input->source, EPOLLOUT);
            return;
        }
        if (wrote < 0) {
            finish(process, errno);
            return;
        }
        input->sent += (size_t)wrote;
    }
    finish(process, 0);
}

static void input_ready(struct source *source, uint32_t events)
{
    struct process *process = source->owner;

    (void)events;
    if (process->input.busy) {
        push(process);
    } else {
        input_close(process); /* the reader is gone */
    }
}

int input_write(struct process *process, const uint8_t *data, size_t len, const struct reply_to *reply_to,
                struct err *err)
{
    struct input *input = &process->input;

    if (input->fd < 0 || process->ended) {
        return err_set(err, ERR_STDIN_CLOSED, "%s does not read standard input", process->id);
    }
    if (input->busy) {
        return err_set(err, ERR_BAD_REQUEST, "another write to %s is under way", process->id);
    }
    if (!input->source.ready) {
        loop_add(&input->source, input->fd, 0, input_ready, process);
    }
    input->data = malloc(len + 1);
    if (!input->data) {
        die("out of memory");
    }
    memcpy(input->data, data, len);
    input->len = len;
    input->sent = 0;
    input->busy = true;
    input->reply_to = *reply_to;
    push(process);
    return OP_LATER;
}

void input_close(struct process *process)
{
    struct input *input = &process->input;
    struct termios termios;

    if (input->fd < 0) {
        return;
    }
    if (process->has_terminal && !process->ended) {
        /* a terminal cannot be closed half way; its reader sees the end-of-file character */
        if (tcgetattr(process->terminal, &termios) == 0 && write(input->fd, &termios.c_cc[VEOF], 1) != 1) {
            log_line("end of input of %s: %s", process->id, strerror(errno));
        }
        return;
    }
    if (input->busy) {
        finish(process, EPIPE);
    }
    loop_remove(&input->source);
    fd_close(&input->fd);
}
