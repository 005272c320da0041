/* Trees that went from one range of ids to another: all that is to be seen of them is compared. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct moved {
    uint32_t from, to; /* the ranges' first ids */
    bool is_view;      /* of mounted layers: what the base has kept its ids */
    /* Inodes there and here, of files that have several names. */
    struct pair_of_inodes {
        uint64_t from, to;
    } * inodes;
    size_t inode_count;
};

/* Ends the program, and says where, unless `to` is `from` again. */
void expect_moved(struct moved *moved, int from, int to);
void moved_free(struct moved *moved);
