#include "server/conflate.h"

#include <stdlib.h>
#include <xxhash.h>

#include "common/limits.h"
#include "protocol/codec.h"
#include "query/query.h"

enum { EVENT_KIND = 4, EVENT_VALUE = 5 }; /* fields of CqEvent */

/* What is known of one result key. Events are numbered from 1; 0 is none. */
struct net_change {
    struct slice key;
    uint32_t old;     /* the first row that goes, with its values */
    uint32_t gone_by; /* the last event by which a row went: gives the identity of what goes */
    uint32_t now;     /* the last row that came; 0: it went again */
    bool headless;    /* began with an update whose first half was sent before */
};

struct conflation {
    const struct ring_event *events;
    struct arena *arena;
    struct net_change *changes;
    uint32_t change_count, *index, index_mask;
    struct ring_event *net;
    uint32_t net_count;
};

/* The encoded values of the key columns, one after the other: equal for equal keys. */
static enum error key_of(struct slice event, const uint32_t *keys, uint32_t key_count,
                         struct arena *arena, struct slice *key)
{
    uint8_t *bytes = arena_alloc(arena, event.len + 1);
    size_t len = 0;
    uint32_t column = 0;
    struct codec_field field;
    if (bytes == NULL)
        return ERROR_MEMORY;
    while (event.len > 0) {
        const uint8_t *start = event.data;
        enum error error = codec_next_field(&event, &field);
        if (error != OK)
            return error;
        if (field.number != EVENT_VALUE)
            continue;
        for (uint32_t i = 0; i < key_count; i++) {
            if (keys[i] != column)
                continue;
            memcpy(bytes + len, start, (size_t)(event.data - start));
            len += (size_t)(event.data - start);
        }
        column++;
    }
    *key = slice_of(bytes, len);
    return OK;
}

static struct net_change *change_of(struct conflation *all, struct slice key)
{
    uint32_t slot = (uint32_t)XXH3_64bits(key.data, key.len) & all->index_mask;
    while (all->index[slot] != 0 && !slice_equal(all->changes[all->index[slot] - 1].key, key))
        slot = (slot + 1) & all->index_mask;
    if (all->index[slot] == 0) {
        all->changes[all->change_count] = (struct net_change){.key = key};
        all->index[slot] = ++all->change_count;
    }
    return &all->changes[all->index[slot] - 1];
}

static void take(struct net_change *change, uint32_t number, uint8_t kind)
{
    bool is_first = change->old == 0 && change->now == 0 && change->gone_by == 0;
    if (kind == QUERY_UPDATE_BEFORE || kind == QUERY_DELETE) {
        if (is_first)
            change->old = number;
        change->gone_by = number;
        change->now = 0;
    } else {
        change->headless |= is_first && kind == QUERY_UPDATE_AFTER;
        change->now = number;
    }
}

/* An event with the identity of one, the values of another, and this kind. */
static enum error compose(struct conflation *all, uint32_t identity, uint32_t values, uint8_t kind)
{
    const struct ring_event *from = &all->events[identity - 1];
    struct slice rest = from->encoded;
    uint8_t *bytes = arena_alloc(all->arena, rest.len + all->events[values - 1].encoded.len);
    if (bytes == NULL)
        return ERROR_MEMORY;
    size_t len = 0;
    for (int part = 0; part < 2; part++) {
        rest = part == 0 ? from->encoded : all->events[values - 1].encoded;
        while (rest.len > 0) {
            struct codec_field field;
            const uint8_t *start = rest.data;
            enum error error = codec_next_field(&rest, &field);
            if (error != OK)
                return error;
            if ((field.number == EVENT_VALUE) != (part == 1))
                continue;
            memcpy(bytes + len, start, (size_t)(rest.data - start));
            if (field.number == EVENT_KIND)
                bytes[len + 1] = kind;
            len += (size_t)(rest.data - start);
        }
    }
    all->net[all->net_count++] = (struct ring_event){from->position, kind, slice_of(bytes, len)};
    return OK;
}

static bool same_values(struct slice a, struct slice b)
{
    struct codec_field one = {0}, other = {0};
    for (;;) {
        do
            one.number = 0;
        while (a.len > 0 && codec_next_field(&a, &one) == OK && one.number != EVENT_VALUE);
        do
            other.number = 0;
        while (b.len > 0 && codec_next_field(&b, &other) == OK && other.number != EVENT_VALUE);
        if (one.number != EVENT_VALUE || other.number != EVENT_VALUE)
            return one.number != EVENT_VALUE && other.number != EVENT_VALUE;
        if (!slice_equal(one.bytes, other.bytes))
            return false;
    }
}

static enum error give_net(struct conflation *all, const struct net_change *change)
{
    const struct ring_event *events = all->events;
    if (change->old == 0 && change->now == 0)
        return OK; /* came and went */
    if (change->old == 0)
        return compose(all, change->now, change->now,
                       change->headless ? QUERY_UPDATE_AFTER : QUERY_INSERT);
    if (change->now == 0)
        return compose(all, change->gone_by, change->old, QUERY_DELETE);
    if (same_values(events[change->old - 1].encoded, events[change->now - 1].encoded))
        return OK;
    enum error error = compose(all, change->gone_by, change->old, QUERY_UPDATE_BEFORE);
    return error == OK ? compose(all, change->now, change->now, QUERY_UPDATE_AFTER) : error;
}

static int by_position(const void *a, const void *b)
{
    const struct ring_event *left = a, *right = b;
    return ring_before(left->position, right->position)
               ? -1
               : ring_before(right->position, left->position);
}

enum error conflate(const struct ring_event *events, uint32_t count, const uint32_t *keys,
                    uint32_t key_count, struct arena *arena, struct ring_event **net,
                    uint32_t *net_count)
{
    struct conflation all = {.events = events, .arena = arena, .index_mask = 7};
    while (all.index_mask < count * 2)
        all.index_mask = all.index_mask * 2 + 1;
    all.changes = arena_alloc(arena, ((size_t)count + 1) * sizeof *all.changes);
    all.index = arena_zalloc(arena, ((size_t)all.index_mask + 1) * sizeof *all.index);
    all.net = arena_alloc(arena, ((size_t)count * 2 + 1) * sizeof *all.net);
    if (all.changes == NULL || all.index == NULL || all.net == NULL)
        return ERROR_MEMORY;
    enum error error = OK;
    for (uint32_t i = 0; i < count && error == OK; i++) {
        struct slice key;
        if (events[i].kind > QUERY_DELETE) {
            all.net[all.net_count++] = events[i];
            continue;
        }
        error = key_of(events[i].encoded, keys, key_count, arena, &key);
        if (error == OK)
            take(change_of(&all, key), i + 1, events[i].kind);
    }
    for (uint32_t i = 0; i < all.change_count && error == OK; i++)
        error = give_net(&all, &all.changes[i]);
    if (error == OK && all.net_count > 1)
        qsort(all.net, all.net_count, sizeof *all.net, by_position);
    *net = all.net;
    *net_count = all.net_count;
    return error;
}
