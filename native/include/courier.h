/* A courier: a short-lived child that goes into a sandbox with the rights of its root, does one thing with a path
 * there and comes back with the result and at most one descriptor. So no path the sandbox made can lead out, and no
 * right of the engine is spent inside. It is in no pid namespace of the sandbox: nothing inside sees it. */
#pragma once

#include "sandbox.h"

enum errand { ERRAND_OPEN, ERRAND_MKDIR, ERRAND_REMOVE, ERRAND_RENAME, ERRAND_SYMLINK };

struct errand_args {
    enum errand errand;
    char *path;
    char *other; /* rename: the new path; symlink: the target */
    int flags;   /* open */
    mode_t mode; /* open with O_CREAT, mkdir */
    bool parents, recursive;
};

struct courier;
/* `num` is an errno or 0; fd is the callee's. */
typedef void courier_done(void *owner, int num, const char *step, int fd);

int courier_send(struct sandbox *sandbox, const struct errand_args *args, courier_done *done, void *owner,
                 struct err *err);
/* Waits until every courier in the sandbox has come back, and hands over what they brought. False when one is kept
 * waiting by what is inside. */
bool couriers_finish(const struct sandbox *sandbox, uint64_t deadline);
