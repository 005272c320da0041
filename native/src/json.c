#include "json.h"

#include <stdio.h>

static void print_text(FILE *to, const char *text)
{
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') {
            putc('\\', to);
        }
        if ((unsigned char)*text >= ' ') {
            putc(*text, to);
        }
    }
}

void json_print_text(const char *text)
{
    print_text(stdout, text);
}

void json_print_error(const struct err *err)
{
    fprintf(stderr, "{\"code\":\"%s\",\"errno\":%d,\"message\":\"", err->code, err->num);
    print_text(stderr, err->message);
    fprintf(stderr, "\",\"object\":\"");
    print_text(stderr, err->object);
    fprintf(stderr, "\"}\n");
}
