/* What is printed for other programs. */
#pragma once

/* The inside of a JSON string on stdout; control characters are left out. */
void json_print_text(const char *text);
