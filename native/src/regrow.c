#include "regrow.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

#include "error.h"
#include "fill.h"
#include "pool.h"
#include "template.h"

/* Every so many generations a template is a fork of the one that many before, every so many of these of one as many times
 * further back: the rows stay below PERIOD for each level. */
#define PERIOD 8

static const struct image_process *find_origin(const struct image_process *process)
{
    const struct image_process *origin = image_origin(process);

    return origin && origin->generation < process->generation ? origin : NULL;
}

/* So many generations back or more; what was written since then is appended to `written`. */
static const struct image_process *find_ancestor(const struct image_process *process, unsigned back,
                                                 struct ranges *written)
{
    const unsigned wanted = process->generation - back;
    const struct image_process *at = process;

    while (at && at->generation > wanted) {
        struct ranges more = ranges_either(written, &at->memory.fresh);
        ranges_free(written);
        *written = more;
        at = find_origin(at);
    }
    return at && template_lives(at->template) ? at : NULL;
}

static int fork_and_fill(struct puppet *puppet, const struct image_process *process,
                         const struct image_process *ancestor, const struct ranges *written)
{
    const struct birthplace pool = {.pid_ns = pool_pid_namespace(), .cgroup = -1};
    struct puppet *parent = &ancestor->template->puppet;
    const struct filling filling = {.puppet = puppet,
                                    .memory = &process->memory,
                                    .has = &ancestor->memory,
                                    .written = written,
                                    .source = &process->template->puppet};
    const char *step;
    int result = puppet_fork(puppet, parent, &pool, CLONE_PARENT, 0);

    result = result < 0 ? result : puppet_own_hand(puppet, parent);
    return result < 0 ? result : fill_memory(&filling, &step);
}

/* Without it the row is longer, and that is all. */
static void fork_anew(struct image_process *process, const struct image_process *ancestor,
                      const struct ranges *written)
{
    struct template *template = calloc(1, sizeof *template);

    if (!template) {
        die("out of memory");
    }
    int result = fork_and_fill(&template->puppet, process, ancestor, written);
    if (result < 0) {
        log_line("process %d (%s): its template stays where it is: %s", process->pid, process->command,
                 strerror(-result));
        template_free(template);
        return;
    }
    template_free(process->template);
    process->template = template;
}

void regrow(struct image_process *process)
{
    const struct image_process *origin = find_origin(process), *ancestor = NULL;
    struct ranges written = {0};
    unsigned back = 1;

    while (process->generation % (back * PERIOD) == 0 && process->generation >= back * PERIOD) {
        back *= PERIOD;
    }
    for (; origin && !ancestor && back > 1; back /= PERIOD) {
        ranges_free(&written);
        ancestor = find_ancestor(process, back, &written);
    }
    if (ancestor && ancestor != origin) {
        fork_anew(process, ancestor, &written);
    }
    ranges_free(&written);
}

static void take_over(struct image_process *heir, const struct image_process *gone)
{
    const struct ranges none = {0};

    if (!gone->memory.grows) { /* all that it has is its own from now on */
        ranges_free(&heir->memory.fresh);
        heir->memory.fresh = ranges_either(&heir->memory.own, &none);
        heir->memory.grows = false;
        return;
    }
    struct ranges both = ranges_either(&heir->memory.fresh, &gone->memory.fresh);

    ranges_free(&heir->memory.fresh);
    heir->memory.fresh = both;
    strcpy(heir->origin, gone->origin);
    heir->origin_pid = gone->origin_pid;
}

void regrow_without(const struct image_process *gone, const char *image)
{
    for (struct image *other = images; other; other = other->next) {
        for (size_t i = 0; i < other->built; i++) {
            struct image_process *heir = &other->processes[i];
            if (heir->memory.grows && heir->origin_pid == gone->pid && strcmp(heir->origin, image) == 0) {
                take_over(heir, gone);
            }
        }
    }
}
