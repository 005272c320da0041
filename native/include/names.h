/* The names in one or several directories. */
#pragma once

#include <stddef.h>

struct names {
    char **list; /* after names_sort: in byte order, each once */
    size_t count;
    char *bytes; /* all names, one after the other */
    size_t bytes_len, bytes_cap;
};

/* Adds the entries of a directory, which stays open and is read from its start. 0 or -errno. */
int names_add(struct names *names, int dir);
void names_sort(struct names *names);
void names_free(struct names *names);
