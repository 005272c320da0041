/* What a bundle is made of besides nodes: the images and layers that follow each other in it. */
#pragma once

#include "pack.h"

enum part_kind {
    PART_END,
    PART_TELL,  /* what is told of all; its bytes follow */
    PART_IMAGE, /* its bytes follow */
    PART_LAYER, /* the nodes of its trees follow, each tree up to the end of its root */
};

struct part {
    enum part_kind kind;
    char id[ID_MAX + 1];
    uint64_t bytes;
    uint64_t trees;
};

#define PART_TREES_MAX 64u
/* Whoever started the program has it in memory, several times over. */
#define PART_TELL_MAX (32u << 20)

void part_pack(struct pack *pack, void *thing);
