/* query_state: what aggregation remembers, and one row's way through it.
 *
 *   find or make the group -> reserve -> add and retract -> evaluate the result -> commit -> give
 * results
 *                                        \_________ undone if memory ends here ________/
 *
 * Nothing is allocated between the commit and the first result, so a row is taken as a whole or not
 * at all. */
#include "query/state.h"

#include <xxhash.h>

#include "common/mem.h"
#include "query/caret.h"

enum error query_state_new(struct query_plan *plan, struct query_state **state)
{
    PRE(plan->kind != PLAN_STATELESS);
    *state = NULL;
    struct query_state *made = mem_zalloc(sizeof *made);
    if (made == NULL)
        return ERROR_MEMORY;
    enum error status = group_table_init(&made->table, plan);
    if (status != OK)
        goto err_after_alloc;
    status = change_init(&made->change, plan);
    if (status != OK)
        goto err_after_table;
    made->plan = query_plan_ref(plan);
    *state = made;
    return OK;

err_after_table:
    group_table_fini(&made->table);
err_after_alloc:
    mem_free(made);
    return status;
}

void query_state_free(struct query_state *state)
{
    if (state == NULL)
        return;
    for (; state->walks != NULL; state->walks = state->walks->next)
        state->walks->state = NULL;
    change_fini(&state->change);
    group_table_fini(&state->table);
    query_plan_unref(state->plan);
    mem_free(state);
}

bool query_state_free_some(struct query_state *state, uint32_t groups)
{
    struct group_table *table = &state->table;
    for (; groups > 0 && table->count > 0; groups--)
        group_free(table->plan, table->groups[--table->count]);
    return table->count > 0;
}

/* ---- Results ---- */

struct result {
    struct query_value *values;
    bool visible; /* evaluated, and HAVING holds */
};

/* Strings of accumulators move when a row is added: results that must outlive that are copied. */
static enum error read_aggregates(const struct query_plan *plan, struct group *group,
                                  struct arena *arena, bool copy, struct query_value *aggregates)
{
    for (uint32_t i = 0; i < plan->aggregate_count; i++) {
        aggregate_result(&plan->aggregates[i].spec, group_accumulator(group, &plan->aggregates[i]),
                         &aggregates[i]);
        struct slice *text = &aggregates[i].text;
        if (!copy || aggregates[i].kind != QUERY_TYPE_STRING || text->len == 0)
            continue;
        char *copied = arena_strndup(arena, (const char *)text->data, text->len);
        if (copied == NULL)
            return ERROR_MEMORY;
        text->data = (const uint8_t *)copied;
    }
    return OK;
}

/* The SELECT list over a row and the aggregates. ERROR_INVALID: it has no value, result->visible is
 * false. */
static enum error evaluate_result(const struct query_plan *plan, const struct query_value *row,
                                  const struct query_value *aggregates, struct arena *arena,
                                  struct query_error *error, struct result *result)
{
    struct expr_input input = {
        .row = row, .aggregates = aggregates, .arena = arena, .error = error};
    result->visible = false;
    bool passes = true;
    enum error status = plan->having == NULL ? OK : expr_is_true(plan->having, &input, &passes);
    if (status != OK || !passes)
        return status;
    for (uint32_t i = 0; i < plan->select_count; i++) {
        status = expr_evaluate(plan->select[i], &input, &result->values[i]);
        if (status != OK)
            return status;
    }
    result->visible = true;
    return OK;
}

static bool is_unchanged(const struct query_plan *plan, const struct result *before,
                         const struct result *after)
{
    for (uint32_t i = 0; i < plan->select_count; i++)
        if (!expr_unchanged(&before->values[i], &after->values[i]))
            return false;
    return true;
}

static enum error give(const struct query_plan *plan, const struct result *result,
                       enum query_kind kind, uint64_t mark, query_result_fn *on_result, void *arg)
{
    struct query_row row = {.values = result->values, .count = plan->select_count, .mark = mark};
    return on_result(arg, kind, &row);
}

/* What the change of one group means for its subscribers; the group keeps the row's mark if they
 * see any. */
static enum error give_change(const struct query_plan *plan, const struct result *before,
                              const struct result *after, struct group *group, uint64_t mark,
                              query_result_fn *on_result, void *arg)
{
    if (!before->visible && !after->visible)
        return OK;
    if (before->visible && after->visible && is_unchanged(plan, before, after))
        return OK;
    group->mark = mark;
    if (!before->visible)
        return give(plan, after, QUERY_INSERT, mark, on_result, arg);
    if (!after->visible)
        return give(plan, before, QUERY_DELETE, mark, on_result, arg);
    enum error status = give(plan, before, QUERY_UPDATE_BEFORE, mark, on_result, arg);
    return status == OK ? give(plan, after, QUERY_UPDATE_AFTER, mark, on_result, arg) : status;
}

/* ---- Walks ---- */

/* More changes than this wait for their turn only if nobody goes on with the walk. */
#define CHANGED_MAX 65536u

struct query_state_walk *query_state_walk_new(struct query_state *state)
{
    struct query_state_walk *walk = mem_zalloc(sizeof *walk);
    if (walk == NULL)
        return NULL;
    walk->state = state;
    walk->next = state->walks;
    state->walks = walk;
    return walk;
}

void query_state_walk_free(struct query_state_walk *walk)
{
    if (walk == NULL)
        return;
    if (walk->state != NULL) {
        struct query_state_walk **at = &walk->state->walks;
        while (*at != walk)
            at = &(*at)->next;
        *at = walk->next;
    }
    mem_free(walk->changed);
    mem_free(walk);
}

bool query_state_walk_is_of(const struct query_state_walk *walk, const struct query_state *state)
{
    return walk->state == state;
}

uint32_t query_state_walk_group(const struct query_state_walk *walk)
{
    return walk->now;
}

static bool add_changed(struct query_state_walk *walk, uint32_t number)
{
    if (walk->count > 0 && walk->changed[walk->first + walk->count - 1] == number)
        return true;
    if (walk->first + walk->count == walk->cap && walk->first > 0) {
        memmove(walk->changed, walk->changed + walk->first, walk->count * sizeof *walk->changed);
        walk->first = 0;
    }
    if (walk->count == walk->cap) {
        size_t cap = walk->cap == 0 ? 64 : walk->cap * 2;
        uint32_t *bigger =
            cap > CHANGED_MAX ? NULL : mem_realloc(walk->changed, cap * sizeof *walk->changed);
        if (bigger == NULL)
            return false;
        walk->changed = bigger;
        walk->cap = cap;
    }
    walk->changed[walk->first + walk->count++] = number;
    return true;
}

static void note_change(struct query_state *state, const struct group *group)
{
    for (struct query_state_walk *walk = state->walks; walk != NULL; walk = walk->next)
        if (group->number < walk->reached && !add_changed(walk, group->number))
            walk->failed = true;
}

struct group *query_state_walk_next(struct query_state_walk *walk)
{
    const struct group_table *table = &walk->state->table;
    if (walk->reached < table->count) {
        walk->now = walk->reached++;
        walk->is_again = false;
    } else if (walk->count > 0) {
        walk->now = walk->changed[walk->first++];
        walk->is_again = true;
        walk->count--;
    } else {
        return NULL;
    }
    return table->groups[walk->now];
}

bool query_state_walk_is_near(const struct query_state_walk *walk, uint32_t groups)
{
    return walk->state->table.count - walk->reached + walk->count <= groups;
}

/* ---- One row ---- */

static bool is_wellformed(const struct query_plan *plan, const struct query_row *row)
{
    if (row->count != plan->row_count)
        return false;
    for (uint32_t i = 0; i < plan->aggregate_count; i++) {
        const struct plan_aggregate *aggregate = &plan->aggregates[i];
        bool typed = aggregate->has_argument && aggregate->spec.function != AGGREGATE_COUNT;
        if (!typed)
            continue;
        const struct query_value *value = &row->values[aggregate->argument];
        const struct query_type *type = &aggregate->spec.input;
        if (value->kind != QUERY_TYPE_NULL &&
            (value->kind != type->kind ||
             (value->kind == QUERY_TYPE_DECIMAL && value->scale != type->scale)))
            return false;
    }
    return true;
}

/* The result before the row: none for a group that begins, or whose result could not be computed.
 */
static enum error evaluate_before(struct query_state *state, struct group *group, bool begins,
                                  const struct query_row *row, struct arena *arena,
                                  struct query_value *aggregates, struct result *before,
                                  struct query_error *error)
{
    const struct query_plan *plan = state->plan;
    before->visible = false;
    if (begins || plan->kind == PLAN_OVER)
        return OK;
    enum error status = read_aggregates(plan, group, arena, true, aggregates);
    if (status == OK)
        status = evaluate_result(plan, row->values, aggregates, arena, error, before);
    return status == ERROR_INVALID ? OK : status;
}

/* Everything up to the commit. ERROR_INVALID: the row is to be taken, its result is an error. */
static enum error prepare(struct query_state *state, struct group *group, bool begins,
                          const struct query_row *row, struct arena *arena, struct result *before,
                          struct result *after, struct query_error *error)
{
    const struct query_plan *plan = state->plan;
    size_t count = plan->aggregate_count + 2 * (size_t)plan->select_count;
    struct query_value *aggregates = arena_alloc(arena, (count + 1) * sizeof *aggregates);
    if (aggregates == NULL)
        return ERROR_MEMORY;
    before->values = aggregates + plan->aggregate_count;
    after->values = before->values + plan->select_count;
    enum error status = change_begin(&state->change, group, row);
    if (status == OK)
        status = evaluate_before(state, group, begins, row, arena, aggregates, before, error);
    if (status == OK)
        status = change_add(&state->change);
    if (status != OK)
        return status;
    status = change_read(&state->change, aggregates);
    return status != OK ? status
                        : evaluate_result(plan, row->values, aggregates, arena, error, after);
}

enum error query_state_apply(struct query_state *state, const struct query_row *row,
                             struct arena *arena, query_result_fn *on_result, void *arg,
                             struct query_error *error)
{
    const struct query_plan *plan = state->plan;
    error->line = error->column = 0;
    if (!is_wellformed(plan, row))
        return ERROR_MALFORMED;
    uint64_t hash = group_hash(plan, row->values);
    struct group *group = group_find(&state->table, row->values, hash);
    bool begins = group == NULL;
    if (begins) {
        enum error status = group_reserve(&state->table);
        if (status != OK)
            return status;
        group = group_new(plan, row->values, hash);
        if (group == NULL)
            return ERROR_MEMORY;
    }
    struct result before, after = {.visible = false};
    uint64_t bytes = begins ? 0 : group_bytes(plan, group);
    enum error status = prepare(state, group, begins, row, arena, &before, &after, error);
    if (status != OK && status != ERROR_INVALID) {
        change_undo(&state->change);
        if (begins)
            group_free(plan, group);
        return status;
    }
    change_commit(&state->change);
    if (begins)
        group_insert(&state->table, group);
    state->table.bytes += group_bytes(plan, group) - bytes;
    note_change(state, group);
    enum error given = give_change(plan, &before, &after, group, row->mark, on_result, arg);
    return given != OK ? given : status;
}

/* ---- All of it ---- */

static enum error give_group(struct query_state *state, struct group *group, struct arena *arena,
                             query_result_fn *on_result, void *arg, bool *given)
{
    const struct query_plan *plan = state->plan;
    size_t count = (size_t)plan->row_count + plan->aggregate_count + plan->select_count;
    struct query_value *row = arena_zalloc(arena, (count + 1) * sizeof *row);
    *given = false;
    if (row == NULL)
        return ERROR_MEMORY;
    enum error status = change_refresh(plan, group);
    if (status != OK)
        return status;
    for (uint32_t i = 0; i < plan->group_count; i++)
        row[i] = group->values[i];
    for (uint32_t i = 0; i < plan->kept_count; i++)
        row[plan->kept[i]] = group->kept[i];
    struct query_value *aggregates = row + plan->row_count;
    struct result result = {.values = aggregates + plan->aggregate_count};
    struct query_error ignored;
    status = read_aggregates(plan, group, arena, false, aggregates);
    if (status == OK)
        status = evaluate_result(plan, row, aggregates, arena, &ignored, &result);
    *given = status == OK && result.visible;
    if (*given)
        status = give(plan, &result, QUERY_INSERT, group->mark, on_result, arg);
    return status == ERROR_INVALID
               ? OK
               : status; /* this group's latest result was an error, and was told as one */
}

enum error query_state_each(struct query_state *state, struct arena *arena,
                            query_result_fn *on_result, void *arg)
{
    enum error status = OK;
    bool given;
    for (uint32_t i = 0; i < state->table.count && status == OK; i++)
        status = give_group(state, state->table.groups[i], arena, on_result, arg, &given);
    return status;
}

enum error query_state_walk_each(struct query_state_walk *walk, uint32_t groups,
                                 struct arena *arena, query_result_fn *on_result, void *arg)
{
    struct group *group;
    enum error status = walk->failed ? ERROR_MEMORY : OK;
    for (; groups > 0 && status == OK && (group = query_state_walk_next(walk)) != NULL; groups--) {
        const struct query_row nothing = {.mark = group->mark};
        bool given;
        arena_reset(arena);
        status = give_group(walk->state, group, arena, on_result, arg, &given);
        if (status == OK && !given && walk->is_again)
            status = on_result(arg, QUERY_DELETE, &nothing);
    }
    return status;
}

uint64_t query_state_group_count(const struct query_state *state)
{
    return state->table.count;
}

uint64_t query_state_bytes(const struct query_state *state)
{
    return sizeof *state + state->table.bytes +
           (uint64_t)state->table.room * sizeof(struct group *) +
           ((uint64_t)state->table.index_mask + 1) * sizeof(uint32_t);
}

static uint64_t hash_mark(uint64_t mark)
{
    struct query_value value = {.kind = QUERY_TYPE_BIGINT, .integer = (int64_t)mark};
    return query_value_hash(&value, 0);
}

/* The sum over the groups, so that the order of the groups does not count; their marks do, because
 * a snapshot shows them. */
uint64_t query_state_hash(const struct query_state *state)
{
    const struct query_plan *plan = state->plan;
    uint64_t sum = state->table.count;
    for (uint32_t i = 0; i < state->table.count; i++) {
        struct group *group = state->table.groups[i];
        uint64_t hash = group_hash(plan, group->values) ^ hash_mark(group->mark);
        for (uint32_t k = 0; k < plan->kept_count; k++)
            hash = query_value_hash(&group->kept[k], hash);
        sum += change_hash(plan, group, hash);
    }
    return sum;
}
