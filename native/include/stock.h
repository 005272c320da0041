/* Empty layers, made ahead of need: to make directories can take a file system long, and to rename one does not. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "error.h"

struct base;

struct stock {
    char *dir;            /* NULL: there is none */
    unsigned first, next; /* the numbers that are the names of those that are there */
};

/* Whatever is in the directory is an earlier engine's. Where that cannot be had there is none. */
void stock_open(struct stock *stock, const char *dir);
void stock_close(struct stock *stock);
/* One of them, or one that is made now, for whoever gives it its place among the layers or removes it. NULL: none can be had. */
char *stock_take(struct base *base);
/* For the layer's directory, which is not there, or empty. False when none is left. */
bool stock_move(struct base *base, const char *layer);
