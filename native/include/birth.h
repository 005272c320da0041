/* Making the processes of an image: they stand, with their numbers, memory, sessions and groups, and have nothing open. */
#pragma once

#include "revive.h"

/* The family of the revival is planned. 0 or -1 with err. */
int births(struct revival *revival, const struct stage *stage, struct err *err);
