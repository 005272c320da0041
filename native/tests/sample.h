/* An image with one of everything, and files that tell of it. */
#pragma once

#include "image.h"
#include "stored.h"

#define SAMPLE_TREES 2u
#define SAMPLE_UID 100000u
/* Of the files that its processes map. */
#define SAMPLE_MAPPED_BYTES 12345
#define SAMPLE_SECONDS 1700000000

/* To be freed by image_free. `engine.uid_base` is SAMPLE_UID then. */
struct image *sample_image(const char *id);

/* What a file is made of; all but `sum`s, which are made when it is written. */
struct sample_file {
    uint8_t *pages; /* from behind the head on */
    size_t page_bytes;
    uint8_t *description, *index;
    size_t description_bytes, index_bytes;
    uint32_t process_count, body_count;
};
/* As store.c makes it: the memory of its processes and its contents have pages of bytes that tell which they are. The stored
 * of the base, if there is one, is given; what is made is to be left. */
struct stored *sample_make(struct sample_file *file, struct image *image, struct stored *base);
void sample_free(struct sample_file *file);
/* The whole file as bytes, to be freed. */
uint8_t *sample_join(const struct sample_file *file, size_t *size);
/* Makes one on the base, which may be NULL, and writes it. */
struct stored *sample_store(const char *directory, const char *id, struct stored *base,
                            struct sample_file *file);
void sample_write(const char *directory, const char *name, const void *bytes, size_t size);

/* The files that its processes map, in a directory that stands for a tree. */
void sample_tree(int tree);
