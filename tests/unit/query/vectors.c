/* What Apache Flink 2.3.0 answered, row by row: tests/data/query. Differences that are ours by
 * decision stand in `ours`. */
#include "tests/unit/query/engine.h"

#include <math.h>
#include <stdlib.h>

enum { FIELDS_MAX = 16, LINE_ROOM = 4096, ROWS_MAX = 64 };

/* ---- Lines ---- */

static uint32_t split(char *line, char *fields[FIELDS_MAX])
{
    uint32_t count = 0;
    line[strcspn(line, "\r\n")] = '\0';
    for (char *at = line; at != NULL && count < FIELDS_MAX; count++) {
        fields[count] = at;
        at = strchr(at, '\t');
        if (at != NULL)
            *at++ = '\0';
    }
    return count;
}

static FILE *open_data(const char *folder, const char *name)
{
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        fail_msg("%s cannot be opened", path);
    return file;
}

/* ---- One case ---- */

struct flink_case {
    char name[64], sql[1024], error[512], ddl[1024];
    char documents[ROWS_MAX][256];
    uint32_t row_count;
    char expected[ROWS_MAX][256]; /* "row kind values", values separated by tabs */
    uint32_t expected_count;
    bool upsert;
    char columns[FIELDS_MAX][64], types[FIELDS_MAX][32];
    uint32_t column_count;
};

static void append(char *text, size_t room, const char *more)
{
    size_t used = strlen(text);
    assert_true(used + strlen(more) < room);
    (void)snprintf(text + used, room - used, "%s", more);
}

static void take_table(struct flink_case *c, char **fields, uint32_t count)
{
    (void)snprintf(c->ddl, sizeof c->ddl, "CREATE TABLE %s (", fields[2]);
    c->column_count = 0;
    for (uint32_t i = 3; i < count; i++) {
        char *type = strchr(fields[i], ' ');
        assert_non_null(type);
        *type++ = '\0';
        append(c->ddl, sizeof c->ddl, i > 3 ? ", `" : "`");
        append(c->ddl, sizeof c->ddl, fields[i]);
        append(c->ddl, sizeof c->ddl, "` ");
        append(c->ddl, sizeof c->ddl, strcmp(type, ":= PROCTIME()") == 0 ? "AS PROCTIME()" : type);
        if (type[0] == ':')
            continue;
        (void)snprintf(c->columns[c->column_count], 64, "%s", fields[i]);
        (void)snprintf(c->types[c->column_count++], 32, "%s", type);
    }
    append(c->ddl, sizeof c->ddl, ") WITH ('connector'='geode-region','region'='my_region')");
}

/* A row as the JSON document that would hold it. NaN and infinities are strings there. */
static void take_row(struct flink_case *c, char **fields, uint32_t count)
{
    char *document = c->documents[c->row_count++];
    assert_string_equal(fields[4], "+I");
    append(document, 256, "{");
    for (uint32_t i = 5; i < count; i++) {
        const char *text = fields[i], *type = c->types[i - 5];
        bool special = strstr(text, "NaN") != NULL || strstr(text, "Infinity") != NULL;
        const char *quote = strncmp(type, "STRING", 6) == 0 || special ? "\"" : "";
        append(document, 256, i > 5 ? ",\"" : "\"");
        append(document, 256, c->columns[i - 5]);
        append(document, 256, "\":");
        if (strcmp(text, "\\N") == 0) {
            append(document, 256, "null");
            continue;
        }
        append(document, 256, quote);
        append(document, 256, text);
        append(document, 256, quote);
    }
    append(document, 256, "}");
}

static void take_result(struct flink_case *c, char **fields, uint32_t count)
{
    char *line = c->expected[c->expected_count++];
    for (uint32_t i = 2; i < count; i++) {
        append(line, 256, i > 2 ? "\t" : "");
        append(line, 256, fields[i]);
    }
}

static bool next_case(FILE *file, struct flink_case *c)
{
    char line[LINE_ROOM], *fields[FIELDS_MAX];
    memset(c, 0, sizeof *c);
    while (fgets(line, sizeof line, file) != NULL) {
        if (line[0] == '#')
            continue;
        uint32_t count = split(line, fields);
        assert_true(count >= 2);
        (void)snprintf(c->name, sizeof c->name, "%s", fields[0]);
        if (strcmp(fields[1], "table") == 0)
            take_table(c, fields, count);
        else if (strcmp(fields[1], "sql") == 0)
            (void)snprintf(c->sql, sizeof c->sql, "%s", fields[2]);
        else if (strcmp(fields[1], "in") == 0)
            take_row(c, fields, count);
        else if (strcmp(fields[1], "out") == 0)
            take_result(c, fields, count);
        else if (strcmp(fields[1], "upsert") == 0)
            c->upsert = true;
        else if (strcmp(fields[1], "error") == 0)
            (void)snprintf(c->error, sizeof c->error, "%s", fields[2]);
        else if (strcmp(fields[1], "done") == 0)
            return true;
    }
    return false;
}

/* ---- Comparison ---- */

struct checker {
    struct flink_case *c;
    uint32_t row, next;
    const char *mode;
};

static bool is_equal(const struct query_value *value, const char *expected)
{
    if (strcmp(expected, "\\N") == 0 || value->kind == QUERY_TYPE_NULL)
        return strcmp(expected, "\\N") == 0 && value->kind == QUERY_TYPE_NULL;
    if (value->kind == QUERY_TYPE_DOUBLE) {
        double number = strtod(expected, NULL);
        return (isnan(number) && isnan(value->float64)) ||
               memcmp(&number, &value->float64, sizeof number) == 0;
    }
    if (value->kind == QUERY_TYPE_FLOAT) {
        float number = strtof(expected, NULL);
        return (isnan(number) && isnan(value->float32)) ||
               memcmp(&number, &value->float32, sizeof number) == 0;
    }
    struct buf text;
    buf_init(&text);
    query_value_text(value, &text);
    bool equal = text.len == strlen(expected) &&
                 strncasecmp((const char *)text.data, expected, text.len) == 0;
    buf_fini(&text);
    return equal;
}

/* HAVING: entering and leaving are an insert and a delete for us, as the table that the kinds
 * describe has it. */
static const char *our_kind(const struct flink_case *c, const char *kind)
{
    if (strncmp(c->name, "C17", 3) != 0)
        return kind;
    return strcmp(kind, "+U") == 0 ? "+I" : "-D";
}

static enum error check_result(void *arg, enum query_kind kind, const struct query_row *row)
{
    static const char *const kinds[] = {"+I", "-U", "+U", "-D"};
    struct checker *checker = arg;
    struct flink_case *c = checker->c;
    char line[256], *fields[FIELDS_MAX];
    if (c->upsert && kind == QUERY_UPDATE_BEFORE)
        return OK;
    if (checker->next == c->expected_count)
        fail_msg("%s %s: a result too many at row %u", c->name, checker->mode, checker->row);
    (void)snprintf(line, sizeof line, "%s", c->expected[checker->next++]);
    uint32_t count = split(line, fields);
    assert_int_equal(count, row->count + 2);
    assert_int_equal(strtol(fields[0], NULL, 10), checker->row);
    assert_string_equal(our_kind(c, fields[1]), kinds[kind]);
    for (uint32_t i = 0; i < row->count; i++)
        if (!is_equal(&row->values[i], fields[i + 2])) {
            struct buf text;
            buf_init(&text);
            query_value_text(&row->values[i], &text);
            fail_msg("%s %s: row %u column %u: %.*s instead of %s", c->name, checker->mode,
                     checker->row, i, (int)text.len, (const char *)text.data, fields[i + 2]);
        }
    return OK;
}

static void run_rows(struct engine *engine, struct flink_case *c, const char *mode)
{
    struct checker checker = {.c = c, .mode = mode};
    for (uint32_t i = 0; i < c->row_count; i++) {
        struct value key = {.type = VALUE_STRING, .bytes = slice_text("k")};
        struct value value = {.type = VALUE_JSON, .bytes = slice_text(c->documents[i])};
        struct query_input input = {.key = &key, .value = &value};
        struct query_row row;
        bool admitted;
        checker.row = i + 1;
        arena_reset(&engine->row);
        assert_int_equal(
            query_admit(engine->plan, &input, &engine->row, &admitted, &row, &engine->error), OK);
        if (!admitted)
            continue;
        if (engine->state == NULL)
            assert_int_equal(check_result(&checker, QUERY_INSERT, &row), OK);
        else
            assert_int_equal(query_state_apply(engine->state, &row, &engine->row, check_result,
                                               &checker, &engine->error),
                             OK);
    }
    if (checker.next != c->expected_count)
        fail_msg("%s %s: %u results instead of %u", c->name, mode, checker.next, c->expected_count);
}

/* Flink's own rounding and order: flink mode alone. */
static bool is_flink_only(const char *name)
{
    static const char *const names[] = {"C20-float", "C20-decimal-wide", "C21-avg",
                                        "C21-frame", "C22-group",        "P23",
                                        "P28",       "P28-group",        "P33"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

static void run_case(struct flink_case *c, enum query_numeric_mode mode)
{
    struct engine engine;
    engine_init(&engine);
    engine_run(&engine, c->ddl);
    enum error status = engine_try(&engine, c->sql, mode);
    if (strcmp(c->name, "C5") == 0) {
        /* Our words: a parameter is a way that Flink does not have. */
        assert_int_equal(status, ERROR_INVALID);
        assert_contains(engine.error.message, "start_time");
    } else if (strcmp(c->name, "P12") == 0) {
        assert_int_equal(status, OK); /* no ORDER BY is the order of arrival */
    } else if (c->error[0] != '\0') {
        assert_int_equal(status, ERROR_INVALID);
        c->error[strlen(c->error) - 1] = '\0'; /* the full stop */
        assert_contains(engine.error.message, c->error);
    } else {
        if (status != OK)
            fail_msg("%s: %s", c->name, engine.error.message);
        run_rows(&engine, c, mode == QUERY_FLINK ? "flink" : "exact");
    }
    engine_fini(&engine);
}

static void run_cases(enum query_numeric_mode mode)
{
    FILE *file = open_data(TEST_DATA_DIR, "query/cases.tsv");
    struct flink_case c;
    uint32_t count = 0;
    while (next_case(file, &c)) {
        if (mode == QUERY_FLINK || !is_flink_only(c.name))
            run_case(&c, mode);
        count++;
    }
    (void)fclose(file);
    assert_true(count >= 40);
}

static void flink_mode_gives_flinks_bits(void **state)
{
    (void)state;
    run_cases(QUERY_FLINK);
}

static void exact_mode_gives_the_same_where_nothing_is_rounded(void **state)
{
    (void)state;
    run_cases(QUERY_EXACT);
}

/* ---- Exact values of our own ---- */

static void exact_mode_is_exact_where_flink_rounds(void **state)
{
    (void)state;
    struct engine engine;
    engine_init(&engine);
    engine_run(&engine, "CREATE TABLE S (id STRING, v DOUBLE) WITH "
                        "('connector'='geode-region','region'='my_region')");
    engine_run(&engine, "SELECT AVG(v) OVER (PARTITION BY id) FROM S");
    const char *const average[] = {"{\"v\":0.1}", "{\"v\":0.2}", "{\"v\":0.3}"};
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(engine_feed(&engine, average[i]), OK);
    assert_string_equal(engine_take(&engine), "+I 0.1\n+I 0.15000000000000002\n+I 0.2\n");
    engine_run(&engine, "SELECT AVG(v) OVER (PARTITION BY id ROWS 1 PRECEDING) FROM S");
    const char *const frames[] = {"{\"id\":\"a\",\"v\":1e16}",
                                  "{\"id\":\"a\",\"v\":1}",
                                  "{\"id\":\"a\",\"v\":2}",
                                  "{\"id\":\"a\",\"v\":3}",
                                  "{\"id\":\"b\",\"v\":10}",
                                  "{\"id\":\"b\",\"v\":\"NaN\"}",
                                  "{\"id\":\"b\",\"v\":20}",
                                  "{\"id\":\"b\",\"v\":30}",
                                  "{\"id\":\"b\",\"v\":40}",
                                  "{\"id\":\"c\",\"v\":10}",
                                  "{\"id\":\"c\",\"v\":\"Infinity\"}",
                                  "{\"id\":\"c\",\"v\":20}",
                                  "{\"id\":\"c\",\"v\":30}",
                                  "{\"id\":\"c\",\"v\":40}"};
    for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++)
        assert_int_equal(engine_feed(&engine, frames[i]), OK);
    assert_string_equal(
        engine_take(&engine),
        "+I 1.0E16\n+I 5.0E15\n+I 1.5\n+I 2.5\n+I 10.0\n+I NaN\n+I NaN\n+I 25.0\n+I 35.0\n"
        "+I 10.0\n+I Infinity\n+I Infinity\n+I 25.0\n+I 35.0\n");
    engine_fini(&engine);
}

/* ---- The readings of a year ---- */

enum { IDS_MAX = 8 };

struct running {
    char id[16];
    double magnitude;
    uint32_t count;
};

static struct running *running_of(struct running *ids, const char *id)
{
    uint32_t i = 0;
    while (ids[i].id[0] != '\0' && strcmp(ids[i].id, id) != 0)
        i++;
    assert_true(i < IDS_MAX - 1);
    (void)snprintf(ids[i].id, sizeof ids[i].id, "%s", id);
    return &ids[i];
}

struct readings {
    FILE *expected;
    struct running ids[IDS_MAX];
    enum query_numeric_mode mode;
    uint64_t results;
};

static enum error check_reading(void *arg, enum query_kind kind, const struct query_row *row)
{
    struct readings *readings = arg;
    char line[256], *fields[FIELDS_MAX];
    assert_int_equal(kind, QUERY_INSERT);
    assert_non_null(fgets(line, sizeof line, readings->expected));
    assert_int_equal(split(line, fields), 3);
    assert_true(is_equal(&row->values[0], fields[1]));
    double ours = row->values[1].float64, theirs = strtod(fields[2], NULL);
    const struct running *running = running_of(readings->ids, fields[1]);
    if (readings->mode == QUERY_FLINK)
        assert_true(is_equal(&row->values[1], fields[2]));
    else
        assert_true(fabs(ours - theirs) <=
                    running->count * 0x1p-53 * running->magnitude / running->count);
    readings->results++;
    return OK;
}

typedef void each_reading(struct engine *engine, struct readings *readings, const char *id,
                          long long timestamp, const char *temperature);

static void read_all(struct engine *engine, struct readings *readings, each_reading *each)
{
    FILE *file = open_data(TEST_SOURCE_ROOT, "deploy/data/weather-2013.csv");
    char line[256];
    assert_non_null(fgets(line, sizeof line, file));
    while (fgets(line, sizeof line, file) != NULL) {
        char *save = NULL, *id = strtok_r(line, ",", &save),
             *timestamp = strtok_r(NULL, ",", &save);
        char *temperature = strtok_r(NULL, ",\r\n", &save);
        each(engine, readings, id, strtoll(timestamp, NULL, 10),
             temperature == NULL ? "null" : temperature);
    }
    (void)fclose(file);
}

static void feed_reading(struct engine *engine, struct readings *readings, const char *id,
                         long long timestamp, const char *temperature)
{
    char document[256];
    (void)snprintf(document, sizeof document,
                   "{\"id\":\"%s\",\"timestamp\":%lld,\"temperature\":%s}", id, timestamp,
                   temperature);
    struct value key = {.type = VALUE_STRING, .bytes = slice_text(id)};
    struct value value = {.type = VALUE_JSON, .bytes = slice_text(document)};
    struct query_input input = {.key = &key, .value = &value};
    struct query_row row;
    bool admitted;
    arena_reset(&engine->row);
    assert_int_equal(
        query_admit(engine->plan, &input, &engine->row, &admitted, &row, &engine->error), OK);
    if (!admitted)
        return;
    struct running *running = running_of(readings->ids, id);
    if (strcmp(temperature, "null") != 0) {
        running->magnitude += fabs(strtod(temperature, NULL));
        running->count++;
    }
    if (readings->expected != NULL)
        assert_int_equal(query_state_apply(engine->state, &row, &engine->row, check_reading,
                                           readings, &engine->error),
                         OK);
    else
        assert_int_equal(query_state_apply(engine->state, &row, &engine->row, engine_result,
                                           &engine->results, &engine->error),
                         OK);
    engine->results.len = 0;
}

static const char readings_ddl[] =
    "CREATE TABLE SensorReadings (id STRING, timestamp BIGINT, temperature DOUBLE) "
    "WITH ('connector'='geode-region','region'='my_region')";

static void the_founding_query_over_a_year(void **state)
{
    (void)state;
    for (int mode = QUERY_EXACT; mode <= QUERY_FLINK; mode++) {
        struct engine engine;
        struct readings readings = {.mode = (enum query_numeric_mode)mode};
        char line[LINE_ROOM];
        engine_init(&engine);
        engine_run(&engine, readings_ddl);
        engine.parameters[0] = (struct query_parameter){
            slice_text("start_time"), {.kind = QUERY_TYPE_BIGINT, .integer = 1372732200000}};
        engine.parameter_count = 1;
        const char *sql = "SELECT id, AVG(temperature) OVER (PARTITION BY id) FROM SensorReadings "
                          "WHERE timestamp >= start_time";
        assert_int_equal(engine_try(&engine, sql, readings.mode), OK);
        readings.expected = open_data(TEST_DATA_DIR, "query/weather-2013-q1-founding.tsv");
        assert_non_null(fgets(line, sizeof line, readings.expected));
        read_all(&engine, &readings, feed_reading);
        assert_int_equal(readings.results, 13032);
        assert_null(fgets(line, sizeof line, readings.expected));
        (void)fclose(readings.expected);
        engine_fini(&engine);
    }
}

static enum error check_group(void *arg, enum query_kind kind, const struct query_row *row)
{
    struct readings *readings = arg;
    char line[256], *fields[FIELDS_MAX];
    assert_int_equal(kind, QUERY_INSERT);
    assert_non_null(fgets(line, sizeof line, readings->expected));
    assert_int_equal(split(line, fields), 7);
    const struct running *running = running_of(readings->ids, fields[1]);
    double tolerance = running->count * 0x1p-53 * running->magnitude;
    for (uint32_t i = 0; i < row->count; i++) {
        bool sum = i == 1 || i == 5; /* AVG, SUM */
        if (readings->mode == QUERY_FLINK || !sum)
            assert_true(is_equal(&row->values[i], fields[i + 1]));
        else
            assert_true(fabs(row->values[i].float64 - strtod(fields[i + 1], NULL)) <=
                        (i == 1 ? tolerance / running->count : tolerance));
    }
    readings->results++;
    return OK;
}

static void groups_of_a_year(void **state)
{
    (void)state;
    for (int mode = QUERY_EXACT; mode <= QUERY_FLINK; mode++) {
        struct engine engine;
        struct readings readings = {.mode = (enum query_numeric_mode)mode};
        char line[LINE_ROOM];
        engine_init(&engine);
        engine_run(&engine, readings_ddl);
        const char *sql = "SELECT id, AVG(temperature), COUNT(temperature), MIN(temperature), "
                          "MAX(temperature), SUM(temperature) "
                          "FROM SensorReadings GROUP BY id";
        assert_int_equal(engine_try(&engine, sql, readings.mode), OK);
        read_all(&engine, &readings, feed_reading);
        readings.expected = open_data(TEST_DATA_DIR, "query/weather-2013-q2-group-by.tsv");
        assert_non_null(fgets(line, sizeof line, readings.expected));
        arena_reset(&engine.row);
        assert_int_equal(query_state_each(engine.state, &engine.row, check_group, &readings), OK);
        assert_int_equal(readings.results, 3);
        (void)fclose(readings.expected);
        engine_fini(&engine);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flink_mode_gives_flinks_bits),
        cmocka_unit_test(exact_mode_gives_the_same_where_nothing_is_rounded),
        cmocka_unit_test(exact_mode_is_exact_where_flink_rounds),
        cmocka_unit_test(the_founding_query_over_a_year),
        cmocka_unit_test(groups_of_a_year),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
