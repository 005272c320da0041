#include "status.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine.h"
#include "fd.h"

#define STATUS_MAX (1 << 20) /* the groups alone may be 65536 */

ssize_t proc_read(pid_t pid, const char *name, char *out, size_t cap)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    cleanup_fd fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, out, cap - 1);
    if (got < 0) {
        return -errno;
    }
    out[got] = '\0';
    return got;
}

const char *status_read(pid_t tid)
{
    static char status[STATUS_MAX];
    char path[64];
    size_t length = 0;
    ssize_t got;

    snprintf(path, sizeof path, "/proc/%d/status", tid);
    cleanup_fd fd = open(path, O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && (got = read(fd, status + length, STATUS_MAX - 1 - length)) > 0) {
        length += (size_t)got;
    }
    status[length] = '\0';
    return length > 0 ? status : NULL;
}

const char *status_after(const char *status, const char *key)
{
    const char *at = strstr(status, key);

    return at ? at + strlen(key) : "";
}

pid_t status_last_number(const char *status, const char *key)
{
    const char *line = status_after(status, key);
    pid_t last = 0;
    int used;

    for (pid_t value; line[0] != '\n' && sscanf(line, " %d%n", &value, &used) == 1; line += used) {
        last = value;
    }
    return last;
}

void status_ids(const char *status, const char *key, uint32_t ids[4])
{
    const char *line = status_after(status, key);

    for (int i = 0; i < 4; i++) {
        char *end;
        ids[i] = (uint32_t)strtoul(line, &end, 10) - engine.uid_base;
        line = end;
    }
}

long status_number(const char *status, const char *key)
{
    return strtol(status_after(status, key), NULL, 10);
}

uint64_t status_mask(const char *status, const char *key)
{
    const char *at = strstr(status, key);

    return at ? strtoull(at + strlen(key), NULL, 16) : 0;
}

char status_state(const char *status)
{
    const char *at = strstr(status, "\nState:\t");

    return at ? at[8] : '?';
}

ino_t proc_namespace(pid_t pid)
{
    char path[64];
    struct stat st;

    snprintf(path, sizeof path, "/proc/%d/ns/pid", pid);
    return stat(path, &st) < 0 ? 0 : st.st_ino;
}

bool proc_is_in(pid_t pid, ino_t pid_ns)
{
    return pid_ns != 0 && proc_namespace(pid) == pid_ns;
}
