/* Reads a request: numbers, and texts with their length before and a zero after them (native.py writes them).
 *
 * A request comes from our own caller, never from a program, but is read as if it were hostile: every length is
 * compared with what is left, and a text holds no zero but its last byte, so texts can be used where they lie.
 */
#include "sandbox.h"

#include <stdlib.h>
#include <string.h>

struct reader {
    const unsigned char *at, *end;
    bool bad;
};

static const unsigned char *take(struct reader *reader, size_t size)
{
    if (reader->bad || size > (size_t)(reader->end - reader->at)) {
        reader->bad = true;
        return NULL;
    }
    reader->at += size;
    return reader->at - size;
}

static uint32_t number(struct reader *reader)
{
    uint32_t value = 0;
    const unsigned char *from = take(reader, sizeof value);
    if (from)
        memcpy(&value, from, sizeof value);
    return value;
}

static uint64_t large(struct reader *reader)
{
    uint64_t value = 0;
    const unsigned char *from = take(reader, sizeof value);
    if (from)
        memcpy(&value, from, sizeof value);
    return value;
}

static bool yes(struct reader *reader)
{
    uint32_t value = number(reader);
    if (value > 1)
        reader->bad = true;
    return value == 1;
}

static struct bytes blob(struct reader *reader)
{
    uint32_t size = number(reader);
    const unsigned char *from = take(reader, size);
    return (struct bytes){from, from ? size : 0};
}

static char *text(struct reader *reader)
{
    uint32_t size = number(reader);
    const unsigned char *from = take(reader, (size_t)size + 1);
    if (!from || from[size] != 0 || memchr(from, 0, size)) {
        reader->bad = true;
        return NULL;
    }
    return (char *)(uintptr_t)from; /* exec wants it without const, and changes nothing */
}

/* Room for what comes next `count` times, each at least `least` bytes long in the request. */
static void *room(struct reader *reader, size_t count, size_t least, size_t each)
{
    if (reader->bad || count > (size_t)(reader->end - reader->at) / least) {
        reader->bad = true;
        return NULL;
    }
    void *made = calloc(count + 1, each);
    if (!made)
        reader->bad = true;
    return made;
}

static struct texts texts(struct reader *reader)
{
    struct texts list = {0};
    uint32_t count = number(reader);
    list.items = room(reader, count, 5, sizeof *list.items);
    for (; list.items && !reader->bad && list.count < count; list.count++)
        list.items[list.count] = text(reader);
    return list;
}

static struct binds binds(struct reader *reader)
{
    struct binds list = {0};
    uint32_t count = number(reader);
    list.items = room(reader, count, 34, sizeof *list.items);
    for (; list.items && !reader->bad && list.count < count; list.count++) {
        struct bind *bind = &list.items[list.count];
        bind->source = text(reader);
        bind->dest = text(reader);
        bind->writable = yes(reader);
        bind->known = yes(reader);
        bind->device = large(reader);
        bind->inode = large(reader);
        /* below "/", which is the caller's to see to; here it is what pointer arithmetic relies on */
        if (!bind->dest || bind->dest[0] != '/' || bind->dest[1] == 0)
            reader->bad = true;
    }
    return list;
}

static struct rules rules(struct reader *reader)
{
    struct rules list = {0};
    uint32_t count = number(reader);
    list.items = room(reader, count, 13, sizeof *list.items);
    for (; list.items && !reader->bad && list.count < count; list.count++) {
        list.items[list.count].path = text(reader);
        list.items[list.count].rights = large(reader);
    }
    return list;
}

int request_read(struct request *request, const unsigned char *data, size_t size)
{
    struct reader reader = {data, data + size, false};
    *request = (struct request){0};
    uint32_t level = number(&reader);
    reader.bad |= level > LEVEL_NAMESPACE;
    request->level = (enum level)level;
    request->argv = texts(&reader);
    request->env = texts(&reader);
    request->cwd = text(&reader);
    request->binds = binds(&reader);
    request->masks = texts(&reader);
    for (int i = 0; i < LIMITS; i++)
        request->limits[i] = large(&reader);
    request->logs = number(&reader);
    request->ruleset = blob(&reader);
    request->on_files = large(&reader);
    request->rules = rules(&reader);
    request->has_base = yes(&reader);
    if (request->has_base) {
        struct base *base = &request->base;
        base->own_filter = blob(&reader);
        base->filter = blob(&reader);
        base->binds = binds(&reader);
        base->masks = texts(&reader);
        base->network = yes(&reader);
        base->hostname = text(&reader);
        base->tmp = large(&reader);
        base->outside = number(&reader);
    }
    if (reader.bad || reader.at != reader.end || !request->argv.count || request->logs < 1 || request->logs > 2) {
        request_free(request);
        return -1;
    }
    return 0;
}

void request_free(struct request *request)
{
    free(request->argv.items);
    free(request->env.items);
    free(request->binds.items);
    free(request->masks.items);
    free(request->rules.items);
    free(request->base.binds.items);
    free(request->base.masks.items);
    *request = (struct request){0};
}
