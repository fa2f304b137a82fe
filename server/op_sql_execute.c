#include "server/ops.h"

/* A table of strings as SqlExecuteResponse: what SHOW TABLES, DESCRIBE and EXPLAIN answer. */
struct answer {
    Pb__SqlExecuteResponse response;
    struct arena *arena;
    ProtobufCBinaryData columns[3], types[3];
    Pb__SqlRow **rows;
    size_t cap;
    bool failed;
};

static void answer_init(struct answer *answer, struct arena *arena, const char *const *columns,
                        size_t count)
{
    memset(answer, 0, sizeof *answer);
    pb__sql_execute_response__init(&answer->response);
    answer->arena = arena;
    for (size_t i = 0; i < count; i++) {
        answer->columns[i] = message_bytes(slice_text(columns[i]));
        answer->types[i] = message_bytes(slice_text("STRING"));
    }
    answer->response.n_column = answer->response.n_type = count;
    answer->response.column = answer->columns;
    answer->response.type = answer->types;
}

static void *take(struct answer *answer, size_t size)
{
    void *block = arena_zalloc(answer->arena, size);
    if (block == NULL)
        answer->failed = true;
    return block;
}

static void answer_row(struct answer *answer, const struct slice *texts)
{
    size_t count = answer->response.n_column;
    if (answer->response.n_row == answer->cap) {
        size_t cap = answer->cap == 0 ? 16 : answer->cap * 2;
        Pb__SqlRow **bigger = take(answer, cap * sizeof *bigger);
        if (bigger == NULL)
            return;
        if (answer->cap > 0)
            memcpy(bigger, answer->rows, answer->cap * sizeof *bigger);
        answer->rows = bigger;
        answer->cap = cap;
    }
    Pb__SqlRow *row = take(answer, sizeof *row);
    Pb__EncodedValue **values = take(answer, count * sizeof *values);
    if (row == NULL || values == NULL)
        return;
    pb__sql_row__init(row);
    for (size_t i = 0; i < count; i++) {
        values[i] = take(answer, sizeof **values);
        uint8_t *copy = take(answer, texts[i].len + 1);
        if (values[i] == NULL || copy == NULL)
            return;
        memcpy(copy, texts[i].data, texts[i].len);
        pb__encoded_value__init(values[i]);
        values[i]->value_case = PB__ENCODED_VALUE__VALUE_STRING_RESULT;
        values[i]->string_result = message_bytes(slice_of(copy, texts[i].len));
    }
    row->n_value = count;
    row->value = values;
    answer->rows[answer->response.n_row++] = row;
    answer->response.row = answer->rows;
}

static enum error answer_send(struct session *session, struct answer *answer)
{
    return answer->failed ? ERROR_MEMORY
                          : session_reply_message(session, 1013, &answer->response.base);
}

static enum error show_tables(struct session *session)
{
    const struct catalog *catalog = op_worker(session)->catalog;
    struct answer answer;
    answer_init(&answer, session_arena(session), (const char *const[]){"table", "region"}, 2);
    for (uint32_t i = 0; i < catalog->table_count; i++) {
        const struct query_table *table = catalog->tables[i];
        answer_row(&answer, (struct slice[]){slice_text(table->name), slice_text(table->region)});
    }
    return answer_send(session, &answer);
}

static enum error describe(struct session *session, struct slice name)
{
    const struct catalog *catalog = op_worker(session)->catalog;
    const struct query_table *table = catalog->query.table(catalog->query.arg, name);
    if (table == NULL)
        return session_failf(session, FAILURE_INVALID_REQUEST,
                             "There is no table %.*s. SHOW TABLES lists what there is.",
                             SLICE_FMT(name));
    struct answer answer;
    answer_init(&answer, session_arena(session), (const char *const[]){"column", "type", "null"},
                3);
    for (uint32_t i = 0; i < table->column_count; i++) {
        const struct query_column *column = &table->columns[i];
        struct buf type;
        buf_init(&type);
        if (column->proctime)
            buf_append_text(&type, "PROCTIME");
        else
            query_type_name(column->type, &type);
        answer.failed |= type.failed;
        answer_row(&answer,
                   (struct slice[]){
                       slice_text(column->name), buf_slice(&type),
                       slice_text(column->not_null || column->proctime ? "NOT NULL" : "NULL")});
        buf_fini(&type);
    }
    return answer_send(session, &answer);
}

static enum error explain(struct session *session, struct query_plan *plan)
{
    struct answer answer;
    struct buf text;
    buf_init(&text);
    query_plan_explain(plan, &text);
    answer_init(&answer, session_arena(session), (const char *const[]){"plan"}, 1);
    answer.failed |= text.failed;
    struct slice rest = buf_slice(&text);
    while (rest.len > 0 && !answer.failed) {
        const uint8_t *end = memchr(rest.data, '\n', rest.len);
        size_t len = end == NULL ? rest.len : (size_t)(end - rest.data);
        answer_row(&answer, (struct slice[]){slice_of(rest.data, len)});
        rest = slice_of(rest.data + len + (end != NULL), rest.len - len - (end != NULL));
    }
    enum error error = answer_send(session, &answer);
    buf_fini(&text);
    return error;
}

static enum error select_or_explain(struct session *session, const Pb__SqlExecuteRequest *request,
                                    const struct query_statement *statement)
{
    struct query_parameter *parameters;
    struct failure failure;
    struct query_plan *plan;
    struct query_error why;
    const struct catalog *catalog = op_worker(session)->catalog;
    if (!op_parameters(session, request->parameters, request->n_parameters, &parameters, &failure))
        return session_fail(session, &failure);
    enum error error =
        query_plan_new(message_slice(request->statement), statement->select, &catalog->query,
                       parameters, (uint32_t)request->n_parameters, QUERY_EXACT, &plan, &why);
    if (error == ERROR_MEMORY)
        return error;
    if (error != OK) {
        op_query_failure(error, &why, &failure);
        return session_fail(session, &failure);
    }
    if (statement->kind == QUERY_EXPLAIN) {
        error = explain(session, plan);
        query_plan_unref(plan);
        return error;
    }
    struct region *region = catalog_region(catalog, slice_text(query_plan_region(plan)));
    if (region == NULL) {
        error = session_failf(session, FAILURE_SERVER_ERROR, FAILURE_REGION_NOT_FOUND,
                              SLICE_FMT(slice_text(query_plan_region(plan))));
        query_plan_unref(plan);
        return error;
    }
    return op_select(session, plan, region);
}

/* SqlExecuteRequest{1 statement, 2 parameters}. What changes tables goes to a locator, where the
 * cluster map is changed. */
enum error op_sql_execute(struct session *session, struct slice body)
{
    ProtobufCMessage *message;
    struct query_statement statement;
    struct query_error why;
    struct arena *arena = session_arena(session);
    enum error error = message_unpack(&pb__sql_execute_request__descriptor, arena, body, &message);
    if (error != OK)
        return error;
    const Pb__SqlExecuteRequest *request = (const Pb__SqlExecuteRequest *)message;
    error = query_parse(message_slice(request->statement), arena, &statement, &why);
    if (error == ERROR_MEMORY)
        return error;
    if (error != OK) {
        struct failure failure;
        op_query_failure(error, &why, &failure);
        return session_fail(session, &failure);
    }
    switch (statement.kind) {
    case QUERY_CREATE_TABLE:
    case QUERY_DROP_TABLE:
        return op_forward(session, 1012, body);
    case QUERY_SHOW_TABLES:
        return show_tables(session);
    case QUERY_DESCRIBE:
        return describe(session, statement.name);
    case QUERY_SELECT:
    case QUERY_EXPLAIN:
        return select_or_explain(session, request, &statement);
    }
    return ERROR_UNSUPPORTED;
}
