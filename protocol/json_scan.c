/* The tokens of a document: white space, strings, numbers, words, with the places and texts of
 * Jackson 2.12.1. */
#include "protocol/json_scan.h"

#include "protocol/java_identifier.h"

enum { JSON_TOKEN_UNITS_MAX = 256 };

enum error json_fail_char(struct json_check *check, size_t at, struct json_place place,
                          const char *in, const char *why)
{
    char name[JSON_UNIT_NAME_BYTES];
    size_t len;

    json_name_unit(name, json_unit_at(check->document, at, &len));
    return json_fail_lexical(check->error, JSON_PARSE_EXCEPTION, place,
                             "Unexpected character (%s)%s: %s", name, in, why);
}

enum error json_fail_end(struct json_check *check, const char *why)
{
    return json_fail_lexical(check->error, JSON_EOF_EXCEPTION, json_here(check),
                             "Unexpected end-of-input%s", why);
}

enum error json_skip_more_space(struct json_check *check, int *byte)
{
    char name[JSON_UNIT_NAME_BYTES];

    while (check->at < check->document.len) {
        uint8_t here = check->document.data[check->at];

        if (here > ' ' && here != '/') {
            *byte = here;
            return OK;
        }
        if (here == '/')
            return json_fail_char(
                check, check->at, json_behind(check, check->at), "",
                "maybe a (non-standard) comment? (not recognized as one since Feature "
                "'ALLOW_COMMENTS' not enabled for parser)");
        if (!json_is_space(here)) {
            json_name_unit(name, here);
            return json_fail_lexical(
                check->error, JSON_PARSE_EXCEPTION, json_behind(check, check->at),
                "Illegal character (%s): only regular white space (\\r, \\n, \\t) is "
                "allowed between tokens",
                name);
        }
        check->at++;
    }
    *byte = JSON_END;
    return OK;
}

/* `at` is behind the backslash. */
static enum error json_check_escape(struct json_check *check)
{
    struct slice document = check->document;
    size_t len;

    if (check->at == document.len)
        return json_fail_end(check, " in character escape sequence");
    if (document.data[check->at] != 'u') {
        json_unit_at(document, check->at, &len);
        check->at += len;
        return OK;
    }
    check->at++;
    for (int i = 0; i < 4; i++) {
        if (check->at == document.len)
            return json_fail_end(check, " in character escape sequence");
        uint8_t digit = document.data[check->at];

        if (!((digit >= '0' && digit <= '9') || (digit >= 'a' && digit <= 'f') ||
              (digit >= 'A' && digit <= 'F')))
            return json_fail_char(check, check->at, json_behind(check, check->at), "",
                                  "expected a hex-digit for character escape sequence");
        check->at++;
    }
    return OK;
}

enum error json_check_string(struct json_check *check, const char *what, const char *at_end,
                             bool *escaped)
{
    const uint8_t *data = check->document.data;
    char name[JSON_UNIT_NAME_BYTES];

    *escaped = false;
    for (;;) {
        uint8_t byte;

        check->at += json_plain_run(data + check->at, check->document.len - check->at);
        if (check->at == check->document.len)
            break;
        byte = data[check->at];
        if (byte == '"') {
            check->at++;
            return OK;
        }
        if (byte < ' ') {
            json_name_unit(name, byte);
            return json_fail_lexical(
                check->error, JSON_PARSE_EXCEPTION, json_behind(check, check->at),
                "Illegal unquoted character (%s): has to be escaped using backslash "
                "to be included in %s",
                name, what);
        }
        check->at++;
        if (byte == '\\') {
            enum error error = json_check_escape(check);

            if (error != OK)
                return error;
            *escaped = true;
        }
    }
    return json_fail_end(check, at_end);
}

/* A word that is no value: what was read of it, and whatever follows that could belong to it. */
static enum error json_fail_token(struct json_check *check, size_t start)
{
    size_t units = check->at - start; /* what was read so far is ASCII, or one character */
    const char *more = "";

    while (check->at < check->document.len) {
        size_t len;
        uint32_t unit = json_unit_at(check->document, check->at, &len);

        if (!java_is_identifier_part(unit))
            break;
        check->at += len;
        if (++units >= JSON_TOKEN_UNITS_MAX) {
            more = "...";
            break;
        }
    }
    return json_fail_lexical(check->error, JSON_PARSE_EXCEPTION, json_here(check),
                             "Unrecognized token '%.*s%s': was expecting " JSON_VALUES,
                             (int)(check->at - start), (const char *)check->document.data + start,
                             more);
}

enum error json_check_word(struct json_check *check, const char *word)
{
    size_t start = check->at, len;

    for (const char *letter = word; *letter != '\0'; letter++) {
        if (check->at == check->document.len || check->document.data[check->at] != (uint8_t)*letter)
            return json_fail_token(check, start);
        check->at++;
    }
    if (check->at == check->document.len)
        return OK;
    uint32_t unit = json_unit_at(check->document, check->at, &len);

    if (unit >= '0' && java_is_identifier_part(unit))
        return json_fail_token(check, start);
    return OK;
}

static enum error json_fail_number_word(struct json_check *check, const char *word, size_t skip,
                                        const char *shown)
{
    enum error error = json_check_word(check, word + skip);

    if (error != OK)
        return error;
    return json_fail_lexical(check->error, JSON_PARSE_EXCEPTION, json_here(check),
                             "Non-standard token '%s': enable "
                             "JsonParser.Feature.ALLOW_NON_NUMERIC_NUMBERS to allow",
                             shown);
}

/* A sign without a digit behind it; `at` is at what stands there instead. */
static enum error json_fail_sign(struct json_check *check, bool negative)
{
    static const char why[] = "expected digit (0-9) to follow minus sign, for valid numeric value";
    size_t after_sign = check->at;

    if (check->document.data[check->at] == 'I' && check->at + 1 == check->document.len) {
        check->at++;
        return json_fail_end(check, " in a Number value");
    }
    if (check->document.data[check->at] == 'I') {
        check->at++;
        if (check->document.data[check->at] == 'N')
            return json_fail_number_word(check, "INF", 1, negative ? "-INF" : "+INF");
        if (check->document.data[check->at] == 'n')
            return json_fail_number_word(check, "Infinity", 1,
                                         negative ? "-Infinity" : "+Infinity");
        after_sign = check->at;
    }
    return json_fail_char(check, after_sign, json_behind(check, after_sign), " in numeric value",
                          why);
}

static size_t json_skip_digits(const struct json_check *check, size_t at)
{
    while (at < check->document.len && check->document.data[at] >= '0' &&
           check->document.data[at] <= '9')
        at++;
    return at;
}

/* Fails at `at`, which may be the end. The reference reads numbers in two ways: fast, and again
 * slowly where the number starts with zero or the input ends in it. They report different places.
 */
static enum error json_fail_number(struct json_check *check, size_t at, size_t fast_place,
                                   bool slow, size_t last, const char *why)
{
    if (at == check->document.len) {
        check->at = at;
        return json_fail_char(check, last, json_here(check), " in numeric value", why);
    }
    if (slow)
        return json_fail_char(check, at, json_behind(check, at), " in numeric value", why);
    check->at = fast_place;
    return json_fail_char(check, at, json_here(check), " in numeric value", why);
}

enum error json_check_number(struct json_check *check)
{
    const uint8_t *data = check->document.data;
    size_t end = check->document.len, at = check->at, fast_place;
    bool slow;

    if (data[at] == '-') {
        check->at = ++at;
        if (at == end)
            return json_fail_end(check, "No digit following minus sign");
        if (data[at] < '0' || data[at] > '9')
            return json_fail_sign(check, true);
    }
    slow = data[at] == '0';
    if (slow && at + 1 < end && data[at + 1] >= '0' && data[at + 1] <= '9') {
        check->at = at + 1;
        return json_fail_lexical(check->error, JSON_PARSE_EXCEPTION, json_here(check),
                                 "Invalid numeric value: Leading zeroes not allowed");
    }
    at = json_skip_digits(check, at);
    fast_place = at + 1;
    if (at < end && data[at] == '.') {
        size_t fraction = at + 1;

        at = json_skip_digits(check, fraction);
        if (at == fraction)
            return json_fail_number(check, at, fast_place, slow, at - 1,
                                    "Decimal point not followed by a digit");
    }
    if (at < end && (data[at] == 'e' || data[at] == 'E')) {
        size_t digits = at + 1;

        if (digits < end && (data[digits] == '-' || data[digits] == '+'))
            digits++;
        if (digits == end) {
            check->at = end;
            return json_fail_end(check, "expected a digit for number exponent");
        }
        at = json_skip_digits(check, digits);
        if (at == digits)
            return json_fail_number(check, at, fast_place, slow, at - 1,
                                    "Exponent indicator not followed by a digit");
    }
    check->at = at;
    if (check->depth == 0 && at < end && !json_is_space(data[at]))
        return json_fail_char(check, at, json_behind(check, at), "",
                              "Expected space separating root-level values");
    return OK;
}

enum error json_fail_value(struct json_check *check)
{
    size_t start = check->at, len;
    uint32_t unit = json_unit_at(check->document, start, &len);

    switch (unit) {
    case 'N':
        return json_fail_number_word(check, "NaN", 0, "NaN");
    case 'I':
        return json_fail_number_word(check, "Infinity", 0, "Infinity");
    case '+':
        check->at++;
        if (check->at == check->document.len)
            return json_fail_end(check, " in a Number value");
        return json_fail_sign(check, false);
    case '}':
        return json_fail_char(check, start, json_behind(check, start), "", "expected a value");
    default:
        break;
    }
    if (java_is_identifier_start(unit)) {
        check->at += len;
        return json_fail_token(check, start);
    }
    return json_fail_char(check, start, json_behind(check, start), "",
                          "expected a valid value " JSON_VALUES);
}
