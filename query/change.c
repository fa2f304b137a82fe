#include "query/change.h"

#include "common/mem.h"

static bool is_text(const struct query_value *value)
{
    return value->kind == QUERY_TYPE_STRING || value->kind == QUERY_TYPE_BYTES;
}

static void free_texts(struct query_value *values, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (is_text(&values[i])) {
            mem_free((void *)(uintptr_t)values[i].text.data);
            values[i] = (struct query_value){.kind = QUERY_TYPE_NULL};
        }
}

enum error change_init(struct change *change, const struct query_plan *plan)
{
    *change = (struct change){.plan = plan};
    change->saved = mem_zalloc(plan->accumulators_size + 16);
    change->undo = mem_zalloc(plan->aggregate_count + 1u);
    change->framed = mem_array(plan->frame_count + 1u, sizeof *change->framed);
    if (change->saved != NULL && change->undo != NULL && change->framed != NULL)
        return OK;
    change_fini(change);
    return ERROR_MEMORY;
}

void change_fini(struct change *change)
{
    mem_free(change->saved);
    mem_free(change->undo);
    mem_free(change->framed);
    *change = (struct change){.plan = NULL};
}

/* ---- Frames ---- */

bool change_is_frame_only(const struct aggregate_spec *spec)
{
    bool sum = spec->function == AGGREGATE_SUM || spec->function == AGGREGATE_AVG;
    return !sum || (spec->mode == QUERY_EXACT && (spec->input.kind == QUERY_TYPE_DOUBLE ||
                                                  spec->input.kind == QUERY_TYPE_FLOAT));
}

/* Where an aggregate's argument stands in a row of the frame. */
static uint32_t frame_column(const struct query_plan *plan, uint32_t argument)
{
    uint32_t i = 0;
    while (plan->frame[i] != argument)
        i++;
    return i;
}

static const struct query_value *frame_value(const struct query_plan *plan,
                                             const struct group *group, uint32_t row,
                                             const struct plan_aggregate *aggregate)
{
    static const struct query_value none = {.kind = QUERY_TYPE_NULL};
    if (!aggregate->has_argument)
        return &none;
    return group_frame_row(plan, group, row) + frame_column(plan, aggregate->argument);
}

enum error change_refresh(const struct query_plan *plan, struct group *group)
{
    if (!group->stale)
        return OK;
    for (uint32_t i = 0; i < plan->aggregate_count; i++) {
        const struct plan_aggregate *aggregate = &plan->aggregates[i];
        if (!change_is_frame_only(&aggregate->spec))
            continue;
        void *accumulator = group_accumulator(group, aggregate);
        aggregate_fini(&aggregate->spec, accumulator);
        aggregate_init(&aggregate->spec, accumulator);
        for (uint32_t row = 0; row < group->frame_used; row++) {
            enum error status = aggregate_add(&aggregate->spec, accumulator,
                                              frame_value(plan, group, row, aggregate));
            if (status != OK)
                return status;
        }
    }
    group->stale = false;
    return OK;
}

static bool frame_is_full(const struct query_plan *plan, const struct group *group)
{
    return plan->bounded && group->frame_used == plan->preceding + 1;
}

/* Copies the row's arguments and makes room for them. */
static enum error reserve_frame(struct change *change)
{
    const struct query_plan *plan = change->plan;
    const struct group *group = change->group;
    for (uint32_t i = 0; i < plan->frame_count; i++)
        change->framed[i] = (struct query_value){.kind = QUERY_TYPE_NULL};
    change->has_framed = true;
    for (uint32_t i = 0; i < plan->frame_count; i++) {
        struct query_value value = change->row->values[plan->frame[i]];
        if (is_text(&value)) {
            char *copy = mem_strndup(value.text.len == 0 ? "" : (const char *)value.text.data,
                                     value.text.len);
            if (copy == NULL)
                return ERROR_MEMORY;
            value.text.data = (const uint8_t *)copy;
        }
        change->framed[i] = value;
    }
    uint32_t used = group->frame_used - frame_is_full(plan, group);
    if (plan->frame_count == 0 || used < group->frame_room)
        return OK;
    uint32_t room = group->frame_room == 0 ? 4 : group->frame_room * 2;
    if (room > plan->preceding + 1)
        room = plan->preceding + 1;
    change->frame = mem_array((size_t)room * plan->frame_count, sizeof *change->frame);
    change->frame_room = room;
    return change->frame == NULL ? ERROR_MEMORY : OK;
}

static void commit_frame(struct change *change)
{
    const struct query_plan *plan = change->plan;
    struct group *group = change->group;
    size_t row_bytes = plan->frame_count * sizeof *group->frame;
    if (frame_is_full(plan, group)) {
        if (plan->frame_count > 0)
            free_texts(group_frame_row(plan, group, 0), plan->frame_count);
        group->frame_first =
            plan->frame_count > 0 ? (group->frame_first + 1) % group->frame_room : 0;
        group->frame_used--;
    }
    if (change->frame != NULL) {
        for (uint32_t row = 0; row < group->frame_used; row++)
            memcpy(change->frame + (size_t)row * plan->frame_count,
                   group_frame_row(plan, group, row), row_bytes);
        mem_free(group->frame);
        group->frame = change->frame;
        group->frame_room = change->frame_room;
        group->frame_first = 0;
        change->frame = NULL;
    }
    if (plan->frame_count > 0)
        memcpy(group_frame_row(plan, group, group->frame_used), change->framed, row_bytes);
    group->frame_used++;
    change->has_framed = false;
}

/* ---- The latest row ---- */

static enum error reserve_kept(struct change *change)
{
    const struct query_plan *plan = change->plan;
    size_t len = 0;
    for (uint32_t i = 0; i < plan->kept_count; i++) {
        const struct query_value *value = &change->row->values[plan->kept[i]];
        len += is_text(value) ? value->text.len : 0;
    }
    if (len <= change->group->kept_room)
        return OK;
    change->kept_room = len + len / 2;
    change->kept_text = mem_alloc(change->kept_room);
    return change->kept_text == NULL ? ERROR_MEMORY : OK;
}

static void commit_kept(struct change *change)
{
    const struct query_plan *plan = change->plan;
    struct group *group = change->group;
    if (change->kept_text != NULL) {
        mem_free(group->kept_text);
        group->kept_text = change->kept_text;
        group->kept_room = change->kept_room;
        change->kept_text = NULL;
    }
    uint8_t *text = group->kept_text;
    for (uint32_t i = 0; i < plan->kept_count; i++) {
        group->kept[i] = change->row->values[plan->kept[i]];
        if (!is_text(&group->kept[i]) || group->kept[i].text.len == 0)
            continue;
        memcpy(text, group->kept[i].text.data, group->kept[i].text.len);
        group->kept[i].text.data = text;
        text += group->kept[i].text.len;
    }
}

/* ---- Accumulators ---- */

static const struct query_value *argument(const struct change *change,
                                          const struct plan_aggregate *aggregate)
{
    static const struct query_value none = {.kind = QUERY_TYPE_NULL};
    return aggregate->has_argument ? &change->row->values[aggregate->argument] : &none;
}

/* MIN or MAX of strings that never leave: its old string is gone once a new one has come. */
static bool is_replaced(const struct aggregate_spec *spec)
{
    bool extreme = spec->function == AGGREGATE_MIN || spec->function == AGGREGATE_MAX;
    return extreme && !spec->retracting && spec->input.kind == QUERY_TYPE_STRING;
}

static enum error add_replaced(struct change *change, uint32_t i, const struct query_value *value)
{
    const struct plan_aggregate *aggregate = &change->plan->aggregates[i];
    struct query_value extreme;
    aggregate_result(&aggregate->spec, group_accumulator(change->group, aggregate), &extreme);
    int order = extreme.kind == QUERY_TYPE_NULL ? 0 : query_value_compare_total(value, &extreme);
    bool better = extreme.kind == QUERY_TYPE_NULL ||
                  (aggregate->spec.function == AGGREGATE_MIN ? order < 0 : order > 0);
    if (value->kind == QUERY_TYPE_NULL || !better)
        return OK;
    void *fresh = change->saved + aggregate->offset;
    aggregate_init(&aggregate->spec, fresh);
    enum error status = aggregate_add(&aggregate->spec, fresh, value);
    if (status == OK)
        change->undo[i] = CHANGE_REPLACED;
    return status;
}

static enum error add_one(struct change *change, uint32_t i)
{
    const struct query_plan *plan = change->plan;
    const struct plan_aggregate *aggregate = &plan->aggregates[i];
    const struct query_value *value = argument(change, aggregate);
    if (is_replaced(&aggregate->spec))
        return add_replaced(change, i, value);
    void *accumulator = group_accumulator(change->group, aggregate);
    bool on_heap = aggregate_heap_bytes(&aggregate->spec, accumulator) > 0;
    bool leaves = frame_is_full(plan, change->group);
    memcpy(change->saved + aggregate->offset, accumulator, aggregate_size(&aggregate->spec));
    change->undo[i] = !on_heap ? CHANGE_SAVED : plan->bounded ? CHANGE_STALE : CHANGE_UNTOUCHED;
    /* First out, then in: Flink's order, which shows in the bits of flink mode. */
    if (leaves)
        aggregate_retract(&aggregate->spec, accumulator,
                          frame_value(plan, change->group, 0, aggregate));
    enum error status = aggregate_add(&aggregate->spec, accumulator, value);
    if (status == OK && on_heap && !plan->bounded)
        change->undo[i] = CHANGE_RETRACT;
    return status;
}

enum error change_begin(struct change *change, struct group *group, const struct query_row *row)
{
    const struct query_plan *plan = change->plan;
    change->group = group;
    change->row = row;
    change->active = true;
    memset(change->undo, CHANGE_UNTOUCHED, plan->aggregate_count);
    enum error status = change_refresh(plan, group);
    if (status == OK && plan->kept_count > 0)
        status = reserve_kept(change);
    if (status == OK && plan->bounded)
        status = reserve_frame(change);
    return status;
}

enum error change_add(struct change *change)
{
    enum error status = OK;
    for (uint32_t i = 0; i < change->plan->aggregate_count && status == OK; i++)
        status = add_one(change, i);
    return status;
}

enum error change_read(struct change *change, struct query_value *aggregates)
{
    const struct query_plan *plan = change->plan;
    for (uint32_t i = 0; i < plan->aggregate_count; i++) {
        const struct plan_aggregate *aggregate = &plan->aggregates[i];
        const void *accumulator = change->undo[i] == CHANGE_REPLACED
                                      ? change->saved + aggregate->offset
                                      : group_accumulator(change->group, aggregate);
        aggregate_result(&aggregate->spec, accumulator, &aggregates[i]);
    }
    return OK;
}

static void undo_one(struct change *change, uint32_t i)
{
    const struct plan_aggregate *aggregate = &change->plan->aggregates[i];
    void *accumulator = group_accumulator(change->group, aggregate);
    switch (change->undo[i]) {
    case CHANGE_SAVED:
        aggregate_fini(&aggregate->spec, accumulator);
        memcpy(accumulator, change->saved + aggregate->offset, aggregate_size(&aggregate->spec));
        break;
    case CHANGE_RETRACT: {
        /* Only sums come here, and sums are the same whether or not rows leave. */
        struct aggregate_spec spec = aggregate->spec;
        spec.retracting = true;
        aggregate_retract(&spec, accumulator, argument(change, aggregate));
        break;
    }
    case CHANGE_STALE:
        change->group->stale = true;
        break;
    case CHANGE_REPLACED:
        aggregate_fini(&aggregate->spec, change->saved + aggregate->offset);
        break;
    default:
        break;
    }
}

void change_undo(struct change *change)
{
    if (!change->active)
        return;
    for (uint32_t i = 0; i < change->plan->aggregate_count; i++)
        undo_one(change, i);
    if (change->has_framed)
        free_texts(change->framed, change->plan->frame_count);
    mem_free(change->frame);
    mem_free(change->kept_text);
    change->frame = NULL;
    change->kept_text = NULL;
    change->has_framed = change->active = false;
}

void change_commit(struct change *change)
{
    const struct query_plan *plan = change->plan;
    PRE(change->active);
    for (uint32_t i = 0; i < plan->aggregate_count; i++) {
        const struct plan_aggregate *aggregate = &plan->aggregates[i];
        if (change->undo[i] != CHANGE_REPLACED)
            continue;
        void *accumulator = group_accumulator(change->group, aggregate);
        aggregate_fini(&aggregate->spec, accumulator);
        memcpy(accumulator, change->saved + aggregate->offset, aggregate_size(&aggregate->spec));
    }
    if (plan->bounded)
        commit_frame(change);
    if (plan->kept_count > 0)
        commit_kept(change);
    change->active = false;
}

uint64_t change_hash(const struct query_plan *plan, struct group *group, uint64_t seed)
{
    uint64_t hash =
        plan->bounded
            ? query_value_hash(
                  &(struct query_value){.kind = QUERY_TYPE_INT, .integer = group->frame_used}, seed)
            : seed;
    for (uint32_t row = 0; plan->frame_count > 0 && row < group->frame_used; row++)
        for (uint32_t i = 0; i < plan->frame_count; i++)
            hash = query_value_hash(&group_frame_row(plan, group, row)[i], hash);
    for (uint32_t i = 0; i < plan->aggregate_count; i++) {
        const struct plan_aggregate *aggregate = &plan->aggregates[i];
        /* What the frame tells is in the hash already, and may be stale. */
        if (!plan->bounded || !change_is_frame_only(&aggregate->spec))
            hash = aggregate_hash(&aggregate->spec, group_accumulator(group, aggregate), hash);
    }
    return hash;
}
