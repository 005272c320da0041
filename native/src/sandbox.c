#include "sandbox.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fd.h"
#include "file.h"
#include "job.h"
#include "lineage.h"
#include "process.h"
#include "server.h"
#include "spare.h"
#include "status.h"
#include "tree.h"
#include "urgency.h"

struct sandbox *sandboxes;

/* ---- looking up ---- */

struct sandbox *sandbox_find(const char *id)
{
    struct sandbox *sandbox = sandboxes;

    while (sandbox && strcmp(sandbox->id, id) != 0) {
        sandbox = sandbox->next;
    }
    return sandbox;
}

struct sandbox *arg_sandbox(item args, struct err *err)
{
    char id[ID_MAX + 1];

    if (arg_id(args, "sandbox", id, err) < 0) {
        return NULL;
    }
    struct sandbox *sandbox = sandbox_find(id);
    if (!sandbox) {
        err_set(err, ERR_NO_SANDBOX, "no sandbox is called %s", id);
    }
    return sandbox;
}

struct sandbox *arg_live_sandbox(item args, struct err *err)
{
    struct sandbox *sandbox = arg_sandbox(args, err);

    if (sandbox && (sandbox->dead || sandbox->destroy.asked)) {
        err_set(err, ERR_DEAD, "%s has ended", sandbox->id);
        return NULL;
    }
    return sandbox;
}

/* ---- the end ---- */

static int remove_work(struct job_out *out, void *argument, struct out *ok, struct err *err)
{
    (void)out;
    (void)ok;
    int result = tree_remove(AT_FDCWD, argument);
    return result < 0 ? err_system(err, -result, "remove directory", "%s", (char *)argument) : 0;
}

void sandbox_free(struct sandbox *sandbox)
{
    for (struct sandbox **link = &sandboxes; *link; link = &(*link)->next) {
        if (*link == sandbox) {
            *link = sandbox->next;
            break;
        }
    }
    while (sandbox->processes) {
        process_free(sandbox->processes);
    }
    if (sandbox->base) {
        fds_close(sandbox->trees, sandbox->base->tree_count);
    }
    watched_forget(sandbox);
    held_forget(sandbox);
    lineages_forget(&sandbox->lineages);
    chain_free(&sandbox->chain);
    cgroup_remove(&sandbox->cgroup);
    if (sandbox->cell) {
        cell_release(sandbox->cell);
        free(sandbox->cell);
    }
    free(sandbox->head);
    free(sandbox->hostname);
    free(sandbox->dir);
    free(sandbox);
}

bool sandbox_all_reaped(const struct sandbox *sandbox, const struct cell *cell)
{
    for (const struct process *process = sandbox->processes; process; process = process->next) {
        if (!process->ended && process->cell == cell) {
            return false;
        }
    }
    return cell->init.pid == 0;
}

/* Nobody will release output any more: held streams give up their hold, so that each process can be reported. */
void sandbox_report_ended(struct sandbox *sandbox, const struct cell *cell)
{
    for (struct process *process = sandbox->processes, *next; process; process = next) {
        next = process->next;
        if (process->cell != cell) {
            continue;
        }
        for (int i = 0; i < 2; i++) {
            process->streams[i].spool.hold = false;
            stream_drain(&process->streams[i]);
        }
        process_progress(process);
    }
}

void sandbox_maybe_gone(struct sandbox *sandbox)
{
    if (!sandbox->destroy.asked || sandbox->leaving || !sandbox_all_reaped(sandbox, sandbox->cell)) {
        return;
    }
    struct reply_to reply_to = sandbox->destroy.reply_to;
    bool remove = sandbox->destroy.remove;
    cleanup_free char *dir = strdup(sandbox->dir);
    struct err err = {0};

    sandbox_report_ended(sandbox, sandbox->cell);
    sandbox_free(sandbox);
    if (!remove) {
        reply_ok(&reply_to, NULL);
    } else if (job_start(&reply_to, remove_work, dir, &err) < 0) {
        reply_error(&reply_to, &err);
    }
}

void sandbox_kill_and_wait(struct sandbox *sandbox)
{
    /* The init cannot end before the processes the engine started in its namespace are reaped. */
    if (!sandbox->dead) {
        kill(sandbox->cell->init.pid, SIGKILL);
    }
    for (struct process *process = sandbox->processes; process; process = process->next) {
        child_kill_and_wait(&process->child);
    }
    child_kill_and_wait(&sandbox->cell->init);
    if (sandbox->leaving) {
        child_kill_and_wait(&sandbox->leaving->init);
    }
    cgroup_remove(&sandbox->cgroup);
}

void sandbox_init_ended(struct child *child, const siginfo_t *info)
{
    struct sandbox *sandbox = child->owner;
    struct out event = {0};

    sandbox->dead = true;
    spares_leave(sandbox);
    if (!sandbox->destroy.asked) {
        char reason[96];
        snprintf(reason, sizeof reason, "its init ended (%s %d)",
                 info->si_code == CLD_EXITED ? "status" : "signal", info->si_status);
        log_line("%s: %s", sandbox->id, reason);
        out_key_text(&event, "event", "sandbox.dead");
        out_key_text(&event, "sandbox", sandbox->id);
        out_key_text(&event, "reason", reason);
        send_event(&event);
        out_free(&event);
    }
    sandbox_maybe_gone(sandbox);
}

int op_sandbox_destroy(struct request *request, struct err *err)
{
    struct sandbox *sandbox = arg_sandbox(request->args, err);
    bool remove;

    if (!sandbox || arg_bool(request->args, "remove", &remove, err) < 0) {
        return -1;
    }
    if (sandbox->destroy.asked) {
        return err_set(err, ERR_DEAD, "%s is being destroyed", sandbox->id);
    }
    sandbox->destroy.asked = true;
    spares_leave(sandbox);
    sandbox->destroy.remove = remove;
    sandbox->destroy.reply_to = request->reply_to;
    files_close_of(sandbox);
    if (sandbox->dead) {
        sandbox_maybe_gone(sandbox);
    } else {
        /* The kernel kills everything in a pid namespace with its init. */
        kill(sandbox->cell->init.pid, SIGKILL);
    }
    return OP_LATER;
}

/* ---- the whole sandbox ---- */

static void out_known(struct out *out, const char *key, int64_t value)
{
    if (value >= 0) {
        out_key_uint(out, key, (uint64_t)value);
    }
}

int op_sandbox_stats(struct request *request, struct err *err)
{
    struct sandbox *sandbox = arg_live_sandbox(request->args, err);
    struct cgroup_stats stats;

    if (!sandbox) {
        return -1;
    }
    cgroup_read(&sandbox->cgroup, &stats);
    stats.processes -= stats.processes < 0 ? 0 : spares_standing(sandbox);
    out_known(&request->ok, "memoryBytes", stats.memory_bytes);
    out_known(&request->ok, "processes", stats.processes);
    out_known(&request->ok, "cpuUsec", stats.cpu_usec);
    out_known(&request->ok, "oomKills", stats.oom_kills);
    return OP_DONE;
}

static int usage_work(struct job_out *out, void *argument, struct out *ok, struct err *err)
{
    struct sandbox *sandbox = argument;
    struct tree_size size = {0};
    char path[4096];

    (void)out;
    (void)err;
    for (size_t i = 0; i < sandbox->base->tree_count; i++) {
        snprintf(path, sizeof path, "%s/fs%zu/upper", sandbox->head, i);
        tree_measure(AT_FDCWD, path, &size);
    }
    out_key_uint(ok, "bytes", size.bytes);
    out_key_uint(ok, "files", size.files);
    return 0;
}

int op_sandbox_usage(struct request *request, struct err *err)
{
    struct sandbox *sandbox = arg_sandbox(request->args, err);

    return sandbox ? job_start(&request->reply_to, usage_work, sandbox, err) : -1;
}

static void set_frozen(const struct sandbox *sandbox, bool frozen)
{
    cleanup_fd fd =
        sandbox->cgroup.v2_fd < 0 ? -1 : openat(sandbox->cgroup.v2_fd, "cgroup.freeze", O_WRONLY | O_CLOEXEC);

    if (fd >= 0 && write(fd, frozen ? "1" : "0", 1) != 1) {
        log_line("%s cgroup of %s: %s", frozen ? "freeze" : "thaw", sandbox->id, strerror(errno));
    }
}

static bool signal_one(const struct sandbox *sandbox, pid_t pid, ino_t pid_ns, int signal)
{
    if (pid <= 0 || pid == sandbox->cell->init.pid || spare_has(pid) || !proc_is_in(pid, pid_ns)) {
        return false;
    }
    if (signal == SIGKILL) {
        urgency_keep_off(pid);
    }
    return kill(pid, signal) == 0;
}

static int signal_everywhere(const struct sandbox *sandbox, ino_t pid_ns, int signal)
{
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    int count = 0;

    while (proc && (entry = readdir(proc))) {
        count += signal_one(sandbox, (pid_t)strtol(entry->d_name, NULL, 10), pid_ns, signal);
    }
    if (proc) {
        closedir(proc);
    }
    return count;
}

/* Who was born in its v2 cgroup stays there. */
static int signal_once(const struct sandbox *sandbox, ino_t pid_ns, int signal)
{
    int fd =
        sandbox->cgroup.v2_fd < 0 ? -1 : openat(sandbox->cgroup.v2_fd, "cgroup.procs", O_RDONLY | O_CLOEXEC);
    FILE *members = fd < 0 ? NULL : fdopen(fd, "re");
    int count = 0;

    if (!members) {
        return signal_everywhere(sandbox, pid_ns, signal);
    }
    for (int pid; fscanf(members, "%d", &pid) == 1;) {
        count += signal_one(sandbox, pid, pid_ns, signal);
    }
    fclose(members);
    return count;
}

int sandbox_signal(struct sandbox *sandbox, int signal)
{
    const ino_t pid_ns = proc_namespace(sandbox->cell->init.pid);
    int rounds = signal != SIGKILL ? 1 : sandbox->cgroup.v2_fd >= 0 ? 2 : 20;

    if (pid_ns == 0) {
        return 0;
    }
    /* Frozen, nothing forks away from the signal; without a v2 hierarchy more rounds have to do. cgroup.kill would be
     * simpler, but after it the kernel (6.18) kills whatever is later cloned into that cgroup. */
    if (signal != 0) {
        set_frozen(sandbox, true);
    }
    int count = signal_once(sandbox, pid_ns, signal);
    while (--rounds > 0) {
        signal_once(sandbox, pid_ns, signal);
    }
    if (signal != 0) {
        set_frozen(sandbox, false);
    }
    return count;
}

/* Whoever is killed makes no child any more: so those that were made between two looks are found by the second. */
int sandbox_kill_all(const struct sandbox *sandbox)
{
    const ino_t pid_ns = proc_namespace(sandbox->cell->init.pid);

    int count = pid_ns == 0 ? 0 : signal_once(sandbox, pid_ns, SIGKILL);
    if (count > 0) {
        signal_once(sandbox, pid_ns, SIGKILL);
    }
    /* The kernel kills everything in a pid namespace with its init. */
    urgency_keep_off(sandbox->cell->init.pid);
    kill(sandbox->cell->init.pid, SIGKILL);
    return count;
}

int op_sandbox_signal(struct request *request, struct err *err)
{
    struct sandbox *sandbox = arg_live_sandbox(request->args, err);
    uint64_t number;

    if (!sandbox || arg_uint(request->args, "signal", NSIG - 1, &number, err) < 0) {
        return -1;
    }
    out_key_uint(&request->ok, "count", (uint64_t)sandbox_signal(sandbox, (int)number));
    return OP_DONE;
}
