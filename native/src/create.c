/* Making a sandbox. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "arrival.h"
#include "fd.h"
#include "sandbox.h"
#include "tree.h"

static int parse_net(item args, bool *host_net, struct err *err)
{
    cleanup_free char *net = NULL;

    if (arg_string(args, "net", &net, err) < 0) {
        return -1;
    }
    *host_net = strcmp(net, "host") == 0;
    return *host_net || strcmp(net, "none") == 0 ? 0
                                                 : err_set(err, ERR_BAD_REQUEST, "net: none or host wanted");
}

static int make_logs(const struct sandbox *sandbox, struct err *err)
{
    char path[4096];

    snprintf(path, sizeof path, "%s/logs", sandbox->dir);
    return mkdir(path, 0700) < 0 ? err_system(err, errno, "make directory", "%s", path) : 0;
}

/* ---- making one ---- */

static int parse(struct sandbox *sandbox, item args, struct err *err)
{
    if (arg_string(args, "dir", &sandbox->dir, err) < 0 || !(sandbox->base = arg_base(args, err))) {
        return -1;
    }
    return arg_chain(args, "layers", &sandbox->chain, err) < 0 ||
                   arg_string(args, "head", &sandbox->head, err) < 0 ||
                   arg_string(args, "hostname", &sandbox->hostname, err) < 0 ||
                   parse_net(args, &sandbox->host_net, err) < 0 || arg_limits(args, &sandbox->limits, err) < 0
               ? -1
               : 0;
}

static int build(struct sandbox *sandbox, struct request *request, struct out *timings, struct err *err)
{
    const uint64_t start = now_usec();
    struct standing standing;
    struct arrival arrival;
    struct image *image;

    if (parse(sandbox, request->args, err) < 0 || make_logs(sandbox, err) < 0 ||
        arg_image(request->args, &image, err) < 0 ||
        arrival_stand(&arrival, &standing, sandbox, image, &sandbox->chain, sandbox->head, timings, err) <
            0) {
        return -1;
    }
    const uint64_t stood = now_usec();
    sandbox->trees = standing.trees;
    sandbox->carried = standing.carried;
    sandbox->cell = arrival.cell;
    arrival_let_go(&arrival, sandbox, &request->ok);
    out_key_uint(timings, "let go", now_usec() - stood);
    out_key_uint(timings, "total", now_usec() - start);
    return 0;
}

/* Undoes what build has done so far: the directory is as it was given, empty. */
static void unbuild(struct sandbox *sandbox)
{
    cleanup_fd dir = sandbox->dir ? open(sandbox->dir, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;

    if (dir >= 0) {
        tree_remove(dir, "logs");
    }
    sandbox_free(sandbox);
}

int op_sandbox_create(struct request *request, struct err *err)
{
    struct out timings = {0};
    char id[ID_MAX + 1];

    if (arg_id(request->args, "sandbox", id, err) < 0) {
        return -1;
    }
    if (sandbox_find(id)) {
        return err_set(err, ERR_EXISTS, "sandbox %s exists", id);
    }
    struct sandbox *sandbox = calloc(1, sizeof *sandbox);
    if (!sandbox) {
        die("out of memory");
    }
    strcpy(sandbox->id, id);
    sandbox->cgroup.v2_fd = -1;
    if (build(sandbox, request, &timings, err) < 0) {
        unbuild(sandbox);
        out_free(&timings);
        return -1;
    }
    sandbox->cell->init.ended = sandbox_init_ended;
    sandbox->cell->init.owner = sandbox;
    sandbox->next = sandboxes;
    sandboxes = sandbox;
    out_key_uint(&request->ok, "initPid", (uint64_t)sandbox->cell->init.pid);
    out_text(&request->ok, "cgroups");
    out_list(&request->ok);
    for (int i = 0; i < sandbox->cgroup.path_count; i++) {
        out_text(&request->ok, sandbox->cgroup.paths[i]);
    }
    out_end(&request->ok);
    out_key_map(&request->ok, "timings", &timings);
    out_free(&timings);
    return OP_DONE;
}
