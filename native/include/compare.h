/* Whether two nodes are the same for all who look at them, times and inode numbers apart. */
#pragma once

#include <stdbool.h>
#include <sys/stat.h>

#include "copy.h"

/* Owner, mode, extended attributes and, of what is no regular file or directory, all there is besides. */
bool same_looks(struct node left, const struct stat *left_st, struct node right, const struct stat *right_st);
/* Two regular files of the same size. What cannot be read differs. */
bool same_content(struct node left, struct node right, off_t size);
