#include "freeze.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#include "fd.h"
#include "restarts.h"
#include "status.h"

#define STOP_USEC 8000   /* a thread that has not stopped by then sits in the kernel ... */
#define TURN_USEC 400000 /* ... or waits for its turn on a processor */
#define TRIES 4
#define ROUNDS_MAX 16
#define PAUSE_USEC 1500
#define TICK_USEC 10000

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL /* since Linux 6.9 */
#endif
#define EVENT_OF(status) ((status) >> 8)
#define SIGNAL_OF(status) ((status)&0x7f)

/* The process a thread of which is being seized. The kernel makes us wait while another thread of it is in execve, and
 * that one wait until the ends of those that we trace are seen. */
static volatile pid_t seizing;

static void tick(int number)
{
    int keep = errno;
    char path[64];
    struct dirent *entry;

    (void)number;
    if (!seizing) {
        return;
    }
    snprintf(path, sizeof path, "/proc/%d/task", seizing);
    DIR *tasks = opendir(path); /* no other call than ptrace is interrupted here */
    while (tasks && (entry = readdir(tasks))) {
        pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (tid > 0 && tid != seizing) {
            thread_has_ended(seizing, tid);
        }
    }
    if (tasks) {
        closedir(tasks);
    }
    errno = keep;
}

void ticks_let_in(bool in)
{
    sigset_t ticks;

    sigemptyset(&ticks);
    sigaddset(&ticks, SIGALRM);
    sigprocmask(in ? SIG_UNBLOCK : SIG_BLOCK, &ticks, NULL);
}

/* Interrupts whatever would wait for ever. */
static void set_ticks(bool on)
{
    const struct sigaction action = {.sa_handler = tick};
    const struct timeval period = {.tv_usec = on ? TICK_USEC : 0};
    const struct itimerval timer = {.it_interval = period, .it_value = period};

    ticks_let_in(on);
    if (sigaction(SIGALRM, &action, NULL) < 0 || setitimer(ITIMER_REAL, &timer, NULL) < 0) {
        die("set a timer: %s", strerror(errno));
    }
}

/* ---- stopping ---- */

struct subject *freeze_find(const struct frozen *frozen, pid_t pid)
{
    for (size_t i = 0; i < frozen->count; i++) {
        if (frozen->subjects[i].pid == pid) {
            return &frozen->subjects[i];
        }
    }
    return NULL;
}

/* One that is gone may have left its number to another thread, which has called execve. */
static bool has_thread(const struct subject *subject, pid_t tid)
{
    for (size_t i = 0; i < subject->thread_count; i++) {
        if (subject->threads[i].tid == tid && !subject->threads[i].gone) {
            return true;
        }
    }
    return false;
}

/* A process that is new to us; NULL when it is a zombie or already gone. */
static struct subject *add_subject(struct frozen *frozen, pid_t pid)
{
    char status[4096];

    if (proc_read(pid, "status", status, sizeof status) < 0) {
        return NULL;
    }
    int pidfd = pidfd_open(pid, 0);
    if (pidfd < 0) {
        return NULL;
    }
    frozen->subjects = realloc(frozen->subjects, (frozen->count + 1) * sizeof *frozen->subjects);
    if (!frozen->subjects) {
        die("out of memory");
    }
    struct subject *subject = &frozen->subjects[frozen->count++];
    *subject = (struct subject){
        .pid = pid, .inner = (pid_t)status_last_number(status, "\nNSpid:"), .pidfd = pidfd, .memory = -1};
    sscanf(status, "Name:\t%15[^\n]", subject->command);
    return subject;
}

#define CANNOT_STOP (-2)

/* It is let go again: its threads are not ours to look at. */
static void let_run(struct subject *subject)
{
    for (size_t i = 0; i < subject->thread_count; i++) {
        struct thread *thread = &subject->threads[i];
        urgency_drop(&thread->urgency, thread->tid);
        if (thread->stands && !thread->gone) {
            ptrace(PTRACE_DETACH, thread->tid, 0, 0);
        }
    }
    subject->thread_count = 0;
    subject->runs_on = true;
}

/* The kernel says EPERM of a thread that somebody else traces, and of one that is ending. */
static int seize_failed(const struct subject *subject, pid_t tid, int num, struct obstacles *obstacles)
{
    char status[4096];

    if (num == ESRCH || proc_read(tid, "status", status, sizeof status) < 0) {
        return 0;
    }
    char state = status_state(status);
    if (state == 'Z' || state == 'X') {
        return 0;
    }
    long tracer = status_number(status, "\nTracerPid:");
    if (tracer == getpid()) {
        return 1; /* of an earlier try that it was too slow for */
    }
    if (tracer > 0) {
        obstacle_add(obstacles, subject, "the process itself", true, "a debugger traces it");
        return CANNOT_STOP;
    }
    obstacle_add(obstacles, subject, "the process itself", false, "it cannot be stopped: %s", strerror(num));
    return -1;
}

/* Returns 1 for a new thread, 0 for none, -1 or CANNOT_STOP with an obstacle. */
static int seize_thread(struct subject *subject, pid_t tid, struct obstacles *obstacles)
{
    if (has_thread(subject, tid)) {
        return 0;
    }
    seizing = subject->pid;
    long seized = ptrace(PTRACE_SEIZE, tid, 0, FREEZE_OPTIONS);
    seizing = 0;
    if (seized < 0) {
        int result = seize_failed(subject, tid, errno, obstacles);
        if (result <= 0) {
            return result;
        }
    }
    ptrace(PTRACE_INTERRUPT, tid, 0, 0);
    subject->threads = realloc(subject->threads, (subject->thread_count + 1) * sizeof *subject->threads);
    if (!subject->threads) {
        die("out of memory");
    }
    subject->threads[subject->thread_count++] = (struct thread){.tid = tid};
    return 1;
}

static int seize_threads(struct subject *subject, DIR *tasks, struct obstacles *obstacles)
{
    struct dirent *entry;
    int found = 0;

    while (found >= 0 && (entry = readdir(tasks))) {
        pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);
        int result = tid > 0 ? seize_thread(subject, tid, obstacles) : 0;
        found = result < 0 ? result : found + result;
    }
    return found;
}

static int seize_process(struct frozen *frozen, pid_t pid, struct obstacles *obstacles)
{
    char path[64];
    struct subject *subject = freeze_find(frozen, pid);

    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    if (!tasks) {
        return 0;
    }
    if (!subject) {
        subject = add_subject(frozen, pid);
    }
    int found = subject && !subject->runs_on ? seize_threads(subject, tasks, obstacles) : 0;
    closedir(tasks);
    if (found == CANNOT_STOP) {
        let_run(subject);
        found = 0;
    }
    return found;
}

static void pause_usec(long usec)
{
    const struct timespec time = {.tv_nsec = usec * 1000};

    nanosleep(&time, NULL);
}

/* Nobody inside is to notice the stop. */
static void go_on_waiting(pid_t tid)
{
    struct arch_regs regs;

    if (arch_get_regs(tid, &regs) < 0) {
        return;
    }
    restarts_note(tid, &regs);
    if (arch_go_on_waiting(&regs) || arch_begin_file_call_again(&regs)) {
        arch_set_regs(tid, &regs);
    }
}

static bool awaits_turn(pid_t tid)
{
    char status[4096];

    return proc_read(tid, "status", status, sizeof status) > 0 && status_state(status) == 'R';
}

/* Waits until the thread stands in a stop that is the kernel's answer to our interrupt, or in a group stop. A signal
 * on the way is delivered as it would have been; any stop clears the interrupt, so it is asked for again. */
static bool await_stop(const struct subject *subject, struct thread *thread, uint64_t deadline)
{
    for (;;) {
        siginfo_t info = {0};
        if (waitid(P_PID, (id_t)thread->tid, &info, WSTOPPED | WNOHANG | __WALL) < 0) {
            thread->gone = true;
            return true;
        }
        if (info.si_pid != 0 && EVENT_OF(info.si_status) == PTRACE_EVENT_STOP) {
            thread->stands = true;
            thread->stop_signal = SIGNAL_OF(info.si_status) == SIGTRAP ? 0 : SIGNAL_OF(info.si_status);
            go_on_waiting(thread->tid);
            return true;
        }
        if (info.si_pid != 0) {
            ptrace(PTRACE_INTERRUPT, thread->tid, 0, 0);
            ptrace(PTRACE_CONT, thread->tid, 0, SIGNAL_OF(info.si_status));
            continue;
        }
        if (thread_has_ended(subject->pid, thread->tid)) {
            thread->gone = true;
            return true;
        }
        uint64_t now = now_usec();
        if (now > deadline && (now > deadline + TURN_USEC || !awaits_turn(thread->tid))) {
            return false;
        }
        urgency_raise(&thread->urgency, thread->tid);
        /* Sleeps, so that the thread can run on this very processor; a tick ends the sleep in any case. */
        waitid(P_PID, (id_t)thread->tid, &info, WSTOPPED | WEXITED | WNOWAIT | __WALL);
    }
}

/* True when every thread known so far stands. */
static bool await_all(struct frozen *frozen, struct obstacles *obstacles)
{
    uint64_t deadline = now_usec() + STOP_USEC;

    for (size_t i = 0; i < frozen->count; i++) {
        struct subject *subject = &frozen->subjects[i];
        for (size_t j = 0; j < subject->thread_count; j++) {
            struct thread *thread = &subject->threads[j];
            if (!thread->stands && !thread->gone && !await_stop(subject, thread, deadline)) {
                obstacle_add(obstacles, subject, "the process itself", false,
                             "it waits in the kernel and cannot be stopped at this moment");
                return false;
            }
        }
    }
    return true;
}

/* A thread that stood may have been ended by execve in another one, which has its number now and runs on. */
static bool all_stand(struct frozen *frozen, struct obstacles *obstacles)
{
    for (size_t i = 0; i < frozen->count; i++) {
        struct subject *subject = &frozen->subjects[i];
        for (size_t j = 0; j < subject->thread_count; j++) {
            struct thread *thread = &subject->threads[j];
            if (thread->gone || arch_get_regs(thread->tid, &thread->regs) == 0) {
                continue;
            }
            thread->gone = thread_has_ended(subject->pid, thread->tid);
            if (!thread->gone) {
                thread->stands = false;
                obstacle_add(obstacles, subject, "the process itself", false,
                             "a thread of it calls execve, or it is being ended");
                return false;
            }
        }
    }
    return true;
}

/* Seizes what is there until nothing new appears: only what does not stand yet can make new threads, and what runs on,
 * of which enough is known then. */
static int freeze_once(struct frozen *frozen, const struct sandbox *sandbox, struct obstacles *obstacles)
{
    int found, rounds = 0;

    do {
        pid_t *pids;
        const size_t count = sandbox_list(sandbox, &pids);
        found = 0;
        for (size_t i = 0; i < count && found >= 0; i++) {
            int result = seize_process(frozen, pids[i], obstacles);
            found = result < 0 ? -1 : found + result;
        }
        free(pids);
    } while (found > 0 && await_all(frozen, obstacles) && (!obstacles->lasting || ++rounds < ROUNDS_MAX));
    return found < 0 || (found > 0 && rounds < ROUNDS_MAX) || !all_stand(frozen, obstacles) ? -1 : 0;
}

/* Where a process's first thread has ended, descriptors can be taken out of it by another. */
static int point_at(struct subject *subject, const struct thread *thread, struct obstacles *obstacles)
{
    if (thread->tid == subject->pid) {
        return 0;
    }
    int pidfd = pidfd_open(thread->tid, PIDFD_THREAD);
    if (pidfd < 0) {
        obstacle_add(obstacles, subject, "the process itself", true,
                     "its first thread has ended, and this kernel does not open the others");
        let_run(subject);
        return 0;
    }
    close(subject->pidfd);
    subject->pidfd = pidfd;
    return 0;
}

static int open_subject(struct subject *subject, struct obstacles *obstacles, struct err *err)
{
    char path[64], status[4096];
    struct thread *thread = subject_thread(subject);

    if (!thread) {
        return 0;
    }
    if (arch_get_regs(thread->tid, &thread->regs) < 0) {
        thread->gone = true;
        return 0;
    }
    urgency_raise(&thread->urgency, thread->tid);
    if (arch_is_foreign(&thread->regs)) {
        obstacle_add(obstacles, subject, "the process itself", true, "it is a 32-bit program");
        let_run(subject);
        return 0;
    }
    if (proc_read(thread->tid, "status", status, sizeof status) > 0) {
        subject->inner = (pid_t)status_last_number(status, "\nNStgid:");
        sscanf(status, "Name:\t%15[^\n]", subject->command); /* it may have run another program meanwhile */
    }
    snprintf(path, sizeof path, "/proc/%d/mem", thread->tid);
    subject->memory = open(path, O_RDWR | O_CLOEXEC);
    if (subject->memory < 0) {
        return thread_was_killed(thread)
                   ? 0
                   : err_system(err, errno, "open memory", "process %d", subject->inner);
    }
    return point_at(subject, thread, obstacles);
}

int freeze(struct frozen *frozen, const struct sandbox *sandbox, struct obstacles *obstacles, struct err *err)
{
    *frozen = (struct frozen){0};
    set_ticks(true);
    for (int try = 0; freeze_once(frozen, sandbox, obstacles) < 0; try++) {
        thaw(frozen);
        if (try == TRIES) {
            return -1;
        }
        set_ticks(true);
        obstacles_free(obstacles);
        /* such as a parent that waits for its vforked child to exec: both must run on for a moment */
        pause_usec(PAUSE_USEC);
    }
    /* not before: whoever waits for others to stop must not keep them from running */
    urgency_raise(&frozen->urgency, 0);
    for (size_t i = 0; i < frozen->count; i++) {
        if (open_subject(&frozen->subjects[i], obstacles, err) < 0) {
            thaw(frozen);
            return -1;
        }
    }
    ticks_let_in(false);
    return 0;
}

void thaw(struct frozen *frozen)
{
    set_ticks(false);
    for (size_t i = 0; i < frozen->count; i++) {
        struct subject *subject = &frozen->subjects[i];
        for (size_t j = 0; j < subject->thread_count; j++) {
            struct thread *thread = &subject->threads[j];
            urgency_drop(&thread->urgency, thread->tid);
            if (thread->stands && !thread->gone) {
                ptrace(PTRACE_DETACH, thread->tid, 0, 0);
            }
            if (thread->stop_pending) {
                syscall(SYS_tgkill, subject->pid, thread->tid, SIGSTOP);
            }
        }
        fd_close(&subject->pidfd);
        fd_close(&subject->memory);
        free(subject->threads);
    }
    urgency_drop(&frozen->urgency, 0);
    free(frozen->subjects);
    *frozen = (struct frozen){0};
}

/* In the cell that a sandbox stands in. */
static bool lives(pid_t pid)
{
    const ino_t its = proc_namespace(pid);
    struct stat st;

    for (const struct sandbox *sandbox = sandboxes; sandbox; sandbox = sandbox->next) {
        if (!sandbox->dead && fstat(sandbox->cell->pid_ns, &st) == 0 && st.st_ino == its) {
            return true;
        }
    }
    return false;
}

bool freeze_release(const siginfo_t *stop)
{
    if (!lives(stop->si_pid)) {
        return false;
    }
    int signal = EVENT_OF(stop->si_status) == PTRACE_EVENT_STOP ? 0 : SIGNAL_OF(stop->si_status);

    go_on_waiting(stop->si_pid);
    ptrace(PTRACE_DETACH, stop->si_pid, 0, signal);
    return true;
}
