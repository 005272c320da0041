/* Names of an upper that share a file: found while the sandbox runs, brought up to date when it is frozen. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

struct link_name {
    uint64_t inode;
    char *path; /* relative to the upper */
};

/* On a symbolic link that stands for a socket or FIFO of a tree that was left. */
#define HELD_MARK "trusted.deltabox.held"
#define HELD_MARK_BYTES 32

struct held_mark {
    unsigned number;
    mode_t mode; /* of the thing itself */
};

/* False where it is none. */
bool held_mark_parse(const void *value, size_t size, struct held_mark *mark);
bool held_mark_read(int dir, const char *name, struct held_mark *mark);
int held_mark_write(int dir, const char *name, const struct held_mark *mark); /* 0 or -errno */

struct link_scan {
    bool want_marks;
    struct link_name *marks; /* after links_finish; `inode` is the number in the mark */
    size_t mark_count;
    struct link_directory *directories; /* by path, for the second look */
    size_t directory_count;
    struct link_name *known; /* at the second look: the directories of the first; `inode` is the index */
    size_t known_count;
    struct link_name *names; /* after links_finish: sorted by inode */
    size_t name_count;
};

/* 0 or -errno. */
int links_scan(struct link_scan *scan, int upper, bool want_marks);
/* Looks again at what has changed since. 0 or -errno. */
int links_finish(struct link_scan *scan, int upper);
/* The path of a directory of the upper; NULL for one that is gone. */
const char *links_directory(const struct link_scan *scan, size_t index);
void links_free(struct link_scan *scan);
