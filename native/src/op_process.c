/* Operations on a command that runs, or has run. */
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>

#include "fd.h"
#include "process.h"
#include "server.h"

#define READ_MAX (512 * 1024)

/* What is released may be overwritten, which lets a process that waits for room go on. */
static void release(struct stream *stream, uint64_t offset)
{
    struct spool *spool = &stream->spool;

    offset = offset < spool->written ? offset : spool->written;
    if (offset > spool->released) {
        spool->released = offset;
        stream_wake(stream);
    }
}

int op_process_read(struct request *request, struct err *err)
{
    struct process *process = arg_process(request->args, err);
    uint64_t index, offset, max, released;
    bool wait;

    if (!process || arg_uint(request->args, "stream", 2, &index, err) < 0 ||
        arg_uint(request->args, "offset", INT64_MAX, &offset, err) < 0 ||
        arg_uint(request->args, "max", READ_MAX, &max, err) < 0 ||
        arg_optional_uint(request->args, "release", INT64_MAX, 0, &released, err) < 0 ||
        arg_optional_bool(request->args, "wait", true, &wait, err) < 0) {
        return -1;
    }
    if (index < 1 || max < 1) {
        return err_set(err, ERR_BAD_REQUEST, "stream 1 or 2 and max of at least 1 wanted");
    }
    struct stream *stream = &process->streams[index - 1];
    struct waiting_read *waiting = calloc(1, sizeof *waiting);
    if (!waiting) {
        die("out of memory");
    }
    *waiting = (struct waiting_read){
        .reply_to = request->reply_to, .offset = offset, .max = max, .wait = wait, .next = stream->waiting};
    stream->waiting = waiting;
    release(stream, released);
    stream_serve(stream);
    return OP_LATER;
}

int op_process_hold(struct request *request, struct err *err)
{
    struct process *process = arg_process(request->args, err);
    bool hold;

    if (!process || arg_bool(request->args, "hold", &hold, err) < 0) {
        return -1;
    }
    for (int i = 0; i < 2; i++) {
        struct spool *spool = &process->streams[i].spool;
        if (hold && !spool->hold) {
            spool->released = spool_oldest(spool);
        }
        spool->hold = hold;
        stream_wake(&process->streams[i]);
    }
    return OP_DONE;
}

int op_process_write(struct request *request, struct err *err)
{
    struct process *process = arg_process(request->args, err);
    const uint8_t *data;
    size_t len;

    if (!process || arg_bytes(request->args, "data", &data, &len, err) < 0) {
        return -1;
    }
    return input_write(process, data, len, &request->reply_to, err);
}

int op_process_close_stdin(struct request *request, struct err *err)
{
    struct process *process = arg_process(request->args, err);

    if (!process) {
        return -1;
    }
    input_close(process);
    return OP_DONE;
}

int op_process_signal(struct request *request, struct err *err)
{
    struct process *process = arg_process(request->args, err);
    uint64_t number;
    bool group;

    if (!process || arg_uint(request->args, "signal", NSIG - 1, &number, err) < 0 ||
        arg_optional_bool(request->args, "group", false, &group, err) < 0) {
        return -1;
    }
    if (process->ended) {
        return err_set(err, ERR_NO_PROCESS, "%s has ended", process->id);
    }
    /* Its pid is not given to another process before it is reaped, which only this thread does. */
    if ((group ? kill(-process->host_pid, (int)number)
               : pidfd_send_signal(process->pidfd, (int)number, NULL, 0)) < 0) {
        return err_system(err, errno, "signal", "%s", process->id);
    }
    return OP_DONE;
}

int op_process_resize(struct request *request, struct err *err)
{
    struct process *process = arg_process(request->args, err);
    uint64_t cols, rows;

    if (!process || arg_uint(request->args, "cols", 65535, &cols, err) < 0 ||
        arg_uint(request->args, "rows", 65535, &rows, err) < 0) {
        return -1;
    }
    struct winsize size = {.ws_col = (unsigned short)cols, .ws_row = (unsigned short)rows};
    if (process->terminal < 0) {
        return err_set(err, ERR_BAD_REQUEST, "%s has no terminal", process->id);
    }
    return ioctl(process->terminal, TIOCSWINSZ, &size) < 0
               ? err_system(err, errno, "resize", "%s", process->id)
               : OP_DONE;
}

int op_process_forget(struct request *request, struct err *err)
{
    struct process *process = arg_process(request->args, err);

    if (!process) {
        return -1;
    }
    if (!process->reported) {
        return err_set(err, ERR_BAD_REQUEST, "%s has not ended", process->id);
    }
    process_unlink_output(process);
    process_free(process);
    return OP_DONE;
}
