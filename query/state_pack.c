/* A state as bytes:
 *
 *   number of groups, then each group in the order in which they began (one that comes again
 *   replaces what came first):
 *     columns | latest row | mark | rows in the frame, with their values | accumulators
 *
 * Accumulators that the rows of the frame tell are not packed but made again before their first
 * use, so that equal states have equal bytes whatever way they came. */
#include "common/mem.h"
#include "query/state.h"

static void put_number(uint64_t number, struct buf *out)
{
    struct query_value value = {.kind = QUERY_TYPE_BIGINT, .integer = (int64_t)number};
    query_value_pack(&value, out);
}

static bool take_number(struct slice *rest, uint64_t *number)
{
    struct query_value value;
    if (query_value_unpack(rest, &value) != OK || value.kind != QUERY_TYPE_BIGINT)
        return false;
    *number = (uint64_t)value.integer;
    return true;
}

static bool is_packed(const struct query_plan *plan, uint32_t aggregate)
{
    return !plan->bounded || !change_is_frame_only(&plan->aggregates[aggregate].spec);
}

static void put_values(const struct query_value *values, uint32_t count, struct buf *out)
{
    for (uint32_t i = 0; i < count; i++)
        query_value_pack(&values[i], out);
}

static void put_group(const struct query_plan *plan, struct group *group, struct buf *out)
{
    put_values(group->values, plan->group_count, out);
    put_values(group->kept, plan->kept_count, out);
    put_number(group->mark, out);
    put_number(group->frame_used, out);
    for (uint32_t row = 0; plan->frame_count > 0 && row < group->frame_used; row++)
        put_values(group_frame_row(plan, group, row), plan->frame_count, out);
    for (uint32_t i = 0; i < plan->aggregate_count; i++)
        if (is_packed(plan, i))
            aggregate_pack(&plan->aggregates[i].spec,
                           group_accumulator(group, &plan->aggregates[i]), out);
}

void query_state_pack(const struct query_state *state, struct buf *out)
{
    put_number(state->table.count, out);
    for (uint32_t i = 0; i < state->table.count && !out->failed; i++)
        put_group(state->plan, state->table.groups[i], out);
}

/* ---- Ahead of the moment ---- */

struct query_state_packing {
    struct query_state_walk *walk;
    uint64_t packed; /* groups in `out`, those that come again included */
    struct buf out;
};

struct query_state_packing *query_state_packing_new(struct query_state *state)
{
    struct query_state_packing *packing = mem_zalloc(sizeof *packing);
    if (packing == NULL)
        return NULL;
    buf_init(&packing->out);
    packing->walk = query_state_walk_new(state);
    if (packing->walk == NULL) {
        mem_free(packing);
        return NULL;
    }
    return packing;
}

void query_state_packing_free(struct query_state_packing *packing)
{
    if (packing == NULL)
        return;
    query_state_walk_free(packing->walk);
    buf_fini(&packing->out);
    mem_free(packing);
}

bool query_state_packing_is_of(const struct query_state_packing *packing,
                               const struct query_state *state)
{
    return query_state_walk_is_of(packing->walk, state);
}

static void pack_some(struct query_state_packing *packing, uint64_t groups)
{
    struct query_state_walk *walk = packing->walk;
    struct group *group;
    PRE(walk->state != NULL);
    packing->out.failed |= walk->failed;
    for (; groups > 0 && !packing->out.failed; groups--) {
        group = query_state_walk_next(walk);
        if (group == NULL)
            return;
        put_group(walk->state->plan, group, &packing->out);
        packing->packed++;
    }
}

bool query_state_packing_step(struct query_state_packing *packing, uint32_t groups)
{
    pack_some(packing, groups);
    return packing->out.failed || query_state_walk_is_near(packing->walk, groups);
}

void query_state_packing_end(struct query_state_packing *packing, struct buf *out)
{
    pack_some(packing, UINT64_MAX);
    put_number(packing->packed, out);
    buf_append_slice(out, buf_slice(&packing->out));
    out->failed |= packing->out.failed;
}

/* ---- And back ---- */

static bool is_text(const struct query_value *value)
{
    return value->kind == QUERY_TYPE_STRING || value->kind == QUERY_TYPE_BYTES;
}

static enum error take_values(struct slice *rest, struct query_value *values, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (query_value_unpack(rest, &values[i]) != OK)
            return ERROR_MALFORMED;
    return OK;
}

/* The strings of the latest row become the group's. */
static enum error take_kept(const struct query_plan *plan, struct slice *rest, struct group *group)
{
    enum error error = take_values(rest, group->kept, plan->kept_count);
    size_t len = 0;
    for (uint32_t i = 0; error == OK && i < plan->kept_count; i++)
        len += is_text(&group->kept[i]) ? group->kept[i].text.len : 0;
    if (error != OK || len == 0)
        return error;
    uint8_t *text = group->kept_text = mem_alloc(len);
    if (text == NULL)
        return ERROR_MEMORY;
    group->kept_room = len;
    for (uint32_t i = 0; i < plan->kept_count; i++) {
        if (!is_text(&group->kept[i]) || group->kept[i].text.len == 0)
            continue;
        memcpy(text, group->kept[i].text.data, group->kept[i].text.len);
        group->kept[i].text.data = text;
        text += group->kept[i].text.len;
    }
    return OK;
}

/* A value of the frame is an argument of some aggregates, whose types it has to have. */
static bool is_argument(const struct query_plan *plan, uint32_t column,
                        const struct query_value *value)
{
    for (uint32_t i = 0; i < plan->aggregate_count && value->kind != QUERY_TYPE_NULL; i++) {
        const struct plan_aggregate *aggregate = &plan->aggregates[i];
        const struct query_type *type = &aggregate->spec.input;
        if (aggregate->has_argument && aggregate->argument == plan->frame[column] &&
            aggregate->spec.function != AGGREGATE_COUNT &&
            (value->kind != type->kind ||
             (value->kind == QUERY_TYPE_DECIMAL && value->scale != type->scale)))
            return false;
    }
    return true;
}

static enum error take_frame_row(const struct query_plan *plan, struct slice *rest,
                                 struct query_value *row)
{
    for (uint32_t i = 0; i < plan->frame_count; i++) {
        struct query_value value;
        if (query_value_unpack(rest, &value) != OK || !is_argument(plan, i, &value))
            return ERROR_MALFORMED;
        if (is_text(&value)) {
            const char *text = value.text.len == 0 ? "" : (const char *)value.text.data;
            char *copy = mem_strndup(text, value.text.len);
            if (copy == NULL)
                return ERROR_MEMORY;
            value.text.data = (const uint8_t *)copy;
        }
        row[i] = value;
    }
    return OK;
}

static enum error take_frame(const struct query_plan *plan, struct slice *rest, struct group *group)
{
    uint64_t used;
    if (!take_number(rest, &used))
        return ERROR_MALFORMED;
    uint64_t most = plan->bounded ? (uint64_t)plan->preceding + 1 : 0;
    /* Each value takes a byte at least. */
    if (used > most || used * plan->frame_count > rest->len)
        return ERROR_MALFORMED;
    group->stale = plan->bounded;
    if (plan->frame_count == 0 || used == 0) {
        group->frame_used = (uint32_t)used;
        return OK;
    }
    group->frame = mem_array((size_t)used * plan->frame_count, sizeof *group->frame);
    if (group->frame == NULL)
        return ERROR_MEMORY;
    group->frame_room = (uint32_t)used;
    enum error error = OK;
    /* Values that were not reached are NULL, so group_free() can take any frame. */
    for (uint64_t row = 0; row < used && error == OK; row++) {
        group->frame_used++;
        error = take_frame_row(plan, rest, group_frame_row(plan, group, (uint32_t)row));
    }
    return error;
}

static enum error take_content(const struct query_plan *plan, struct slice *rest,
                               struct group *group)
{
    enum error error = take_kept(plan, rest, group);
    if (error == OK && !take_number(rest, &group->mark))
        error = ERROR_MALFORMED;
    if (error == OK)
        error = take_frame(plan, rest, group);
    for (uint32_t i = 0; error == OK && i < plan->aggregate_count; i++)
        if (is_packed(plan, i))
            error = aggregate_unpack(&plan->aggregates[i].spec, rest,
                                     group_accumulator(group, &plan->aggregates[i]));
    return error;
}

static enum error take_group(struct query_state *state, struct slice *rest,
                             struct query_value *columns)
{
    const struct query_plan *plan = state->plan;
    enum error error = take_values(rest, columns, plan->group_count);
    if (error != OK)
        return error;
    uint64_t hash = group_hash(plan, columns);
    struct group *old = group_find(&state->table, columns, hash);
    error = old != NULL ? OK : group_reserve(&state->table);
    if (error != OK)
        return error;
    struct group *group = group_new(plan, columns, hash);
    if (group == NULL)
        return ERROR_MEMORY;
    error = take_content(plan, rest, group);
    if (error != OK) {
        group_free(plan, group);
        return error;
    }
    state->table.bytes += group_bytes(plan, group);
    if (old != NULL) {
        state->table.bytes -= group_bytes(plan, old);
        group_replace(&state->table, old, group);
    } else {
        group_insert(&state->table, group);
    }
    return OK;
}

enum error query_state_unpack(struct query_plan *plan, struct slice *rest,
                              struct query_state **state)
{
    struct slice from = *rest;
    struct query_value *columns = NULL;
    uint64_t count;
    *state = NULL;
    enum error error = query_state_new(plan, state);
    if (error != OK)
        return error;
    columns = mem_array(plan->group_count + 1u, sizeof *columns);
    if (columns == NULL)
        error = ERROR_MEMORY;
    else if (!take_number(&from, &count) || count > from.len) /* each takes a byte at least */
        error = ERROR_MALFORMED;
    for (uint64_t i = 0; error == OK && i < count; i++)
        error = take_group(*state, &from, columns);
    mem_free(columns);
    if (error == OK) {
        *rest = from;
    } else {
        query_state_free(*state);
        *state = NULL;
    }
    return error;
}
