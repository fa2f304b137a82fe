#include "protocol/failure.h"

#include <stdio.h>

#include "common/buf.h"
#include "common/text.h"
#include "protocol/json.h"

/* A text that was cut may end inside of a character, which no client could decode. */
static void failure_clip(char *text, size_t size)
{
    size_t len = strlen(text), start = len;

    if (len + 1 < size)
        return;
    while (start > 0 && len - start < 4) {
        start--;
        if (((uint8_t)text[start] & 0xc0) != 0x80)
            break;
    }
    if (start < len && text_utf8_len((const uint8_t *)text + start, len - start) != len - start)
        text[start] = '\0';
}

void failure_vset(struct failure *failure, uint32_t code, const char *format, va_list args)
{
    failure->code = code;
    vsnprintf(failure->text, sizeof failure->text, format, args);
    failure_clip(failure->text, sizeof failure->text);
}

void failure_set(struct failure *failure, uint32_t code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    failure_vset(failure, code, format, args);
    va_end(args);
}

/* Errors of ours with a class of Java's that says the same; the rest is the class that Geode itself
 * uses for "should not happen". */
static const struct {
    enum error error;
    uint32_t code;
    const char *class_name;
} failure_rows[] = {
    {ERROR_MEMORY, FAILURE_SERVER_ERROR, "org.apache.geode.cache.LowMemoryException"},
    {ERROR_LIMIT, FAILURE_SERVER_ERROR, "java.lang.IllegalArgumentException"},
    {ERROR_INVALID, FAILURE_SERVER_ERROR, "java.lang.IllegalArgumentException"},
    {ERROR_UNAUTHORIZED, FAILURE_AUTHORIZATION_FAILED,
     "Not authorized: org.apache.geode.security.NotAuthorizedException"},
    {ERROR_UNSUPPORTED, FAILURE_UNSUPPORTED_OPERATION, NULL},
    {ERROR_SHUTDOWN, FAILURE_SERVER_ERROR, "org.apache.geode.cache.CacheClosedException"},
    {ERROR_NO_SERVER, FAILURE_NO_AVAILABLE_SERVER, NULL},
    /* What a client may repeat, and what it may repeat only if that does no harm. */
    {ERROR_TIMEOUT, FAILURE_SERVER_ERROR, "TIMEOUT"},
    {ERROR_BUSY, FAILURE_SERVER_ERROR, "BUSY"},
    {ERROR_IN_DOUBT, FAILURE_SERVER_ERROR, "IN_DOUBT"},
};

void failure_of_error(struct failure *failure, enum error error)
{
    for (size_t i = 0; i < sizeof failure_rows / sizeof failure_rows[0]; i++) {
        if (failure_rows[i].error != error)
            continue;
        if (error == ERROR_NO_SERVER)
            failure_set(failure, failure_rows[i].code, "Unable to find a server");
        else if (failure_rows[i].class_name == NULL)
            failure_set(failure, failure_rows[i].code, "Unsupported operation:%s",
                        error_text(error));
        else
            failure_set(failure, failure_rows[i].code, "%s: %s", failure_rows[i].class_name,
                        error_text(error));
        return;
    }
    failure_set(failure, FAILURE_SERVER_ERROR, "org.apache.geode.InternalGemFireException: %s",
                error_text(error));
}

enum error failure_check_value(struct value *value, struct failure *failure)
{
    struct json_error json_error;
    enum error error;
    size_t end;

    switch (value->type) {
    case VALUE_NOT_SET:
        failure_set(failure, FAILURE_SERVER_ERROR, "%s", FAILURE_VALUE_NOT_SET);
        return ERROR_INVALID;
    case VALUE_CUSTOM:
        failure_set(failure, FAILURE_SERVER_ERROR, "%s", FAILURE_CUSTOM_VALUE);
        return ERROR_INVALID;
    case VALUE_JSON:
        break;
    default:
        return OK;
    }
    buf_init(&json_error.text);
    error = json_validate(value->bytes, &end, &json_error);
    if (error == OK)
        value->bytes.len = end;
    else if (error == ERROR_INVALID)
        failure_set(failure, FAILURE_SERVER_ERROR, "%s%.*s", FAILURE_JSON,
                    SLICE_FMT(buf_slice(&json_error.text)));
    else
        failure_of_error(failure, error);
    buf_fini(&json_error.text);
    return error;
}
