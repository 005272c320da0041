/* A live sandbox's move onto new trees: what its processes hold of the old ones, and what each gets instead. */
#pragma once

#include <sys/resource.h>
#include <sys/stat.h>

#include "hand.h"
#include "links.h"

struct lock {
    enum { LOCK_OF_FILE, LOCK_OF_PROCESS, LOCK_OF_DESCRIPTION } kind; /* flock, POSIX, OFD */
    bool write;
    uint64_t start, length; /* length 0: to the end */
    size_t unit;            /* of a POSIX lock: who holds it */
    int fd;                 /* by which descriptor */
};

/* An open file description of an old tree. */
struct description {
    int old; /* the engine's own descriptor of it */
    int new; /* the one that takes its place; -1: it stays */
    size_t tree;
    char *path; /* relative to the tree, "." for its root; NULL when nothing has that name any more */
    char *was;  /* what the kernel called it */
    int flags;
    bool copy_up; /* must lie in the new upper, also when it is only read */
    bool alone;   /* `new` is the same file, on a mount of its own */
    off_t position;
    size_t handle;  /* in an image, counted from 1 */
    uint64_t inode; /* as /proc tells it: of a file that was copied up stat shows its origin's */
    struct stat st;
    struct lock *locks;
    size_t lock_count;
    struct description *next_alike; /* in the same bucket */
};

/* A descriptor of a process. */
struct holder {
    size_t unit;
    int fd;
    bool close_on_exec;
    struct description *description;
};

struct mapping {
    size_t unit;
    uint64_t start, end, offset;
    int protection;
    unsigned advices;
    bool locked;
    struct description *description;
};

/* A descriptor of a file of an earlier tree that has no name any more: it stays what it is. */
struct left {
    size_t unit;
    int fd;
    struct description *description;
};

#define MAPPING_LOOKS 7

struct place {
    size_t unit;
    bool is_root; /* else the working directory */
    struct description *description;
};

struct watch {
    unsigned number, mask;
    size_t tree;
    uint64_t inode;
    bool moved;
};

/* An inotify instance. */
struct notifier {
    int fd; /* the engine's own descriptor of it */
    const struct subject *subject;
    struct watch *watches;
    size_t watch_count;
    struct notifier *next;
};

/* A socket or FIFO that is to be held. */
struct holding {
    unsigned number;
    int place; /* its name in the old tree */
    size_t tree;
    char *path;
    struct stat st;
    bool mounted;
    struct holding *next;
};

struct lifted_limit {
    bool is_lifted;
    int resource;
    struct rlimit was;
};

/* A thread that acts for itself and all that share its descriptors and directories. */
struct unit {
    struct subject *subject; /* NULL: the engine itself */
    struct thread *thread;
    int pidfd; /* not owned */
    uint64_t vdso;
    int *numbers; /* the descriptors it has, ascending */
    size_t number_count;
    int highest;           /* of those that change */
    struct inject *inject; /* NULL when nothing of it has to be changed */
    struct hand hand;
    int *arrived; /* numbers inside of what was delivered, by index of `wanted` */
    struct description **wanted;
    size_t wanted_count;
    bool swapped;
    struct lifted_limit limits[3];
};

struct move_tree {
    const char *path;
    int old, new; /* mounts; `old` belongs to the sandbox until the move is done */
    uint64_t mount_id;
    dev_t dev;
    int old_upper, new_upper;
    struct link_scan links; /* of the old upper */
};

#define MOVE_BUCKETS 1024

struct move {
    struct sandbox *sandbox;
    const char *head; /* of the new trees */
    struct chain chain;
    struct move_tree *trees;
    size_t tree_count;
    struct frozen frozen;
    struct ahead *ahead; /* not owned */
    struct obstacles obstacles;
    struct unit *units;
    size_t unit_count;
    struct holder *holders;
    size_t holder_count;
    struct left *lefts;
    size_t left_count;
    struct mapping *mappings;
    size_t mapping_count;
    struct place *places;
    size_t place_count;
    struct description *descriptions[MOVE_BUCKETS];
    size_t description_count;
    struct holding *holdings;
    unsigned *released; /* numbers of what is no longer held */
    size_t released_count;
    struct notifier *notifiers;
    bool watches_unknown; /* a watched inode's name has to be looked for first */
};

/* collect.c: looks at every frozen process. 0, also with obstacles that last: what more there is is looked for. -1 with
 * err, or with obstacles that will pass. */
int move_collect(struct move *move, struct err *err);
void move_forget(struct move *move);
/* What the link `path` of /proc leads to; NULL when that lies in none of the old trees. Returns -1 with errno. */
int move_open_description(struct move *move, const char *path, int flags, struct description **description);
/* The path in the tree of what a descriptor of the engine's leads to. 0 or -1 with errno, ENOENT when it has none. */
int move_path_of(const struct move_tree *tree, int fd, char path[4096]);
/* The part of a path of the root that lies in the tree; NULL when it lies elsewhere. */
const char *move_path_inside(const struct move_tree *tree, const char *path);
/* Which of the old trees a descriptor of the engine's leads into; tree_count when into none. */
size_t move_tree_of(const struct move *move, int fd);
bool is_same_description(int a, int b);
/* Whether it is a regular file of an overlay that is none of the old trees. */
bool is_left(const struct move *move, int fd);
/* Calls `each` until it fails. */
int move_each(struct move *move, int (*each)(struct move *, struct description *, struct err *),
              struct err *err);
struct subject *move_subject_of(struct move *move, const struct description *description);

/* reopen.c: opens in the new trees what is to take an old description's place. */
int move_reopen(struct move *move, struct err *err);
/* Puts `fd` before the entry `name`. 1 when it is there, 0 when it is not, -errno. */
int directory_seek(int fd, const char *name);
int directory_to_end(int fd);
/* The next name that will be read from it, empty at the end. 0 or -errno. */
int directory_unread(const struct description *description, char name[256]);
/* Of a directory that was removed: the nearest one above that was not, and how far up. 0 or -errno. */
int removed_directory_above(const struct move *move, const struct description *description, char path[4096],
                            unsigned *depth);
/* One like it; -errno. */
int removed_directory_make(int tree, const char *path, unsigned depth, const struct stat *looks, int flags);
void move_close_new(struct move *move);
/* After the move: nothing of it stays open on our side. */
void move_close_all(struct move *move);

/* deliver.c: brings the new descriptions into the processes. */
int move_enter(struct move *move, struct err *err);
int move_leave(struct move *move, struct err *err);
int move_deliver(struct move *move, bool old, struct err *err);
int unit_failed(const struct unit *unit, int result, const char *step, struct err *err);
/* Runs and clears its batch. */
int unit_run(struct unit *unit, const char *step, struct err *err);
bool unit_is_gone(const struct unit *unit);
bool description_is_moved(const struct description *description);

/* swap.c: puts them in the old ones' places. */
int move_swap(struct move *move, bool old, struct err *err);
/* After a swap back: whether everyone has the old descriptions again. */
bool move_is_back(const struct move *move);
/* Closes in the processes what was delivered and has not taken a place. */
void move_close_delivered(struct move *move);

/* maps.c: shared mappings of files that are in an old upper, and where the vdso is. */
int maps_collect(struct move *move, size_t unit, struct err *err);
/* What madvise and mlock did to it: at most MAPPING_LOOKS calls. */
void maps_add_looks(struct inject *inject, const struct mapping *mapping);

/* locks.c */
void locks_parse(struct move *move, struct description *description, const struct holder *holder,
                 const char *fdinfo);
/* flock and OFD locks belong to the description: taken by the engine. */
int locks_take(struct description *description);
/* One of them. 0 or -errno. */
int lock_take(const struct lock *lock, int fd);
/* Of a file that stays the same: they go over from one description to another. */
int locks_pass(const struct description *description, int from, int to);
/* POSIX locks belong to a process: taken by itself. `at`: room for a struct flock in it. 0 or -errno. */
int locks_add_call(struct inject *inject, const struct lock *lock, uint64_t at);

/* watches.c */
/* Takes fd over. */
void watches_collect(struct move *move, struct subject *subject, int number, int fd, const char *fdinfo);
void watches_free(struct move *move);
/* Sets `watches_unknown`; everything is frozen and collected. */
void watches_know(struct move *move);
int watches_move(struct move *move, struct err *err);
void watches_move_back(struct move *move);
/* Puts one, under its number, on what the engine's descriptor `place` leads to. 0 or -errno. */
int watch_put(int inotify, const struct watch *watch, int place);

/* carry.c: puts into the new uppers what must be there before anything is looked up. */
int carry_scan(struct move *move, struct err *err); /* while the sandbox runs */
int carry_over(struct move *move, struct err *err);

struct carry;
/* A link, marked as one of ours, to what is held under that number. 0 or -errno. */
int carry_mark(struct carry *carry, const char *path, const struct held_mark *mark, uid_t uid, gid_t gid);

/* held.c */
void held_begin(struct move *move);
bool held_is_alive(struct move *move, const struct stat *st);
/* Whether it is held, and the path of its name in a tree; NULL when that was taken away. */
bool held_find_path(const struct move *move, const struct stat *st, const char **path, size_t *tree);
void held_collect_socket(struct move *move, const struct unit *unit, int number);
void held_collect_fifo(struct move *move, const struct description *description);
void held_free(struct move *move);
int held_carry(struct move *move, size_t tree, struct carry *carry);
int held_mount(struct move *move, struct err *err);
void held_unmount(struct move *move);
void held_clean_layer(const struct move *move);
void held_commit(struct move *move);
void held_release(struct move *move, int new_root);
