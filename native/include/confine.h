/* What a process of a sandbox may not do: capabilities, system calls, limits of the process. Called in the child. */
#pragma once

#include <sys/types.h>

#include "inject.h"

/* Compiles the seccomp filter once, so that a child only has to load it. */
void confine_init(void);

struct identity {
    uid_t uid;
    gid_t gid;
};

/* In a child that has entered the sandbox's user namespace, in this order: limits, filter, capabilities, user.
 * Returns 0 or -errno with *step naming what failed. */
int confine_process(const struct identity *identity, const char **step);
/* For short-lived helpers of ours inside: sandbox root with the capabilities a sandbox's root has, no filter. */
int confine_helper(const char **step);
/* Puts the filter, for PR_SET_SECCOMP, where a process can be made to load it. 0 or -errno. */
int confine_put_filter(const struct inject *inject, uint64_t at);
