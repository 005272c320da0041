/* Paths inside one directory tree whose content is somebody else's: "" or "/a/b", any length up to PATH_LIMIT, and no
 * link on the way is followed. */
#pragma once

#include <stddef.h>

#define PATH_LIMIT 65536u

/* Opens below `root`, or -errno; a path longer than the kernel takes is walked in pieces. */
int path_open(int root, const char *path, int flags);
int path_open_directory(int root, const char *path);
/* To be freed. */
char *path_copy(const char *path);
/* path + "/" + name, to be freed by the caller; NULL when that is longer than PATH_LIMIT. */
char *path_join(const char *path, const char *name);
/* What follows the last slash. */
const char *path_name(const char *path);
