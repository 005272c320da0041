#include "transfer.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "bundle.h"
#include "engine.h"
#include "fd.h"
#include "part.h"
#include "json.h"
#include "names.h"
#include "node.h"

#define OPEN_DIRECTORY (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NOATIME)
#define OPEN_FILE (O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOATIME)
#define COPY_BYTES (256u * 1024)

/* A file that has several names, by what it is. */
struct known_file {
    dev_t device;
    ino_t inode;
    uint64_t number; /* from 1; 0: nothing is here */
};

/* One directory on the way down; the way back up goes through "..", so depth costs memory, not descriptors. */
struct level {
    struct level *above;
    struct names names;
    size_t next;
};

struct packing {
    struct bundle bundle;
    struct known_file *files; /* open addressing; as many as `room`, a power of two */
    size_t file_count, room;
    const char *layer; /* for what is told */
    struct err *err;
};

/* ---- what is to go ---- */

struct plan_line {
    struct part head;
    int fd; /* of an image: what is removed meanwhile stays as it was */
};

struct plan {
    struct plan_line *lines;
    size_t count;
};

static int failed(const struct packing *this, int result, const char *step, const char *name)
{
    return err_system(this->err, -result, step, "%s in layer %s", name, this->layer);
}

static int open_image(const char *directory, struct plan_line *line, struct err *err)
{
    char path[PATH_MAX];
    struct stat st;

    snprintf(path, sizeof path, "%s/images/%s", directory, line->head.id);
    line->fd = open(path, OPEN_FILE);
    if (line->fd < 0 || fstat(line->fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        return err_system(err, line->fd < 0 ? errno : EINVAL, "open image", "%s", line->head.id);
    }
    line->head.bytes = (uint64_t)st.st_size;
    return 0;
}

static int open_layer(const char *directory, struct plan_line *line, struct err *err)
{
    char path[PATH_MAX];
    struct stat st;

    for (; line->head.trees < PART_TREES_MAX; line->head.trees++) {
        snprintf(path, sizeof path, "%s/layers/%s/fs%u/upper", directory, line->head.id,
                 (unsigned)line->head.trees);
        if (lstat(path, &st) < 0) {
            break;
        }
    }
    return line->head.trees > 0 ? 0 : err_system(err, ENOENT, "open layer", "%s", line->head.id);
}

static int read_line(const char *directory, const char *text, struct plan_line *line, struct err *err)
{
    const bool is_image = strncmp(text, "image ", 6) == 0, is_layer = strncmp(text, "layer ", 6) == 0;

    *line = (struct plan_line){.head.kind = is_image ? PART_IMAGE : PART_LAYER, .fd = -1};
    if ((!is_image && !is_layer) || !is_id(text + 6)) {
        return err_set(err, ERR_BAD_REQUEST, "neither an image nor a layer: %s", text);
    }
    strcpy(line->head.id, text + 6);
    return is_image ? open_image(directory, line, err) : open_layer(directory, line, err);
}

static int read_plan(const char *directory, struct plan *plan, struct err *err)
{
    char text[ID_MAX + 16];

    while (fgets(text, sizeof text, stdin)) {
        text[strcspn(text, "\n")] = '\0';
        if (!text[0]) {
            return 0;
        }
        plan->lines = realloc(plan->lines, (plan->count + 1) * sizeof *plan->lines);
        if (!plan->lines) {
            die("out of memory");
        }
        if (read_line(directory, text, &plan->lines[plan->count++], err) < 0) {
            return -1;
        }
    }
    return err_set(err, ERR_BAD_REQUEST, "what is to be packed has no end");
}

/* ---- bytes ---- */

static int put_part(struct packing *this, struct part *head)
{
    return bundle_put_record(&this->bundle, part_pack, head, this->err);
}

static int put_rest_of_stdin(struct packing *this)
{
    struct out all = {0};
    static char part[COPY_BYTES];

    for (size_t got; (got = fread(part, 1, sizeof part, stdin)) > 0;) {
        out_raw(&all, part, got);
    }
    struct part head = {.kind = PART_TELL, .bytes = all.len};
    int result = put_part(this, &head);
    result = result < 0 ? result : bundle_put(&this->bundle, all.data, all.len, this->err);
    out_free(&all);
    return result;
}

/* So many bytes from there; a file that has become shorter is an error. */
static int put_bytes(struct packing *this, int fd, uint64_t at, uint64_t bytes, const char *name)
{
    static uint8_t part[COPY_BYTES];

    while (bytes > 0) {
        const size_t wanted = bytes < sizeof part ? (size_t)bytes : sizeof part;
        const ssize_t got = RETRY_EINTR(pread(fd, part, wanted, (off_t)at));
        if (got <= 0) {
            return failed(this, got < 0 ? -errno : -EIO, "read", name);
        }
        if (bundle_put(&this->bundle, part, (size_t)got, this->err) < 0) {
            return -1;
        }
        at += (uint64_t)got;
        bytes -= (uint64_t)got;
    }
    return 0;
}

/* ---- files ---- */

static struct known_file *find_file(const struct packing *this, const struct stat *st)
{
    size_t at = (size_t)((st->st_ino * 0x9e3779b97f4a7c15ULL) ^ st->st_dev) & (this->room - 1);

    while (this->files[at].number != 0 &&
           (this->files[at].inode != st->st_ino || this->files[at].device != st->st_dev)) {
        at = (at + 1) & (this->room - 1);
    }
    return &this->files[at];
}

static void grow_files(struct packing *this)
{
    struct known_file *old = this->files;
    const size_t count = this->room;

    this->room = count ? count * 2 : 1024;
    this->files = calloc(this->room, sizeof *this->files);
    if (!this->files) {
        die("out of memory");
    }
    for (size_t i = 0; i < count; i++) {
        if (old[i].number != 0) {
            const struct stat st = {.st_dev = old[i].device, .st_ino = old[i].inode};
            *find_file(this, &st) = old[i];
        }
    }
    free(old);
}

/* Whether the file is in the stream; else it is noted that it will be. */
static bool is_known(struct packing *this, const struct stat *st, uint64_t *file)
{
    if ((this->file_count + 1) * 2 > this->room) {
        grow_files(this);
    }
    struct known_file *found = find_file(this, st);
    if (found->number == 0) {
        *found = (struct known_file){st->st_dev, st->st_ino, ++this->file_count};
        return false;
    }
    *file = found->number - 1;
    return true;
}

/* Where it has data, what lies between are holes. */
static int put_data(struct packing *this, int fd, uint64_t size, const char *name)
{
    uint64_t extent[2] = {0};

    for (off_t begin = 0, end = 0; (uint64_t)end < size;) {
        begin = lseek(fd, end, SEEK_DATA);
        if (begin < 0 && errno == ENXIO) {
            break;
        }
        const off_t before = end;
        end = begin < 0 ? begin : lseek(fd, begin, SEEK_HOLE);
        if (end < 0) {
            return failed(this, -errno, "read", name);
        }
        extent[0] = (uint64_t)(begin - before);
        extent[1] = ((uint64_t)end < size ? (uint64_t)end : size) - (uint64_t)begin;
        if (bundle_put(&this->bundle, extent, sizeof extent, this->err) < 0 ||
            put_bytes(this, fd, (uint64_t)begin, extent[1], name) < 0) {
            return -1;
        }
    }
    extent[0] = extent[1] = 0;
    return bundle_put(&this->bundle, extent, sizeof extent, this->err);
}

static int put_node(struct packing *this, struct layer_node *node)
{
    return bundle_put_record(&this->bundle, node_pack, node, this->err);
}

static int put_file(struct packing *this, struct layer_node *node, int dir, const struct stat *st)
{
    cleanup_fd fd = openat(dir, node->name, OPEN_FILE);

    node->kind = NODE_FILE;
    node->size = (uint64_t)st->st_size;
    const int result = fd < 0 ? -errno : looks_get(&node->looks, fd);
    if (result < 0) {
        return failed(this, result, "look at", node->name);
    }
    return put_node(this, node) < 0 ? -1 : put_data(this, fd, node->size, node->name);
}

static int put_other(struct packing *this, struct layer_node *node, int dir, const struct stat *st)
{
    char target[PATH_MAX];
    int result = looks_get_node(&node->looks, (struct node){dir, node->name});

    node->kind = S_ISLNK(st->st_mode) ? NODE_SYMLINK : NODE_SPECIAL;
    node->type = st->st_mode & S_IFMT;
    node->device = st->st_rdev;
    if (result == 0 && node->kind == NODE_SYMLINK) {
        const ssize_t length = readlinkat(dir, node->name, target, sizeof target - 1);
        result = length < 0 ? -errno : 0;
        target[length < 0 ? 0 : length] = '\0';
        node->target = strdup(target);
    }
    return result < 0 ? failed(this, result, "look at", node->name) : put_node(this, node);
}

/* Anything but a directory. */
static int put_entry(struct packing *this, struct layer_node *node, int dir, const struct stat *st)
{
    if (S_ISCHR(st->st_mode) && st->st_rdev == 0) { /* overlayfs makes one file of many of them */
        node->kind = NODE_WHITEOUT;
        return put_node(this, node);
    }
    node->has_more_names = st->st_nlink > 1;
    if (node->has_more_names && is_known(this, st, &node->file)) {
        node->kind = NODE_LINK;
        return put_node(this, node);
    }
    return S_ISREG(st->st_mode) ? put_file(this, node, dir, st) : put_other(this, node, dir, st);
}

/* ---- directories ---- */

static int push(struct packing *this, struct level **level, int dir, const char *name)
{
    struct level *below = calloc(1, sizeof *below);

    if (!below) {
        die("out of memory");
    }
    below->above = *level;
    *level = below;
    const int result = names_add(&below->names, dir);
    names_sort(&below->names);
    return result < 0 ? failed(this, result, "list", name) : 0;
}

static void pop(struct level **level)
{
    struct level *done = *level;

    *level = done->above;
    names_free(&done->names);
    free(done);
}

/* Goes down into it. */
static int enter(struct packing *this, struct level **level, int *dir, struct layer_node *node)
{
    node->kind = NODE_DIRECTORY;
    if (put_node(this, node) < 0) {
        return -1;
    }
    const int below = openat(*dir, node->name, OPEN_DIRECTORY);
    if (below < 0) {
        return failed(this, -errno, "open", node->name);
    }
    fd_close(dir);
    *dir = below;
    return push(this, level, below, node->name);
}

static int leave(struct packing *this, struct level **level, int *dir, struct layer_node *node)
{
    node->kind = NODE_END;
    node->looks.is_in_layer = true;
    const int result = looks_get(&node->looks, *dir);
    if (result < 0) {
        return failed(this, result, "look at", "a directory");
    }
    pop(level);
    const int above = *level ? openat(*dir, "..", OPEN_DIRECTORY) : -1;
    if (*level && above < 0) {
        return failed(this, -errno, "open", "..");
    }
    fd_close(dir);
    *dir = above;
    return put_node(this, node);
}

static int put_next(struct packing *this, struct level **level, int *dir, struct layer_node *node)
{
    struct stat st;

    if ((*level)->next == (*level)->names.count) {
        return leave(this, level, dir, node);
    }
    snprintf(node->name, sizeof node->name, "%s", (*level)->names.list[(*level)->next++]);
    if (fstatat(*dir, node->name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return failed(this, -errno, "look at", node->name);
    }
    node->looks.is_in_layer = true;
    return S_ISDIR(st.st_mode) ? enter(this, level, dir, node) : put_entry(this, node, *dir, &st);
}

static int put_tree(struct packing *this, const char *directory, unsigned tree)
{
    char path[PATH_MAX];
    struct level *level = NULL;

    snprintf(path, sizeof path, "%s/layers/%s/fs%u/upper", directory, this->layer, tree);
    cleanup_fd dir = open(path, OPEN_DIRECTORY);
    if (dir < 0) {
        return failed(this, -errno, "open", "upper");
    }
    int result = push(this, &level, dir, "upper");
    while (result == 0 && level) {
        struct layer_node node = {0};
        result = put_next(this, &level, &dir, &node);
        node_free(&node);
    }
    while (level) {
        pop(&level);
    }
    return result;
}

/* ---- the whole ---- */

static int put_line(struct packing *this, const char *directory, struct plan_line *line)
{
    int result = put_part(this, &line->head);

    this->layer = line->head.id;
    if (line->head.kind == PART_IMAGE) {
        result = result < 0 ? result : put_bytes(this, line->fd, 0, line->head.bytes, "the image");
        fd_close(&line->fd);
        return result;
    }
    for (unsigned tree = 0; result == 0 && tree < line->head.trees; tree++) {
        result = put_tree(this, directory, tree);
    }
    return result;
}

static int put_all(struct packing *this, const char *directory, struct plan *plan)
{
    struct part end = {.kind = PART_END};
    int result = bundle_begin(&this->bundle, 1, false, this->err);

    result = result < 0 ? result : put_rest_of_stdin(this);
    for (size_t i = 0; result == 0 && i < plan->count; i++) {
        result = put_line(this, directory, &plan->lines[i]);
    }
    result = result < 0 ? result : put_part(this, &end);
    return result < 0 ? result : bundle_end(&this->bundle, this->err);
}

int transfer_pack(const char *directory)
{
    struct err err = {0};
    struct plan plan = {0};
    struct packing this = {.bundle.fd = -1, .layer = "none", .err = &err};
    int result = read_plan(directory, &plan, &err);

    result = result < 0 ? result : put_all(&this, directory, &plan);
    if (result < 0) {
        json_print_error(&err);
    }
    bundle_free(&this.bundle);
    free(this.files);
    free(plan.lines);
    return result < 0;
}
