/* Who a revived thread is and what it may. Filters come first: whoever is not root could not add them, and those that all
 * threads have are put up before there is more than one, as the program has done it. */
#include <errno.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "confine.h"
#include "revive.h"

#define SECBIT_FIXED (1u << 2) /* SECBIT_NO_SETUID_FIXUP: capabilities stay until they are set */
#define CAPABILITIES 64
#define SUID_DUMPABLE 2 /* what the kernel makes of a process whose ids change, and prctl does not take */

/* ---- filters ---- */

static int put_filter(struct inject *inject, const struct image_filter *filter)
{
    const size_t bytes = filter->length * sizeof *filter->code;
    int result;

    size_t mapped = inject_add(inject, SYS_mmap, 0, bytes + sizeof(struct sock_fprog), PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS, (uint64_t)-1, 0);
    result = inject_run(inject);
    const uint64_t at = (uint64_t)inject->calls[mapped].result;
    inject_clear(inject);
    if (result < 0) {
        return result;
    }
    const struct sock_fprog inside = {.len = filter->length, .filter = (void *)(at + sizeof inside)};
    if ((result = subject_write(inject->subject, at, &inside, sizeof inside)) < 0 ||
        (result = subject_write(inject->subject, at + sizeof inside, filter->code, bytes)) < 0) {
        return result;
    }
    inject_add(inject, SYS_seccomp, SECCOMP_SET_MODE_FILTER, filter->flags, at, 0, 0, 0);
    inject_add(inject, SYS_munmap, at, bytes + sizeof inside, 0, 0, 0, 0);
    return inject_run_clear(inject);
}

static bool is_same_filter(const struct image_filter *a, const struct image_filter *b)
{
    return a->length == b->length && a->flags == b->flags &&
           memcmp(a->code, b->code, a->length * sizeof *a->code) == 0;
}

static size_t common_filters(const struct image_process *process)
{
    const struct image_thread *first = &process->threads[process->threads[0].ended];
    size_t common = first->credentials.filter_count;

    for (size_t i = 0; i < process->thread_count; i++) {
        const struct credentials *other = &process->threads[i].credentials;
        size_t same = 0;
        if (process->threads[i].ended) {
            continue;
        }
        while (same < common && same < other->filter_count &&
               is_same_filter(&first->credentials.filters[same], &other->filters[same])) {
            same++;
        }
        common = same;
    }
    return common;
}

static int put_filters(struct inject *inject, const struct credentials *wanted, size_t from, size_t to)
{
    int result = 0;

    for (size_t i = from; result == 0 && i < to; i++) {
        result = put_filter(inject, &wanted->filters[i]);
    }
    return result;
}

int restore_filters(struct revived *revived)
{
    const struct image_process *process = revived->image;
    struct inject *inject = &revived->puppet.inject;
    const uint64_t own = inject_data(inject);
    int result = confine_put_filter(inject, own);

    if (result < 0) {
        return result;
    }
    inject_add(inject, SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, own, 0, 0, 0);
    if ((result = inject_run_clear(inject)) < 0) {
        return result;
    }
    revived->common_filters = common_filters(process);
    return put_filters(inject, &process->threads[process->threads[0].ended].credentials, 0,
                       revived->common_filters);
}

/* ---- the rest: calls of one batch, each of which has data of its own ---- */

#define CAPABILITIES_AT (INJECT_DATA_BYTES - RESTORE_DATA_BYTES)
#define LAST_CAPABILITIES_AT (CAPABILITIES_AT + 64)

static int put_capabilities(struct inject *inject, uint64_t at, uint64_t inheritable, uint64_t permitted,
                            uint64_t effective)
{
    struct {
        struct __user_cap_header_struct header;
        struct __user_cap_data_struct data[2];
    } sets = {.header = {.version = _LINUX_CAPABILITY_VERSION_3}};

    for (int i = 0; i < 2; i++) {
        sets.data[i].inheritable = (uint32_t)(inheritable >> (32 * i));
        sets.data[i].permitted = (uint32_t)(permitted >> (32 * i));
        sets.data[i].effective = (uint32_t)(effective >> (32 * i));
    }
    inject_add(inject, SYS_capset, at, at + sizeof sets.header, 0, 0, 0, 0);
    return subject_write(inject->subject, at, &sets, sizeof sets);
}

static int restore_ids(struct inject *inject, const struct credentials *wanted, bool suid_dumpable)
{
    const uint64_t data = inject_data(inject);
    const size_t bytes = wanted->group_count * sizeof *wanted->groups;
    int result = bytes > CAPABILITIES_AT ? -E2BIG : 0;

    if (result == 0 && bytes > 0) {
        result = subject_write(inject->subject, data, wanted->groups, bytes);
    }
    if (result < 0) {
        return result;
    }
    if (suid_dumpable) {
        inject_add(inject, SYS_setfsuid, 1, 0, 0, 0, 0, 0);
    }
    inject_add(inject, SYS_prctl, PR_SET_SECUREBITS, SECBIT_FIXED, 0, 0, 0, 0);
    inject_add(inject, SYS_setgroups, wanted->group_count, data, 0, 0, 0, 0);
    inject_add(inject, SYS_setresgid, wanted->gids[0], wanted->gids[1], wanted->gids[2], 0, 0, 0);
    inject_add(inject, SYS_setresuid, wanted->uids[0], wanted->uids[1], wanted->uids[2], 0, 0, 0);
    inject_add(inject, SYS_setfsgid, wanted->gids[3], 0, 0, 0, 0, 0);
    inject_add(inject, SYS_setfsuid, wanted->uids[3], 0, 0, 0, 0, 0);
    return 0;
}

/* What is inherited may be more than what is permitted or bounded, and what is ambient needs both: so in this order. */
static int restore_capabilities(struct inject *inject, const struct credentials *wanted)
{
    const uint64_t data = inject_data(inject);
    int result = put_capabilities(inject, data + CAPABILITIES_AT, wanted->inheritable, ~0ULL, ~0ULL);

    for (uint64_t capability = 0; capability < CAPABILITIES; capability++) {
        if (wanted->ambient & 1ULL << capability) {
            inject_add(inject, SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0, 0);
        }
    }
    inject_add(inject, SYS_prctl, PR_SET_SECUREBITS, wanted->securebits, 0, 0, 0, 0);
    for (uint64_t capability = 0; capability < CAPABILITIES; capability++) {
        if (!(wanted->bounding & 1ULL << capability)) { /* the kernel's last is below */
            inject_add_free(inject, SYS_prctl, PR_CAPBSET_DROP, capability, 0, 0, 0, 0);
        }
    }
    result = result < 0 ? result
                        : put_capabilities(inject, data + LAST_CAPABILITIES_AT, wanted->inheritable,
                                           wanted->permitted, wanted->effective);
    if (wanted->no_new_privileges) {
        inject_add(inject, SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0);
    }
    return result;
}

int restore_credentials(const struct revived *revived, struct inject *inject,
                        const struct credentials *wanted)
{
    const bool suid_dumpable = revived->image->dumpable == SUID_DUMPABLE;
    int result = put_filters(inject, wanted, revived->common_filters, wanted->filter_count);

    result = result < 0 ? result : restore_ids(inject, wanted, suid_dumpable);
    return result < 0 ? result : restore_capabilities(inject, wanted);
}
