/* The files that processes map and execute: where each is found again once nobody has it open any more. */
#pragma once

#include "base.h"
#include "image.h"

/* Each file of a memory that was captured gets its identity: that which it had in the state before; NULL: there is none. */
void whereabouts_identify(struct memory *memory, const struct memory *before);
/* What is not known yet is found out from the templates; `trees` show the files of the image. 0 or -1 with err. */
int whereabouts_find(struct image *image, const struct base *base, const int *trees, struct err *err);
bool whereabouts_are_known(const struct image *image);
/* Where they are known: all are in the trees. */
bool whereabouts_have_names(const struct image *image);
/* Opens it; without a name by what it has as its content. It, or -1 with err when it is not what it was. */
int whereabouts_open(struct whereabouts *where, const int *trees, struct err *err);
/* The same for what the template of a process has mapped. */
int whereabouts_open_mapped(const struct image_process *process, uint64_t device, uint64_t inode,
                            struct err *err);
/* From a template that has been built: by which device and inode its files are known from now on. 0 or -errno. */
int whereabouts_look(struct image_process *process);
void whereabouts_forget(struct whereabouts *where);
