/* What is printed for other programs. */
#pragma once

#include "error.h"

/* The inside of a JSON string on stdout; control characters are left out. */
void json_print_text(const char *text);
/* A line on stderr: code, message, object. */
void json_print_error(const struct err *err);
