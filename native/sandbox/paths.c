/* Sets of paths, by hash: a command may have thousands of binds, and each asks whether it lies in another. */
#include "sandbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static size_t slot_of(const struct paths *set, const char *path, size_t length)
{
    uint64_t hash = 14695981039346656037U; /* FNV-1a */
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)path[i]) * 1099511628211U;
    size_t at = (size_t)hash & (set->size - 1);
    while (set->slots[at] && (strncmp(set->slots[at], path, length) != 0 || set->slots[at][length] != 0))
        at = (at + 1) & (set->size - 1);
    return at;
}

static int grow(struct paths *set)
{
    struct paths larger = {.size = set->size ? set->size * 2 : 64, .count = set->count};
    larger.slots = calloc(larger.size, sizeof *larger.slots);
    if (!larger.slots)
        return refuse("paths", "", ENOMEM);
    for (size_t i = 0; i < set->size; i++)
        if (set->slots[i])
            larger.slots[slot_of(&larger, set->slots[i], strlen(set->slots[i]))] = set->slots[i];
    free(set->slots);
    *set = larger;
    return 0;
}

int paths_add(struct paths *set, const char *path)
{
    if (2 * (set->count + 1) > set->size && grow(set) < 0)
        return -1;
    size_t at = slot_of(set, path, strlen(path));
    if (!set->slots[at]) {
        set->slots[at] = path;
        set->count++;
    }
    return 0;
}

bool paths_have(const struct paths *set, const char *path, size_t length)
{
    return set->size && set->slots[slot_of(set, path, length)];
}

size_t paths_around(const struct paths *set, const char *path)
{
    for (size_t end = strlen(path); end > 1; end--)
        if (path[end - 1] == '/' && paths_have(set, path, end - 1))
            return end - 1;
    return 0;
}
