/* Processes that come to their end while the others are being stopped. Their parents are told of it before they are captured:
 * what was on its way then would be lost. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

#include "kin.h"
#include "status.h"
#include "capture.h"
#include "server.h"

#define END_USEC 50000
#define LOOK_NSEC 20000

/* Whether its parent can wait for it, or need not. The end of one that we have traced is ours to see first. */
static bool has_ended(pid_t pid, bool was_traced)
{
    siginfo_t info;

    if (was_traced) {
        waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | __WALL);
    }
    const char *status = status_read(pid);
    const char state = status ? status_after(status, "\nState:\t")[0] : 'X';
    return state == 'X' || (state == 'Z' && strtol(status_after(status, "\nTracerPid:"), NULL, 10) == 0);
}

static bool await_end(const struct move *move, pid_t pid, uint64_t deadline)
{
    const struct timespec pause = {.tv_nsec = LOOK_NSEC};
    const struct subject *frozen = freeze_find(&move->frozen, pid);

    if (frozen && (subject_thread(frozen) || frozen->runs_on)) {
        return true; /* it lives */
    }
    while (!has_ended(pid, frozen != NULL)) {
        if (now_usec() > deadline) {
            return false;
        }
        nanosleep(&pause, NULL);
    }
    return true;
}

static bool await_children(const struct move *move, const struct subject *parent, pid_t tid,
                           uint64_t deadline)
{
    char path[64];
    int pid;
    bool ended = true;

    snprintf(path, sizeof path, "/proc/%d/task/%d/children", parent->pid, tid);
    FILE *file = fopen(path, "re");
    while (file && ended && fscanf(file, "%d", &pid) == 1) {
        ended = await_end(move, pid, deadline);
    }
    if (file) {
        fclose(file);
    }
    return ended;
}

void kin_await_ends(const struct kindred *kindred, const struct move *move, struct obstacles *obstacles)
{
    const uint64_t deadline = now_usec() + END_USEC;

    for (size_t i = 0; i < kindred->count; i++) {
        const struct subject *subject = kindred->list[i].unit->subject;
        for (size_t j = 0; j < subject->thread_count; j++) {
            const struct thread *thread = &subject->threads[j];
            if (!thread->gone && !await_children(move, subject, thread->tid, deadline)) {
                obstacle_add(obstacles, subject, "a child of it", false,
                             "it is being made or ended at this moment");
                return;
            }
        }
    }
}
