#include "query/extract.h"

#include "common/text.h"
#include "protocol/json.h"
#include "query/caret.h"
#include "query/decimal.h"
#include "query/number.h"
#include "query/short_number.h"

static const struct query_value null_value = {.kind = QUERY_TYPE_NULL};

/* ---- One JSON value to one SQL value ---- */

/* The text of a string token without its escapes. */
static enum error plain_text(const struct json_token *token, struct arena *arena,
                             struct slice *text)
{
    *text = token->text;
    if (!token->escaped)
        return OK;
    struct buf plain;
    buf_init(&plain);
    json_unescape(token->text, &plain);
    char *copy = plain.failed ? NULL : arena_strndup(arena, (const char *)plain.data, plain.len);
    *text = slice_of(copy, plain.len);
    buf_fini(&plain);
    return copy == NULL ? ERROR_MEMORY : OK;
}

static bool read_double(struct slice text, double *number)
{
    return short_number_read(text, number) || number_parse_double(text, number);
}

/* JSON has no word for these, so they travel as strings. */
static bool special_double(struct slice text, double *number)
{
    bool special = slice_equal(text, slice_text("NaN")) ||
                   slice_equal(text, slice_text("Infinity")) ||
                   slice_equal(text, slice_text("-Infinity"));
    return special && number_parse_double(text, number);
}

static bool is_number(const struct json_token *token)
{
    return token->type == JSON_INTEGER || token->type == JSON_REAL;
}

static bool to_integer(const struct json_token *token, enum query_type_kind kind,
                       struct query_value *value)
{
    static const int64_t max[] = {[QUERY_TYPE_TINYINT] = INT8_MAX,
                                  [QUERY_TYPE_SMALLINT] = INT16_MAX,
                                  [QUERY_TYPE_INT] = INT32_MAX,
                                  [QUERY_TYPE_BIGINT] = INT64_MAX};
    int64_t integer;
    if (!is_number(token))
        return false;
    if (token->type == JSON_REAL) {
        /* 5.0 and 1e3 are integers too. */
        int128 digits;
        double number;
        if (decimal_parse(token->text, 0, &digits) != DECIMAL_PARSED || digits < INT64_MIN ||
            digits > INT64_MAX || !read_double(token->text, &number) ||
            number != (double)(int64_t)digits)
            return false;
        integer = (int64_t)digits;
    } else if (!short_number_read_long(token->text, &integer)) {
        return false;
    }
    *value = (struct query_value){.kind = kind, .integer = integer};
    return integer <= max[kind] && integer >= -max[kind] - 1;
}

/* A number beyond the type's range is an infinity, as it is to those who read the document. */
static bool to_floating(const struct json_token *token, enum query_type_kind kind,
                        struct query_value *value)
{
    double number;
    bool special = token->type == JSON_STRING && special_double(token->text, &number);
    if (!special && (!is_number(token) || !read_double(token->text, &number)))
        return false;
    if (kind == QUERY_TYPE_DOUBLE) {
        *value = (struct query_value){.kind = kind, .float64 = number};
        return true;
    }
    float single = (float)number;
    if (!special && !number_parse_float(token->text, &single))
        return false;
    *value = (struct query_value){.kind = kind, .float32 = single};
    return true;
}

static bool to_decimal(const struct json_token *token, struct query_type type,
                       struct query_value *value)
{
    int128 digits;
    if (!is_number(token) || decimal_parse(token->text, type.scale, &digits) != DECIMAL_PARSED ||
        !decimal_fits(digits, type.precision))
        return false;
    *value =
        (struct query_value){.kind = QUERY_TYPE_DECIMAL, .scale = type.scale, .decimal = digits};
    return true;
}

/* Text that CAST can read: timestamps. */
static enum error from_text(const struct json_token *token, struct query_type type,
                            struct arena *arena, struct query_value *value, bool *fits)
{
    const char *why;
    struct query_value text = {.kind = QUERY_TYPE_STRING};
    enum error status = plain_text(token, arena, &text.text);
    if (status == OK)
        status = query_value_cast(&text, type, arena, value, &why);
    *fits = status == OK && value->kind == type.kind;
    return status == ERROR_INVALID ? OK : status;
}

static int base64_digit(uint8_t byte)
{
    if (byte >= 'A' && byte <= 'Z')
        return byte - 'A';
    if (byte >= 'a' && byte <= 'z')
        return byte - 'a' + 26;
    if (byte >= '0' && byte <= '9')
        return byte - '0' + 52;
    return byte == '+' ? 62 : byte == '/' ? 63 : -1;
}

/* BYTES stand in JSON as base64. */
static enum error from_base64(const struct json_token *token, struct arena *arena,
                              struct query_value *value, bool *fits)
{
    struct slice text;
    enum error status = plain_text(token, arena, &text);
    if (status != OK)
        return status;
    *fits = false;
    if (text.len % 4 != 0)
        return OK;
    while (text.len > 0 && text.data[text.len - 1] == '=')
        text.len--;
    uint8_t *bytes = arena_alloc(arena, text.len + 1);
    if (bytes == NULL)
        return ERROR_MEMORY;
    uint32_t bits = 0, held = 0;
    size_t used = 0;
    for (size_t i = 0; i < text.len; i++) {
        int digit = base64_digit(text.data[i]);
        if (digit < 0)
            return OK;
        bits = bits << 6 | (uint32_t)digit;
        held += 6;
        if (held >= 8) {
            held -= 8;
            bytes[used++] = (uint8_t)(bits >> held);
        }
    }
    *fits = true;
    *value = (struct query_value){.kind = QUERY_TYPE_BYTES, .text = slice_of(bytes, used)};
    return OK;
}

/* A value of a declared column. *fits false: the value is of another kind or out of range. */
static enum error to_declared(const struct json_token *token, struct query_type type,
                              struct arena *arena, struct query_value *value, bool *fits)
{
    *fits = false;
    switch (type.kind) {
    case QUERY_TYPE_STRING:
        if (token->type == JSON_OBJECT || token->type == JSON_ARRAY)
            return OK;
        *fits = true;
        value->kind = QUERY_TYPE_STRING;
        if (token->type == JSON_STRING)
            return plain_text(token, arena, &value->text);
        value->text = token->text;
        return OK;
    case QUERY_TYPE_BOOLEAN:
        *fits = token->type == JSON_TRUE || token->type == JSON_FALSE;
        *value =
            (struct query_value){.kind = QUERY_TYPE_BOOLEAN, .boolean = token->type == JSON_TRUE};
        return OK;
    case QUERY_TYPE_TINYINT:
    case QUERY_TYPE_SMALLINT:
    case QUERY_TYPE_INT:
    case QUERY_TYPE_BIGINT:
        *fits = to_integer(token, type.kind, value);
        return OK;
    case QUERY_TYPE_FLOAT:
    case QUERY_TYPE_DOUBLE:
        *fits = to_floating(token, type.kind, value);
        return OK;
    case QUERY_TYPE_DECIMAL:
        *fits = to_decimal(token, type, value);
        return OK;
    case QUERY_TYPE_BYTES:
        return token->type == JSON_STRING ? from_base64(token, arena, value, fits) : OK;
    case QUERY_TYPE_TIMESTAMP:
        if (token->type == JSON_STRING)
            return from_text(token, type, arena, value, fits);
        *fits = to_integer(token, QUERY_TYPE_BIGINT, value);
        value->kind = QUERY_TYPE_TIMESTAMP;
        value->scale = type.precision;
        return OK;
    case QUERY_TYPE_NULL:
    case QUERY_TYPE_VARIANT: /* no column is declared so */
        break;
    }
    return OK;
}

/* A value of a field without a declared type. */
static enum error to_dynamic(const struct json_token *token, struct arena *arena,
                             struct query_value *value)
{
    switch (token->type) {
    case JSON_NULL:
        *value = null_value;
        return OK;
    case JSON_TRUE:
    case JSON_FALSE:
        *value =
            (struct query_value){.kind = QUERY_TYPE_BOOLEAN, .boolean = token->type == JSON_TRUE};
        return OK;
    case JSON_INTEGER:
    case JSON_REAL:
        *value = (struct query_value){.kind = QUERY_TYPE_DOUBLE};
        if (!read_double(token->text, &value->float64))
            *value = null_value;
        return OK;
    case JSON_STRING:
        value->kind = QUERY_TYPE_STRING;
        return plain_text(token, arena, &value->text);
    case JSON_OBJECT:
    case JSON_ARRAY:
        *value = (struct query_value){.kind = QUERY_TYPE_STRING, .text = token->text};
        return OK;
    }
    return OK;
}

static enum error to_slot(const struct plan_slot *slot, const struct json_token *token,
                          struct arena *arena, struct query_value *value, struct query_error *error)
{
    if (token->type == JSON_NULL) {
        *value = null_value;
        return OK;
    }
    if (slot->is_dynamic)
        return to_dynamic(token, arena, value);
    bool fits;
    enum error status = to_declared(token, slot->type, arena, value, &fits);
    if (status != OK || fits)
        return status;
    char name[128], shown[96];
    struct buf type;
    buf_init(&type);
    query_type_name(slot->type, &type);
    const char *quote = token->type == JSON_STRING ? "\"" : "";
    caret_plain(error, "column \"%s\" is %.*s, and the value %s%s%s does not fit",
                caret_clip(slot->name, name, sizeof name), type.failed ? 0 : (int)type.len,
                type.data == NULL ? "" : (const char *)type.data, quote,
                caret_clip(token->text, shown, sizeof shown), quote);
    buf_fini(&type);
    return ERROR_INVALID;
}

/* ---- The document ---- */

/* The slot of a field, or slot_count. Documents of one region list their fields in one order
 * mostly, so the search begins where the last one ended. */
static uint32_t find_slot(const struct query_plan *plan, struct slice name, uint32_t from)
{
    for (uint32_t i = 0; i < plan->slot_count; i++) {
        uint32_t at = from + i < plan->slot_count ? from + i : from + i - plan->slot_count;
        const struct plan_slot *slot = &plan->slots[at];
        if (slot->name.len == name.len && memcmp(slot->name.data, name.data, name.len) == 0 &&
            (slot->source == PLAN_FIELD || slot->source == PLAN_VALUE))
            return at;
    }
    return plan->slot_count;
}

static enum error read_document(const struct query_plan *plan, struct slice document,
                                struct arena *arena, struct query_value *values,
                                struct query_error *error)
{
    size_t at = 0;
    uint32_t next = 0;
    struct slice name;
    bool name_escaped;
    struct json_token token;
    while (json_next_field(document, &at, &name, &name_escaped, &token)) {
        if (name_escaped) {
            struct json_token as_string = {.type = JSON_STRING, .text = name, .escaped = true};
            enum error status = plain_text(&as_string, arena, &name);
            if (status != OK)
                return status;
        }
        uint32_t slot = find_slot(plan, name, next);
        if (slot == plan->slot_count)
            continue;
        enum error status = to_slot(&plan->slots[slot], &token, arena, &values[slot], error);
        if (status != OK)
            return status;
        next = slot + 1 < plan->slot_count ? slot + 1 : 0;
    }
    return OK;
}

/* ---- What is no document ---- */

/* A scalar as JSON would write it. `text` has TEXT_DOUBLE_BYTES of room. */
static bool as_token(const struct value *scalar, struct json_token *token, char *text)
{
    token->escaped = false;
    token->text = slice_of(text, 0);
    switch (scalar->type) {
    case VALUE_INT:
    case VALUE_LONG:
    case VALUE_SHORT:
    case VALUE_BYTE:
        token->type = JSON_INTEGER;
        token->text.len = short_number_write_long(scalar->integer, text);
        return true;
    case VALUE_BOOLEAN:
        token->type = scalar->integer != 0 ? JSON_TRUE : JSON_FALSE;
        token->text = slice_text(scalar->integer != 0 ? "true" : "false");
        return true;
    case VALUE_DOUBLE:
    case VALUE_FLOAT: {
        double number = scalar->type == VALUE_DOUBLE ? scalar->float64 : (double)scalar->float32;
        token->type = __builtin_isfinite(number) ? JSON_REAL : JSON_STRING;
        token->text.len = text_double(number, text);
        return true;
    }
    case VALUE_STRING:
        token->type = JSON_STRING;
        token->text = scalar->bytes;
        return true;
    case VALUE_JSON:
        token->type = JSON_OBJECT;
        token->text = scalar->bytes;
        return true;
    default:
        return false;
    }
}

static enum error scalar_to_slot(const struct plan_slot *slot, const struct value *scalar,
                                 struct arena *arena, struct query_value *value,
                                 struct query_error *error)
{
    struct json_token token;
    *value = null_value;
    if (scalar->type == VALUE_NULL)
        return OK;
    if (slot->is_dynamic && scalar->type != VALUE_JSON)
        return query_value_from_wire(scalar, value) == OK ? OK : ERROR_INVALID;
    char *text = arena_alloc(arena, TEXT_DOUBLE_BYTES);
    if (text == NULL)
        return ERROR_MEMORY;
    if (!as_token(scalar, &token, text)) {
        caret_plain(error,
                    "the value is neither a JSON document nor a scalar that a column could hold");
        return ERROR_INVALID;
    }
    return to_slot(slot, &token, arena, value, error);
}

static bool is_named(const struct plan_slot *slot, const char *name)
{
    return slice_equal(slot->name, slice_text(name));
}

static enum error read_scalar(const struct query_plan *plan, const struct query_input *input,
                              struct arena *arena, struct query_value *values,
                              struct query_error *error)
{
    for (uint32_t i = 0; i < plan->slot_count; i++) {
        const struct plan_slot *slot = &plan->slots[i];
        bool is_key = slot->source == PLAN_FIELD && plan->declared && is_named(slot, "key");
        bool is_value = slot->source == PLAN_VALUE ||
                        (slot->source == PLAN_FIELD && plan->declared && is_named(slot, "value"));
        if (slot->source == PLAN_FIELD && !(plan->declared && plan->has_value_column)) {
            caret_plain(error, "the value is not a JSON document, so it has no field \"%.*s\"",
                        SLICE_FMT(slot->name));
            return ERROR_INVALID;
        }
        if (!is_key && !is_value)
            continue;
        enum error status =
            scalar_to_slot(slot, is_key ? input->key : input->value, arena, &values[i], error);
        if (status != OK)
            return status;
    }
    return OK;
}

/* The region key, and the whole value. */
static enum error read_specials(const struct query_plan *plan, const struct query_input *input,
                                struct arena *arena, struct query_value *values,
                                struct query_error *error)
{
    for (uint32_t i = 0; i < plan->slot_count; i++) {
        enum plan_source source = plan->slots[i].source;
        bool missing = source == PLAN_VALUE && values[i].kind == QUERY_TYPE_NULL &&
                       input->value->type == VALUE_JSON;
        if (source != PLAN_KEY && source != PLAN_WHOLE && !missing)
            continue;
        enum error status =
            scalar_to_slot(&plan->slots[i], source == PLAN_KEY ? input->key : input->value, arena,
                           &values[i], error);
        if (status != OK)
            return status;
    }
    return OK;
}

enum error extract_row(const struct query_plan *plan, const struct query_input *input,
                       struct arena *arena, struct query_value *values, struct query_error *error)
{
    for (uint32_t i = 0; i < plan->slot_count; i++)
        values[i] = null_value;
    enum error status = input->value->type == VALUE_JSON
                            ? read_document(plan, input->value->bytes, arena, values, error)
                            : read_scalar(plan, input, arena, values, error);
    if (status == OK && !plan->declared)
        status = read_specials(plan, input, arena, values, error);
    if (status != OK)
        return status;
    for (uint32_t i = 0; i < plan->slot_count; i++) {
        const struct plan_slot *slot = &plan->slots[i];
        if (!slot->not_null || values[i].kind != QUERY_TYPE_NULL)
            continue;
        caret_plain(error,
                    "column \"%.*s\" is NOT NULL, and the value has no such field or it is null",
                    (int)slot->name.len, (const char *)slot->name.data);
        return ERROR_INVALID;
    }
    return OK;
}
