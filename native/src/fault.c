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
