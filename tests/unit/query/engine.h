/* What the tests of query/ share: a catalog of one table and one region, a plan, its state, and the
 * results as lines of text. */
#ifndef VUG_TESTS_UNIT_QUERY_ENGINE_H
#define VUG_TESTS_UNIT_QUERY_ENGINE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "query/query.h"
#include "tests/lib/mem_fault.h"

struct engine {
    struct arena arena; /* of statements */
    struct arena row;   /* of one row */
    struct query_table *table;
    struct query_plan *plan;
    struct query_state *state;
    struct query_error error;
    struct query_parameter parameters[4];
    uint32_t parameter_count;
    struct buf results; /* a line for each: kind, values */
};

static const struct query_table *engine_find_table(void *arg, struct slice name)
{
    struct engine *engine = arg;
    bool found = engine->table != NULL && slice_equal(name, slice_text(engine->table->name));
    return found ? engine->table : NULL;
}

static bool engine_find_region(void *arg, struct slice name)
{
    (void)arg;
    return slice_equal(name, slice_text("my_region")) || slice_equal(name, slice_text("my-region"));
}

static void engine_each_name(void *arg, void (*visit)(void *visit_arg, const char *name),
                             void *visit_arg)
{
    struct engine *engine = arg;
    if (engine->table != NULL)
        visit(visit_arg, engine->table->name);
    visit(visit_arg, "my_region");
}

static inline void engine_init(struct engine *engine)
{
    memset(engine, 0, sizeof *engine);
    arena_init(&engine->arena, 16u * 1024 * 1024);
    arena_init(&engine->row, 16u * 1024 * 1024);
    buf_init(&engine->results);
}

static inline void engine_fini(struct engine *engine)
{
    query_state_free(engine->state);
    query_plan_unref(engine->plan);
    query_table_free(engine->table);
    buf_fini(&engine->results);
    arena_fini(&engine->row);
    arena_fini(&engine->arena);
}

/* Parses, and plans a SELECT. */
static inline enum error engine_try(struct engine *engine, const char *sql,
                                    enum query_numeric_mode mode)
{
    struct query_statement statement;
    struct query_catalog catalog = {engine_find_table, engine_find_region, engine_each_name,
                                    engine};
    query_state_free(engine->state);
    query_plan_unref(engine->plan);
    engine->state = NULL;
    engine->plan = NULL;
    arena_reset(&engine->arena);
    enum error status = query_parse(slice_text(sql), &engine->arena, &statement, &engine->error);
    if (status != OK)
        return status;
    if (statement.kind == QUERY_CREATE_TABLE) {
        query_table_free(engine->table);
        engine->table = query_table_copy(&statement.table);
        return engine->table == NULL ? ERROR_MEMORY : OK;
    }
    if (statement.select == NULL)
        return OK;
    status = query_plan_new(slice_text(sql), statement.select, &catalog, engine->parameters,
                            engine->parameter_count, mode, &engine->plan, &engine->error);
    if (status == OK && query_plan_has_state(engine->plan))
        status = query_state_new(engine->plan, &engine->state);
    return status;
}

static inline void engine_run(struct engine *engine, const char *sql)
{
    if (engine_try(engine, sql, QUERY_EXACT) != OK)
        fail_msg("%s: %s", sql, engine->error.message);
}

static inline enum error engine_result(void *arg, enum query_kind kind, const struct query_row *row)
{
    static const char *const kinds[] = {"+I", "-U", "+U", "-D"};
    struct buf *results = arg;
    buf_append_text(results, kinds[kind]);
    for (uint32_t i = 0; i < row->count; i++) {
        buf_append_byte(results, ' ');
        query_value_text(&row->values[i], results);
    }
    buf_append_byte(results, '\n');
    return OK;
}

static inline enum error engine_feed_value(struct engine *engine, const struct value *key,
                                           const struct value *value)
{
    struct query_input input = {.key = key, .value = value};
    struct query_row row;
    bool admitted;
    arena_reset(&engine->row);
    enum error status =
        query_admit(engine->plan, &input, &engine->row, &admitted, &row, &engine->error);
    if (status != OK || !admitted)
        return status;
    if (engine->state == NULL)
        return engine_result(&engine->results, QUERY_INSERT, &row);
    return query_state_apply(engine->state, &row, &engine->row, engine_result, &engine->results,
                             &engine->error);
}

static inline enum error engine_feed(struct engine *engine, const char *document)
{
    struct value key = {.type = VALUE_STRING, .bytes = slice_text("k")};
    struct value value = {.type = VALUE_JSON, .bytes = slice_text(document)};
    return engine_feed_value(engine, &key, &value);
}

/* The results since the last call; valid until the next result. */
static inline const char *engine_take(struct engine *engine)
{
    buf_append_byte(&engine->results, 0);
    assert_false(engine->results.failed);
    engine->results.len = 0;
    return (const char *)engine->results.data;
}

static inline void assert_contains(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("\"%s\" does not contain \"%s\"", text, part);
}

/* A statement that is refused: where, and a part of the sentence. */
struct refusal {
    const char *text;
    uint32_t column;
    const char *part;
};

static inline void engine_check_refusals(struct engine *engine, const struct refusal *refusals,
                                         size_t count)
{
    for (size_t i = 0; i < count; i++) {
        enum error status = engine_try(engine, refusals[i].text, QUERY_EXACT);
        const struct query_error *error = &engine->error;
        if (status != ERROR_INVALID || strstr(error->message, refusals[i].part) == NULL ||
            error->column != refusals[i].column || error->line != 1)
            fail_msg("%s: %s at %u:%u: %s", refusals[i].text, error_text(status), error->line,
                     error->column, error->message);
        /* The last line is blanks and the caret. */
        const char *caret = strrchr(error->message, '\n') + 1;
        assert_int_equal(strspn(caret, " ") + 1, strlen(caret));
        assert_int_equal(caret[strlen(caret) - 1], '^');
        assert_null(strstr(error->message, "syntax error"));
    }
}

#define CHECK_REFUSALS(engine, refusals)                                                           \
    engine_check_refusals(engine, refusals, sizeof(refusals) / sizeof((refusals)[0]))

#define ENGINE_READINGS                                                                            \
    "CREATE TABLE SensorReadings (id STRING, timestamp BIGINT, temperature DOUBLE, zone STRING, "  \
    "ok BOOLEAN, proc AS PROCTIME()) "                                                             \
    "WITH ('connector'='geode-region','region'='my_region','param.from_option'='2000')"

#endif
