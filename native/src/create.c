/* Making a sandbox. */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fault.h"
#include "fd.h"
#include "rollback.h"
#include "root.h"
#include "sandbox.h"
#include "tree.h"

static int parse_limits(item args, struct limits *limits, struct err *err)
{
    item map = item_get(args, "limits");

    *limits = (struct limits){0};
    if (!map || !cbor_isa_map(map)) {
        return err_set(err, ERR_BAD_REQUEST, "limits: a map wanted");
    }
    if (item_get(map, "cpus") && arg_number(map, "cpus", &limits->cpus, err) < 0) {
        return -1;
    }
    return arg_optional_uint(map, "memoryBytes", INT64_MAX, 0, &limits->memory_bytes, err) < 0 ||
                   arg_optional_uint(map, "pids", INT32_MAX, 0, &limits->pids, err) < 0
               ? -1
               : 0;
}

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

static int set_hostname(const struct cell *cell, const char *hostname, struct err *err)
{
    if (setns(cell->init_pidfd, CLONE_NEWUTS) < 0) {
        return err_system(err, errno, "enter uts namespace", "%s", hostname);
    }
    int failure = sethostname(hostname, strlen(hostname)) < 0 ? errno : 0;
    if (setns(engine.uts_ns, CLONE_NEWUTS) < 0) {
        die("return to the engine's uts namespace: %s", strerror(errno));
    }
    return failure ? err_system(err, failure, "set hostname", "%s", hostname) : 0;
}

static int make_logs(const struct sandbox *sandbox, struct err *err)
{
    char path[4096];

    snprintf(path, sizeof path, "%s/logs", sandbox->dir);
    return mkdir(path, 0700) < 0 ? err_system(err, errno, "make directory", "%s", path) : 0;
}

/* ---- a cell that stands on a chain ---- */

static int check_fault(const char *step, struct err *err)
{
    return fault_at(step) < 0 ? err_system(err, EIO, step, "asked for") : 0;
}

int *trees_mount(const struct sandbox *sandbox, const struct chain *chain, const char *head, struct err *err)
{
    const struct base *base = sandbox->base;
    int *trees = malloc(base->tree_count * sizeof *trees);

    if (!trees) {
        die("out of memory");
    }
    for (size_t i = 0; i < base->tree_count; i++) {
        trees[i] = layer_mount(base, i, chain, head, err);
        if (trees[i] < 0) {
            trees_free(trees, i);
            return NULL;
        }
    }
    return trees;
}

int standing_make(struct standing *standing, const struct sandbox *sandbox, const struct chain *chain,
                  const char *head, struct out *timings, struct err *err)
{
    uint64_t start = now_usec();

    *standing = (struct standing){0};
    if (layer_make(head, sandbox->base, chain, err) < 0 ||
        (chain_length(chain) > 0 &&
         carry_from_layer(chain->layers[0], head, sandbox->base->tree_count, err) < 0) ||
        !(standing->trees = trees_mount(sandbox, chain, head, err))) {
        layer_unmake(head);
        return -1;
    }
    out_key_uint(timings, "overlay", now_usec() - start);
    start = now_usec();
    if (check_fault("mount overlay", err) < 0 || cell_take(&standing->cell, sandbox->host_net, err) < 0) {
        standing->cell = NULL;
    }
    out_key_uint(timings, "cell", now_usec() - start);
    start = now_usec();
    if (standing->cell && check_fault("take cell", err) == 0 &&
        set_hostname(standing->cell, sandbox->hostname, err) == 0 &&
        root_put_up(standing->cell, sandbox->base, standing->trees, err) == 0 &&
        check_fault("put up root", err) == 0) {
        standing->carried = layer_print(head, sandbox->base, CARRIED_MAX);
        out_key_uint(timings, "mounts", now_usec() - start);
        return 0;
    }
    standing_unmake(standing, sandbox, head);
    return -1;
}

void standing_unmake(struct standing *standing, const struct sandbox *sandbox, const char *head)
{
    if (standing->cell) {
        cell_destroy(standing->cell);
        free(standing->cell);
    }
    trees_free(standing->trees, sandbox->base->tree_count);
    layer_unmake(head);
}

/* ---- making one ---- */

static int build(struct sandbox *sandbox, struct request *request, struct err *err)
{
    struct standing standing;
    struct revived_sandbox revived;
    struct limits limits;
    uint64_t start = now_usec();
    item args = request->args;

    if (arg_string(args, "dir", &sandbox->dir, err) < 0 || !(sandbox->base = arg_base(args, err))) {
        return -1;
    }
    sandbox->base->users++;
    if (arg_chain(args, "layers", &sandbox->chain, err) < 0 ||
        arg_string(args, "head", &sandbox->head, err) < 0 ||
        arg_string(args, "hostname", &sandbox->hostname, err) < 0 ||
        parse_net(args, &sandbox->host_net, err) < 0 || parse_limits(args, &limits, err) < 0 ||
        make_logs(sandbox, err) < 0 || cgroup_create(&sandbox->cgroup, sandbox->id, &limits, err) < 0) {
        return -1;
    }
    out_text(&request->ok, "timings");
    out_map(&request->ok);
    if (standing_make(&standing, sandbox, &sandbox->chain, sandbox->head, &request->ok, err) < 0) {
        return -1;
    }
    if (sandbox_revive(&revived, sandbox, &standing, args, &request->ok, err) < 0) {
        standing_unmake(&standing, sandbox, sandbox->head);
        return -1;
    }
    out_key_uint(&request->ok, "total", now_usec() - start);
    out_end(&request->ok);
    sandbox->cell = standing.cell;
    sandbox->trees = standing.trees;
    sandbox->carried = standing.carried;
    sandbox_let_go(&revived, sandbox, &request->ok);
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
    if (build(sandbox, request, err) < 0) {
        unbuild(sandbox);
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
    return OP_DONE;
}
