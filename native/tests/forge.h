/* Layers no sandbox would leave behind, with any mark of overlayfs at any place. */
#pragma once

#include "stacks.h"

/* Puts such a layer on the stack. */
void stack_forge(struct world *world, struct stack *stack);
