/* A step that is made to fail after its work, for tests. */
#pragma once

#include "error.h"

/* The step of that name from now on; NULL: none. */
void fault_ask(const char *step);
/* NULL: none. */
const char *fault_asked(void);
/* 0, or -EIO where that step is to fail. */
int fault_at(const char *step);
/* 0, or -1 with err. */
int fault_check(const char *step, struct err *err);
