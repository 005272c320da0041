/* An image as bytes, without the pages of its processes and its contents. */
#pragma once

#include "image.h"
#include "pack.h"

/* What is read is sound as far as numbers go; `pack->tree_count` is known. */
void image_pack(struct pack *pack, struct image *image);

/* Whether nothing but time has passed between the two; their pages are not looked at. */
bool image_says_the_same(struct image *a, struct image *b);

/* Those of its objects first, then of System V memory, then of files that have no name. To be freed. */
struct contents {
    struct content **list;
    size_t count;
};
struct contents image_contents(struct image *image);
