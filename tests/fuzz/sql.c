/* SQL statements: whatever the text, parsing, planning and evaluating end in a bounded time, and a
 * statement that is refused says why. The first byte picks the numeric mode. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "query/query.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct query_column columns[] = {
    {.name = "id", .type = {.kind = QUERY_TYPE_STRING}},
    {.name = "timestamp", .type = {.kind = QUERY_TYPE_BIGINT}},
    {.name = "temperature", .type = {.kind = QUERY_TYPE_DOUBLE}},
    {.name = "small", .type = {.kind = QUERY_TYPE_TINYINT}},
    {.name = "price", .type = {.kind = QUERY_TYPE_DECIMAL, .precision = 10, .scale = 2}},
};
static const struct query_table table = {.name = "t",
                                         .region = "r",
                                         .columns = columns,
                                         .column_count = sizeof(columns) / sizeof(columns[0])};

static const struct query_table *find_table(void *arg, struct slice name)
{
    (void)arg;
    return slice_equal(name, slice_text("t")) ? &table : NULL;
}

static bool find_region(void *arg, struct slice name)
{
    (void)arg;
    return slice_equal(name, slice_text("r"));
}

static void each_name(void *arg, void (*visit)(void *visit_arg, const char *name), void *visit_arg)
{
    (void)arg;
    visit(visit_arg, "t");
    visit(visit_arg, "r");
}

static void check(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "does not hold: %s\n", what);
        abort();
    }
}

static enum error count_result(void *arg, enum query_kind kind, const struct query_row *row)
{
    uint32_t *columns_expected = arg;
    check(kind <= QUERY_DELETE, "results have a row kind");
    check(row->count == *columns_expected, "a result has the plan's columns");
    return OK;
}

static void evaluate(struct query_plan *plan, struct arena *arena)
{
    static const char *const documents[] = {
        "{\"id\":\"a\",\"timestamp\":1,\"temperature\":20.5,\"small\":127,\"price\":1.25}",
        "{\"id\":\"a\",\"timestamp\":null,\"temperature\":1e308,\"small\":-128,\"price\":9999.99}",
        "{\"id\":\"b\",\"timestamp\":9223372036854775807,\"temperature\":-0.0}",
        "{\"id\":5,\"timestamp\":\"x\",\"temperature\":[1]}",
        "{}",
    };
    struct query_state *state = NULL;
    uint32_t columns_expected = query_plan_column_count(plan);
    if (query_plan_has_state(plan) && query_state_new(plan, &state) != OK)
        return;
    for (size_t i = 0; i < sizeof(documents) / sizeof(documents[0]); i++) {
        struct value key = {.type = VALUE_STRING, .bytes = slice_text("k")};
        struct value value = {.type = VALUE_JSON, .bytes = slice_text(documents[i])};
        struct query_input input = {.key = &key, .value = &value, .time_ms = i};
        struct query_row row;
        struct query_error error = {0};
        bool admitted = false;
        if (query_admit(plan, &input, arena, &admitted, &row, &error) != OK || !admitted)
            continue;
        if (state == NULL)
            check(row.count == columns_expected, "a row of a plan without state is the result");
        else
            (void)query_state_apply(state, &row, arena, count_result, &columns_expected, &error);
    }
    if (state != NULL) {
        (void)query_state_each(state, arena, count_result, &columns_expected);
        query_state_free(state);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct slice text = slice_of(data + 1, size - 1);
    struct arena arena;
    struct query_statement statement;
    struct query_error error = {0};
    arena_init(&arena, 64u * 1024 * 1024);
    enum error status = query_parse(text, &arena, &statement, &error);
    if (status != OK) {
        check(error.message[0] != '\0', "a refusal says why");
    } else if (statement.select != NULL) {
        struct query_catalog catalog = {
            .table = find_table, .region = find_region, .name_each = each_name};
        struct query_value start = {.kind = QUERY_TYPE_BIGINT, .integer = 1000};
        struct query_parameter parameter = {.name = slice_text("start_time"), .value = start};
        struct query_plan *plan = NULL;
        status = query_plan_new(text, statement.select, &catalog, &parameter, 1,
                                data[0] & 1 ? QUERY_FLINK : QUERY_EXACT, &plan, &error);
        check(status == OK || error.message[0] != '\0', "a plan's refusal says why");
        if (status == OK) {
            struct buf explained;
            buf_init(&explained);
            query_plan_explain(plan, &explained);
            buf_fini(&explained);
            evaluate(plan, &arena);
            query_plan_unref(plan);
        }
    } else if (statement.kind == QUERY_CREATE_TABLE) {
        struct buf ddl;
        struct query_statement again;
        buf_init(&ddl);
        query_table_ddl(&statement.table, &ddl);
        check(ddl.failed || query_parse(buf_slice(&ddl), &arena, &again, &error) == OK,
              "the statement that makes a table again parses");
        buf_fini(&ddl);
    }
    struct slice rest = text, one;
    for (uint32_t count = 0; query_script_next(&rest, &one); count++)
        check(count <= size, "a script ends");
    arena_fini(&arena);
    return 0;
}
