#include "cli/demo_tally.h"

#include "common/mem.h"

void tally_init(struct tally *tally)
{
    *tally = (struct tally){0};
}

void tally_fini(struct tally *tally)
{
    for (uint32_t i = 0; i < tally->key_count; i++)
        mem_free((void *)(uintptr_t)tally->keys[i].id.data);
    mem_free(tally->keys);
    mem_free(tally->slots);
    mem_free(tally->identities);
}

/* FNV-1a: short ids, and nobody chooses them against us. */
static uint64_t hash_bytes(struct slice bytes)
{
    uint64_t hash = 0xcbf29ce484222325;
    for (size_t i = 0; i < bytes.len; i++)
        hash = (hash ^ bytes.data[i]) * 0x100000001b3;
    return hash ^ hash >> 32;
}

static void place(uint32_t *slots, uint32_t slot_count, uint64_t hash, uint32_t value)
{
    uint32_t at = (uint32_t)hash & (slot_count - 1);
    while (slots[at] != 0)
        at = (at + 1) & (slot_count - 1);
    slots[at] = value;
}

static enum error grow_keys(struct tally *tally)
{
    uint32_t cap = tally->key_cap == 0 ? 64 : tally->key_cap * 2;
    struct tally_key *keys = mem_realloc(tally->keys, cap * sizeof *keys);
    if (keys == NULL)
        return ERROR_MEMORY;
    tally->keys = keys;
    uint32_t *slots = mem_array((size_t)cap * 2, sizeof *slots);
    if (slots == NULL)
        return ERROR_MEMORY;
    for (uint32_t i = 0; i < tally->key_count; i++)
        place(slots, cap * 2, hash_bytes(keys[i].id), i + 1);
    mem_free(tally->slots);
    tally->slots = slots;
    tally->slot_count = cap * 2;
    tally->key_cap = cap;
    return OK;
}

enum error tally_find(struct tally *tally, struct slice id, struct tally_key **key)
{
    uint64_t hash = hash_bytes(id);
    for (uint32_t at = (uint32_t)hash; tally->slot_count > 0; at++) {
        uint32_t index = tally->slots[at & (tally->slot_count - 1)];
        if (index == 0)
            break;
        *key = &tally->keys[index - 1];
        if (slice_equal((*key)->id, id))
            return OK;
    }
    if (tally->key_count == tally->key_cap && grow_keys(tally) != OK)
        return ERROR_MEMORY;
    char *copy = mem_strndup((const char *)id.data, id.len);
    if (copy == NULL)
        return ERROR_MEMORY;
    *key = &tally->keys[tally->key_count++];
    **key = (struct tally_key){.id = slice_of(copy, id.len)};
    place(tally->slots, tally->slot_count, hash, tally->key_count);
    return OK;
}

static bool same(const struct tally_identity *a, const struct tally_identity *b)
{
    return a->seq == b->seq && a->bucket == b->bucket && a->generation == b->generation &&
           a->sub == b->sub;
}

/* The place of an identity, free or not. */
static struct tally_identity *seek(struct tally_identity *table, size_t cap,
                                   const struct tally_identity *identity)
{
    uint64_t hash = (identity->seq * 0x9e3779b97f4a7c15) ^
                    ((uint64_t)identity->bucket * 0xc2b2ae3d27d4eb4f) ^
                    ((uint64_t)identity->sub << 32 | identity->generation);
    size_t at = (size_t)(hash ^ hash >> 29) & (cap - 1);
    while (table[at].used && !same(&table[at], identity))
        at = (at + 1) & (cap - 1);
    return &table[at];
}

static enum error grow_identities(struct tally *tally)
{
    size_t cap = tally->identity_cap == 0 ? 4096 : tally->identity_cap * 2;
    struct tally_identity *table = mem_array(cap, sizeof *table);
    if (table == NULL)
        return ERROR_MEMORY;
    for (size_t i = 0; i < tally->identity_cap; i++)
        if (tally->identities[i].used)
            *seek(table, cap, &tally->identities[i]) = tally->identities[i];
    mem_free(tally->identities);
    tally->identities = table;
    tally->identity_cap = cap;
    return OK;
}

enum error tally_result(struct tally *tally, const struct vug_event *event, struct slice id,
                        const double *average)
{
    struct tally_identity identity = {.seq = event->seq,
                                      .bucket = event->bucket,
                                      .generation = event->generation,
                                      .sub = event->sub,
                                      .used = true};
    struct tally_key *key = NULL;
    if (tally->identity_count * 2 >= tally->identity_cap && grow_identities(tally) != OK)
        return ERROR_MEMORY;
    if (tally_find(tally, id, &key) != OK)
        return ERROR_MEMORY;
    struct tally_identity *known = seek(tally->identities, tally->identity_cap, &identity);
    tally->results++;
    if (known->used) {
        tally->repeated++;
        return OK;
    }
    *known = identity;
    tally->identity_count++;
    key->results++;
    key->has_average = average != NULL;
    key->average = average == NULL ? 0 : *average;
    return OK;
}

uint64_t tally_lost(const struct tally *tally)
{
    uint64_t lost = 0;
    for (uint32_t i = 0; i < tally->key_count; i++)
        if (tally->keys[i].acknowledged > tally->keys[i].results)
            lost += tally->keys[i].acknowledged - tally->keys[i].results;
    return lost;
}

uint64_t tally_duplicated(const struct tally *tally)
{
    uint64_t duplicated = tally->repeated;
    for (uint32_t i = 0; i < tally->key_count; i++)
        if (tally->keys[i].results > tally->keys[i].acknowledged)
            duplicated += tally->keys[i].results - tally->keys[i].acknowledged;
    return duplicated;
}
