/* What /proc tells of a process or thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* A small file whole. Its length or -errno. */
ssize_t proc_read(pid_t pid, const char *name, char *out, size_t cap);
/* The pid namespace it is in; 0 when it is gone. */
ino_t proc_namespace(pid_t pid);
bool proc_is_in(pid_t pid, ino_t pid_ns);

/* What /proc says, whole. NULL when the thread is gone. Good until the next call. */
const char *status_read(pid_t tid);
/* What follows the key; "" without it. */
const char *status_after(const char *status, const char *key);
/* Of several the last one: that of the innermost namespace. 0: none. */
pid_t status_last_number(const char *status, const char *key);
/* Real, effective, saved, of files, as they are inside. */
void status_ids(const char *status, const char *key, uint32_t ids[4]);
/* The first one of a line. */
long status_number(const char *status, const char *key);
/* A set of signals. */
uint64_t status_mask(const char *status, const char *key);
char status_state(const char *status);
