/* Who a thread is and what it may. */
#include <errno.h>
#include <linux/filter.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>

#include "capture.h"
#include "engine.h"
#include "status.h"

/* Of the ids of the host those of the sandbox. */
static uint32_t inner_id(uint32_t id)
{
    return id - engine.uid_base;
}

static void parse_groups(struct credentials *credentials, const char *line)
{
    line += strspn(line, "\t ");
    while (*line >= '0' && *line <= '9') {
        char *end;
        uint32_t id = inner_id((uint32_t)strtoul(line, &end, 10));
        credentials->groups =
            realloc(credentials->groups, (credentials->group_count + 1) * sizeof *credentials->groups);
        if (!credentials->groups) {
            die("out of memory");
        }
        credentials->groups[credentials->group_count++] = id;
        line = end + strspn(end, " ");
    }
}

/* ---- filters ---- */

struct filter_metadata {
    uint64_t index, flags;
};

static int capture_filter(struct image_filter *filter, pid_t tid, size_t index)
{
    struct filter_metadata metadata = {.index = index};
    long length = ptrace(PTRACE_SECCOMP_GET_FILTER, tid, index, NULL);

    if (length < 0) {
        return -errno;
    }
    filter->length = (uint16_t)length;
    filter->code = calloc((size_t)length + 1, sizeof *filter->code);
    if (!filter->code) {
        die("out of memory");
    }
    if (ptrace(PTRACE_SECCOMP_GET_FILTER, tid, index, filter->code) != length ||
        ptrace(PTRACE_SECCOMP_GET_METADATA, tid, sizeof metadata, &metadata) < (long)sizeof metadata) {
        return -errno;
    }
    filter->flags = (unsigned)metadata.flags;
    return 0;
}

/* The first is the sandbox's own. */
static int capture_filters(struct credentials *credentials, pid_t tid, size_t count)
{
    if (count < 2) {
        return 0;
    }
    credentials->filters = calloc(count - 1, sizeof *credentials->filters);
    if (!credentials->filters) {
        die("out of memory");
    }
    for (size_t i = 1; i < count; i++) {
        int result = capture_filter(&credentials->filters[credentials->filter_count++], tid, i);
        if (result < 0) {
            return result;
        }
    }
    return 0;
}

/* ---- the whole ---- */

static uint64_t parse_set(const char *status, const char *key)
{
    return strtoull(status_after(status, key), NULL, 16);
}

int credentials_capture(struct credentials *credentials, pid_t tid, const char *status)
{
    status_ids(status, "\nUid:", credentials->uids);
    status_ids(status, "\nGid:", credentials->gids);
    parse_groups(credentials, status_after(status, "\nGroups:"));
    credentials->inheritable = parse_set(status, "\nCapInh:");
    credentials->permitted = parse_set(status, "\nCapPrm:");
    credentials->effective = parse_set(status, "\nCapEff:");
    credentials->bounding = parse_set(status, "\nCapBnd:");
    credentials->ambient = parse_set(status, "\nCapAmb:");
    credentials->no_new_privileges = strtoul(status_after(status, "\nNoNewPrivs:"), NULL, 10) != 0;
    return capture_filters(credentials, tid, strtoul(status_after(status, "\nSeccomp_filters:"), NULL, 10));
}
