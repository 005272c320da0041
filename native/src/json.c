#include "json.h"

#include <stdio.h>

void json_print_text(const char *text)
{
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') {
            putchar('\\');
        }
        if ((unsigned char)*text >= ' ') {
            putchar(*text);
        }
    }
}
