#include "fault.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static char wanted[48];

void fault_ask(const char *step)
{
    snprintf(wanted, sizeof wanted, "%s", step ? step : "");
}

const char *fault_asked(void)
{
    return wanted[0] ? wanted : NULL;
}

int fault_at(const char *step)
{
    return wanted[0] && strcmp(wanted, step) == 0 ? -EIO : 0;
}

int fault_check(const char *step, struct err *err)
{
    return fault_at(step) < 0 ? err_system(err, EIO, step, "asked for") : 0;
}
