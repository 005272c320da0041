#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "base.h"
#include "cell.h"
#include "cgroup.h"
#include "check_images.h"
#include "child.h"
#include "confine.h"
#include "engine.h"
#include "fd.h"
#include "loop.h"
#include "pool.h"
#include "probe.h"
#include "sandbox.h"
#include "server.h"
#include "spare.h"
#include "transfer.h"

#define FILES_WANTED 1000000u

struct options {
    const char *socket, *log;
    uint32_t uid_base;
};

static void usage(void)
{
    fprintf(stderr, "usage: deltabox-engine --socket PATH --uid-base N [--log PATH] | --probe | "
                    "--check-images DIR ID... | --uid-base N --pack DIR | --uid-base N --unpack DIR | "
                    "--rename-images DIR OLD NEW...\n");
    exit(2);
}

static void parse_options(int argc, char **argv, struct options *options)
{
    static const struct option known[] = {{"socket", required_argument, NULL, 's'},
                                          {"uid-base", required_argument, NULL, 'u'},
                                          {"log", required_argument, NULL, 'l'},
                                          {"probe", no_argument, NULL, 'p'},
                                          {"check-images", required_argument, NULL, 'c'},
                                          {"pack", required_argument, NULL, 'o'},
                                          {"unpack", required_argument, NULL, 'i'},
                                          {"rename-images", required_argument, NULL, 'r'},
                                          {0}};
    int option;

    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (option) {
        case 's':
            options->socket = strdup(optarg);
            break;
        case 'u':
            options->uid_base = engine.uid_base = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 'l':
            options->log = strdup(optarg);
            break;
        case 'p':
            exit(probe());
        case 'c':
            exit(check_images(optarg, argv + optind, argc - optind));
        case 'o':
            exit(transfer_pack(optarg));
        case 'i':
            exit(transfer_unpack(optarg));
        case 'r':
            exit(transfer_rename(optarg, argv + optind, argc - optind));
        default:
            usage();
        }
    }
    if (!options->socket || options->uid_base < ID_RANGE || optind != argc) {
        usage();
    }
}

/* A directory can lie in every layer of two chains, and all that a sandbox has open passes through here. */
static void allow_many_files(void)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) < 0) {
        return;
    }
    const struct rlimit ample = {.rlim_cur = FILES_WANTED, .rlim_max = FILES_WANTED};
    if (files.rlim_max >= FILES_WANTED || setrlimit(RLIMIT_NOFILE, &ample) < 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

/* A cell's init is a fork of the engine and shows the engine's arguments inside: host paths do not belong there. */
static void clear_arguments(int argc, char **argv)
{
    char *end = argv[argc - 1] + strlen(argv[argc - 1]);

    memset(argv[0], 0, (size_t)(end - argv[0]));
    snprintf(argv[0], (size_t)(end - argv[0]), "deltabox");
}

static void open_log(const char *path)
{
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;

    if (path && (fd < 0 || dup2(fd, 2) < 0)) {
        die("open log %s: %s", path, strerror(errno));
    }
    fd_close(&fd);
}

/* Its own mount namespace: what the engine mounts on the way is seen by nobody and vanishes with it. */
static void enter_own_mount_namespace(void)
{
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0) {
        die("own mount namespace: %s", strerror(errno));
    }
    engine.mount_ns = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    engine.pid_ns = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
    engine.uts_ns = open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC);
    if (engine.mount_ns < 0 || engine.pid_ns < 0 || engine.uts_ns < 0) {
        die("own namespaces: %s", strerror(errno));
    }
}

/* Until this engine is gone with all it has made, no other has the same user ids, whichever daemon started it: a name that
 * is taken, and given back by the kernel. What an engine that was killed has left is gone in a moment. */
#define CLAIM_TRIES 100
#define CLAIM_USEC 10000

static bool claim_ids(void)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    const int len = snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "deltabox-ids-%u", engine.uid_base);
    const socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), tries = 0;

    while (fd >= 0 && bind(fd, (struct sockaddr *)&name, size) < 0) {
        if (errno != EADDRINUSE) {
            die("claim user ids: %s", strerror(errno));
        }
        if (++tries == CLAIM_TRIES) {
            return false;
        }
        usleep(CLAIM_USEC);
    }
    return fd >= 0;
}

static void say(const char *line)
{
    if (write(1, line, strlen(line)) != (ssize_t)strlen(line)) {
        die("nobody waits for this engine");
    }
}

static void ready(void)
{
    say("ready\n");
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0) {
        die("/dev/null: %s", strerror(errno));
    }
    fd_close(&null);
}

/* Every init is killed and waited for, so that no process of ours is left when the engine is. */
static void end_everything(void)
{
    spares_end();
    for (struct sandbox *sandbox = sandboxes; sandbox; sandbox = sandbox->next) {
        sandbox_kill_and_wait(sandbox);
    }
    bases_end();
    pool_end();
}

int main(int argc, char **argv)
{
    struct options options = {0};
    struct err err = {0};

    engine.heap = sbrk(0);
    parse_options(argc, argv, &options);
    clear_arguments(argc, argv);
    allow_many_files();
    open_log(options.log);
    prctl(PR_SET_NAME, "deltabox-engine");
    loop_init();
    children_init();
    cgroup_detect();
    confine_init();
    if (!claim_ids()) {
        log_line("the user ids from %u on are another engine's", engine.uid_base);
        say("taken\n");
        return 1;
    }
    if (server_listen(options.socket, &err) < 0) {
        die("listen on %s: %s", options.socket, err.message);
    }
    enter_own_mount_namespace();
    if (pool_init(&err) < 0) {
        die("%s: %s", err.message, err.object);
    }
    ready();
    loop_run();
    end_everything();
    server_close();
    unlink(options.socket);
    return 0;
}
