/* The programs that pack and unpack states, each in a process of its own, as the daemon starts them. */
#pragma once

#include <stdint.h>

/* What one of them came to. It has ended by itself, and in time. */
struct transfer {
    int result; /* 0, or -1 with what it complained of */
    char complaint[512];
    char told[4096]; /* what was told of what was unpacked */
};

/* `plan` is its stdin, `to` its stdout. */
struct transfer pack_state(const char *directory, const char *plan, uint32_t uid_base, int to);
struct transfer unpack_state(const char *directory, int from, uint32_t uid_base);
struct transfer rename_images(const char *directory, char *const names[], int count);
