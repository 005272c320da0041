#include "spare.h"

#include <stdio.h>
#include <string.h>

#include "fault.h"
#include "loop.h"

#define SPARES_MAX 64
#define IMAGES_MAX 8
/* Between two of them: somebody may ask for something. */
#define PAUSE_MS 1

struct spare {
    struct arrival arrival;
    struct sandbox *sandbox; /* in whose cgroup it is; NULL: in its own, or that of nobody */
    struct spare *next;
};

/* Without an image of cells alone; without a sandbox of such as are to be made. */
struct wish {
    char image[ID_MAX + 1], sandbox[ID_MAX + 1];
    unsigned count;
};

static struct spare *spares;
static struct wish wishes[1 + IMAGES_MAX];
static size_t wish_count;
static struct limits limits; /* of those that are wanted */
static unsigned last_cgroup;

static bool is_for(const struct spare *spare, const char *image, const char *sandbox)
{
    const struct image *its = spare->arrival.revival.image;

    return strcmp(its ? its->id : "", image) == 0 &&
           strcmp(spare->sandbox ? spare->sandbox->id : "", sandbox) == 0;
}

static unsigned count_of(const char *image, const char *sandbox)
{
    unsigned count = 0;

    for (const struct spare *spare = spares; spare; spare = spare->next) {
        count += is_for(spare, image, sandbox);
    }
    return count;
}

unsigned spares_warm(void)
{
    return count_of("", "");
}

/* ---- in the cgroup of a sandbox ---- */

bool spare_has(pid_t pid)
{
    for (const struct spare *spare = spares; spare; spare = spare->next) {
        const struct revival *revival = &spare->arrival.revival;
        for (size_t i = 0; i < revival->count; i++) {
            if (revival->processes[i].puppet.child.pid == pid) {
                return true;
            }
        }
    }
    return false;
}

static unsigned threads_of(const struct image *image)
{
    unsigned count = 0;

    for (size_t i = 0; i < image->process_count; i++) {
        count += (unsigned)image->processes[i].thread_count;
    }
    return count;
}

unsigned spares_standing(const struct sandbox *sandbox)
{
    unsigned count = 0;

    for (const struct spare *spare = spares; spare; spare = spare->next) {
        count += spare->sandbox == sandbox ? threads_of(spare->arrival.revival.image) : 0;
    }
    return count;
}

/* So many more than its limit says. */
static void admit(struct sandbox *sandbox, unsigned more)
{
    struct limits wider = sandbox->limits;
    struct err err = {0};

    if (sandbox->limits.pids == 0 || sandbox->admitted == more) {
        return;
    }
    wider.pids += more;
    if (cgroup_set_pids(&sandbox->cgroup, &wider, &err) < 0) {
        log_line("%s: %s: %s", sandbox->id, err.step, err.message);
    }
    sandbox->admitted = more;
}

/* ---- making and ending ---- */

static void let_go(struct spare **link)
{
    struct spare *spare = *link;

    *link = spare->next;
    arrival_undo(&spare->arrival);
    free(spare);
}

static int make_cgroup(struct arrival *arrival, struct err *err)
{
    char name[64];

    snprintf(name, sizeof name, "spare-%u-%u", engine.uid_base, ++last_cgroup);
    arrival->limits = limits;
    arrival->has_cgroup = cgroup_create(&arrival->cgroup, name, &limits, err) == 0;
    return arrival->has_cgroup ? 0 : -1;
}

static int make_family(struct spare *spare, const struct image *image, struct sandbox *sandbox,
                       struct err *err)
{
    struct arrival *arrival = &spare->arrival;

    spare->sandbox = sandbox;
    /* who goes back mostly takes a checkpoint next, which need not find out then what was written */
    arrival->is_watched = sandbox != NULL;
    if (sandbox) {
        admit(sandbox, spares_standing(sandbox) + threads_of(image));
    } else if (make_cgroup(arrival, err) < 0) {
        return -1;
    }
    if (arrival_begin(arrival, image, false, sandbox ? &sandbox->cgroup : NULL, err) < 0) {
        return -1;
    }
    footing_make(&arrival->footing, image->base, &image->chain, arrival->cell);
    return 0;
}

static int make(const struct wish *wish, struct err *err)
{
    struct spare *spare = calloc(1, sizeof *spare);

    if (!spare) {
        die("out of memory");
    }
    if (wish->image[0] ? make_family(spare, image_find(wish->image), sandbox_find(wish->sandbox), err) < 0
                       : cell_new(&spare->arrival.cell, false, err) < 0) {
        free(spare);
        return -1;
    }
    spare->next = spares;
    spares = spare;
    return 0;
}

static bool is_wanted(const struct spare *spare)
{
    for (size_t i = 0; i < wish_count; i++) {
        const struct wish *wish = &wishes[i];
        if (is_for(spare, wish->image, wish->sandbox)) {
            return count_of(wish->image, wish->sandbox) <= wish->count && arrival_lives(&spare->arrival);
        }
    }
    return false;
}

static bool can_be_made(const struct wish *wish)
{
    const struct image *image = image_find(wish->image);
    const struct sandbox *sandbox = sandbox_find(wish->sandbox);

    return !wish->image[0] || (image && image_is_ready(image) &&
                               (!wish->sandbox[0] || (sandbox && !sandbox->host_net && !sandbox->dead &&
                                                      !sandbox->destroy.asked)));
}

/* The first that is not fulfilled yet. */
static const struct wish *next_wish(void)
{
    for (size_t i = 0; i < wish_count; i++) {
        const struct wish *wish = &wishes[i];
        if (count_of(wish->image, wish->sandbox) < wish->count && can_be_made(wish)) {
            return wish;
        }
    }
    return NULL;
}

/* One is made, or one that is not wanted ends. */
static bool work(void)
{
    struct err err = {0};

    loop_rest(PAUSE_MS);
    for (struct sandbox *sandbox = sandboxes; sandbox; sandbox = sandbox->next) {
        admit(sandbox, spares_standing(sandbox));
    }
    for (struct spare **link = &spares; *link; link = &(*link)->next) {
        if (!is_wanted(*link)) {
            let_go(link);
            return true;
        }
    }
    const struct wish *wish = next_wish();
    if (wish && make(wish, &err) < 0) {
        log_line("no spare of image %s: %s: %s %s", wish->image, err.step, err.message, err.object);
        wish_count = 0;
        return false;
    }
    return wish != NULL;
}

/* ---- taking ---- */

static struct spare **find(const char *image, const char *sandbox)
{
    for (struct spare **link = &spares; *link; link = &(*link)->next) {
        if (is_for(*link, image, sandbox) && arrival_lives(&(*link)->arrival)) {
            return link;
        }
    }
    return NULL;
}

static void take(struct spare **link, struct arrival *arrival)
{
    struct spare *spare = *link;

    *link = spare->next;
    *arrival = spare->arrival;
    free(spare);
    loop_when_idle(IDLE_LATER, work);
}

static bool same_limits(const struct limits *a, const struct limits *b)
{
    return a->memory_bytes == b->memory_bytes && a->pids == b->pids && a->cpus == b->cpus;
}

bool spare_take(struct arrival *arrival, const struct image *image, const struct sandbox *sandbox,
                const struct limits *wanted)
{
    /* a step that is made to fail is to be among those that are taken now */
    struct spare **link = fault_asked() ? NULL : find(image->id, sandbox ? sandbox->id : "");

    if (!link || (!sandbox && !same_limits(&(*link)->arrival.limits, wanted))) {
        return false;
    }
    take(link, arrival);
    memset(arrival->revival.spent, 0, sizeof arrival->revival.spent);
    return true;
}

int cell_take(struct cell **cell, bool host_net, struct err *err)
{
    struct spare **link = host_net ? NULL : find("", "");
    struct arrival arrival;

    if (!link) {
        return cell_new(cell, host_net, err);
    }
    take(link, &arrival);
    *cell = arrival.cell;
    return 0;
}

/* ---- what is wanted ---- */

/* Of that image, or in that sandbox's cgroup. */
static void end_those(const struct image *image, const struct sandbox *sandbox)
{
    for (struct spare **link = &spares; *link;) {
        const struct spare *spare = *link;
        if ((image && spare->arrival.revival.image == image) || (sandbox && spare->sandbox == sandbox)) {
            let_go(link);
        } else {
            link = &(*link)->next;
        }
    }
}

void spares_without(const struct image *image)
{
    end_those(image, NULL);
}

void spares_leave(const struct sandbox *sandbox)
{
    end_those(NULL, sandbox);
}

void spares_end(void)
{
    wish_count = 0;
    while (spares) {
        let_go(&spares);
    }
}

static int parse_wish(item map, struct wish *wish, uint64_t *room, struct err *err)
{
    uint64_t count;

    if (arg_id(map, "image", wish->image, err) < 0 ||
        (item_get(map, "sandbox") && arg_id(map, "sandbox", wish->sandbox, err) < 0) ||
        arg_uint(map, "count", *room, &count, err) < 0) {
        return -1;
    }
    wish->count = (unsigned)count;
    *room -= count;
    return 0;
}

static int parse_images(item args, struct wish *wanted, size_t *count, uint64_t room, struct err *err)
{
    item list;

    if (!item_get(args, "images")) {
        return 0;
    }
    if (arg_list(args, "images", &list, count, err) < 0) {
        return -1;
    }
    if (*count > IMAGES_MAX) {
        return err_set(err, ERR_BAD_REQUEST, "images: at most %d", IMAGES_MAX);
    }
    for (size_t i = 0; i < *count; i++) {
        if (parse_wish(list_at(list, i), &wanted[i], &room, err) < 0) {
            return -1;
        }
    }
    return arg_limits(args, &limits, err);
}

int op_cells_warm(struct request *request, struct err *err)
{
    struct wish wanted[1 + IMAGES_MAX] = {0};
    size_t count = 0;
    uint64_t cells;

    if (arg_uint(request->args, "count", SPARES_MAX, &cells, err) < 0 ||
        parse_images(request->args, wanted + 1, &count, SPARES_MAX - cells, err) < 0) {
        return -1;
    }
    if (cells == 0 && count == 0) {
        spares_end();
        return OP_DONE;
    }
    wanted[0].count = (unsigned)cells;
    memcpy(wishes, wanted, sizeof wishes);
    wish_count = 1 + count;
    loop_when_idle(IDLE_LATER, work);
    return OP_DONE;
}
