#include "protocol/json_names.h"

#include "common/limits.h"
#include "common/mem.h"
#include "protocol/json_impl.h"

enum { JSON_NAMES_SMALL = 16, JSON_NAMES_CAP_MIN = 32 };

void json_names_init(struct json_names *names, struct slice document)
{
    *names = (struct json_names){.document = document};
}

void json_names_fini(struct json_names *names)
{
    mem_free(names->names);
}

enum error json_names_push(struct json_names *names, size_t start, size_t len, bool escaped)
{
    if (names->count == LIMIT_JSON_NAMES || start > UINT32_MAX || len > UINT32_MAX)
        return ERROR_LIMIT;
    if (names->count == names->cap) {
        size_t cap = names->cap == 0 ? JSON_NAMES_CAP_MIN : names->cap * 2;
        struct json_name *grown = mem_realloc(names->names, cap * sizeof *grown);

        if (grown == NULL)
            return ERROR_MEMORY;
        names->names = grown;
        names->cap = cap;
    }
    names->names[names->count++] =
        (struct json_name){.start = (uint32_t)start, .len = (uint32_t)len, .escaped = escaped};
    return OK;
}

static struct slice json_name_slice(const struct json_names *names, const struct json_name *name)
{
    return slice_of(names->document.data + name->start, name->len);
}

/* One character of a name, escapes undone; the two halves of an escaped pair are one character. */
static uint32_t json_name_point(struct slice text, size_t *at)
{
    uint32_t unit = json_next_unit(text, at);
    size_t after = *at;

    if (unit < 0xd800 || unit > 0xdbff || after >= text.len)
        return unit;
    uint32_t low = json_next_unit(text, &after);

    if (low < 0xdc00 || low > 0xdfff)
        return unit;
    *at = after;
    return 0x10000 + ((unit & 0x3ff) << 10 | (low & 0x3ff));
}

/* By characters, so that one name has one place however it is written. UTF-8 sorts in the order of
 * its characters. */
static int json_name_compare(const struct json_names *names, const struct json_name *a,
                             const struct json_name *b)
{
    struct slice left = json_name_slice(names, a), right = json_name_slice(names, b);
    size_t i = 0, j = 0;

    if (!a->escaped && !b->escaped) {
        size_t shorter = left.len < right.len ? left.len : right.len;
        int order = shorter == 0 ? 0 : memcmp(left.data, right.data, shorter);

        if (order != 0)
            return order;
        return left.len < right.len ? -1 : left.len > right.len;
    }
    while (i < left.len && j < right.len) {
        uint32_t x = json_name_point(left, &i), y = json_name_point(right, &j);

        if (x != y)
            return x < y ? -1 : 1;
    }
    return i < left.len ? 1 : j < right.len ? -1 : 0;
}

bool json_names_set(struct json_names *names, size_t base, size_t end)
{
    PRE(names->count > base);
    struct json_name *last = &names->names[names->count - 1];

    last->value_end = (uint32_t)end;
    if (names->count - base > JSON_NAMES_SMALL)
        return false;
    for (size_t i = base; i + 1 < names->count; i++) {
        if (json_name_compare(names, &names->names[i], last) == 0)
            return true;
    }
    return false;
}

/* Equal names in the order of the document. */
static int json_name_order(const struct json_names *names, const struct json_name *a,
                           const struct json_name *b)
{
    int order = json_name_compare(names, a, b);

    return order != 0 ? order : a->start < b->start ? -1 : 1;
}

static void json_names_sift(struct json_names *names, struct json_name *heap, size_t root,
                            size_t count)
{
    struct json_name moved = heap[root];

    for (;;) {
        size_t child = 2 * root + 1;

        if (child >= count)
            break;
        if (child + 1 < count && json_name_order(names, &heap[child], &heap[child + 1]) < 0)
            child++;
        if (json_name_order(names, &moved, &heap[child]) >= 0)
            break;
        heap[root] = heap[child];
        root = child;
    }
    heap[root] = moved;
}

/* Heap sort: no memory, and no input that makes it slow. */
static void json_names_sort(struct json_names *names, struct json_name *heap, size_t count)
{
    for (size_t root = count / 2; root-- > 0;)
        json_names_sift(names, heap, root, count);
    for (size_t last = count; last-- > 1;) {
        struct json_name top = heap[0];

        heap[0] = heap[last];
        heap[last] = top;
        json_names_sift(names, heap, 0, last);
    }
}

bool json_names_pop(struct json_names *names, size_t base, struct json_name *twice)
{
    struct json_name *first;
    size_t count = names->count - base;
    bool found = false;

    names->count = base;
    if (count <= JSON_NAMES_SMALL)
        return false; /* compared already */
    first = names->names + base;
    json_names_sort(names, first, count);
    for (size_t i = 1; i < count; i++) {
        if ((!found || first[i].start < twice->start) &&
            json_name_compare(names, &first[i - 1], &first[i]) == 0) {
            *twice = first[i];
            found = true;
        }
    }
    return found;
}
