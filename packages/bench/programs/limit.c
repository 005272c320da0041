/* What no sandbox can be faster than. Each line on standard input asks for one, and is answered with its milliseconds:
 * `overlay N`: an overlay with N lower directories is mounted, in the directory that is the argument;
 * `namespaces`: a process is made in namespaces of its own;
 * `memcpy N`: so many bytes are copied, between pages that are all there. */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

/* ---- an overlay as the engine mounts them ---- */

static void make_directory(const char *kind, unsigned number, char path[64])
{
    snprintf(path, 64, "%s-%u", kind, number);
    if (mkdir(path, 0755) < 0) {
        err(1, "make %s", path);
    }
}

static void set(int fs, const char *key, const char *value)
{
    if (fsconfig(fs, FSCONFIG_SET_STRING, key, value, 0) < 0) {
        err(1, "overlay: %s=%s", key, value);
    }
}

/* What is written stays empty; whoever started us removes it with the directory. */
static double overlay(unsigned lowers)
{
    static unsigned made, mounted;
    char path[64], upper[64], work[64];

    while (made < lowers) {
        make_directory("lower", made++, path);
    }
    make_directory("upper", mounted, upper);
    make_directory("work", mounted++, work);

    const double start = now();
    int fs = fsopen("overlay", FSOPEN_CLOEXEC);
    if (fs < 0) {
        err(1, "overlay");
    }
    for (unsigned i = 0; i < lowers; i++) {
        snprintf(path, sizeof path, "lower-%u", i);
        set(fs, "lowerdir+", path);
    }
    set(fs, "upperdir", upper);
    set(fs, "workdir", work);
    set(fs, "index", "off");
    set(fs, "xino", "auto");
    set(fs, "redirect_dir", "on");
    set(fs, "metacopy", "off");
    if (fsconfig(fs, FSCONFIG_SET_FLAG, "volatile", NULL, 0) < 0 ||
        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
        err(1, "make the overlay");
    }
    int mount = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NODEV);
    const double taken = now() - start;
    if (mount < 0) {
        err(1, "mount the overlay");
    }
    close(mount);
    close(fs);
    return taken;
}

/* ---- namespaces ---- */

static double namespaces(void)
{
    const unsigned long flags = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC |
                                CLONE_NEWUTS | SIGCHLD;
    const double start = now();
    const pid_t child = (pid_t)syscall(SYS_clone, flags, NULL, NULL, NULL, 0);

    if (child == 0) {
        for (;;) {
            pause();
        }
    }
    const double taken = now() - start;
    if (child < 0) {
        err(1, "make namespaces");
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return taken;
}

/* ---- memory ---- */

static double copy(size_t bytes)
{
    char *from = malloc(bytes + 1), *to = malloc(bytes + 1);

    if (!from || !to) {
        err(1, "memory");
    }
    memset(from, 1, bytes + 1);
    memset(to, 2, bytes + 1);
    const double start = now();
    memcpy(to, from, bytes);
    /* The copy is looked at, or it would not be made. */
    __asm__ volatile("" : : "r"(to) : "memory");
    const double taken = now() - start;
    free(from);
    free(to);
    return taken;
}

static double ask(const char *action, unsigned long number)
{
    if (strcmp(action, "overlay") == 0) {
        return overlay((unsigned)number);
    }
    if (strcmp(action, "namespaces") == 0) {
        return namespaces();
    }
    if (strcmp(action, "memcpy") == 0) {
        return copy(number);
    }
    errx(1, "nothing is known of %s", action);
}

int main(int argc, char **argv)
{
    char line[128], action[32];

    if (argc != 2 || chdir(argv[1]) < 0) {
        err(1, "usage: limit DIRECTORY");
    }
    printf("ready\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        unsigned long number = 0;
        if (sscanf(line, "%31s %lu", action, &number) < 1) {
            errx(1, "an empty line");
        }
        printf("%.6f\n", ask(action, number));
        fflush(stdout);
    }
    return 0;
}
