/* From a region's change to an admitted row; where the row's group lives; a row as bytes. */
#include "query/extract.h"

#include "query/caret.h"

enum { ROW_COLUMNS_MAX = 2 * LIMIT_COLUMNS };

enum error query_admit(const struct query_plan *plan, const struct query_input *input,
                       struct arena *arena, bool *admitted, struct query_row *row,
                       struct query_error *error)
{
    *admitted = false;
    *row = (struct query_row){.count = 0};
    error->line = error->column = 0;
    if (input->value == NULL)
        return OK;
    struct query_value *source =
        arena_alloc(arena, (plan->slot_count + plan->row_count + 1u) * sizeof *source);
    if (source == NULL)
        return ERROR_MEMORY;
    enum error status = extract_row(plan, input, arena, source, error);
    if (status != OK)
        return status;
    struct expr_input evaluation = {.row = source, .arena = arena, .error = error};
    bool truth = true;
    if (plan->where != NULL)
        status = expr_is_true(plan->where, &evaluation, &truth);
    if (status != OK || !truth)
        return status;
    struct query_value *values = source + plan->slot_count;
    for (uint32_t i = 0; i < plan->row_count; i++) {
        status = expr_evaluate(plan->row[i], &evaluation, &values[i]);
        if (status != OK)
            return status;
    }
    *row = (struct query_row){.values = values, .count = plan->row_count};
    *admitted = true;
    return OK;
}

/* ---- Placement ---- */

/* Several columns, or none, as one string: each as its length, a colon and its text. */
static enum error joined_group(const struct query_plan *plan, const struct query_row *row,
                               struct arena *arena, struct value *group)
{
    struct buf text, column;
    buf_init(&text);
    buf_init(&column);
    for (uint32_t i = 0; i < plan->group_count; i++) {
        buf_clear(&column);
        query_value_text(&row->values[i], &column);
        buf_printf(&text, "%zu:", column.len);
        buf_append_slice(&text, buf_slice(&column));
    }
    bool failed = text.failed || column.failed;
    char *copy = failed
                     ? NULL
                     : arena_strndup(arena, text.len == 0 ? "" : (const char *)text.data, text.len);
    *group = (struct value){.type = VALUE_STRING, .bytes = slice_of(copy, text.len)};
    buf_fini(&column);
    buf_fini(&text);
    return copy == NULL ? ERROR_MEMORY : OK;
}

enum error query_row_group(const struct query_plan *plan, const struct query_row *row,
                           struct arena *arena, struct value *group)
{
    PRE(row->count >= plan->group_count);
    if (plan->group_count != 1)
        return joined_group(plan, row, arena, group);
    if (row->values[0].kind == QUERY_TYPE_NULL) {
        *group = (struct value){.type = VALUE_STRING, .bytes = slice_text("")};
        return OK;
    }
    return query_value_to_wire(&row->values[0], arena, group);
}

/* ---- Bytes ---- */

void query_row_pack(const struct query_row *row, struct buf *packed)
{
    uint8_t count[2] = {(uint8_t)row->count, (uint8_t)(row->count >> 8)};
    buf_append(packed, count, sizeof count);
    for (uint32_t i = 0; i < row->count; i++)
        query_value_pack(&row->values[i], packed);
}

enum error query_row_unpack(struct slice packed, struct arena *arena, struct query_row *row)
{
    *row = (struct query_row){.count = 0};
    if (packed.len < 2)
        return ERROR_MALFORMED;
    uint32_t count = packed.data[0] | (uint32_t)packed.data[1] << 8;
    struct slice rest = slice_of(packed.data + 2, packed.len - 2);
    /* Each value takes a byte at least. */
    if (count > ROW_COLUMNS_MAX || count > rest.len)
        return ERROR_MALFORMED;
    struct query_value *values = arena_alloc(arena, (count + 1) * sizeof *values);
    if (values == NULL)
        return ERROR_MEMORY;
    for (uint32_t i = 0; i < count; i++) {
        enum error status = query_value_unpack(&rest, &values[i]);
        if (status != OK)
            return status;
    }
    if (rest.len != 0)
        return ERROR_MALFORMED;
    *row = (struct query_row){.values = values, .count = count};
    return OK;
}
