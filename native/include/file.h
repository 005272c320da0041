/* Open files and directories of sandboxes, by handles that belong to the connection that asked. */
#pragma once

#include "sandbox.h"

void files_close_of(const struct sandbox *sandbox);
void files_close_all(void);
void files_each_of(const struct sandbox *sandbox, void (*each)(void *owner, int fd), void *owner);
