#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int err_system(struct err *err, int num, const char *step, const char *object_format, ...)
{
    va_list args;

    err->code = ERR_SYSTEM;
    err->num = num;
    snprintf(err->step, sizeof err->step, "%s", step);
    va_start(args, object_format);
    vsnprintf(err->object, sizeof err->object, object_format, args);
    va_end(args);
    snprintf(err->message, sizeof err->message, "%s: %s", step, strerror(num));
    return -1;
}

int err_set(struct err *err, const char *code, const char *format, ...)
{
    va_list args;

    err->code = code;
    err->num = 0;
    err->step[0] = '\0';
    err->object[0] = '\0';
    va_start(args, format);
    vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    return -1;
}

static void log_args(const char *format, va_list args)
{
    char line[1024];
    struct timespec now;
    struct tm tm;
    char stamp[32];

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm);
    vsnprintf(line, sizeof line, format, args);
    fprintf(stderr, "%s.%03ldZ %s\n", stamp, now.tv_nsec / 1000000, line);
}

void log_line(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    log_args(format, args);
    va_end(args);
}

void die(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    log_args(format, args);
    va_end(args);
    exit(1);
}
