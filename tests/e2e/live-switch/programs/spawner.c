/* spawner FILE: starts programs one after the other, by posix_spawn and by vfork, all with a descriptor of the file and a
 * line for it; every one must end as told, and every line must be there in the end. */
#include "victim.h"

#include <spawn.h>

extern char **environ;

static pid_t spawn(char **argv)
{
    pid_t pid;

    must(posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ) == 0);
    return pid;
}

static pid_t vforked(char **argv)
{
    pid_t pid = vfork();

    if (pid == 0) {
        execv("/bin/sh", argv);
        _exit(126);
    }
    return pid;
}

int main(int argc, char **argv)
{
    char script[64], line[32];
    unsigned long count = 0;
    struct sigaction by_default = {.sa_handler = SIG_DFL};

    must(argc == 2);
    int fd = open(argv[1], O_CREAT | O_RDWR | O_APPEND, 0644);
    must(fd >= 0 && dup2(fd, 9) == 9);
    sigaction(SIGCHLD, &by_default, NULL);
    until_told();
    say("ready");
    for (; !stopped; count++) {
        int status;
        snprintf(script, sizeof script, "echo %lu >&9; exit %lu", count, count % 100);
        char *args[] = {"sh", "-c", script, NULL};
        pid_t pid = count % 2 == 0 ? spawn(args) : vforked(args);
        must(pid > 0 && waitpid(pid, &status, 0) == pid);
        must(WIFEXITED(status) && (unsigned long)WEXITSTATUS(status) == count % 100);
    }
    FILE *file = fopen(argv[1], "r");
    for (unsigned long i = 0; i < count; i++) {
        must(fgets(line, sizeof line, file) && strtoul(line, NULL, 10) == i);
    }
    must(!fgets(line, sizeof line, file) && count > 0);
    say("all as told");
}
