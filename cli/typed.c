#include "cli/typed.h"

#include "common/text.h"
#include "protocol/json.h"

#include <stdlib.h>

static const struct {
    enum value_type type;
    int64_t min, max;
    const char *problem;
} integer_rows[] = {
    {VALUE_INT, INT32_MIN, INT32_MAX, "an int is a whole number from -2147483648 to 2147483647"},
    {VALUE_LONG, INT64_MIN, INT64_MAX, "a long is a whole number of at most 64 bits"},
    {VALUE_SHORT, INT16_MIN, INT16_MAX, "a short is a whole number from -32768 to 32767"},
    {VALUE_BYTE, INT8_MIN, INT8_MAX, "a byte is a whole number from -128 to 127"},
};

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static enum error read_hex(const char *text, struct buf *bytes, const char **problem)
{
    *problem = "bytes are written as hex digits, two for each byte";
    for (; *text != '\0'; text += 2) {
        int high = hex_digit(text[0]), low = high < 0 ? -1 : hex_digit(text[1]);
        if (low < 0)
            return ERROR_INVALID;
        buf_append_byte(bytes, (uint8_t)(high * 16 + low));
    }
    return bytes->failed ? ERROR_MEMORY : OK;
}

enum error typed_value(const char *word, const char *text, struct buf *bytes, struct value *value,
                       const char **problem)
{
    enum value_type type = value_type_of_word(word);
    char *end = NULL;
    *value = (struct value){.type = type, .bytes = slice_text(text)};
    if (type == VALUE_STRING || type == VALUE_JSON)
        return OK;
    for (size_t i = 0; i < sizeof integer_rows / sizeof integer_rows[0]; i++) {
        int64_t number = 0;
        if (integer_rows[i].type != type)
            continue;
        *problem = integer_rows[i].problem;
        if (!text_parse_i64(slice_text(text), &number) || number < integer_rows[i].min ||
            number > integer_rows[i].max)
            return ERROR_INVALID;
        value->integer = number;
        return OK;
    }
    switch (type) {
    case VALUE_BOOLEAN:
        *problem = "a boolean is true or false";
        value->integer = strcmp(text, "true") == 0;
        return value->integer == 1 || strcmp(text, "false") == 0 ? OK : ERROR_INVALID;
    case VALUE_DOUBLE:
        *problem = "a double is a number such as 21.5";
        value->float64 = strtod(text, &end);
        return end != text && *end == '\0' ? OK : ERROR_INVALID;
    case VALUE_FLOAT:
        *problem = "a float is a number such as 21.5";
        value->float32 = strtof(text, &end);
        return end != text && *end == '\0' ? OK : ERROR_INVALID;
    case VALUE_BINARY: {
        enum error error = read_hex(text, bytes, problem);
        value->bytes = buf_slice(bytes);
        return error;
    }
    default:
        return ERROR_NOT_FOUND;
    }
}

/* Only blanks may follow the document. */
static bool is_document(struct slice text)
{
    struct json_error error;
    size_t end = 0;
    buf_init(&error.text);
    bool valid = json_validate(text, &end, &error) == OK;
    buf_fini(&error.text);
    while (valid && end < text.len && strchr(" \t\r\n", text.data[end]) != NULL)
        end++;
    return valid && end == text.len;
}

/* Documents are objects; an array is checked as a field of one. */
static bool is_array(const char *text)
{
    struct buf wrapped;
    buf_init(&wrapped);
    buf_printf(&wrapped, "{\"a\":%s}", text);
    bool valid = !wrapped.failed && is_document(buf_slice(&wrapped));
    buf_fini(&wrapped);
    return valid;
}

struct value typed_guess(const char *text, bool *almost)
{
    const char *start = text + strspn(text, " \t\r\n");
    bool begins = *start == '{' || *start == '[';
    bool valid = *start == '{' ? is_document(slice_text(text)) : begins && is_array(text);
    *almost = begins && !valid;
    return (struct value){.type = valid ? VALUE_JSON : VALUE_STRING, .bytes = slice_text(text)};
}
