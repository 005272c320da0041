/* Binding a unix socket to a name that it is to tell, with its file where that has come to lie. */
#pragma once

#include <limits.h>
#include <sys/stat.h>

#include "unix_socket.h"

struct names {
    int scratch; /* a file system that nobody sees; -1: not yet */
    const int *trees;
};

void names_begin(struct names *names, const int *trees);
void names_end(struct names *names);

/* A name that was bound. */
struct bound {
    int place;  /* O_PATH, leads to the socket; -1 for an abstract name */
    int parent; /* of its file; -1: it has none that anybody sees */
    char last[NAME_MAX + 1];
    struct stat looks; /* that the file has to get */
};
void bound_none(struct bound *bound);
void bound_free(struct bound *bound);

/* Without `path` nobody finds it by a path. The file is open to all until it has its looks. 0 or -errno. */
int name_bind(struct names *names, int fd, const struct unix_name *name, size_t tree, const char *path,
              struct bound *bound);
/* Gives the file its looks. 0 or -errno. */
int name_settle(const struct bound *bound);
