/* What differs between a volume and the directory it came from. Guided by the volume's upper: only what is in it can
 * differ, and below a directory that is opaque, renamed or new everything may. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "fd.h"
#include "job.h"
#include "sandbox.h"

#define OPEN_DIRECTORY (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define PART_BYTES (128 * 1024)
#define PATH_BYTES 8192
#define DEPTH_MAX 256

struct walk {
    struct job_out *out;
    struct out changes; /* encoded, not yet sent */
    char path[PATH_BYTES];
    unsigned depth;
    struct err *err;
};

/* The same directory in three views; -1 where it does not exist (upper: or does not guide). */
struct views {
    int upper, merged, lower;
};

static void send_changes(struct walk *walk)
{
    struct out part = {0};

    if (walk->changes.len == 0) {
        return;
    }
    out_text(&part, "changes");
    out_list(&part);
    out_raw(&part, walk->changes.data, walk->changes.len);
    out_end(&part);
    job_part(walk->out, &part);
    out_free(&part);
    walk->changes.len = 0;
}

static const char *type_of(mode_t mode)
{
    return S_ISREG(mode)    ? "file"
           : S_ISDIR(mode)  ? "directory"
           : S_ISLNK(mode)  ? "symlink"
           : S_ISFIFO(mode) ? "fifo"
           : S_ISSOCK(mode) ? "socket"
                            : "device";
}

static uint64_t nanoseconds(const struct timespec *time)
{
    return (uint64_t)time->tv_sec * 1000000000 + (uint64_t)time->tv_nsec;
}

/* Ids of the merged view are shifted, those of the source are not. */
static void shift_ids(struct stat *st)
{
    st->st_uid -= engine.uid_base;
    st->st_gid -= engine.uid_base;
}

static void out_node(struct out *out, const struct stat *st)
{
    out_key_text(out, "type", type_of(st->st_mode));
    out_key_uint(out, "mode", st->st_mode & 07777);
    out_key_uint(out, "uid", st->st_uid);
    out_key_uint(out, "gid", st->st_gid);
    out_key_uint(out, "size", (uint64_t)st->st_size);
}

static void change(struct walk *walk, const char *kind, const struct stat *now, const struct stat *before)
{
    struct out *out = &walk->changes;

    out_map(out);
    out_key_text(out, "kind", kind);
    out_key_bytes(out, "path", walk->path, strlen(walk->path));
    if (now) {
        out_node(out, now);
    }
    if (before) {
        out_text(out, "before");
        out_map(out);
        out_node(out, before);
        out_key_uint(out, "ctimeNs", nanoseconds(&before->st_ctim));
        out_key_uint(out, "mtimeNs", nanoseconds(&before->st_mtim));
        out_end(out);
    }
    out_end(out);
    if (out->len >= PART_BYTES) {
        send_changes(walk);
    }
}

/* ---- one name ---- */

static bool same_content(int merged, int lower, const char *name)
{
    static char a[65536], b[65536];
    cleanup_fd left = openat(merged, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    cleanup_fd right = openat(lower, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    for (;;) {
        ssize_t got = left < 0 ? -1 : read(left, a, sizeof a);
        if (got < 0 || right < 0) {
            return false;
        }
        ssize_t have = 0;
        while (have < got) {
            ssize_t more = read(right, b + have, (size_t)(got - have));
            if (more <= 0) {
                return false;
            }
            have += more;
        }
        if (got == 0) {
            return read(right, b, 1) == 0;
        }
        if (memcmp(a, b, (size_t)got) != 0) {
            return false;
        }
    }
}

static bool same_target(int merged, int lower, const char *name)
{
    char a[4096], b[4096];
    ssize_t left = readlinkat(merged, name, a, sizeof a), right = readlinkat(lower, name, b, sizeof b);

    return left >= 0 && left == right && memcmp(a, b, (size_t)left) == 0;
}

static bool same_node(const struct views *views, const char *name, const struct stat *now,
                      const struct stat *before)
{
    if (now->st_mode != before->st_mode || now->st_uid != before->st_uid || now->st_gid != before->st_gid) {
        return false;
    }
    if (S_ISREG(now->st_mode)) {
        return now->st_size == before->st_size && same_content(views->merged, views->lower, name);
    }
    return !S_ISLNK(now->st_mode) || same_target(views->merged, views->lower, name);
}

static bool has_xattr(int dir, const char *name)
{
    char value[1];

    return fgetxattr(dir, name, value, 0) >= 0;
}

static int walk_directory(struct walk *walk, const struct views *views);

static int too_deep(struct walk *walk)
{
    return err_system(walk->err, ENAMETOOLONG, "compare", "%.150s", walk->path);
}

/* Goes into `name` in each view that has it as a directory. */
static int descend(struct walk *walk, const struct views *views, const char *name, bool guided,
                   bool in_merged, bool in_lower)
{
    if (walk->depth == DEPTH_MAX) {
        return too_deep(walk);
    }
    cleanup_fd upper = guided ? openat(views->upper, name, OPEN_DIRECTORY) : -1;
    cleanup_fd merged = in_merged ? openat(views->merged, name, OPEN_DIRECTORY) : -1;
    cleanup_fd lower = in_lower ? openat(views->lower, name, OPEN_DIRECTORY) : -1;
    if (upper >= 0 && (lower < 0 || has_xattr(upper, "trusted.overlay.opaque") ||
                       has_xattr(upper, "trusted.overlay.redirect"))) {
        fd_close(&upper);
    }
    const struct views below = {.upper = upper, .merged = merged, .lower = lower};
    walk->depth++;
    int result = walk_directory(walk, &below);
    walk->depth--;
    return result;
}

static int compare_name(struct walk *walk, const struct views *views, const char *name)
{
    struct stat now, before;
    size_t len = strlen(walk->path), name_len = strlen(name);
    bool is = views->merged >= 0 && fstatat(views->merged, name, &now, AT_SYMLINK_NOFOLLOW) == 0;
    bool was = views->lower >= 0 && fstatat(views->lower, name, &before, AT_SYMLINK_NOFOLLOW) == 0;
    int result = 0;

    if (!is && !was) {
        return 0;
    }
    if (len + name_len + 2 > sizeof walk->path) {
        return too_deep(walk);
    }
    sprintf(walk->path + len, "%s%s", len ? "/" : "", name);
    if (is) {
        shift_ids(&now);
    }
    if (!is) {
        change(walk, "D", NULL, &before);
    } else if (!was) {
        change(walk, "A", &now, NULL);
    } else if (!same_node(views, name, &now, &before)) {
        change(walk, "M", &now, &before);
    }
    bool is_directory = is && S_ISDIR(now.st_mode), was_directory = was && S_ISDIR(before.st_mode);
    if (is_directory || was_directory) {
        result = descend(walk, views, name, views->upper >= 0 && is_directory && was_directory, is_directory,
                         was_directory);
    }
    walk->path[len] = '\0';
    return result;
}

/* ---- one directory ---- */

static int each_name(struct walk *walk, const struct views *views, int dir_fd, bool unless_merged)
{
    int copy = openat(dir_fd, ".", OPEN_DIRECTORY), result = 0;
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    struct dirent *entry;

    if (!dir) {
        fd_close(&copy);
        return err_system(walk->err, errno, "read directory", "%.150s", walk->path);
    }
    while (result == 0 && (entry = readdir(dir))) {
        struct stat st;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            (unless_merged && views->merged >= 0 &&
             fstatat(views->merged, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)) {
            continue;
        }
        result = compare_name(walk, views, entry->d_name);
    }
    closedir(dir);
    return result;
}

static int walk_directory(struct walk *walk, const struct views *views)
{
    if (views->upper >= 0) {
        return each_name(walk, views, views->upper, false);
    }
    if (views->merged >= 0 && each_name(walk, views, views->merged, false) < 0) {
        return -1;
    }
    return views->lower >= 0 ? each_name(walk, views, views->lower, true) : 0;
}

struct question {
    const struct sandbox *sandbox;
    size_t tree;
};

static int changes_work(struct job_out *out, void *argument, struct out *ok, struct err *err)
{
    const struct question *question = argument;
    const struct sandbox *sandbox = question->sandbox;
    const char *source = sandbox->base->trees[question->tree].source;
    struct walk walk = {.out = out, .err = err};

    (void)ok;
    /* with frozen layers below it the upper alone does not tell where to look */
    cleanup_fd upper =
        chain_length(&sandbox->chain) > 0 ? -1 : layer_open_upper(sandbox->head, question->tree);
    cleanup_fd lower = open(source, OPEN_DIRECTORY);
    if (lower < 0) {
        return err_system(err, errno, "open directory", "%s", source);
    }
    const struct views views = {.upper = upper, .merged = sandbox->trees[question->tree], .lower = lower};
    int result = walk_directory(&walk, &views);
    send_changes(&walk);
    out_free(&walk.changes);
    return result;
}

int op_volume_changes(struct request *request, struct err *err)
{
    struct question question = {.sandbox = arg_sandbox(request->args, err)};
    cleanup_free char *path = NULL;

    if (!question.sandbox || arg_string(request->args, "path", &path, err) < 0) {
        return -1;
    }
    for (question.tree = 1; question.tree < question.sandbox->base->tree_count; question.tree++) {
        if (strcmp(question.sandbox->base->trees[question.tree].path, path) == 0) {
            return job_start(&request->reply_to, changes_work, &question, err);
        }
    }
    return err_set(err, ERR_BAD_REQUEST, "%s has no volume at %s", question.sandbox->id, path);
}
