/* The kinds of things that a process can have open: how each is known, kept in an image and opened again. A kind is one
 * file, handle_<kind>.c, and one line in the table of handles.c. */
#pragma once

#include <stdio.h>

#include "image.h"
#include "move.h"
#include "pack.h"
#include "revive.h"

/* A descriptor of a frozen process, as /proc tells it. */
struct seen {
    struct image *image;
    const struct move *move;
    const struct unit *unit;
    struct obstacles *obstacles;
    int number;
    const char *link;
    const char *fdinfo;
    struct stat st;
    int flags;
    off_t position;
    struct description *description; /* of a tree; else NULL */
};

/* Whom it is opened again for. */
struct opening {
    struct revival *revival;
    struct revived *revived;
    const struct stage *stage;
};

#define SEEN_OBSTACLE 1 /* it cannot be kept, and why was said */

struct handle_kind {
    const char *name;
    bool (*is_it)(const struct seen *seen);
    /* Fills in `kept` and what else is its own. 0, SEEN_OBSTACLE or -errno. */
    int (*capture)(const struct seen *seen, struct image_handle *handle);
    /* Once for each description, when all processes are captured; `seen` is of one that has it. May be NULL. */
    int (*complete)(const struct seen *seen, struct image_handle *handle);
    /* The same when that was done for all. May be NULL. */
    int (*complete_all)(const struct seen *seen, struct image_handle *handle);
    /* Once for each revival: a descriptor of the engine's, which stands for the description; -errno. */
    int (*open)(const struct opening *opening, const struct image_handle *handle);
    /* Once for each revival, when the first process that has it has all its descriptors. 0 or -errno. May be NULL. */
    int (*finish)(const struct opening *opening, const struct image_handle *handle, int number);
    /* When all processes are as they were, with the engine's descriptor of it. 0 or -errno. May be NULL. */
    int (*settle)(const struct image_handle *handle, int fd);
    void (*pack)(struct pack *pack, struct image_handle *handle);
    /* Whether it can be among all the others of the image, which were read. May be NULL. */
    bool (*fits)(const struct image *image, size_t handle);
    void (*forget)(void *kept); /* what `kept` is or has; NULL where free does */
};

/* What several descriptions lead to. */
struct object_kind {
    const char *name;
    /* Once for each revival: descriptors of the engine's, -1 where it needs none. 0 or -errno. */
    int (*make)(const struct opening *opening, const struct image_object *object, int fds[2]);
    /* When all processes are as they were. 0 or -errno. May be NULL. */
    int (*settle)(const struct image_object *object, const int fds[2]);
    void (*pack)(struct pack *pack, struct image_object *object);
    /* What of it is not packed; NULL where there is no such thing. */
    struct content *(*content)(void *kept);
    /* Once that is there. 0 or -errno. May be NULL. */
    int (*filled)(void *kept);
    void (*forget)(void *kept);
};

extern const struct handle_kind handle_file, handle_directory, handle_nameless, handle_view, handle_device,
    handle_memory, handle_stdio, handle_pipe, handle_event, handle_signal, handle_timer, handle_epoll,
    handle_pidfd, handle_inotify, handle_terminal, handle_inet, handle_unix, handle_netlink;

extern const struct object_kind object_pipe, object_memory, object_nameless;

/* Whether an object is there and of that kind. */
bool object_is(const struct image *image, size_t object, const struct object_kind *kind);
/* NULL: there is none of that name. */
const struct handle_kind *handle_kind_of(const char *name);
const struct object_kind *object_kind_of(const char *name);

/* ---- for kinds, while capturing (handles.c) ---- */

/* Says why it cannot be kept. Returns SEEN_OBSTACLE. */
int seen_refuse(const struct seen *seen, const char *reason);
/* The same for what passes by itself. */
int seen_wait(const struct seen *seen, const char *reason);
/* The engine's own descriptor of the same description, or -errno. */
int seen_take(const struct seen *seen);
/* Whether a socket is in the network of the cell. */
bool seen_is_of_cell(const struct seen *seen, int socket);
/* Looks again: the texts of `seen` are not valid any more. 0 or -errno. */
int seen_again(const struct seen *seen, struct seen *now);
/* The number after `key` in its fdinfo; 0 when it is not there. */
uint64_t seen_number(const struct seen *seen, const char *key, int base);
/* The handle of a description that `order` compares with: 0 the same, 1 less, 2 greater, as kcmp does. SIZE_MAX when it
 * is not known, or cannot be compared; HANDLE_REFUSED when it is an obstacle. */
#define HANDLE_REFUSED (SIZE_MAX - 1)
typedef long description_order(const struct known_description *known, const void *with);
size_t handle_find(const struct image *image, description_order *order, const void *with);
/* A handle that no descriptor leads to, for what is only mapped. */
size_t handle_add(struct image *image, const struct image_handle *handle);
/* The locks of a description that are its own, as a file keeps them and takes them again. */
struct kept_locks {
    struct lock *list;
    size_t count;
};
struct kept_locks locks_keep(const struct description *description);
int locks_take_again(const struct kept_locks *locks, int fd); /* 0 or -errno */
void locks_pack(struct pack *pack, struct kept_locks *locks);
/* The handle of memory that is mapped; `own`: a descriptor of the engine's, O_PATH will do. As `capture`. */
int memory_handle(const struct seen *seen, int own, size_t *handle);
/* The index of an object that was met before; SIZE_MAX. */
size_t object_find(const struct image *image, const struct object_kind *kind, const struct stat *st);
size_t object_add(struct image *image, const struct object_kind *kind, const struct stat *st, void *kept);
/* Zeroed; never NULL. */
void *handle_keep(size_t size);

/* ---- for kinds, while opening (bring.c) ---- */

/* The engine's descriptor of a handle, opened when it is first asked for; -errno. */
int opening_fd(const struct opening *opening, size_t handle);
/* shared.c: what the process shares is opened, then mapped. 0 or -errno. */
int shared_open(const struct opening *opening);
int shared_map(const struct opening *opening);
/* Opened by the process itself, which still has the root of the sandbox: for what depends on who opens it. */
int opening_inside(const struct opening *opening, const char *path, int flags);
/* Made by a call of the process itself, to whose account it goes; -errno. */
int opening_make(const struct opening *opening, long number, uint64_t a, uint64_t b, uint64_t c, uint64_t d);
/* Puts there what such a call points to. Where it lies in the process; 0 when that failed. */
uint64_t opening_data(const struct opening *opening, const void *data, size_t size);
/* The descriptors of an object, made when they are first asked for; NULL with errno. */
const int *opening_object(const struct opening *opening, size_t object);
/* Opens once more what a descriptor of the engine's leads to. It or -errno. */
int open_once_more(int fd, int flags);
/* The flags of a description without those that only matter when something is opened first. */
int flags_to_open(int flags);
