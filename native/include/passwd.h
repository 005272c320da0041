/* A user's ids from the text of a passwd file that may hold anything. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "confine.h"

/* `user` is a name, or uid[:gid] in numbers. */
bool passwd_find(const char *text, size_t len, const char *user, struct identity *identity);
