/* Every thread of a sandbox stopped where it is, as a tracer stops it, and let go again unchanged. */
#pragma once

#include <signal.h>
#include <sys/ptrace.h>

#include "arch.h"
#include "sandbox.h"
#include "urgency.h"

/* EXITKILL: what the engine has stopped must not run on with code of ours in it when the engine dies. Its filters are
 * not suspended here: a thread that is seized runs on for a moment. */
#define FREEZE_OPTIONS (PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD)

/* System calls handed to a handler of the program's own, as the kernel tells and takes it. */
struct call_dispatch {
    uint64_t mode, selector, offset, length;
};

struct thread {
    pid_t tid;             /* as the engine sees it */
    pid_t inner;           /* as it sees itself */
    bool stands;           /* in a stop, ours to command */
    bool gone;             /* it was killed meanwhile */
    bool taken;            /* runs code of ours between inject_begin and inject_end */
    bool stop_pending;     /* a SIGSTOP came while it did */
    int stop_signal;       /* by which its process is stopped; 0: it is not */
    unsigned long follows; /* PTRACE_O_TRACEFORK and the like: of a process of ours */
    struct arch_regs regs;
    uint64_t mask;    /* blocked signals */
    uint64_t pending; /* signals that wait for it or for its process */
    struct urgency urgency;
    struct call_dispatch dispatch;
};

/* A frozen process. */
struct subject {
    pid_t pid, inner;
    char command[16];
    struct thread *threads;
    size_t thread_count;
    int pidfd;
    int memory;   /* /proc/PID/mem */
    bool runs_on; /* it cannot be stopped, and was said to be an obstacle */
};

struct frozen {
    struct subject *subjects;
    size_t count;
    struct urgency urgency; /* the engine's own */
};

/* What cannot be checkpointed, or not now: told to the user by process and object. */
struct obstacle {
    pid_t pid; /* inside; 0 when it is no process */
    char command[16];
    char object[192];
    char reason[96];
};

#define OBSTACLES_MAX 64

struct obstacles {
    struct obstacle *list;
    size_t count;
    size_t more;  /* that the list has no room for */
    bool lasting; /* waiting a moment would not help */
};

void obstacles_free(struct obstacles *obstacles);
__attribute__((format(printf, 5, 6))) void obstacle_add(struct obstacles *obstacles,
                                                        const struct subject *subject, const char *object,
                                                        bool lasting, const char *reason, ...);

/* The same of a descriptor. */
void obstacle_add_descriptor(struct obstacles *obstacles, const struct subject *subject, int number,
                             const char *link, bool lasting, const char *reason);
/* Returns 0, or -1 with err or at least one obstacle; then nothing is frozen. What can never be stopped is an obstacle
 * that leaves the rest frozen, so that all that stands in the way of a checkpoint can be looked for. */
int freeze(struct frozen *frozen, const struct sandbox *sandbox, struct obstacles *obstacles,
           struct err *err);
/* Whether anybody is in it beside its init. */
bool sandbox_has_processes(const struct sandbox *sandbox);
/* Which; the caller frees the list. */
size_t sandbox_list(const struct sandbox *sandbox, pid_t **list);
/* NULL: it is none of them. */
struct subject *freeze_find(const struct frozen *frozen, pid_t pid);
/* What does not stand (yet) is let go by freeze_release when it does. */
void thaw(struct frozen *frozen);
/* Lets go of a thread that has come to a stop outside of a freeze; called by the loop, which is told of it. False when it is of no
 * sandbox that lives, but of what is being made, and is not to run. */
bool freeze_release(const siginfo_t *stop);
/* Also of one whose end the kernel does not tell, because other threads of its process are there yet. */
bool thread_has_ended(pid_t pid, pid_t tid);
/* Whether a thread that stood stands no longer, as only a killed one does; what fails with it is no failure. */
bool thread_was_killed(struct thread *thread);
bool thread_is_capable(const struct thread *thread, int capability);
/* While something is frozen, what the engine waits for is interrupted every few milliseconds: a thread that runs another
 * program may hold it up for ever. Not to be let in where files are opened: overlayfs fails that with EINTR. */
void ticks_let_in(bool in);
/* 0 or -errno; on kernels that do not tell it is taken for off. */
int thread_get_dispatch(const struct thread *thread, struct call_dispatch *dispatch);
int thread_set_dispatch(const struct thread *thread, const struct call_dispatch *dispatch);
/* Fills in `inner` and `pending` of a frozen thread. 0 or -errno. */
int thread_look(struct thread *thread);
/* A thread that is there and can be asked to do something for its process; NULL when the process is gone. */
struct thread *subject_thread(const struct subject *subject);
