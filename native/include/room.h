/* Room for what is copied out of processes: the kernel takes longer to give new pages than it takes to copy into them. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* What is in it is to be written over. NULL when there is none. */
uint8_t *room_take(size_t size);
/* Gives it back, if it is some, and of that size. */
void room_leave(uint8_t **bytes, size_t size);
