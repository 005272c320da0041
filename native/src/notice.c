#include "notice.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>

#include "fd.h"

#define GET_OWNER_USERS 17 /* F_GETOWNER_UIDS */

/* ---- capturing ---- */

/* Sockets tell their owner of urgent data without O_ASYNC. */
static bool may_have_owner(const struct seen *seen)
{
    struct f_owner_ex owner = {0};

    if ((seen->flags & O_PATH) || !((seen->flags & O_ASYNC) || S_ISSOCK(seen->st.st_mode))) {
        return false;
    }
    cleanup_fd own = (seen->flags & O_ASYNC) ? -1 : seen_take(seen);
    return (seen->flags & O_ASYNC) || (own >= 0 && fcntl(own, F_GETOWN_EX, &owner) == 0 && owner.pid != 0);
}

struct answers {
    struct f_owner_ex owner;
    uint32_t ids[2];
};

/* Only the process knows whom it has named. */
int notice_capture(const struct seen *seen, struct notice *notice)
{
    struct inject *inject = seen->unit->inject;
    const uint64_t fd = (uint64_t)seen->number, at = inject_data(inject);
    struct answers answers;

    if (!may_have_owner(seen)) {
        return 0;
    }
    inject_add(inject, SYS_fcntl, fd, F_GETOWN_EX, at, 0, 0, 0);
    inject_add(inject, SYS_fcntl, fd, GET_OWNER_USERS, at + sizeof answers.owner, 0, 0, 0);
    const size_t signal = inject_add(inject, SYS_fcntl, fd, F_GETSIG, 0, 0, 0, 0);
    int result = inject_run(inject);
    *notice = (struct notice){
        .is_asked = true,
        .is_async = (seen->flags & O_ASYNC) != 0,
        .signal = (int)inject->calls[signal].result,
    };
    inject_clear(inject);
    if (result < 0 || (result = subject_read(inject->subject, at, &answers, sizeof answers)) < 0) {
        return result;
    }
    notice->type = answers.owner.type;
    notice->pid = answers.owner.pid;
    notice->user = answers.ids[0];
    notice->effective_user = answers.ids[1];
    return 0;
}

/* ---- asking again ---- */

/* The signal is sent in the name of who asked for it. */
static int ask(struct revived *revived, const struct notice *notice, int number)
{
    struct inject *inject = &revived->puppet.inject;
    const struct f_owner_ex owner = {.type = notice->type, .pid = notice->pid};
    const uint64_t fd = (uint64_t)number, at = inject_data(inject);
    int result = subject_write(inject->subject, at, &owner, sizeof owner);

    if (result < 0) {
        return result;
    }
    if (notice->pid) {
        inject_add(inject, SYS_setresuid, notice->user, notice->effective_user, 0, 0, 0, 0);
        /* whom it names may have ended */
        inject_add_free(inject, SYS_fcntl, fd, F_SETOWN_EX, at, 0, 0, 0);
        inject_add(inject, SYS_setresuid, 0, 0, 0, 0, 0, 0);
    }
    if (notice->signal) {
        inject_add(inject, SYS_fcntl, fd, F_SETSIG, (uint64_t)notice->signal, 0, 0, 0);
    }
    const size_t got = inject_add(inject, SYS_fcntl, fd, F_GETFL, 0, 0, 0, 0);
    result = inject_run(inject);
    const uint64_t flags = (uint64_t)inject->calls[got].result;
    inject_clear(inject);
    if (result < 0 || !notice->is_async) {
        return result;
    }
    inject_add(inject, SYS_fcntl, fd, F_SETFL, flags | O_ASYNC, 0, 0, 0);
    return inject_run_clear(inject);
}

static int ask_for_process(struct revival *revival, struct revived *revived, bool *asked)
{
    const struct image_process *process = revived->image;
    int result = 0;

    for (size_t i = 0; result == 0 && i < process->descriptor_count; i++) {
        const struct image_descriptor *descriptor = &process->descriptors[i];
        const struct notice *notice = &revival->image->handles[descriptor->handle].notice;
        if (notice->is_asked && !asked[descriptor->handle]) {
            asked[descriptor->handle] = true;
            result = ask(revived, notice, descriptor->number);
        }
    }
    return result;
}

int notices_ask(struct revival *revival)
{
    bool *asked = calloc(revival->image->handle_count + 1, sizeof *asked);
    int result = 0;

    if (!asked) {
        die("out of memory");
    }
    for (size_t i = 0; result == 0 && i < revival->count; i++) {
        result = ask_for_process(revival, &revival->processes[i], asked);
    }
    free(asked);
    return result;
}
