/* Whether images on disk are what was written: every byte that is ever read of them. */
#pragma once

/* Prints one JSON document on the images of these ids in the directory. Returns the exit status. */
int check_images(const char *directory, char *const ids[], int count);
