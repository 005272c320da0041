/* Images on disk (docs/image-format.md): written by a thread beside the engine's own, read again when they are needed. */
#pragma once

#include "engine.h"
#include "image.h"

/* Brings an image, whose templates are built and whose files are known, to a file of its id in the directory; replies to the request
 * then. OP_LATER or -1 with err. */
int store_begin(struct image *image, const char *directory, bool compress, const struct reply_to *to,
                struct err *err);
/* What a reply says of it: its bytes, and the images in whose files other pages of it are. */
void store_tell(const struct stored *stored, struct out *ok);
/* The image goes: nothing is read from it any more. */
void store_cancel(struct image *image);

/* What the file says of an image: all but its pages and contents, which it has yet to be filled with. NULL with err. */
struct image *store_read(const char *id, const char *directory, size_t tree_count, struct err *err);
struct format_file; /* format.h */
/* Where the pages of an image are that lie in files: without what it stands on, which is told, as is what it has come from; empty:
 * nothing. NULL with err. */
struct stored *store_read_index(const struct format_file *file, char parent[ID_MAX + 1],
                                char base[ID_MAX + 1], struct err *err);
/* Where the pages of an image are, with all that it stands on. NULL with err. */
struct stored *store_read_places(const struct format_file *file, const char *directory, struct err *err);
/* Then it is complete, but for templates. `trees` show its files; the first can be written to where the image has files
 * without a name. 0 or -1 with err. */
int store_fill(struct image *image, const char *directory, const int *trees, struct err *err);
