/* A state that goes to another host, or comes from one: the images and layers of a family as one stream. Each is a program of its own,
 * which tells on stderr what went wrong, as JSON, and gives the status to exit with. */
#pragma once

#include <stdint.h>

/* From the family's directory to stdout. Stdin says what: a line for each image and layer, an empty line, and what else there is to
 * tell of them, which is carried along as it is. */
int transfer_pack(const char *directory);
/* From stdin to an empty directory, under the names that are in the stream. What is told of them goes to stdout before anything is
 * made, and stdout ends. The disk may not have it when it is done. */
int transfer_unpack(const char *directory);
/* Images in a directory get other names, which are told one after the other: old, new, old, new. What an image stands on must be
 * among them, and come first. */
int transfer_rename(const char *directory, char *const names[], int count);
