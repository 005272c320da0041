/* Starting a program inside a sandbox. */
#pragma once

#include "sandbox.h"

struct spawn {
    struct sandbox *sandbox;
    char **argv, **env;
    const char *cwd;
    const char *user; /* NULL: root */
    int stdio[3];     /* the child's ends; -1: the null device */
    bool terminal;    /* stdio is a terminal to be made the controlling one */
    int report; /* the child writes its pid inside, then a spawn_failure if the program does not start */
};

struct spawn_failure {
    int num;
    char step[28];
};

/* Returns the host pid or -1 with errno. */
pid_t spawn_process(const struct spawn *spawn, int *pidfd);
