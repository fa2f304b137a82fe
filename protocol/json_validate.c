/* The check of a document: the grammar of Jackson 2.12.1 with unquoted field names and any escaped character, in one pass and
 * without recursion, failing at the same place and with the same text. */
#include "protocol/json_impl.h"

#include "common/limits.h"
#include "protocol/java_identifier.h"
#include "protocol/json_names.h"

#define JSON_VALUES "(JSON String, Number, Array, Object or token 'null', 'true' or 'false')"

enum { JSON_END = -1, JSON_TOKEN_UNITS_MAX = 256 };

struct json_level {
    size_t after_bracket; /* the byte behind the opening bracket */
    size_t names_base;
    bool is_object;
    bool has_entries;
};

struct json_check {
    struct slice document;
    size_t at;
    struct json_level levels[LIMIT_JSON_DEPTH];
    uint32_t depth;
    struct json_names names;
    struct json_error *error;
};

static struct json_place json_here(const struct json_check *check)
{
    return (struct json_place){check->document, check->at, 0};
}

/* Behind the first unit of the character at `at`, where the reference stands when it has read it. */
static struct json_place json_behind(const struct json_check *check, size_t at)
{
    return (struct json_place){check->document, at, 1};
}

static const char *json_level_name(const struct json_check *check)
{
    if (check->depth == 0)
        return "root";
    return check->levels[check->depth - 1].is_object ? "Object" : "Array";
}

static enum error json_fail_char(struct json_check *check, size_t at, struct json_place place,
                                 const char *in, const char *why)
{
    char name[JSON_UNIT_NAME_BYTES];
    size_t len;

    json_name_unit(name, json_unit_at(check->document, at, &len));
    return json_fail_lexical(check->error, JSON_PARSE_EXCEPTION, place, "Unexpected character (%s)%s: %s",
                             name, in, why);
}

static enum error json_fail_end(struct json_check *check, const char *why)
{
    return json_fail_lexical(check->error, JSON_EOF_EXCEPTION, json_here(check),
                             "Unexpected end-of-input%s", why);
}

/* Skips white space. *byte is the first byte behind it, which `at` still points to, or JSON_END. */
static enum error json_skip_space(struct json_check *check, int *byte)
{
    char name[JSON_UNIT_NAME_BYTES];

    while (check->at < check->document.len) {
        uint8_t here = check->document.data[check->at];

        if (here > ' ' && here != '/') {
            *byte = here;
            return OK;
        }
        if (here == '/')
            return json_fail_char(check, check->at, json_behind(check, check->at), "",
                                  "maybe a (non-standard) comment? (not recognized as one since Feature "
                                  "'ALLOW_COMMENTS' not enabled for parser)");
        if (!json_is_space(here)) {
            json_name_unit(name, here);
            return json_fail_lexical(check->error, JSON_PARSE_EXCEPTION, json_behind(check, check->at),
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

/* `at` is behind the opening quote; afterwards behind the closing one. */
static enum error json_check_string(struct json_check *check, const char *what, const char *at_end,
                                    bool *escaped)
{
    const uint8_t *data = check->document.data;
    char name[JSON_UNIT_NAME_BYTES];

    *escaped = false;
    while (check->at < check->document.len) {
        uint8_t byte = data[check->at];

        if (byte == '"') {
            check->at++;
            return OK;
        }
        if (byte < ' ') {
            json_name_unit(name, byte);
            return json_fail_lexical(check->error, JSON_PARSE_EXCEPTION, json_behind(check, check->at),
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
                             (int)(check->at - start), (const char *)check->document.data + start, more);
}

/* `at` is at the word's first letter, which has been seen. */
static enum error json_check_word(struct json_check *check, const char *word)
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
            return json_fail_number_word(check, "Infinity", 1, negative ? "-Infinity" : "+Infinity");
        after_sign = check->at;
    }
    return json_fail_char(check, after_sign, json_behind(check, after_sign), " in numeric value", why);
}

static size_t json_skip_digits(const struct json_check *check, size_t at)
{
    while (at < check->document.len && check->document.data[at] >= '0' && check->document.data[at] <= '9')
        at++;
    return at;
}

/* Fails at `at`, which may be the end. The reference reads numbers in two ways: fast, and again slowly where the number starts with
 * zero or the input ends in it. They report different places. */
static enum error json_fail_number(struct json_check *check, size_t at, size_t fast_place, bool slow,
                                   size_t last, const char *why)
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

/* `at` is at the sign or the first digit. */
static enum error json_check_number(struct json_check *check)
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

/* What begins no value. `at` is at it. */
static enum error json_fail_value(struct json_check *check)
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
    return json_fail_char(check, start, json_behind(check, start), "", "expected a valid value " JSON_VALUES);
}

static enum error json_open(struct json_check *check, bool is_object)
{
    check->at++;
    if (check->depth == LIMIT_JSON_DEPTH)
        return json_fail_lexical(check->error, JSON_PARSE_EXCEPTION, json_here(check),
                                 "The document is nested more than %u deep", LIMIT_JSON_DEPTH);
    check->levels[check->depth++] = (struct json_level){
        .after_bracket = check->at,
        .names_base = check->names.count,
        .is_object = is_object,
    };
    return OK;
}

static enum error json_fail_twice(struct json_check *check, const struct json_name *name)
{
    struct json_place place = {check->document, name->value_end, 0};
    struct buf text;
    enum error error;

    buf_init(&text);
    json_unescape(slice_of(check->document.data + name->start, name->len), &text);
    error = text.failed ? ERROR_MEMORY
                        : json_fail_structure(check->error, place,
                                              "org.apache.geode.pdx.PdxFieldAlreadyExistsException: The "
                                              "field \"%.*s\" already exists.",
                                              SLICE_FMT(buf_slice(&text)));
    buf_fini(&text);
    return error;
}

/* A value has ended at `at`: if it is a field's, its name must be new. */
static enum error json_value_ended(struct json_check *check)
{
    if (check->depth == 0 || !check->levels[check->depth - 1].is_object)
        return OK;
    if (!json_names_set(&check->names, check->levels[check->depth - 1].names_base, check->at))
        return OK;
    return json_fail_twice(check, &check->names.names[check->names.count - 1]);
}

static enum error json_check_value(struct json_check *check, int byte)
{
    enum error error;
    bool escaped;

    switch (byte) {
    case '{':
    case '[':
        return json_open(check, byte == '{');
    case '"':
        check->at++;
        error = json_check_string(check, "string value", ": was expecting closing quote for a string value",
                                  &escaped);
        break;
    case 't':
        error = json_check_word(check, "true");
        break;
    case 'f':
        error = json_check_word(check, "false");
        break;
    case 'n':
        error = json_check_word(check, "null");
        break;
    case '-':
    case '0' ... '9':
        error = json_check_number(check);
        break;
    default:
        error = json_fail_value(check);
        break;
    }
    return error == OK ? json_value_ended(check) : error;
}

/* Characters of an unquoted name: those of Java's identifiers and @ # * - +. */
static bool json_is_name_unit(uint32_t unit)
{
    if (unit <= ' ')
        return false;
    return unit == '@' || unit == '#' || unit == '*' || unit == '-' || unit == '+' ||
           java_is_identifier_part(unit);
}

/* A name, the colon and what is between; `at` is at the name, afterwards at the value. */
static enum error json_check_name(struct json_check *check, int *byte)
{
    size_t start = check->at, len;
    bool escaped = false;
    enum error error;

    if (*byte == '"') {
        check->at++;
        error = json_check_string(check, "name", " in field name", &escaped);
        if (error != OK)
            return error;
        error = json_names_push(&check->names, start + 1, check->at - start - 2, escaped);
    } else {
        if (!json_is_name_unit(json_unit_at(check->document, check->at, &len)))
            return json_fail_char(check, check->at, json_behind(check, check->at), "",
                                  "was expecting either valid name character (for unquoted name) or "
                                  "double-quote (for quoted) to start field name");
        do
            check->at += len;
        while (check->at < check->document.len &&
               json_is_name_unit(json_unit_at(check->document, check->at, &len)));
        error = json_names_push(&check->names, start, check->at - start, false);
    }
    if (error == ERROR_LIMIT)
        return json_fail_lexical(check->error, JSON_PARSE_EXCEPTION, json_here(check),
                                 "The document has more than %u fields", LIMIT_JSON_NAMES);
    if (error == OK)
        error = json_skip_space(check, byte);
    if (error != OK)
        return error;
    if (*byte != JSON_END && *byte != ':')
        return json_fail_char(check, check->at, json_behind(check, check->at), "",
                              "was expecting a colon to separate field name and value");
    if (*byte == ':') {
        check->at++;
        error = json_skip_space(check, byte);
    }
    if (error == OK && *byte == JSON_END)
        return json_fail_end(check, " within/between Object entries");
    return error;
}

static enum error json_close(struct json_check *check, int byte)
{
    bool is_object = byte == '}';
    struct json_level *level = check->depth == 0 ? NULL : &check->levels[check->depth - 1];
    struct json_name twice;

    check->at++;
    if (level == NULL || level->is_object != is_object) {
        struct buf start;
        enum error error = ERROR_MEMORY;

        buf_init(&start);
        json_append_start(&start, check->document, level == NULL ? 0 : level->after_bracket);
        if (!start.failed)
            error = json_fail_lexical(check->error, JSON_PARSE_EXCEPTION, json_here(check),
                                      "Unexpected close marker '%c': expected '%c' (for %s starting at %.*s)",
                                      byte, is_object ? ']' : '}', json_level_name(check),
                                      SLICE_FMT(buf_slice(&start)));
        buf_fini(&start);
        return error;
    }
    check->depth--;
    if (is_object && json_names_pop(&check->names, level->names_base, &twice))
        return json_fail_twice(check, &twice);
    return json_value_ended(check);
}

static enum error json_fail_open(struct json_check *check)
{
    const struct json_level *level = &check->levels[check->depth - 1];
    struct buf why;
    enum error error;

    buf_init(&why);
    buf_printf(&why, ": expected close marker for %s (start marker at ", json_level_name(check));
    json_append_start(&why, check->document, level->after_bracket);
    buf_append(&why, ")", 2);
    error = why.failed ? ERROR_MEMORY : json_fail_end(check, (const char *)why.data);
    buf_fini(&why);
    return error;
}

/* One entry of the innermost object or array, or its end. */
static enum error json_check_entry(struct json_check *check)
{
    struct json_level *level = &check->levels[check->depth - 1];
    enum error error;
    int byte;

    error = json_skip_space(check, &byte);
    if (error != OK)
        return error;
    if (byte == JSON_END)
        return json_fail_open(check);
    if (byte == '}' || byte == ']')
        return json_close(check, byte);
    if (level->has_entries) {
        if (byte != ',')
            return json_fail_char(check, check->at, json_behind(check, check->at), "",
                                  level->is_object ? "was expecting comma to separate Object entries"
                                                   : "was expecting comma to separate Array entries");
        check->at++;
        error = json_skip_space(check, &byte);
        if (error != OK)
            return error;
        if (byte == JSON_END)
            return json_fail_lexical(check->error, JSON_PARSE_EXCEPTION, json_here(check),
                                     "Unexpected end-of-input within/between %s entries",
                                     json_level_name(check));
    }
    level->has_entries = true;
    if (level->is_object) {
        error = json_check_name(check, &byte);
        if (error != OK)
            return error;
    }
    return json_check_value(check, byte);
}

/* A root that is no object is a value in good order for Jackson; Geode refuses it then. */
static enum error json_check_root(struct json_check *check)
{
    const char *what;
    enum error error;
    int byte;

    error = json_skip_space(check, &byte);
    if (error != OK)
        return error;
    switch (byte) {
    case JSON_END:
        return json_fail_structure(check->error, json_here(check), "java.lang.NullPointerException");
    case '{':
        return json_open(check, true);
    case '}':
    case ']':
        return json_close(check, byte);
    case '[':
        check->at++;
        what = "Array start";
        break;
    case '"':
        check->at++;
        what = "stringFound";
        break;
    case 't':
    case 'f':
        what = "boolFound";
        error = json_check_value(check, byte);
        break;
    case 'n':
        what = "nullFound";
        error = json_check_value(check, byte);
        break;
    default: {
        size_t start = check->at;

        error = json_check_value(check, byte);
        what = "intFound";
        for (size_t i = start; i < check->at; i++) {
            if (check->document.data[i] == '.' || (check->document.data[i] | 0x20) == 'e')
                what = "doubleFound";
        }
        break;
    }
    }
    if (error != OK)
        return error;
    return json_fail_structure(check->error, json_here(check),
                               "java.lang.IllegalStateException: %s called when state is NONE", what);
}

enum error json_validate(struct slice document, size_t *end, struct json_error *json_error)
{
    struct json_check check = {.document = document, .error = json_error};
    enum error error;

    json_names_init(&check.names, document);
    error = json_check_root(&check);
    while (error == OK && check.depth > 0)
        error = json_check_entry(&check);
    json_names_fini(&check.names);
    *end = check.at;
    return error;
}
