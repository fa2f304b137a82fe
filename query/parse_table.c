/* The parts of CREATE TABLE: types, columns, options. */
#include "query/parse.h"

#include "common/limits.h"
#include "common/text.h"
#include "query/caret.h"
#include "query/number.h"

/* ---- Types ---- */

enum type_arguments { NO_ARGUMENTS, LENGTH, PRECISION, PRECISION_AND_SCALE };

struct type_word {
    const char *word;
    enum query_type_kind kind;
    enum type_arguments arguments;
    uint8_t precision; /* without arguments */
};

/* A length is read and not enforced, as in Flink's sources. */
static const struct type_word type_words[] = {
    {"STRING", QUERY_TYPE_STRING, NO_ARGUMENTS, 0},
    {"VARCHAR", QUERY_TYPE_STRING, LENGTH, 0},
    {"CHAR", QUERY_TYPE_STRING, LENGTH, 0},
    {"BOOLEAN", QUERY_TYPE_BOOLEAN, NO_ARGUMENTS, 0},
    {"TINYINT", QUERY_TYPE_TINYINT, NO_ARGUMENTS, 0},
    {"SMALLINT", QUERY_TYPE_SMALLINT, NO_ARGUMENTS, 0},
    {"INT", QUERY_TYPE_INT, NO_ARGUMENTS, 0},
    {"INTEGER", QUERY_TYPE_INT, NO_ARGUMENTS, 0},
    {"BIGINT", QUERY_TYPE_BIGINT, NO_ARGUMENTS, 0},
    {"FLOAT", QUERY_TYPE_FLOAT, NO_ARGUMENTS, 0},
    {"DOUBLE", QUERY_TYPE_DOUBLE, NO_ARGUMENTS, 0},
    {"DECIMAL", QUERY_TYPE_DECIMAL, PRECISION_AND_SCALE, 10},
    {"DEC", QUERY_TYPE_DECIMAL, PRECISION_AND_SCALE, 10},
    {"NUMERIC", QUERY_TYPE_DECIMAL, PRECISION_AND_SCALE, 10},
    {"BYTES", QUERY_TYPE_BYTES, NO_ARGUMENTS, 0},
    {"VARBINARY", QUERY_TYPE_BYTES, LENGTH, 0},
    {"BINARY", QUERY_TYPE_BYTES, LENGTH, 0},
    {"TIMESTAMP", QUERY_TYPE_TIMESTAMP, PRECISION, 3},
};

static const struct type_word *find_type(struct parse *parse, struct token name)
{
    struct text_nearest nearest;
    text_nearest_init(&nearest, name.text);
    for (size_t i = 0; i < sizeof type_words / sizeof type_words[0]; i++) {
        if (lexer_word_is(name.text, type_words[i].word))
            return &type_words[i];
        text_nearest_offer(&nearest, type_words[i].word);
    }
    char shown[64];
    const char *best = text_nearest_best(&nearest);
    caret_clip(name.text, shown, sizeof shown);
    if (lexer_word_is(name.text, "TIMESTAMP_LTZ") || lexer_word_is(name.text, "DATE") ||
        lexer_word_is(name.text, "TIME") || lexer_word_is(name.text, "ARRAY") ||
        lexer_word_is(name.text, "MAP") || lexer_word_is(name.text, "ROW"))
        parse_fail(parse, ERROR_INVALID, name.at, "the type %s is not supported yet", shown);
    else if (best != NULL)
        parse_fail(parse, ERROR_INVALID, name.at, "there is no type \"%s\"; did you mean %s?",
                   shown, best);
    else
        parse_fail(parse, ERROR_INVALID, name.at,
                   "there is no type \"%s\"; the types are STRING, BOOLEAN, TINYINT, SMALLINT, "
                   "INT, BIGINT, FLOAT, DOUBLE, "
                   "DECIMAL(p, s), BYTES and TIMESTAMP(p)",
                   shown);
    return NULL;
}

/* A number in parentheses; `max` below zero means any. */
static uint8_t type_argument(struct parse *parse, struct token token, int64_t min, int64_t max,
                             const char *what)
{
    int64_t number = 0;
    if (!number_parse_long(token.text, min, max, &number))
        parse_fail(parse, ERROR_INVALID, token.at, "the %s must be from %d to %d", what, (int)min,
                   (int)max);
    return (uint8_t)number;
}

struct query_type parse_type(struct parse *parse, struct token name, bool precise,
                             struct token first, struct token second)
{
    struct query_type none = {.kind = QUERY_TYPE_NULL};
    if (parse->status != OK)
        return none;
    const struct type_word *word = find_type(parse, name);
    if (word == NULL)
        return none;
    struct query_type type = {.kind = word->kind, .precision = word->precision};
    if (precise && word->kind != QUERY_TYPE_DOUBLE)
        parse_fail(parse, ERROR_INVALID, name.at, "only DOUBLE is followed by PRECISION");
    if (second.len > 0 && word->arguments != PRECISION_AND_SCALE)
        parse_fail(parse, ERROR_INVALID, second.at, "%s takes no second number", word->word);
    if (first.len == 0)
        return type;
    switch (word->arguments) {
    case NO_ARGUMENTS:
        parse_fail(parse, ERROR_INVALID, first.at, "%s takes no number in parentheses", word->word);
        break;
    case LENGTH: {
        int64_t length;
        if (!number_parse_long(first.text, 1, INT32_MAX, &length))
            parse_fail(parse, ERROR_INVALID, first.at, "the length must be from 1 to %d",
                       INT32_MAX);
        break;
    }
    case PRECISION:
        if (first.text.len == 1 && first.text.data[0] > '3' && first.text.data[0] <= '9')
            parse_fail(
                parse, ERROR_INVALID, first.at,
                "TIMESTAMP keeps milliseconds: TIMESTAMP(3) is the finest that is supported yet");
        type.precision = type_argument(parse, first, 0, 3, "precision of TIMESTAMP");
        break;
    case PRECISION_AND_SCALE:
        type.precision = type_argument(parse, first, 1, 38, "precision of DECIMAL");
        if (second.len > 0)
            type.scale = type_argument(parse, second, 0, type.precision, "scale of DECIMAL");
        break;
    }
    return type;
}

/* ---- Columns ---- */

/* Room for one more element of an array in the arena. */
static void *grow(struct parse *parse, void *array, uint32_t count, uint32_t *room, size_t size)
{
    if (count < *room)
        return array;
    uint32_t larger = *room == 0 ? 8 : *room * 2;
    void *grown = arena_alloc(parse->arena, larger * size);
    if (grown == NULL) {
        parse->status = ERROR_MEMORY;
        return NULL;
    }
    if (count > 0)
        memcpy(grown, array, count * size);
    *room = larger;
    return grown;
}

static const char *copy_text(struct parse *parse, struct slice text)
{
    char *copy = arena_strndup(parse->arena, (const char *)text.data, text.len);
    if (copy == NULL)
        parse->status = ERROR_MEMORY;
    return copy;
}

static void add_column(struct parse *parse, struct token name, struct query_column column)
{
    struct query_table *table = &parse->statement->table;
    if (parse->status != OK)
        return;
    char shown[64];
    if (name.text.len > LIMIT_NAME_BYTES) {
        parse_fail(parse, ERROR_LIMIT, name.at, "the column's name is longer than %u bytes",
                   LIMIT_NAME_BYTES);
        return;
    }
    for (uint32_t i = 0; i < table->column_count; i++)
        if (slice_equal(slice_text(parse->columns[i].name), name.text)) {
            parse_fail(parse, ERROR_INVALID, name.at, "the table has the column \"%s\" twice",
                       caret_clip(name.text, shown, sizeof shown));
            return;
        }
    if (table->column_count == LIMIT_COLUMNS) {
        parse_fail(parse, ERROR_LIMIT, name.at, "a table has at most %u columns", LIMIT_COLUMNS);
        return;
    }
    parse->columns = grow(parse, parse->columns, table->column_count, &parse->column_room,
                          sizeof *parse->columns);
    if (parse->columns == NULL)
        return;
    column.name = copy_text(parse, name.text);
    parse->columns[table->column_count++] = column;
}

void parse_column(struct parse *parse, struct token name, struct query_type type, bool not_null)
{
    add_column(parse, name, (struct query_column){.type = type, .not_null = not_null});
}

void parse_computed_column(struct parse *parse, struct token name, struct ast_expr *expr)
{
    if (parse->status != OK)
        return;
    if (expr->kind != AST_CALL || !lexer_word_is(expr->name, "PROCTIME") || expr->count != 0 ||
        expr->over != NULL) {
        parse_fail(parse, ERROR_INVALID, expr->at,
                   "computed columns are not supported yet, only \"name AS PROCTIME()\"");
        return;
    }
    add_column(parse, name,
               (struct query_column){.type = {.kind = QUERY_TYPE_TIMESTAMP, .precision = 3},
                                     .proctime = true});
}

/* ---- Options ---- */

struct option_rule {
    const char *name;
    const char *values; /* allowed, between bars; NULL for any */
};

static const struct option_rule option_rules[] = {
    {"connector", "|geode-region|"},
    {"region", NULL},
    {"locators", NULL},
    {"username", NULL},
    {"password", NULL},
    {"format", "|auto|json|fields|"},
    {"numeric.mode", "|exact|flink|"},
    {"scan.changelog-mode", "|auto|append|upsert|all|"},
    {"scan.startup.mode", "|snapshot|latest|earliest-retained|timestamp|token|"},
    {"scan.startup.timestamp-millis", NULL},
    {"scan.on-gap", "|fail|resnapshot|"},
    {"scan.watermark.idle-timeout", NULL},
    {"scan.watermark.scope", "|query|bucket|"},
};

static bool is_allowed(const char *values, struct slice value)
{
    if (values == NULL)
        return true;
    struct slice rest = slice_text(values), part;
    while (text_next_part(&rest, '|', &part))
        if (part.len > 0 && slice_equal(part, value))
            return true;
    return false;
}

static bool check_option(struct parse *parse, struct token name, struct token value)
{
    char shown[64], shown_value[64];
    caret_clip(name.text, shown, sizeof shown);
    if (name.text.len > 6 && memcmp(name.text.data, "param.", 6) == 0)
        return true;
    struct text_nearest nearest;
    text_nearest_init(&nearest, name.text);
    for (size_t i = 0; i < sizeof option_rules / sizeof option_rules[0]; i++) {
        const struct option_rule *rule = &option_rules[i];
        text_nearest_offer(&nearest, rule->name);
        if (!slice_equal(slice_text(rule->name), name.text))
            continue;
        if (is_allowed(rule->values, value.text))
            return true;
        char choices[128];
        size_t len = strlen(rule->values) - 2;
        for (size_t j = 0; j < len; j++)
            choices[j] = rule->values[j + 1] == '|' ? ',' : rule->values[j + 1];
        choices[len] = '\0';
        parse_fail(parse, ERROR_INVALID, value.at, "the option '%s' cannot be '%s'; it can be: %s",
                   rule->name, caret_clip(value.text, shown_value, sizeof shown_value), choices);
        return false;
    }
    const char *best = text_nearest_best(&nearest);
    if (best != NULL)
        parse_fail(parse, ERROR_INVALID, name.at,
                   "there is no table option '%s'; did you mean '%s'?", shown, best);
    else
        parse_fail(parse, ERROR_INVALID, name.at,
                   "there is no table option '%s'; needed are 'connector' and 'region', others are "
                   "'locators', 'username', "
                   "'password', 'format', 'numeric.mode', 'param.NAME' and 'scan.*'",
                   shown);
    return false;
}

void parse_option(struct parse *parse, struct token name, struct token value)
{
    struct query_table *table = &parse->statement->table;
    if (parse->status != OK || !check_option(parse, name, value))
        return;
    for (uint32_t i = 0; i < table->option_count; i++)
        if (slice_equal(slice_text(parse->options[i].name), name.text)) {
            parse_fail(parse, ERROR_INVALID, name.at, "the option '%s' stands here twice",
                       parse->options[i].name);
            return;
        }
    if (table->option_count == LIMIT_PARAMETERS) {
        parse_fail(parse, ERROR_LIMIT, name.at, "a table has at most %u options", LIMIT_PARAMETERS);
        return;
    }
    parse->options = grow(parse, parse->options, table->option_count, &parse->option_room,
                          sizeof *parse->options);
    if (parse->options == NULL)
        return;
    struct query_option option = {.name = copy_text(parse, name.text),
                                  .value = copy_text(parse, value.text)};
    parse->options[table->option_count++] = option;
}

static const char *option_value(const struct parse *parse, const char *name)
{
    for (uint32_t i = 0; i < parse->statement->table.option_count; i++)
        if (strcmp(parse->options[i].name, name) == 0)
            return parse->options[i].value;
    return NULL;
}

void parse_create(struct parse *parse, struct token name, bool if_not_exists)
{
    if (parse->status != OK)
        return;
    struct query_statement *statement = parse->statement;
    statement->kind = QUERY_CREATE_TABLE;
    statement->if_not_exists = if_not_exists;
    statement->name = name.text;
    if (name.text.len > LIMIT_NAME_BYTES) {
        parse_fail(parse, ERROR_LIMIT, name.at, "the table's name is longer than %u bytes",
                   LIMIT_NAME_BYTES);
        return;
    }
    const char *region = option_value(parse, "region");
    if (option_value(parse, "connector") == NULL)
        parse_fail(parse, ERROR_INVALID, name.at,
                   "the option 'connector' is missing: WITH ('connector'='geode-region', ...)");
    while (region != NULL && region[0] == '/')
        region++;
    if (region == NULL || region[0] == '\0')
        parse_fail(
            parse, ERROR_INVALID, name.at,
            "the option 'region' is missing: WITH ('region'='NAME', ...) names the region to read");
    bool stored = false;
    for (uint32_t i = 0; i < statement->table.column_count; i++)
        stored = stored || !parse->columns[i].proctime;
    if (!stored)
        parse_fail(parse, ERROR_INVALID, name.at,
                   "the table has no column that is stored in the region");
    statement->table.name = copy_text(parse, name.text);
    statement->table.region = region;
    statement->table.columns = parse->columns;
    statement->table.options = parse->options;
}
