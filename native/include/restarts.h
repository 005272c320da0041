/* Which call a thread goes on with that was interrupted more than once. */
#pragma once

#include "arch.h"

/* Of a thread that has just come to a stop. */
void restarts_note(pid_t tid, const struct arch_regs *regs);
/* -1: not known. */
int64_t restarts_number(pid_t tid, const struct arch_regs *regs);
