/* What the programs share. Each sets a state up, says `ready`, is checkpointed, and checks itself. */
#pragma once
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

__attribute__((noreturn, format(printf, 1, 2))) static inline void fail(const char *format, ...)
{
    va_list args;

    fprintf(stderr, "failed: ");
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, " (%s)\n", strerror(errno));
    exit(1);
}

#define must(condition) ((condition) ? (void)0 : fail("%s:%d: %s", __FILE__, __LINE__, #condition))

static inline void say(const char *line)
{
    must(printf("%s\n", line) > 0 && fflush(stdout) == 0);
}

static volatile sig_atomic_t stopped;

static inline void on_stop(int number)
{
    (void)number;
    stopped = 1;
}

/* SIGTERM asks a program to come to its end and tell what it has seen. */
static inline void until_told(void)
{
    const struct sigaction action = {.sa_handler = on_stop, .sa_flags = SA_RESTART};

    must(sigaction(SIGTERM, &action, NULL) == 0);
}
