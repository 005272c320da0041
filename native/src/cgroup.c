#include "cgroup.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "engine.h"
#include "fd.h"

#define PARENT "deltabox"
#define CPU_PERIOD_USEC 100000

enum controller { MEMORY, PIDS, CPU, CONTROLLERS };
static const char *const names[CONTROLLERS] = {"memory", "pids", "cpu"};

/* Where each controller lives on this host. */
static struct {
    char v2[256]; /* mount point, empty when there is none */
    bool v2_has[CONTROLLERS];
    char v1[CONTROLLERS][256];
} host;

static int write_file(const char *dir, const char *name, const char *text)
{
    char path[512];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    cleanup_fd fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

static bool read_file(const char *dir, const char *name, char *out, size_t cap)
{
    char path[512];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    cleanup_fd fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, out, cap - 1);
    out[got > 0 ? got : 0] = '\0';
    return got >= 0;
}

static bool has_word(const char *list, const char *word, const char *separators)
{
    size_t len = strlen(word);

    while (*list) {
        size_t span = strcspn(list, separators);
        if (span == len && memcmp(list, word, len) == 0) {
            return true;
        }
        list += span;
        list += strspn(list, separators);
    }
    return false;
}

/* A v2 controller counts only if it can be handed down to our directory, which a process in the root forbids. */
static void detect_v2(void)
{
    char parent[300], list[512], text[32];

    snprintf(parent, sizeof parent, "%s/" PARENT, host.v2);
    for (int i = 0; i < CONTROLLERS; i++) {
        snprintf(text, sizeof text, "+%s", names[i]);
        if (!read_file(host.v2, "cgroup.controllers", list, sizeof list) ||
            !has_word(list, names[i], " \n") || write_file(host.v2, "cgroup.subtree_control", text) < 0) {
            continue;
        }
        mkdir(parent, 0755);
        host.v2_has[i] = write_file(parent, "cgroup.subtree_control", text) == 0;
    }
}

void cgroup_detect(void)
{
    FILE *file = fopen("/proc/self/mountinfo", "re");
    char line[4096];

    while (file && fgets(line, sizeof line, file)) {
        char point[256], type[32], options[512];
        char *tail = strstr(line, " - ");
        if (!tail || sscanf(line, "%*s %*s %*s %*s %255s", point) != 1 ||
            sscanf(tail, " - %31s %*s %511s", type, options) != 2) {
            continue;
        }
        if (strcmp(type, "cgroup2") == 0 && !host.v2[0]) {
            strcpy(host.v2, point);
        }
        for (int i = 0; strcmp(type, "cgroup") == 0 && i < CONTROLLERS; i++) {
            if (has_word(options, names[i], ",\n")) {
                strcpy(host.v1[i], point);
            }
        }
    }
    if (file) {
        fclose(file);
    }
    if (host.v2[0]) {
        detect_v2();
    }
}

const char *cgroup_version_of(const char *controller)
{
    for (int i = 0; i < CONTROLLERS; i++) {
        if (strcmp(names[i], controller) == 0) {
            return host.v2_has[i] ? "v2" : host.v1[i][0] ? "v1" : NULL;
        }
    }
    return NULL;
}

int arg_limits(item args, struct limits *limits, struct err *err)
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

static char *make_directory(struct cgroup *cgroup, const char *mount, const char *name, struct err *err)
{
    char parent[300], path[400];

    snprintf(parent, sizeof parent, "%s/" PARENT, mount);
    snprintf(path, sizeof path, "%s/%s", parent, name);
    for (int i = 0; i < cgroup->path_count; i++) { /* controllers mounted together share a directory */
        if (strcmp(cgroup->paths[i], path) == 0) {
            return cgroup->paths[i];
        }
    }
    if (mkdir(parent, 0755) < 0 && errno != EEXIST) {
        err_system(err, errno, "make cgroup", "%s", parent);
        return NULL;
    }
    /* one of this name is left over from an engine that was killed; rmdir refuses if anything lives in it */
    if (mkdir(path, 0755) < 0 && (errno != EEXIST || rmdir(path) < 0 || mkdir(path, 0755) < 0)) {
        err_system(err, errno, "make cgroup", "%s", path);
        return NULL;
    }
    return cgroup->paths[cgroup->path_count++] = strdup(path);
}

static int set_limit(const char *path, enum controller controller, bool v2, const struct limits *limits,
                     struct err *err)
{
    char text[64];
    const char *file = NULL;
    int result;

    switch (controller) {
    case MEMORY:
        snprintf(text, sizeof text, "%llu", (unsigned long long)limits->memory_bytes);
        file = limits->memory_bytes ? (v2 ? "memory.max" : "memory.limit_in_bytes") : NULL;
        break;
    case PIDS:
        snprintf(text, sizeof text, "%llu", (unsigned long long)limits->pids);
        file = limits->pids ? "pids.max" : NULL;
        break;
    case CPU:
        snprintf(text, sizeof text, v2 ? "%.0f %d" : "%.0f", fmax(1000, limits->cpus * CPU_PERIOD_USEC),
                 CPU_PERIOD_USEC);
        file = limits->cpus > 0 ? (v2 ? "cpu.max" : "cpu.cfs_quota_us") : NULL;
        break;
    case CONTROLLERS:
        break;
    }
    if (!file) {
        return 0;
    }
    result = write_file(path, file, text);
    if (result < 0) {
        return err_system(err, -result, "set limit", "%s/%s", path, file);
    }
    if (controller == MEMORY) { /* absent where the kernel accounts no swap: then there is none to bound */
        write_file(path, v2 ? "memory.swap.max" : "memory.memsw.limit_in_bytes", v2 ? "0" : text);
    }
    return 0;
}

int cgroup_set_pids(const struct cgroup *cgroup, const struct limits *limits, struct err *err)
{
    for (int i = 0; i < cgroup->path_count; i++) {
        struct stat st;
        char file[512];
        snprintf(file, sizeof file, "%s/pids.max", cgroup->paths[i]);
        if (stat(file, &st) == 0) {
            return set_limit(cgroup->paths[i], PIDS, host.v2_has[PIDS], limits, err);
        }
    }
    return 0;
}

/* Whoever clones into a cgroup must be allowed to write to its cgroup.procs, and to that of the one above both. */
static int open_to_pool(int dir)
{
    return fchownat(dir, "cgroup.procs", engine.uid_base, (gid_t)-1, 0);
}

static int join_hierarchies(struct cgroup *cgroup, const char *name, const struct limits *limits,
                            struct err *err)
{
    const bool wanted[CONTROLLERS] = {limits->memory_bytes > 0, limits->pids > 0, limits->cpus > 0};

    for (int i = 0; i < CONTROLLERS; i++) {
        bool v2 = host.v2_has[i];
        if (!v2 && !host.v1[i][0]) {
            if (wanted[i]) {
                return err_set(err, ERR_LIMITS, "this host has no usable cgroup controller for %s", names[i]);
            }
            continue;
        }
        int before = cgroup->path_count;
        const char *path = make_directory(cgroup, v2 ? host.v2 : host.v1[i], name, err);
        if (!path || set_limit(path, (enum controller)i, v2, limits, err) < 0) {
            return -1;
        }
        if (!v2 && cgroup->path_count > before) {
            char tasks[512];
            snprintf(tasks, sizeof tasks, "%s/tasks", path);
            int fd = open(tasks, O_WRONLY | O_CLOEXEC);
            if (fd < 0) {
                return err_system(err, errno, "open cgroup", "%s", tasks);
            }
            cgroup->enter_fds[cgroup->enter_count++] = fd;
        }
    }
    if (host.v2[0]) {
        const char *path = make_directory(cgroup, host.v2, name, err);
        if (!path) {
            return -1;
        }
        cgroup->v2_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (cgroup->v2_fd < 0 || open_to_pool(cgroup->v2_fd) < 0) {
            return err_system(err, errno, "open cgroup", "%s", path);
        }
    }
    return 0;
}

int cgroup_create(struct cgroup *cgroup, const char *name, const struct limits *limits, struct err *err)
{
    *cgroup = (struct cgroup){.v2_fd = -1};
    if (join_hierarchies(cgroup, name, limits, err) < 0) {
        cgroup_remove(cgroup);
        return -1;
    }
    return 0;
}

int cgroup_enter(const struct cgroup *cgroup)
{
    /* A process that moves only itself through v1's `tasks` skips the lock for whole thread groups, whose
     * grace period would cost 7-20 ms. */
    for (int i = 0; i < cgroup->enter_count; i++) {
        if (write(cgroup->enter_fds[i], "0", 1) < 0) {
            return -errno;
        }
    }
    return 0;
}

static int64_t read_number(const struct cgroup *cgroup, const char *file, const char *key)
{
    for (int i = 0; i < cgroup->path_count; i++) {
        char text[2048];
        if (!read_file(cgroup->paths[i], file, text, sizeof text)) {
            continue;
        }
        const char *at = key ? strstr(text, key) : text;
        if (at) {
            return strtoll(at + (key ? strlen(key) : 0), NULL, 10);
        }
    }
    return -1;
}

static int64_t first_known(int64_t a, int64_t b)
{
    return a >= 0 ? a : b;
}

int64_t cgroup_oom_kills(const struct cgroup *cgroup)
{
    return first_known(read_number(cgroup, "memory.events", "oom_kill "),
                       read_number(cgroup, "memory.oom_control", "oom_kill "));
}

void cgroup_read(const struct cgroup *cgroup, struct cgroup_stats *stats)
{
    int64_t v1_cpu_nsec = read_number(cgroup, "cpuacct.usage", NULL);

    stats->memory_bytes = first_known(read_number(cgroup, "memory.current", NULL),
                                      read_number(cgroup, "memory.usage_in_bytes", NULL));
    stats->processes = read_number(cgroup, "pids.current", NULL);
    stats->cpu_usec = v1_cpu_nsec >= 0 ? v1_cpu_nsec / 1000 : read_number(cgroup, "cpu.stat", "usage_usec ");
    stats->oom_kills = cgroup_oom_kills(cgroup);
}

void cgroup_remove(struct cgroup *cgroup)
{
    for (int i = 0; i < cgroup->enter_count; i++) {
        fd_close(&cgroup->enter_fds[i]);
    }
    fd_close(&cgroup->v2_fd);
    for (int i = 0; i < cgroup->path_count; i++) {
        if (rmdir(cgroup->paths[i]) < 0 && errno != ENOENT) {
            log_line("remove cgroup %s: %s", cgroup->paths[i], strerror(errno));
        }
        free(cgroup->paths[i]);
    }
    *cgroup = (struct cgroup){.v2_fd = -1};
}

/* ---- the pool's ---- */

static struct {
    struct cgroup cgroup;
    bool is_made;
} pool;

static int make_pool(void)
{
    char name[32], above[300];
    struct err err = {0};

    snprintf(name, sizeof name, "pool-%u", engine.uid_base);
    snprintf(above, sizeof above, "%s/" PARENT "/cgroup.procs", host.v2);
    const char *path = make_directory(&pool.cgroup, host.v2, name, &err);
    if (!path) {
        return -err.num;
    }
    /* Below it nobody has a cgroup.procs but those of his own family. */
    pool.cgroup.v2_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return pool.cgroup.v2_fd < 0 || chmod(above, 0666) < 0 ? -errno : 0;
}

int cgroup_of_pool(void)
{
    int result = 0;

    if (!host.v2[0]) {
        return -1;
    }
    if (!pool.is_made) {
        pool.cgroup = (struct cgroup){.v2_fd = -1};
        pool.is_made = true;
        result = make_pool();
    }
    if (result < 0) {
        cgroup_remove_pool();
    }
    return result < 0 ? result : pool.cgroup.v2_fd;
}

void cgroup_remove_pool(void)
{
    if (pool.is_made) {
        cgroup_remove(&pool.cgroup);
        pool.is_made = false;
    }
}
