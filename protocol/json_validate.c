/* The check of a document: the grammar of Jackson 2.12.1 with unquoted field names and any escaped
 * character, in one pass and without recursion, failing at the same place and with the same text.
 */
#include "common/text.h"
#include "protocol/java_identifier.h"
#include "protocol/json_scan.h"

static const char *json_level_name(const struct json_check *check)
{
    if (check->depth == 0)
        return "root";
    return check->levels[check->depth - 1].is_object ? "Object" : "Array";
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
    error = text.failed
                ? ERROR_MEMORY
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
        error = json_check_string(check, "string value",
                                  ": was expecting closing quote for a string value", &escaped);
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
            return json_fail_char(
                check, check->at, json_behind(check, check->at), "",
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
            error = json_fail_lexical(
                check->error, JSON_PARSE_EXCEPTION, json_here(check),
                "Unexpected close marker '%c': expected '%c' (for %s starting at %.*s)", byte,
                is_object ? ']' : '}', json_level_name(check), SLICE_FMT(buf_slice(&start)));
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
                                  level->is_object
                                      ? "was expecting comma to separate Object entries"
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
        return json_fail_structure(check->error, json_here(check),
                                   "java.lang.NullPointerException");
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
                               "java.lang.IllegalStateException: %s called when state is NONE",
                               what);
}

enum error json_validate(struct slice document, size_t *end, struct json_error *json_error)
{
    struct json_check check UNINITIALIZED; /* the levels are filled as they are opened */
    enum error error;

    check.document = document;
    check.at = 0;
    check.depth = 0;
    check.error = json_error;

    json_names_init(&check.names, document);
    /* A string of the wire has been checked; a document may come from elsewhere. */
    error = text_is_utf8(document) ? json_check_root(&check)
                                   : json_fail_lexical(json_error, JSON_PARSE_EXCEPTION,
                                                       json_here(&check), "Invalid UTF-8");
    while (error == OK && check.depth > 0)
        error = json_check_entry(&check);
    json_names_fini(&check.names);
    *end = check.at;
    return error;
}
