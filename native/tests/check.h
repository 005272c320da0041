/* A test program checks facts and says how many held; the first that does not ends it. */
#pragma once

#include <stdio.h>
#include <stdlib.h>

static int checks_done;

#define CHECK(fact)                                                                                          \
    do {                                                                                                     \
        if (!(fact)) {                                                                                       \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #fact);                             \
            exit(1);                                                                                         \
        }                                                                                                    \
        checks_done++;                                                                                       \
    } while (0)

#define DONE(name) (printf("%s: %d facts hold\n", name, checks_done), 0)
