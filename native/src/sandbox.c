#include "sandbox.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fd.h"
#include "file.h"
#include "job.h"
#include "process.h"
#include "server.h"
#include "tree.h"

struct sandbox *sandboxes;

/* ---- looking up ---- */

int arg_id(item args, const char *key, char out[ID_MAX + 1], struct err *err)
{
    cleanup_free char *id = NULL;

    if (arg_string(args, key, &id, err) < 0) {
        return -1;
    }
    size_t len = strlen(id);
    if (len == 0 || len > ID_MAX || strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789-") != len) {
        return err_set(err, ERR_BAD_REQUEST, "%s: 1-%d of a-z, 0-9 and - wanted", key, ID_MAX);
    }
    strcpy(out, id);
    return 0;
}

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

static void sandbox_free(struct sandbox *sandbox)
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
    for (size_t i = 0; i < sandbox->volume_count; i++) {
        fd_close(&sandbox->volumes[i].mount);
        free(sandbox->volumes[i].path);
        free(sandbox->volumes[i].source);
        free(sandbox->volumes[i].dir);
    }
    free(sandbox->volumes);
    if (sandbox->dir) {
        root_close_workshop(sandbox->dir);
    }
    cgroup_remove(&sandbox->cgroup);
    cell_release(sandbox->cell);
    free(sandbox->cell);
    free(sandbox->dir);
    free(sandbox);
}

static bool all_reaped(const struct sandbox *sandbox)
{
    for (const struct process *process = sandbox->processes; process; process = process->next) {
        if (!process->ended) {
            return false;
        }
    }
    return sandbox->dead;
}

/* Nobody will release output any more: held streams give up their hold, so that each process can be reported. */
static void report_all(struct sandbox *sandbox)
{
    for (struct process *process = sandbox->processes, *next; process; process = next) {
        next = process->next;
        for (int i = 0; i < 2; i++) {
            process->streams[i].spool.hold = false;
            stream_drain(&process->streams[i]);
        }
        process_progress(process);
    }
}

void sandbox_maybe_gone(struct sandbox *sandbox)
{
    if (!sandbox->destroy.asked || !all_reaped(sandbox)) {
        return;
    }
    struct reply_to reply_to = sandbox->destroy.reply_to;
    bool remove = sandbox->destroy.remove;
    cleanup_free char *dir = strdup(sandbox->dir);
    struct err err = {0};

    report_all(sandbox);
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
    cgroup_remove(&sandbox->cgroup);
}

static void init_ended(struct child *child, const siginfo_t *info)
{
    struct sandbox *sandbox = child->owner;
    struct out event = {0};

    sandbox->dead = true;
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

/* ---- making one ---- */

static int parse_volumes(struct sandbox *sandbox, item args, struct err *err)
{
    item list;
    size_t count;

    if (arg_list(args, "volumes", &list, &count, err) < 0) {
        return -1;
    }
    sandbox->volumes = calloc(count + 1, sizeof *sandbox->volumes);
    if (!sandbox->volumes) {
        die("out of memory");
    }
    for (size_t i = 0; i < count; i++) {
        struct volume *volume = &sandbox->volumes[i];
        item entry = list_at(list, i);
        volume->mount = -1;
        sandbox->volume_count++;
        if (!cbor_isa_map(entry)) {
            return err_set(err, ERR_BAD_REQUEST, "volumes: maps wanted");
        }
        if (arg_string(entry, "path", &volume->path, err) < 0 ||
            arg_string(entry, "source", &volume->source, err) < 0 ||
            arg_string(entry, "dir", &volume->dir, err) < 0) {
            return -1;
        }
        if (volume->path[0] != '/' || volume->path[1] == '\0') {
            return err_set(err, ERR_BAD_REQUEST, "volumes: %s is no absolute path below /", volume->path);
        }
    }
    return 0;
}

static int parse_limits(item args, struct limits *limits, struct err *err)
{
    item map = item_get(args, "limits");

    *limits = (struct limits){0};
    if (!map || !cbor_isa_map(map)) {
        return err_set(err, ERR_BAD_REQUEST, "limits: a map wanted");
    }
    if (item_get(map, "cpus") && arg_number(map, "cpus", &limits->cpus, err) < 0) {
        return -1;
    }
    return arg_optional_uint(map, "memoryBytes", INT64_MAX, 0, &limits->memory_bytes, err) < 0 ||
                   arg_optional_uint(map, "pids", INT32_MAX, 0, &limits->pids, err) < 0
               ? -1
               : 0;
}

static int parse_net(item args, bool *host_net, struct err *err)
{
    cleanup_free char *net = NULL;

    if (arg_string(args, "net", &net, err) < 0) {
        return -1;
    }
    *host_net = strcmp(net, "host") == 0;
    return *host_net || strcmp(net, "none") == 0 ? 0
                                                 : err_set(err, ERR_BAD_REQUEST, "net: none or host wanted");
}

static int set_hostname(const struct sandbox *sandbox, item args, struct err *err)
{
    cleanup_free char *hostname = NULL;

    if (arg_string(args, "hostname", &hostname, err) < 0) {
        return -1;
    }
    if (setns(sandbox->cell->init_pidfd, CLONE_NEWUTS) < 0) {
        return err_system(err, errno, "enter uts namespace", "%s", sandbox->id);
    }
    int failure = sethostname(hostname, strlen(hostname)) < 0 ? errno : 0;
    if (setns(engine.uts_ns, CLONE_NEWUTS) < 0) {
        die("return to the engine's uts namespace: %s", strerror(errno));
    }
    return failure ? err_system(err, failure, "set hostname", "%s", hostname) : 0;
}

static int make_logs(const struct sandbox *sandbox, struct err *err)
{
    char path[4096];

    snprintf(path, sizeof path, "%s/logs", sandbox->dir);
    return mkdir(path, 0700) < 0 ? err_system(err, errno, "make directory", "%s", path) : 0;
}

static int build(struct sandbox *sandbox, struct request *request, struct err *err)
{
    cleanup_free char *base = NULL;
    struct root_timings timings = {0};
    struct limits limits;
    bool host_net;
    uint64_t start = now_usec();
    item seed = item_get(request->args, "seed");

    if (arg_string(request->args, "dir", &sandbox->dir, err) < 0 ||
        arg_string(request->args, "base", &base, err) < 0 || parse_net(request->args, &host_net, err) < 0 ||
        parse_limits(request->args, &limits, err) < 0 || parse_volumes(sandbox, request->args, err) < 0) {
        return -1;
    }
    if (!seed || !cbor_isa_map(seed)) {
        return err_set(err, ERR_BAD_REQUEST, "seed: a map wanted");
    }
    if (make_logs(sandbox, err) < 0 || cgroup_create(&sandbox->cgroup, sandbox->id, &limits, err) < 0 ||
        cell_take(&sandbox->cell, host_net, err) < 0) {
        return -1;
    }
    uint64_t have_cell = now_usec();
    const struct root_plan plan = {.dir = sandbox->dir,
                                   .base = base,
                                   .seed = seed,
                                   .volumes = sandbox->volumes,
                                   .volume_count = sandbox->volume_count};
    if (set_hostname(sandbox, request->args, err) < 0 ||
        root_build(sandbox->cell, &plan, &timings, err) < 0) {
        return -1;
    }
    out_key_uint(&request->ok, "initPid", (uint64_t)sandbox->cell->init.pid);
    out_text(&request->ok, "timings");
    out_map(&request->ok);
    out_key_uint(&request->ok, "cell", have_cell - start);
    out_key_uint(&request->ok, "seed", timings.seed);
    out_key_uint(&request->ok, "overlay", timings.overlay);
    out_key_uint(&request->ok, "mounts", timings.mounts);
    out_key_uint(&request->ok, "total", now_usec() - start);
    out_end(&request->ok);
    return 0;
}

/* Undoes what build has done so far: the directory is as it was given, empty. */
static void unbuild(struct sandbox *sandbox)
{
    static const char *const made[] = {"root", "logs"};

    if (sandbox->cell) {
        cell_destroy(sandbox->cell);
    } else {
        sandbox->cell = calloc(1, sizeof *sandbox->cell);
        if (!sandbox->cell) {
            die("out of memory");
        }
        sandbox->cell->init_pidfd = sandbox->cell->init_socket = sandbox->cell->user_ns =
            sandbox->cell->mount_ns = sandbox->cell->proc_mount = sandbox->cell->sys_mount =
                sandbox->cell->pts_mount = sandbox->cell->pts = -1;
    }
    cleanup_fd dir = sandbox->dir ? open(sandbox->dir, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    for (size_t i = 0; dir >= 0 && i < sizeof made / sizeof *made; i++) {
        tree_remove(dir, made[i]);
    }
    for (size_t i = 0; i < sandbox->volume_count; i++) {
        if (sandbox->volumes[i].dir) {
            tree_remove(AT_FDCWD, sandbox->volumes[i].dir);
        }
    }
    sandbox_free(sandbox);
}

int op_sandbox_create(struct request *request, struct err *err)
{
    char id[ID_MAX + 1];

    if (arg_id(request->args, "sandbox", id, err) < 0) {
        return -1;
    }
    if (sandbox_find(id)) {
        return err_set(err, ERR_EXISTS, "sandbox %s exists", id);
    }
    struct sandbox *sandbox = calloc(1, sizeof *sandbox);
    if (!sandbox) {
        die("out of memory");
    }
    strcpy(sandbox->id, id);
    sandbox->cgroup.v2_fd = -1;
    if (build(sandbox, request, err) < 0) {
        unbuild(sandbox);
        return -1;
    }
    sandbox->cell->init.ended = init_ended;
    sandbox->cell->init.owner = sandbox;
    sandbox->next = sandboxes;
    sandboxes = sandbox;
    out_text(&request->ok, "cgroups");
    out_list(&request->ok);
    for (int i = 0; i < sandbox->cgroup.path_count; i++) {
        out_text(&request->ok, sandbox->cgroup.paths[i]);
    }
    out_end(&request->ok);
    return OP_DONE;
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
    snprintf(path, sizeof path, "%s/root/upper", sandbox->dir);
    tree_measure(AT_FDCWD, path, &size);
    for (size_t i = 0; i < sandbox->volume_count; i++) {
        snprintf(path, sizeof path, "%s/upper", sandbox->volumes[i].dir);
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

static void freeze(const struct sandbox *sandbox, bool frozen)
{
    cleanup_fd fd =
        sandbox->cgroup.v2_fd < 0 ? -1 : openat(sandbox->cgroup.v2_fd, "cgroup.freeze", O_WRONLY | O_CLOEXEC);

    if (fd >= 0 && write(fd, frozen ? "1" : "0", 1) != 1) {
        log_line("%s cgroup of %s: %s", frozen ? "freeze" : "thaw", sandbox->id, strerror(errno));
    }
}

static int signal_once(const struct sandbox *sandbox, ino_t pid_ns, int signal)
{
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    int count = 0;

    while (proc && (entry = readdir(proc))) {
        char path[300];
        struct stat st;
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        snprintf(path, sizeof path, "/proc/%s/ns/pid", entry->d_name);
        if (pid > 0 && pid != sandbox->cell->init.pid && stat(path, &st) == 0 && st.st_ino == pid_ns &&
            kill(pid, signal) == 0) {
            count++;
        }
    }
    if (proc) {
        closedir(proc);
    }
    return count;
}

int sandbox_signal(struct sandbox *sandbox, int signal)
{
    char path[64];
    struct stat st;
    int rounds = signal != SIGKILL ? 1 : sandbox->cgroup.v2_fd >= 0 ? 2 : 20;

    snprintf(path, sizeof path, "/proc/%d/ns/pid", sandbox->cell->init.pid);
    if (stat(path, &st) < 0) {
        return 0;
    }
    /* Frozen, nothing forks away from the signal; without a v2 hierarchy more rounds have to do. cgroup.kill would be
     * simpler, but after it the kernel (6.18) kills whatever is later cloned into that cgroup. */
    freeze(sandbox, true);
    int count = signal_once(sandbox, st.st_ino, signal);
    while (--rounds > 0) {
        signal_once(sandbox, st.st_ino, signal);
    }
    freeze(sandbox, false);
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
