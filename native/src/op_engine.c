/* Operations on the engine itself. */
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"
#include "file.h"
#include "image.h"
#include "loop.h"
#include "process.h"
#include "sandbox.h"
#include "server.h"
#include "spare.h"

struct engine engine;

uint64_t now_usec(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

int op_hello(struct request *request, struct err *err)
{
    uint64_t version;

    if (arg_uint(request->args, "version", UINT32_MAX, &version, err) < 0) {
        return -1;
    }
    if (version != WIRE_VERSION) {
        return err_set(err, ERR_VERSION, "the wire's version is %d here and %llu there", WIRE_VERSION,
                       (unsigned long long)version);
    }
    files_close_all(); /* they were another connection's */
    struct out *ok = &request->ok;
    out_key_uint(ok, "version", WIRE_VERSION);
    out_key_text(ok, "engine", ENGINE_VERSION);
    out_key_uint(ok, "pid", (uint64_t)getpid());
    out_key_uint(ok, "uidBase", engine.uid_base);
    out_key_uint(ok, "warm", spares_warm());
    out_text(ok, "images");
    out_list(ok);
    for (const struct image *image = images; image; image = image->next) {
        out_map(ok);
        out_key_text(ok, "image", image->id);
        out_key_bool(ok, "ready", image_is_ready(image));
        if (image->failure) {
            out_key_bytes(ok, "failure", image->failure, strlen(image->failure));
        }
        out_key_uint(ok, "bytes", image_bytes(image));
        out_end(ok);
    }
    out_end(ok);
    out_text(ok, "sandboxes");
    out_list(ok);
    for (const struct sandbox *sandbox = sandboxes; sandbox; sandbox = sandbox->next) {
        out_map(ok);
        out_key_text(ok, "sandbox", sandbox->id);
        out_key_bool(ok, "dead", sandbox->dead);
        out_key_text(ok, "head", sandbox->head);
        out_key_uint(ok, "initPid", (uint64_t)(sandbox->dead ? 0 : sandbox->cell->init.pid));
        out_text(ok, "processes");
        out_list(ok);
        for (const struct process *process = sandbox->processes; process; process = process->next) {
            if (process->started) {
                process_describe(process, ok);
            }
        }
        out_end(ok);
        out_end(ok);
    }
    out_end(ok);
    return OP_DONE;
}

int op_engine_exit(struct request *request, struct err *err)
{
    (void)err;
    reply_ok(&request->reply_to, NULL);
    loop_stop();
    return OP_LATER;
}
