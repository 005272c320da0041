#include "transfer.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "bundle.h"
#include "engine.h"
#include "fd.h"
#include "groups.h"
#include "part.h"
#include "json.h"
#include "node.h"
#include "path.h"

#define OPEN_DIRECTORY (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define OPEN_NEW (O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC)

/* Nothing that is in the stream is followed: each name is made anew in a directory that was made before, and only what was made here
 * gets another name. */
struct unpacking {
    struct bundle bundle;
    int root, layers, images;
    int files; /* a directory with the files that may get more names: what is noted of them is on the disk, not in memory */
    uint64_t file_count;
    struct groups groups;      /* of the tree that is being filled */
    char path[PATH_LIMIT + 1]; /* of the directory that is being filled, in its tree */
    size_t path_length;
    struct err *err;
};

/* Of a file in that directory. */
struct file_name {
    char text[24];
};

static int failed(const struct unpacking *this, int result, const char *step, const char *name)
{
    return err_system(this->err, -result, step, "%s", name);
}

/* ---- bytes ---- */

static int get_part(struct unpacking *this, struct part *head)
{
    return bundle_get_record(&this->bundle, part_pack, head, this->err);
}

static int write_at(struct unpacking *this, int fd, const uint8_t *data, size_t size, uint64_t at,
                    const char *name)
{
    while (size > 0) {
        const ssize_t done = RETRY_EINTR(pwrite(fd, data, size, (off_t)at));
        if (done < 0) {
            return failed(this, -errno, "write", name);
        }
        data += done;
        size -= (size_t)done;
        at += (uint64_t)done;
    }
    return 0;
}

static int get_bytes(struct unpacking *this, int fd, uint64_t at, uint64_t bytes, const char *name)
{
    while (bytes > 0) {
        size_t size;
        const uint8_t *some = bundle_some(&this->bundle, bytes, &size, this->err);
        if (!some || write_at(this, fd, some, size, at, name) < 0) {
            return -1;
        }
        at += size;
        bytes -= size;
    }
    return 0;
}

/* Goes to stdout, which ends then: whoever started this looks at it, and may not want the rest. */
static int tell(struct unpacking *this)
{
    struct part head = {0};

    if (get_part(this, &head) < 0) {
        return -1;
    }
    if (head.kind != PART_TELL) {
        return bundle_damaged("it does not tell what it is", this->err);
    }
    for (uint64_t left = head.bytes; left > 0;) {
        size_t size;
        const uint8_t *some = bundle_some(&this->bundle, left, &size, this->err);
        if (!some) {
            return -1;
        }
        if (fwrite(some, 1, size, stdout) != size) {
            return failed(this, -errno, "tell", "what the file is");
        }
        left -= size;
    }
    return fflush(stdout) != 0 || close(1) < 0 ? failed(this, -errno, "tell", "what the file is") : 0;
}

/* ---- files ---- */

static int get_image(struct unpacking *this, const struct part *head)
{
    cleanup_fd fd = openat(this->images, head->id, OPEN_NEW, 0600);

    return fd < 0 ? failed(this, -errno, "make image", head->id)
                  : get_bytes(this, fd, 0, head->bytes, head->id);
}

static int get_data(struct unpacking *this, int fd, const struct layer_node *node)
{
    uint64_t extent[2], at = 0;

    for (;;) {
        if (bundle_get(&this->bundle, extent, sizeof extent, this->err) < 0) {
            return -1;
        }
        if (extent[1] == 0) {
            break;
        }
        if (extent[0] > node->size - at || extent[1] > node->size - at - extent[0]) {
            return bundle_damaged("a file has more than it is long", this->err);
        }
        if (get_bytes(this, fd, at + extent[0], extent[1], node->name) < 0) {
            return -1;
        }
        at += extent[0] + extent[1];
    }
    return ftruncate(fd, (off_t)node->size) < 0 ? failed(this, -errno, "write", node->name) : 0;
}

static struct file_name file_name(uint64_t file)
{
    struct file_name name;

    snprintf(name.text, sizeof name.text, "%" PRIu64, file);
    return name;
}

static int note_file(struct unpacking *this, int dir, const struct layer_node *node)
{
    const struct file_name name = file_name(this->file_count);

    if (linkat(dir, node->name, this->files, name.text, 0) < 0) {
        return failed(this, -errno, "note file", node->name);
    }
    this->file_count++;
    return 0;
}

static int get_file(struct unpacking *this, int dir, const struct layer_node *node)
{
    cleanup_fd fd = openat(dir, node->name, OPEN_NEW, 0600);

    if (fd < 0) {
        return failed(this, -errno, "make file", node->name);
    }
    if (get_data(this, fd, node) < 0) {
        return -1;
    }
    const int result = looks_set(&node->looks, fd);
    return result < 0 ? failed(this, result, "make file", node->name) : 0;
}

static int get_link(struct unpacking *this, int dir, const struct layer_node *node)
{
    if (node->file >= this->file_count) {
        return bundle_damaged("a file is named that is not there", this->err);
    }
    const struct file_name name = file_name(node->file);
    return linkat(this->files, name.text, dir, node->name, 0) < 0 ? failed(this, -errno, "link", node->name)
                                                                  : 0;
}

static int get_other(struct unpacking *this, int dir, const struct layer_node *node)
{
    int result = node->kind == NODE_SYMLINK ? symlinkat(node->target, dir, node->name)
                                            : mknodat(dir, node->name, node->type, node->device);

    result = result < 0 ? -errno : looks_set_node(&node->looks, (struct node){dir, node->name});
    return result < 0 ? failed(this, result, "make file", node->name) : 0;
}

/* Of those of a file that are written apart: overlayfs would. */
static int note_name(struct unpacking *this, int dir, const struct layer_node *node, uint64_t file)
{
    struct stat st;

    if (fstatat(dir, node->name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return failed(this, -errno, "look at", node->name);
    }
    if (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode) && !S_ISFIFO(st.st_mode)) {
        return 0;
    }
    const int result = groups_add(&this->groups, file, this->path, node->name);
    return result < 0 ? failed(this, result, "note", node->name) : 0;
}

/* ---- directories ---- */

/* Other parts of the engine cannot go deeper. */
static bool is_too_deep(const struct unpacking *this, const struct layer_node *node)
{
    return node->kind != NODE_END && this->path_length + 1 + strlen(node->name) > PATH_LIMIT;
}

static int enter(struct unpacking *this, int *dir, const struct layer_node *node)
{
    const int below = mkdirat(*dir, node->name, 0700) < 0 ? -1 : openat(*dir, node->name, OPEN_DIRECTORY);

    if (below < 0) {
        return failed(this, -errno, "make directory", node->name);
    }
    fd_close(dir);
    *dir = below;
    this->path[this->path_length] = '/';
    strcpy(this->path + this->path_length + 1, node->name);
    this->path_length += 1 + strlen(node->name);
    return 0;
}

static int leave(struct unpacking *this, int *dir, const struct layer_node *node, unsigned depth)
{
    const int result = looks_set(&node->looks, *dir);

    if (result < 0) {
        return failed(this, result, "make directory", depth > 0 ? path_name(this->path) : "upper");
    }
    const int above = depth > 0 ? openat(*dir, "..", OPEN_DIRECTORY) : -1;
    if (depth > 0 && above < 0) {
        return failed(this, -errno, "open", "..");
    }
    fd_close(dir);
    *dir = above;
    while (depth > 0 && this->path[--this->path_length] != '/') {
    }
    this->path[this->path_length] = '\0';
    return 0;
}

static int make_entry(struct unpacking *this, int dir, const struct layer_node *node)
{
    switch (node->kind) {
    case NODE_FILE:
        return get_file(this, dir, node);
    case NODE_LINK:
        return get_link(this, dir, node);
    case NODE_SYMLINK:
    case NODE_SPECIAL:
        return get_other(this, dir, node);
    case NODE_WHITEOUT:
        return mknodat(dir, node->name, S_IFCHR, 0) < 0 ? failed(this, -errno, "make file", node->name) : 0;
    case NODE_END:
    case NODE_DIRECTORY:
    default:
        return 0;
    }
}

/* Anything but a directory. */
static int get_entry(struct unpacking *this, int dir, const struct layer_node *node)
{
    int result = make_entry(this, dir, node);

    if (result == 0 && node->has_more_names) {
        result = note_file(this, dir, node);
        return result < 0 ? result : note_name(this, dir, node, this->file_count - 1);
    }
    return result == 0 && node->kind == NODE_LINK ? note_name(this, dir, node, node->file) : result;
}

/* Up to the end of its root. */
static int fill_tree(struct unpacking *this, int *dir)
{
    int result = 0;

    for (unsigned depth = 1; result == 0 && depth > 0;) {
        struct layer_node node = {0};
        result = bundle_get_record(&this->bundle, node_pack, &node, this->err);
        if (result == 0 && is_too_deep(this, &node)) {
            result = failed(this, -ENAMETOOLONG, "make", node.name);
        } else if (result == 0 && node.kind == NODE_DIRECTORY) {
            depth++;
            result = enter(this, dir, &node);
        } else if (result == 0 && node.kind == NODE_END) {
            depth--;
            result = leave(this, dir, &node, depth);
        } else if (result == 0) {
            result = get_entry(this, *dir, &node);
        }
        node_free(&node);
    }
    return result;
}

/* As layers have it: fsN/upper, a work directory that stays empty, and who has several names. */
static int get_tree(struct unpacking *this, int layer, const char *id, unsigned tree)
{
    char name[64];

    snprintf(name, sizeof name, "fs%u", tree);
    cleanup_fd fs = mkdirat(layer, name, 0700) < 0 ? -1 : openat(layer, name, OPEN_DIRECTORY);
    cleanup_fd upper = fs < 0 || mkdirat(fs, "work", 0700) < 0 || mkdirat(fs, "upper", 0700) < 0
                           ? -1
                           : openat(fs, "upper", OPEN_DIRECTORY);
    if (upper < 0) {
        return failed(this, -errno, "make layer", id);
    }
    this->path[this->path_length = 0] = '\0';
    if (fill_tree(this, &upper) < 0) {
        return -1;
    }
    const int result = groups_write(&this->groups, fs);
    return result < 0 ? failed(this, result, "write the names in", id) : 0;
}

static int get_layer(struct unpacking *this, const struct part *head)
{
    cleanup_fd layer =
        mkdirat(this->layers, head->id, 0700) < 0 ? -1 : openat(this->layers, head->id, OPEN_DIRECTORY);

    if (layer < 0) {
        return failed(this, -errno, "make layer", head->id);
    }
    for (unsigned tree = 0; tree < head->trees; tree++) {
        if (get_tree(this, layer, head->id, tree) < 0) {
            return -1;
        }
    }
    return 0;
}

/* ---- the whole ---- */

static int open_room(struct unpacking *this, const char *directory)
{
    this->root = open(directory, OPEN_DIRECTORY);
    if (this->root < 0 || mkdirat(this->root, "layers", 0700) < 0 ||
        mkdirat(this->root, "images", 0700) < 0 || mkdirat(this->root, "files", 0700) < 0 ||
        (this->files = openat(this->root, "files", OPEN_DIRECTORY)) < 0 ||
        (this->layers = openat(this->root, "layers", OPEN_DIRECTORY)) < 0 ||
        (this->images = openat(this->root, "images", OPEN_DIRECTORY)) < 0) {
        return failed(this, -errno, "open", "the directory to unpack to");
    }
    const int result = groups_begin(&this->groups, this->root);
    return result < 0 ? failed(this, result, "note names in", "the directory to unpack to") : 0;
}

static int get_all_parts(struct unpacking *this)
{
    for (int result = 0; result == 0;) {
        struct part head = {0};
        if (get_part(this, &head) < 0) {
            return -1;
        }
        switch (head.kind) {
        case PART_IMAGE:
            result = get_image(this, &head);
            break;
        case PART_LAYER:
            result = get_layer(this, &head);
            break;
        case PART_END:
            return bundle_expect_end(&this->bundle, this->err);
        case PART_TELL:
        default:
            return bundle_damaged("it tells twice what it is", this->err);
        }
    }
    return -1;
}

/* They have all their names. */
static int forget_files(struct unpacking *this)
{
    for (uint64_t i = 0; i < this->file_count; i++) {
        const struct file_name name = file_name(i);
        if (unlinkat(this->files, name.text, 0) < 0) {
            return failed(this, -errno, "forget file", name.text);
        }
    }
    return unlinkat(this->root, "files", AT_REMOVEDIR) < 0 ? failed(this, -errno, "remove", "files") : 0;
}

static int get_all(struct unpacking *this, const char *directory)
{
    return bundle_begin(&this->bundle, 0, true, this->err) < 0 || tell(this) < 0 ||
                   open_room(this, directory) < 0 || get_all_parts(this) < 0 || forget_files(this) < 0
               ? -1
               : 0;
}

int transfer_unpack(const char *directory)
{
    struct err err = {0};
    struct unpacking this = {
        .bundle.fd = -1, .root = -1, .layers = -1, .images = -1, .files = -1, .err = &err};
    const int result = get_all(&this, directory);

    if (result < 0) {
        json_print_error(&err);
    }
    bundle_free(&this.bundle);
    groups_free(&this.groups);
    fd_close(&this.root);
    fd_close(&this.files);
    fd_close(&this.layers);
    fd_close(&this.images);
    return result < 0;
}
