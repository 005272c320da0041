/* Which names of a tree are those of one file, as whoever comes to stand on its layer reads it: gathered on the disk while the tree is
 * made, in any order. */
#pragma once

#include <stdint.h>
#include <stdio.h>

struct groups {
    FILE *names; /* without a name itself */
    struct group_name *list;
    size_t count;
    uint64_t size; /* of what is in the file */
};

/* Each 0 or -errno. What is gathered lies in that directory's file system. */
int groups_begin(struct groups *groups, int directory);
/* A name in a directory, "" or "/a/b", of the file of that number. */
int groups_add(struct groups *groups, uint64_t file, const char *directory, const char *name);
/* Beside the tree's upper, if there are any; then there are none. */
int groups_write(struct groups *groups, int tree);
void groups_free(struct groups *groups);
