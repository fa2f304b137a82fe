/* What SqlExecute and CqSubscribe share: parameters and plans. */
#include "server/ops.h"

static struct value value_of(const Pb__EncodedValue *from)
{
    struct value value = {.type = (enum value_type)from->value_case};
    switch (value.type) {
    case VALUE_INT:
        value.integer = from->int_result;
        break;
    case VALUE_LONG:
        value.integer = from->long_result;
        break;
    case VALUE_SHORT:
        value.integer = (int16_t)from->short_result;
        break;
    case VALUE_BYTE:
        value.integer = (int8_t)from->byte_result;
        break;
    case VALUE_BOOLEAN:
        value.integer = from->boolean_result;
        break;
    case VALUE_DOUBLE:
        value.float64 = from->double_result;
        break;
    case VALUE_FLOAT:
        value.float32 = from->float_result;
        break;
    case VALUE_BINARY:
    case VALUE_STRING:
    case VALUE_JSON:
    case VALUE_CUSTOM:
        value.bytes = message_slice(from->string_result);
        break;
    case VALUE_NOT_SET:
    case VALUE_NULL:
        break;
    }
    return value;
}

enum error op_parameters_of(struct arena *arena, Pb__Parameter *const *from, size_t count,
                            struct query_parameter **parameters, struct failure *failure)
{
    if (count > LIMIT_PARAMETERS) {
        failure_set(failure, FAILURE_INVALID_REQUEST, "A statement has at most %u parameters.",
                    LIMIT_PARAMETERS);
        return ERROR_INVALID;
    }
    *parameters = arena_zalloc(arena, (count + 1) * sizeof **parameters);
    if (*parameters == NULL) {
        failure_of_error(failure, ERROR_MEMORY);
        return ERROR_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        struct value value = {.type = VALUE_NOT_SET};
        (*parameters)[i].name = message_slice(from[i]->key);
        if (from[i]->value != NULL)
            value = value_of(from[i]->value);
        if (value.type == VALUE_NOT_SET ||
            query_value_from_wire(&value, &(*parameters)[i].value) != OK) {
            failure_set(failure, FAILURE_INVALID_REQUEST,
                        "The parameter %.*s has no value that SQL knows: give a number, a string, "
                        "a boolean, bytes or null.",
                        SLICE_FMT((*parameters)[i].name));
            return ERROR_INVALID;
        }
    }
    return OK;
}

bool op_parameters(struct session *session, Pb__Parameter *const *from, size_t count,
                   struct query_parameter **parameters, struct failure *failure)
{
    return op_parameters_of(session_arena(session), from, count, parameters, failure) == OK;
}

void op_query_failure(enum error error, const struct query_error *why, struct failure *failure)
{
    uint32_t code = error == ERROR_NOT_FOUND ? FAILURE_SERVER_ERROR : FAILURE_INVALID_REQUEST;
    if (error == ERROR_MEMORY)
        failure_of_error(failure, error);
    else if (why->line > 0)
        failure_set(failure, code, "line %u, column %u: %s", why->line, why->column, why->message);
    else
        failure_set(failure, code, "%s", why->message);
}

enum error op_plan(struct session *session, struct slice sql,
                   const struct query_parameter *parameters, uint32_t count,
                   enum query_numeric_mode mode, struct query_plan **plan, struct failure *failure)
{
    struct query_statement statement;
    struct query_error why;
    enum error error = query_parse(sql, session_arena(session), &statement, &why);
    if (error == OK && statement.kind != QUERY_SELECT) {
        failure_set(
            failure, FAILURE_INVALID_REQUEST,
            "Only a SELECT can be subscribed to. Send other statements with SqlExecute (vug sql).");
        return ERROR_INVALID;
    }
    if (error == OK)
        error = query_plan_new(sql, statement.select, &op_worker(session)->catalog->query,
                               parameters, count, mode, plan, &why);
    if (error != OK)
        op_query_failure(error, &why, failure);
    return error;
}
