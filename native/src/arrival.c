#include "arrival.h"

#include "fault.h"
#include "fd.h"
#include "lineage.h"
#include "spare.h"

int arg_image(item args, struct image **image, struct err *err)
{
    cleanup_free char *id = NULL;

    *image = NULL;
    if (arg_optional_string(args, "image", &id, err) < 0) {
        return -1;
    }
    if (!id) {
        return 0;
    }
    *image = image_find(id);
    return *image ? image_complete(*image, err) : err_set(err, ERR_NO_IMAGE, "there is no image %s", id);
}

static int end_for(void *owner, const char *process, int stream)
{
    return stdio_end_of(owner, process, stream);
}

static int terminal_for(void *owner, const char *process, int master)
{
    return stdio_take_terminal(owner, process, master);
}

/* What they stand on; before the files are there without trees. */
static struct stage stage_of(struct arrival *arrival, const struct cgroup *cgroup, const int *trees)
{
    return (struct stage){.cell = arrival->cell,
                          .cgroup = arrival->has_cgroup ? &arrival->cgroup : cgroup,
                          .trees = trees,
                          .is_watched = arrival->is_watched,
                          .stdio = end_for,
                          .terminal = terminal_for,
                          .owner = &arrival->stdio};
}

static void leave_cgroup(struct arrival *arrival)
{
    if (arrival->has_cgroup) {
        cgroup_remove(&arrival->cgroup);
        arrival->has_cgroup = false;
    }
}

int arrival_begin(struct arrival *arrival, const struct image *image, bool host_net,
                  const struct cgroup *cgroup, struct err *err)
{
    if (cell_take(&arrival->cell, host_net, err) < 0) {
        leave_cgroup(arrival);
        return -1;
    }
    const struct stage stage = stage_of(arrival, cgroup, NULL);
    if (image && revive_begin(&arrival->revival, image, &stage, err) < 0) {
        image_explain(image, err);
        arrival_undo(arrival);
        return -1;
    }
    return 0;
}

bool arrival_lives(const struct arrival *arrival)
{
    return arrival->cell->init.pid > 0 && revival_lives(&arrival->revival);
}

void arrival_undo(struct arrival *arrival)
{
    revival_end(&arrival->revival);
    stdio_free(&arrival->stdio);
    cell_destroy(arrival->cell);
    free(arrival->cell);
    arrival->cell = NULL;
    footing_end(&arrival->footing);
    leave_cgroup(arrival);
}

/* ---- on the files of a sandbox ---- */

static int complete(struct arrival *arrival, const struct sandbox *sandbox, const int *trees, struct err *err)
{
    const struct stage stage = stage_of(arrival, &sandbox->cgroup, trees);

    if (!arrival->revival.image || revive_complete(&arrival->revival, &stage, err) == 0) {
        return 0;
    }
    image_explain(arrival->revival.image, err);
    return -1;
}

static int get_files(struct arrival *arrival, struct standing *standing, const struct sandbox *sandbox,
                     const struct chain *chain, const char *head, struct out *timings, struct err *err)
{
    const uint64_t start = now_usec();

    struct footing *footing = &arrival->footing;

    if (!footing->place || !chain_same(&footing->chain, chain) || !footing_take(footing, standing, head)) {
        return standing_make(standing, footing, sandbox->base, chain, head, arrival->cell, timings, err);
    }
    out_key_uint(timings, "overlay", 0);
    out_key_uint(timings, "mounts", now_usec() - start);
    return 0;
}

static int stand(struct arrival *arrival, struct standing *standing, const struct sandbox *sandbox,
                 const struct chain *chain, const char *head, struct out *timings, struct err *err)
{
    if (fault_check("take cell", err) < 0 || cell_set_hostname(arrival->cell, sandbox->hostname, err) < 0 ||
        get_files(arrival, standing, sandbox, chain, head, timings, err) < 0) {
        arrival_undo(arrival);
        return -1;
    }
    if (complete(arrival, sandbox, standing->trees, err) < 0) {
        standing_unmake(standing, head);
        arrival_undo(arrival);
        return -1;
    }
    revival_tell(&arrival->revival, timings);
    return 0;
}

static bool is_made(const struct sandbox *sandbox)
{
    return sandbox->cell != NULL;
}

static int stand_with_spare(struct arrival *arrival, struct standing *standing, struct sandbox *sandbox,
                            const struct image *image, const struct chain *chain, const char *head,
                            struct out *timings, struct err *err)
{
    if (sandbox->host_net ||
        !spare_take(arrival, image, is_made(sandbox) ? sandbox : NULL, &sandbox->limits)) {
        return -1;
    }
    if (arrival->has_cgroup) {
        sandbox->cgroup = arrival->cgroup;
        arrival->has_cgroup = false;
    }
    out_key_uint(timings, "cell", 0);
    if (stand(arrival, standing, sandbox, chain, head, timings, err) == 0) {
        return 0;
    }
    if (!is_made(sandbox)) {
        cgroup_remove(&sandbox->cgroup);
    }
    return -1;
}

int arrival_stand(struct arrival *arrival, struct standing *standing, struct sandbox *sandbox,
                  struct image *image, const struct chain *chain, const char *head, struct out *timings,
                  struct err *err)
{
    const size_t told = timings->len;

    *arrival = (struct arrival){0};
    if (image) {
        image_know_chain(image, sandbox->base, chain);
    }
    if (image && stand_with_spare(arrival, standing, sandbox, image, chain, head, timings, err) == 0) {
        return 0;
    }
    /* none was there; or somebody has killed one of them */
    timings->len = told;
    const uint64_t start = now_usec();
    if ((!is_made(sandbox) && cgroup_create(&sandbox->cgroup, sandbox->id, &sandbox->limits, err) < 0) ||
        arrival_begin(arrival, image, sandbox->host_net, &sandbox->cgroup, err) < 0) {
        return -1;
    }
    out_key_uint(timings, "cell", now_usec() - start);
    return stand(arrival, standing, sandbox, chain, head, timings, err);
}

static void attach_command(struct arrival *arrival, struct sandbox *sandbox,
                           const struct image_process *image, pid_t pid, struct out *ok)
{
    struct err err = {0};
    const struct process *process =
        process_reattach(sandbox, arrival->stdio, image->api_id, image->pid, pid, &err);

    if (process) {
        process_describe(process, ok);
    } else {
        log_line("%s: %s: %s", sandbox->id, image->api_id, err.message);
    }
}

void arrival_let_go(struct arrival *arrival, struct sandbox *sandbox, struct out *ok)
{
    struct revival *revival = &arrival->revival;

    out_key_uint(ok, "revived", revival->count);
    out_text(ok, "processes");
    out_list(ok);
    for (size_t i = 0; i < revival->count; i++) {
        struct revived *revived = &revival->processes[i];
        const pid_t pid = revived->puppet.subject.pid;
        lineage_begin(sandbox, pid, revival->image->id, revived->image->pid, fd_steal(&revived->watch));
        if (revived->image->api_id[0]) {
            attach_command(arrival, sandbox, revived->image, pid, ok);
        }
    }
    out_end(ok);
    const struct image *image = revival->image;
    revival_go(revival);
    if (image) {
        watched_know_image(sandbox, image);
    }
    revival_end(revival);
    stdio_free(&arrival->stdio);
}
