/* The one error of the engine: filled by the function that fails, which returns <0; passed last.
 * code is what programs compare; step names what was being done, object on what. */
#pragma once

#define ERR_BAD_REQUEST "bad_request"
#define ERR_NO_SANDBOX "no_such_sandbox"
#define ERR_NO_BASE "no_such_base"
#define ERR_NO_IMAGE "no_such_image"
#define ERR_DAMAGED "damaged"
#define ERR_OTHER_HOST "other_host"
#define ERR_BUSY "busy"
#define ERR_NO_PROCESS "no_such_process"
#define ERR_NO_HANDLE "no_such_handle"
#define ERR_EXISTS "exists"
#define ERR_REFUSED "refused"
#define ERR_UNSETTLED "unsettled"
#define ERR_DEAD "sandbox_dead"
#define ERR_EXEC "exec_failed"
#define ERR_STDIN_CLOSED "stdin_closed"
#define ERR_LIMITS "limits_unavailable"
#define ERR_VERSION "version"
#define ERR_SYSTEM "system"

struct err {
    const char *code;
    int num; /* errno, 0 when no system call failed */
    char step[48];
    char object[192];
    char message[256];
};

/* A system call failed with errno `num`. Returns -1. */
__attribute__((format(printf, 4, 5))) int err_system(struct err *err, int num, const char *step,
                                                     const char *object_format, ...);

/* The request cannot be carried out for a reason that is not a system call's. Returns -1. */
__attribute__((format(printf, 3, 4))) int err_set(struct err *err, const char *code, const char *format, ...);

/* One line on the engine's log (stderr). */
__attribute__((format(printf, 1, 2))) void log_line(const char *format, ...);

/* For states the engine cannot go on from; everything it runs dies with it. */
__attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...);
