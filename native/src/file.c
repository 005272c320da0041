#include "file.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "courier.h"
#include "fd.h"
#include "server.h"

#define READ_MAX (512 * 1024)
#define LIST_PART_BYTES (256 * 1024)

struct handle {
    uint64_t number;
    const struct sandbox *sandbox;
    int fd;
    struct handle *next;
};

static struct handle *handles;
static uint64_t last_number;

/* What a courier was sent for. */
struct visit {
    struct reply_to reply_to;
    char sandbox[ID_MAX + 1];
    char *path;
    bool set_mode;
    mode_t mode;
};

static void visit_free(struct visit *visit)
{
    free(visit->path);
    free(visit);
}

static void reply_failure(const struct visit *visit, int num, const char *step)
{
    struct err err = {0};

    err_system(&err, num, *step ? step : "file", "%s", visit->path);
    reply_error(&visit->reply_to, &err);
}

static void handle_close(struct handle **link)
{
    struct handle *handle = *link;

    *link = handle->next;
    fd_close(&handle->fd);
    free(handle);
}

void files_close_of(const struct sandbox *sandbox)
{
    for (struct handle **link = &handles; *link;) {
        if ((*link)->sandbox == sandbox) {
            handle_close(link);
        } else {
            link = &(*link)->next;
        }
    }
}

void files_each_of(const struct sandbox *sandbox, void (*each)(void *owner, int fd), void *owner)
{
    for (const struct handle *handle = handles; handle; handle = handle->next) {
        if (handle->sandbox == sandbox) {
            each(owner, handle->fd);
        }
    }
}

void files_close_all(void)
{
    while (handles) {
        handle_close(&handles);
    }
}

/* ---- describing ---- */

static const char *type_name(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return "file";
    case S_IFDIR:
        return "directory";
    case S_IFLNK:
        return "symlink";
    case S_IFIFO:
        return "fifo";
    case S_IFSOCK:
        return "socket";
    default:
        return "device";
    }
}

static uint64_t inside_id(uid_t id)
{
    return id >= engine.uid_base && id - engine.uid_base < ID_RANGE ? id - engine.uid_base : 65534;
}

static uint64_t milliseconds(const struct timespec *time)
{
    return time->tv_sec < 0 ? 0 : (uint64_t)time->tv_sec * 1000 + (uint64_t)time->tv_nsec / 1000000;
}

static void out_stat(struct out *out, const struct stat *st)
{
    out_key_text(out, "type", type_name(st->st_mode));
    out_key_uint(out, "size", (uint64_t)st->st_size);
    out_key_uint(out, "mode", st->st_mode & 07777);
    out_key_uint(out, "uid", inside_id(st->st_uid));
    out_key_uint(out, "gid", inside_id(st->st_gid));
    out_key_uint(out, "mtimeMs", milliseconds(&st->st_mtim));
    out_key_uint(out, "ctimeMs", milliseconds(&st->st_ctim));
    out_key_uint(out, "inode", st->st_ino);
    out_key_uint(out, "links", st->st_nlink);
}

static void out_target(struct out *out, int dir, const char *name)
{
    char target[4096];
    ssize_t len = readlinkat(dir, name, target, sizeof target);

    if (len >= 0) {
        out_key_bytes(out, "target", target, (size_t)len);
    }
}

/* ---- sending a courier ---- */

static int visit(struct request *request, struct errand_args *args, courier_done *done, bool set_mode,
                 mode_t mode, struct err *err)
{
    struct sandbox *sandbox = arg_live_sandbox(request->args, err);
    struct visit *visit = calloc(1, sizeof *visit);

    if (!visit) {
        die("out of memory");
    }
    if (!sandbox || (!args->path && arg_string(request->args, "path", &args->path, err) < 0)) {
        visit_free(visit);
        return -1;
    }
    *visit = (struct visit){.reply_to = request->reply_to, .set_mode = set_mode, .mode = mode};
    strcpy(visit->sandbox, sandbox->id);
    visit->path = strdup(args->path);
    int result = courier_send(sandbox, args, done, visit, err);
    if (result < 0) {
        visit_free(visit);
        return -1;
    }
    return OP_LATER;
}

static int visit_and_free(struct request *request, struct errand_args *args, courier_done *done,
                          struct err *err)
{
    int result = visit(request, args, done, false, 0, err);

    free(args->path);
    free(args->other);
    return result;
}

static void path_done(void *owner, int num, const char *step, int fd)
{
    struct visit *visit = owner;

    fd_close(&fd);
    if (num) {
        reply_failure(visit, num, step);
    } else {
        reply_ok(&visit->reply_to, NULL);
    }
    visit_free(visit);
}

/* The engine reads and writes with its own rights, so only descriptors of the sandbox's own files are taken. */
static bool on_overlay(int fd)
{
    struct statfs fs;

    return fstatfs(fd, &fs) == 0 && fs.f_type == OVERLAYFS_SUPER_MAGIC;
}

/* ---- files ---- */

static int check_opened(const struct visit *visit, int fd, struct stat *st)
{
    if (fstat(fd, st) < 0) {
        return errno;
    }
    if (S_ISDIR(st->st_mode)) {
        return EISDIR;
    }
    if (!S_ISREG(st->st_mode) || !on_overlay(fd)) {
        return ENODEV; /* not a file one can read or write from outside */
    }
    if (visit->set_mode && fchmod(fd, visit->mode) < 0) {
        return errno;
    }
    return 0;
}

static void open_done(void *owner, int num, const char *step, int fd)
{
    struct visit *visit = owner;
    const struct sandbox *sandbox = sandbox_find(visit->sandbox);
    struct out ok = {0};
    struct stat st;

    if (num == 0 && (!sandbox || sandbox->destroy.asked)) {
        num = ESRCH;
    }
    if (num == 0) {
        num = check_opened(visit, fd, &st);
    }
    if (num) {
        fd_close(&fd);
        reply_failure(visit, num, step);
        visit_free(visit);
        return;
    }
    struct handle *handle = calloc(1, sizeof *handle);
    if (!handle) {
        die("out of memory");
    }
    *handle = (struct handle){.number = ++last_number, .sandbox = sandbox, .fd = fd, .next = handles};
    handles = handle;
    out_key_uint(&ok, "handle", handle->number);
    out_text(&ok, "stat");
    out_map(&ok);
    out_stat(&ok, &st);
    out_end(&ok);
    reply_ok(&visit->reply_to, &ok);
    out_free(&ok);
    visit_free(visit);
}

int op_file_open(struct request *request, struct err *err)
{
    struct errand_args args = {.errand = ERRAND_OPEN, .mode = 0644};
    cleanup_free char *mode = NULL;
    uint64_t create, chmod_to;
    const uint64_t absent = 1 << 20;

    if (arg_string(request->args, "mode", &mode, err) < 0 ||
        arg_bool(request->args, "parents", &args.parents, err) < 0 ||
        arg_optional_uint(request->args, "create", 07777, absent, &create, err) < 0 ||
        arg_optional_uint(request->args, "chmod", 07777, absent, &chmod_to, err) < 0) {
        return -1;
    }
    if (strcmp(mode, "read") == 0) {
        args.flags = O_RDONLY;
    } else if (strcmp(mode, "write") == 0) {
        args.flags = O_WRONLY | O_TRUNC;
    } else if (strcmp(mode, "append") == 0) {
        args.flags = O_WRONLY | O_APPEND;
    } else {
        return err_set(err, ERR_BAD_REQUEST, "mode: read, write or append wanted");
    }
    args.flags |= O_NONBLOCK | O_NOCTTY | (create != absent ? O_CREAT : 0);
    args.mode = (mode_t)(create & 07777);
    int result = visit(request, &args, open_done, chmod_to != absent, (mode_t)(chmod_to & 07777), err);
    free(args.path);
    return result;
}

static struct handle **arg_handle(item args, struct err *err)
{
    uint64_t number;

    if (arg_uint(args, "handle", UINT64_MAX, &number, err) < 0) {
        return NULL;
    }
    for (struct handle **link = &handles; *link; link = &(*link)->next) {
        if ((*link)->number == number) {
            return link;
        }
    }
    err_set(err, ERR_NO_HANDLE, "no open file has handle %llu", (unsigned long long)number);
    return NULL;
}

int op_file_read(struct request *request, struct err *err)
{
    static uint8_t data[READ_MAX];
    struct handle **link = arg_handle(request->args, err);
    uint64_t max;

    if (!link || arg_uint(request->args, "max", READ_MAX, &max, err) < 0) {
        return -1;
    }
    ssize_t got = RETRY_EINTR(read((*link)->fd, data, (size_t)max));
    if (got < 0) {
        return err_system(err, errno, "read", "%s", (*link)->sandbox->id);
    }
    out_key_bytes(&request->ok, "data", data, (size_t)got);
    out_key_bool(&request->ok, "end", got == 0);
    return OP_DONE;
}

int op_file_write(struct request *request, struct err *err)
{
    struct handle **link = arg_handle(request->args, err);
    const uint8_t *data;
    size_t len;

    if (!link || arg_bytes(request->args, "data", &data, &len, err) < 0) {
        return -1;
    }
    for (size_t done = 0; done < len;) {
        ssize_t wrote = RETRY_EINTR(write((*link)->fd, data + done, len - done));
        if (wrote < 0) {
            return err_system(err, errno, "write", "%s", (*link)->sandbox->id);
        }
        done += (size_t)wrote;
    }
    return OP_DONE;
}

int op_file_close(struct request *request, struct err *err)
{
    struct handle **link = arg_handle(request->args, err);
    struct stat st;

    if (!link) {
        return -1;
    }
    if (fstat((*link)->fd, &st) == 0) {
        out_text(&request->ok, "stat");
        out_map(&request->ok);
        out_stat(&request->ok, &st);
        out_end(&request->ok);
    }
    handle_close(link);
    return OP_DONE;
}

/* ---- looking ---- */

static void stat_done(void *owner, int num, const char *step, int fd)
{
    struct visit *visit = owner;
    struct out ok = {0};
    struct stat st;

    if (num == 0 && fstat(fd, &st) < 0) {
        num = errno;
    }
    if (num) {
        reply_failure(visit, num, step);
    } else {
        out_stat(&ok, &st);
        if (S_ISLNK(st.st_mode)) {
            out_target(&ok, fd, "");
        }
        reply_ok(&visit->reply_to, &ok);
        out_free(&ok);
    }
    fd_close(&fd);
    visit_free(visit);
}

int op_file_stat(struct request *request, struct err *err)
{
    struct errand_args args = {.errand = ERRAND_OPEN, .flags = O_PATH};
    bool follow;

    if (arg_bool(request->args, "follow", &follow, err) < 0) {
        return -1;
    }
    args.flags |= follow ? 0 : O_NOFOLLOW;
    return visit_and_free(request, &args, stat_done, err);
}

static void send_entries(const struct reply_to *reply_to, struct out *entries)
{
    struct out part = {0};

    out_text(&part, "entries");
    out_list(&part);
    out_raw(&part, entries->data, entries->len);
    out_end(&part);
    reply_part(reply_to, &part);
    out_free(&part);
    entries->len = 0;
}

static void send_listing(const struct visit *visit, DIR *dir)
{
    struct out entries = {0};
    struct dirent *entry;
    struct stat st;

    while ((entry = readdir(dir))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
            continue;
        }
        out_map(&entries);
        out_key_bytes(&entries, "name", entry->d_name, strlen(entry->d_name));
        out_stat(&entries, &st);
        if (S_ISLNK(st.st_mode)) {
            out_target(&entries, dirfd(dir), entry->d_name);
        }
        out_end(&entries);
        if (entries.len >= LIST_PART_BYTES) {
            send_entries(&visit->reply_to, &entries);
        }
    }
    if (entries.len > 0) {
        send_entries(&visit->reply_to, &entries);
    }
    out_free(&entries);
    reply_ok(&visit->reply_to, NULL);
}

static void list_done(void *owner, int num, const char *step, int fd)
{
    struct visit *visit = owner;

    if (num == 0 && !on_overlay(fd)) {
        num = ENODEV;
    }
    DIR *dir = num == 0 ? fdopendir(fd) : NULL;
    if (dir) {
        send_listing(visit, dir);
        closedir(dir);
    } else {
        reply_failure(visit, num ? num : errno, step);
        fd_close(&fd);
    }
    visit_free(visit);
}

int op_file_list(struct request *request, struct err *err)
{
    struct errand_args args = {.errand = ERRAND_OPEN, .flags = O_RDONLY | O_DIRECTORY | O_NONBLOCK};

    return visit_and_free(request, &args, list_done, err);
}

/* ---- changing ---- */

int op_file_mkdir(struct request *request, struct err *err)
{
    struct errand_args args = {.errand = ERRAND_MKDIR};
    uint64_t mode;

    if (arg_uint(request->args, "mode", 07777, &mode, err) < 0 ||
        arg_bool(request->args, "parents", &args.parents, err) < 0) {
        return -1;
    }
    args.mode = (mode_t)mode;
    return visit_and_free(request, &args, path_done, err);
}

int op_file_remove(struct request *request, struct err *err)
{
    struct errand_args args = {.errand = ERRAND_REMOVE};

    if (arg_bool(request->args, "recursive", &args.recursive, err) < 0) {
        return -1;
    }
    return visit_and_free(request, &args, path_done, err);
}

int op_file_rename(struct request *request, struct err *err)
{
    struct errand_args args = {.errand = ERRAND_RENAME};

    if (arg_string(request->args, "from", &args.path, err) < 0) {
        return -1;
    }
    if (arg_string(request->args, "to", &args.other, err) < 0) {
        free(args.path);
        return -1;
    }
    return visit_and_free(request, &args, path_done, err);
}

int op_file_symlink(struct request *request, struct err *err)
{
    struct errand_args args = {.errand = ERRAND_SYMLINK};

    if (arg_string(request->args, "target", &args.other, err) < 0) {
        return -1;
    }
    return visit_and_free(request, &args, path_done, err);
}
