#include "client/vug.h"
#include "client/wire.h"

#include <stdarg.h>
#include <stdio.h>

/* What requests look like and how replies are read; who sends them is client.c. */

void vug_error_set(struct vug_error *error, enum error kind, const char *format, ...)
{
    error->error = kind;
    error->code = 0;
    va_list args;
    va_start(args, format);
    vsnprintf(error->text, sizeof error->text, format, args);
    va_end(args);
}

/* Geode's codes say little; most of what goes wrong is 100 with a Java class name in front. These
 * texts tell more. */
static const struct {
    uint32_t code;
    const char *text; /* found in the message; NULL: any */
    enum error error;
} error_rows[] = {
    {11, NULL, ERROR_UNAUTHORIZED},
    {20, NULL, ERROR_UNAUTHORIZED},
    {50, NULL, ERROR_INVALID},
    {60, NULL, ERROR_UNSUPPORTED},
    {101, NULL, ERROR_NO_SERVER},
    {100, "RegionDestroyedException", ERROR_NOT_FOUND},
    {100, "egion not found", ERROR_NOT_FOUND},
    {100, "ExistsException", ERROR_EXISTS},
    {100, "exists already", ERROR_EXISTS},
    {100, "already exists", ERROR_EXISTS},
    {100, "not found", ERROR_NOT_FOUND},
    {100, "timed out", ERROR_TIMEOUT},
    {100, "TIMEOUT: ", ERROR_TIMEOUT},
    {100, "BUSY: ", ERROR_BUSY},
    {100, "IN_DOUBT: ", ERROR_IN_DOUBT},
};

static enum error error_of_code(uint32_t code, const char *text)
{
    for (size_t i = 0; i < sizeof error_rows / sizeof error_rows[0]; i++)
        if (error_rows[i].code == code &&
            (error_rows[i].text == NULL || strstr(text, error_rows[i].text) != NULL))
            return error_rows[i].error;
    return ERROR_IO;
}

/* The content of an Error message (code, text). */
static void read_error(struct vug_error *error, struct slice body)
{
    struct codec_field field;
    uint32_t code = 0;
    struct slice text = {0};
    while (body.len > 0 && codec_next_field(&body, &field) == OK) {
        if (field.number == 1 && field.wire_type == 0)
            code = (uint32_t)field.integer;
        if (field.number == 2 && field.wire_type == 2)
            text = field.bytes;
    }
    vug_error_set(error, ERROR_IO, "%.*s", SLICE_FMT(text));
    error->error = error_of_code(code, error->text);
    error->code = code;
}

void vug_error_of_response(struct vug_error *error, struct slice body)
{
    struct slice content = {0};
    if (vug_wire_next(&body, 1, &content))
        read_error(error, content);
    else
        vug_error_set(error, ERROR_IO, "the server answered with an error that has no text");
}

void vug_region_request(struct buf *body, const char *region)
{
    vug_wire_text(body, 1, region);
}

void vug_key_request(struct buf *body, const char *region, const struct value *key)
{
    vug_wire_text(body, 1, region);
    vug_wire_value(body, 2, key);
}

void vug_entry_request(struct buf *body, const char *region, const struct value *key,
                       const struct value *value)
{
    vug_wire_text(body, 1, region);
    vug_wire_pair(body, 2, 1, 0, key, value);
}

void vug_put_all_entry(struct buf *body, const struct value *key, const struct value *value)
{
    vug_wire_pair(body, 2, 1, 0, key, value);
}

void vug_get_all_key(struct buf *body, const struct value *key)
{
    vug_wire_value(body, 2, key);
}

void vug_sql_request(struct buf *body, struct slice statement,
                     const struct vug_parameter *parameters, uint32_t parameter_count)
{
    vug_wire_bytes(body, 1, statement);
    for (uint32_t i = 0; i < parameter_count; i++)
        vug_wire_named_value(body, 2, parameters[i].name, &parameters[i].value);
}

enum error vug_value_reply(struct slice body, struct value *value)
{
    struct slice content = {0};
    if (!vug_wire_next(&body, 1, &content))
        return ERROR_MALFORMED;
    return value_decode(content, value);
}

enum error vug_size_reply(struct slice body, uint64_t *size)
{
    *size = 0;
    while (body.len > 0) {
        struct codec_field field;
        if (codec_next_field(&body, &field) != OK)
            return ERROR_MALFORMED;
        if (field.number == 1 && field.wire_type == 0)
            *size = field.integer;
    }
    return OK;
}

bool vug_next_key(struct slice *walk, struct value *key)
{
    struct slice content = {0};
    return vug_wire_next(walk, 1, &content) && value_decode(content, key) == OK;
}

bool vug_next_region(struct slice *walk, struct slice *region)
{
    return vug_wire_next(walk, 1, region);
}

bool vug_next_entry(struct slice *walk, struct value *key, struct value *value)
{
    struct slice entry = {0};
    if (!vug_wire_next(walk, 1, &entry))
        return false;
    struct slice content = {0}, rest = entry;
    if (!vug_wire_next(&rest, 1, &content) || value_decode(content, key) != OK)
        return false;
    rest = entry;
    return vug_wire_next(&rest, 2, &content) && value_decode(content, value) == OK;
}

bool vug_next_failure(struct slice *walk, uint32_t field, struct value *key,
                      struct vug_error *error)
{
    struct slice failure = {0};
    if (!vug_wire_next(walk, field, &failure))
        return false;
    struct slice content = {0}, rest = failure;
    if (!vug_wire_next(&rest, 1, &content) || value_decode(content, key) != OK)
        return false;
    rest = failure;
    if (!vug_wire_next(&rest, 2, &content))
        return false;
    read_error(error, content);
    return true;
}

/* SqlExecuteResponse: column 1, type 2, row 3, message 4. */
enum error vug_sql_reply(struct slice body, struct vug_sql_reply *reply)
{
    *reply = (struct vug_sql_reply){0};
    while (body.len > 0) {
        struct codec_field field;
        if (codec_next_field(&body, &field) != OK)
            return ERROR_MALFORMED;
        if (field.wire_type != 2)
            continue;
        if (field.number == 1)
            reply->column_count++;
        else if (field.number == 3)
            reply->row_count++;
        else if (field.number == 4)
            reply->message = field.bytes;
    }
    return OK;
}

bool vug_sql_next_column(struct slice *walk, struct slice *name)
{
    return vug_wire_next(walk, 1, name);
}

bool vug_sql_next_type(struct slice *walk, struct slice *type)
{
    return vug_wire_next(walk, 2, type);
}

bool vug_sql_next_row(struct slice *walk, struct slice *row)
{
    return vug_wire_next(walk, 3, row);
}

bool vug_sql_next_value(struct slice *row, struct value *value)
{
    struct slice content = {0};
    return vug_wire_next(row, 1, &content) && value_decode(content, value) == OK;
}
