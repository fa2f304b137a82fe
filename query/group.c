#include "query/group.h"

#include "common/mem.h"

static bool is_text(const struct query_value *value)
{
    return value->kind == QUERY_TYPE_STRING || value->kind == QUERY_TYPE_BYTES;
}

uint64_t group_hash(const struct query_plan *plan, const struct query_value *values)
{
    uint64_t hash = 0;
    for (uint32_t i = 0; i < plan->group_count; i++)
        hash = query_value_hash(&values[i], hash);
    return hash;
}

/* ---- One group ---- */

struct group *group_new(const struct query_plan *plan, const struct query_value *values,
                        uint64_t hash)
{
    size_t text_bytes = 0;
    for (uint32_t i = 0; i < plan->group_count; i++)
        text_bytes += is_text(&values[i]) ? values[i].text.len : 0;
    size_t columns = (size_t)plan->group_count + plan->kept_count;
    struct group *group =
        mem_zalloc(sizeof *group + plan->accumulators_size + columns * sizeof *values + text_bytes);
    if (group == NULL)
        return NULL;
    group->hash = hash;
    group->values = (struct query_value *)(void *)(group->accumulators + plan->accumulators_size);
    group->kept = group->values + plan->group_count;
    uint8_t *text = (uint8_t *)(group->values + columns);
    for (uint32_t i = 0; i < plan->group_count; i++) {
        group->values[i] = values[i];
        if (!is_text(&values[i]))
            continue;
        if (values[i].text.len > 0)
            memcpy(text, values[i].text.data, values[i].text.len);
        group->values[i].text.data = text;
        text += values[i].text.len;
    }
    for (uint32_t i = 0; i < plan->aggregate_count; i++)
        aggregate_init(&plan->aggregates[i].spec, group_accumulator(group, &plan->aggregates[i]));
    return group;
}

void group_free(const struct query_plan *plan, struct group *group)
{
    if (group == NULL)
        return;
    for (uint32_t i = 0; i < plan->aggregate_count; i++)
        aggregate_fini(&plan->aggregates[i].spec, group_accumulator(group, &plan->aggregates[i]));
    for (uint32_t row = 0; plan->frame_count > 0 && row < group->frame_used; row++) {
        struct query_value *values = group_frame_row(plan, group, row);
        for (uint32_t i = 0; i < plan->frame_count; i++)
            if (is_text(&values[i]))
                mem_free((void *)(uintptr_t)values[i].text.data);
    }
    mem_free(group->frame);
    mem_free(group->kept_text);
    mem_free(group);
}

size_t group_bytes(const struct query_plan *plan, const struct group *group)
{
    size_t columns = (size_t)plan->group_count + plan->kept_count;
    size_t bytes = sizeof *group + plan->accumulators_size + columns * sizeof(struct query_value) +
                   group->kept_room +
                   (size_t)group->frame_room * plan->frame_count * sizeof(struct query_value);
    for (uint32_t i = 0; i < plan->group_count; i++)
        bytes += is_text(&group->values[i]) ? group->values[i].text.len : 0;
    for (uint32_t i = 0; i < plan->aggregate_count; i++)
        bytes += aggregate_heap_bytes(&plan->aggregates[i].spec,
                                      group->accumulators + plan->aggregates[i].offset);
    return bytes;
}

/* ---- The table ---- */

enum { INDEX_FIRST = 16, GROUPS_FIRST = 8 };

enum error group_table_init(struct group_table *table, const struct query_plan *plan)
{
    *table =
        (struct group_table){.plan = plan, .index_mask = INDEX_FIRST - 1, .room = GROUPS_FIRST};
    table->index = mem_array(INDEX_FIRST, sizeof *table->index);
    table->groups = mem_array(GROUPS_FIRST, sizeof(struct group *));
    if (table->index != NULL && table->groups != NULL)
        return OK;
    group_table_fini(table);
    return ERROR_MEMORY;
}

void group_table_fini(struct group_table *table)
{
    for (uint32_t i = 0; i < table->count; i++)
        group_free(table->plan, table->groups[i]);
    mem_free(table->groups);
    mem_free(table->index);
    *table = (struct group_table){.plan = table->plan};
}

static bool is_group(const struct query_plan *plan, const struct group *group,
                     const struct query_value *values)
{
    for (uint32_t i = 0; i < plan->group_count; i++)
        if (!query_value_identical(&group->values[i], &values[i]))
            return false;
    return true;
}

struct group *group_find(const struct group_table *table, const struct query_value *values,
                         uint64_t hash)
{
    for (uint32_t at = (uint32_t)hash & table->index_mask; table->index[at] != 0;
         at = (at + 1) & table->index_mask) {
        struct group *group = table->groups[table->index[at] - 1];
        if (group->hash == hash && is_group(table->plan, group, values))
            return group;
    }
    return NULL;
}

static void index_group(uint32_t *index, uint32_t mask, uint64_t hash, uint32_t number)
{
    uint32_t at = (uint32_t)hash & mask;
    while (index[at] != 0)
        at = (at + 1) & mask;
    index[at] = number + 1;
}

enum error group_reserve(struct group_table *table)
{
    if (table->count == LIMIT_GROUPS_PER_BUCKET)
        return ERROR_LIMIT;
    if (table->count == table->room) {
        struct group **groups =
            mem_realloc(table->groups, (size_t)table->room * 2 * sizeof(struct group *));
        if (groups == NULL)
            return ERROR_MEMORY;
        table->groups = groups;
        table->room *= 2;
    }
    uint32_t slots = table->index_mask + 1;
    if (table->count + 1 <= slots / 4 * 3)
        return OK;
    uint32_t *index = mem_array((size_t)slots * 2, sizeof *index);
    if (index == NULL)
        return ERROR_MEMORY;
    for (uint32_t i = 0; i < table->count; i++)
        index_group(index, slots * 2 - 1, table->groups[i]->hash, i);
    mem_free(table->index);
    table->index = index;
    table->index_mask = slots * 2 - 1;
    return OK;
}

void group_insert(struct group_table *table, struct group *group)
{
    PRE(table->count < table->room);
    index_group(table->index, table->index_mask, group->hash, table->count);
    group->number = table->count;
    table->groups[table->count++] = group;
}

void group_replace(struct group_table *table, struct group *old, struct group *group)
{
    PRE(old->hash == group->hash && table->groups[old->number] == old);
    group->number = old->number;
    table->groups[group->number] = group;
    group_free(table->plan, old);
}
