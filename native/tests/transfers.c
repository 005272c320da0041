#include "transfers.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "engine.h"
#include "transfer.h"

#define DEADLINE_SECONDS 60
/* Sanitizers end a program with 1. */
#define STATUS_FAILED 3

struct standard {
    int in, out, err;
};

static int memory_file(const char *content)
{
    const int fd = memfd_create("transfer", MFD_CLOEXEC);

    CHECK(fd >= 0 && write(fd, content, strlen(content)) == (ssize_t)strlen(content));
    CHECK(lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

static void read_all(int fd, char *text, size_t room)
{
    const ssize_t got = pread(fd, text, room - 1, 0);

    CHECK(got >= 0);
    text[got] = '\0';
}

static pid_t begin(const struct standard *standard)
{
    fflush(stdout);
    const pid_t pid = fork();

    CHECK(pid >= 0);
    if (pid == 0) {
        alarm(DEADLINE_SECONDS);
        if (dup2(standard->in, 0) < 0 || dup2(standard->out, 1) < 0 || dup2(standard->err, 2) < 0) {
            _exit(STATUS_FAILED + 1);
        }
    }
    return pid;
}

static void leave(int result)
{
    _exit(result ? STATUS_FAILED : 0);
}

static struct transfer wait_for(pid_t pid, const struct standard *standard)
{
    struct transfer transfer = {0};
    int status;

    CHECK(waitpid(pid, &status, 0) == pid);
    read_all(standard->err, transfer.complaint, sizeof transfer.complaint);
    if (!WIFEXITED(status) || (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != STATUS_FAILED)) {
        char all[16384];
        read_all(standard->err, all, sizeof all);
        fprintf(stderr, "it ended with %x: %s\n", (unsigned)status, all);
    }
    CHECK(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == STATUS_FAILED));
    transfer.result = WEXITSTATUS(status) == 0 ? 0 : -1;
    CHECK(transfer.result == 0 ? !transfer.complaint[0]
                               : strncmp(transfer.complaint, "{\"code\":\"", strlen("{\"code\":\"")) == 0);
    return transfer;
}

struct transfer pack_state(const char *directory, const char *plan, uint32_t uid_base, int to)
{
    const struct standard standard = {.in = memory_file(plan), .out = to, .err = memory_file("")};
    const pid_t pid = begin(&standard);

    if (pid == 0) {
        engine.uid_base = uid_base;
        leave(transfer_pack(directory));
    }
    const struct transfer transfer = wait_for(pid, &standard);
    close(standard.in);
    close(standard.err);
    return transfer;
}

struct transfer unpack_state(const char *directory, int from, uint32_t uid_base)
{
    const struct standard standard = {.in = from, .out = memory_file(""), .err = memory_file("")};
    const pid_t pid = begin(&standard);

    if (pid == 0) {
        engine.uid_base = uid_base;
        leave(transfer_unpack(directory));
    }
    struct transfer transfer = wait_for(pid, &standard);
    read_all(standard.out, transfer.told, sizeof transfer.told);
    close(standard.out);
    close(standard.err);
    return transfer;
}

struct transfer rename_images(const char *directory, char *const names[], int count)
{
    const struct standard standard = {.in = memory_file(""), .out = memory_file(""), .err = memory_file("")};
    const pid_t pid = begin(&standard);

    if (pid == 0) {
        leave(transfer_rename(directory, names, count));
    }
    const struct transfer transfer = wait_for(pid, &standard);
    close(standard.in);
    close(standard.out);
    close(standard.err);
    return transfer;
}
