/* The engine's own facts, and what an operation is. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "wire.h"

#define ENGINE_VERSION "0.1.0"
#define ID_RANGE 65536u

struct engine {
    uint32_t uid_base; /* host id of the sandboxes' root */
    void *heap;        /* where it begins */
    int pid_ns;        /* the engine's own, to come back to */
    int mount_ns;
    int uts_ns;
};

extern struct engine engine;

uint64_t now_usec(void); /* of a clock that only runs forward */

/* Where a reply goes, for operations that answer later. */
struct reply_to {
    uint64_t id;
    uint64_t connection; /* a number no other connection has */
};

struct request {
    item args; /* lives until the operation function returns */
    struct reply_to reply_to;
    struct out ok; /* the inside of the ok map */
};

/* An operation returns OP_DONE (reply with request->ok), OP_LATER (it will reply itself) or <0 with err filled. */
#define OP_DONE 0
#define OP_LATER 1
typedef int op_function(struct request *request, struct err *err);

struct op {
    const char *name;
    op_function *run;
};

op_function op_hello, op_cells_warm, op_engine_exit;
op_function op_base_open;
op_function op_layers_diff, op_layers_merge, op_layer_measure, op_layer_sync;
op_function op_image_store, op_image_load, op_image_drop, op_images_unstore;
op_function op_sandbox_create, op_sandbox_checkpoint, op_sandbox_rollback, op_sandbox_destroy,
    op_sandbox_stats, op_sandbox_usage, op_sandbox_signal;
op_function op_process_start, op_process_read, op_process_write, op_process_close_stdin, op_process_hold,
    op_process_signal, op_process_resize, op_process_forget;
op_function op_file_open, op_file_read, op_file_write, op_file_close, op_file_stat, op_file_list,
    op_file_mkdir, op_file_remove, op_file_rename, op_file_symlink;
