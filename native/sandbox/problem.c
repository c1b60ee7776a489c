/* Why the current request failed, in the words that its sender is told. */
#include "sandbox.h"

#include <stdio.h>
#include <string.h>

char problem[PROBLEM_SIZE];

int refuse(const char *what, const char *where, int error)
{
    const char *gap = *what && *where ? " " : "";
    if (error)
        snprintf(problem, sizeof problem, "%s%s%s: %s", what, gap, where, strerror(error));
    else
        snprintf(problem, sizeof problem, "%s%s%s", what, gap, where);
    return -1;
}
