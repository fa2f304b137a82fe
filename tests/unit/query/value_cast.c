#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "query/value.h"
#include "tests/lib/mem_fault.h"

#define TINYINT   QUERY_TYPE_TINYINT
#define SMALLINT  QUERY_TYPE_SMALLINT
#define INT       QUERY_TYPE_INT
#define BIGINT    QUERY_TYPE_BIGINT
#define FLOAT     QUERY_TYPE_FLOAT
#define DOUBLE    QUERY_TYPE_DOUBLE
#define DECIMAL   QUERY_TYPE_DECIMAL
#define STRING    QUERY_TYPE_STRING
#define BYTES     QUERY_TYPE_BYTES
#define BOOLEAN   QUERY_TYPE_BOOLEAN
#define TIMESTAMP QUERY_TYPE_TIMESTAMP

/* Types are written {kind, precision, scale} and values as text, which a cast from STRING turns
 * into the type. */
struct row {
    struct query_type from;
    const char *value;
    struct query_type to;
    const char *result; /* "NULL"; or NULL: an error */
};

static void assert_text(const struct query_value *value, const char *expected)
{
    struct buf text;
    buf_init(&text);
    query_value_text(value, &text);
    if (!slice_equal(buf_slice(&text), slice_text(expected))) {
        fail_msg("%.*s != %s", SLICE_FMT(buf_slice(&text)), expected);
    }
    buf_fini(&text);
}

static void check(const struct row *rows, size_t count)
{
    struct arena arena;
    arena_init(&arena, 1 << 20);
    for (size_t i = 0; i < count; i++) {
        const char *why = NULL;
        struct query_value in = {.kind = QUERY_TYPE_STRING, .text = slice_text(rows[i].value)};
        assert_int_equal(query_value_cast(&in, rows[i].from, &arena, &in, &why), OK);
        assert_int_equal(in.kind, rows[i].from.kind);
        struct query_value out = in;
        enum error error = query_value_cast(&in, rows[i].to, &arena, &out, &why);
        if (rows[i].result == NULL) {
            assert_int_equal(error, ERROR_INVALID);
            assert_non_null(why);
            continue;
        }
        assert_int_equal(error, OK);
        assert_true(out.kind == rows[i].to.kind || out.kind == QUERY_TYPE_NULL);
        assert_text(&out, rows[i].result);
        assert_true(query_type_casts(rows[i].from, rows[i].to));
    }
    arena_fini(&arena);
}

#define CHECK(...)                                                                                 \
    do {                                                                                           \
        static const struct row rows[] = {__VA_ARGS__};                                            \
        check(rows, sizeof rows / sizeof *rows);                                                   \
    } while (0)

static void integers_wrap_into_smaller_types(void **state)
{
    (void)state;
    CHECK({{INT, 0, 0}, "300", {TINYINT, 0, 0}, "44"},
          {{BIGINT, 0, 0}, "4294967295", {INT, 0, 0}, "-1"},
          {{BIGINT, 0, 0}, "32768", {SMALLINT, 0, 0}, "-32768"},
          {{TINYINT, 0, 0}, "-128", {BIGINT, 0, 0}, "-128"},
          {{INT, 0, 0}, "5", {DOUBLE, 0, 0}, "5.0"},
          {{BIGINT, 0, 0}, "9007199254740993", {DOUBLE, 0, 0}, "9.007199254740992E15"},
          {{INT, 0, 0}, "16777217", {FLOAT, 0, 0}, "1.6777216E7"},
          {{INT, 0, 0}, "123", {DECIMAL, 5, 2}, "123.00"},
          {{INT, 0, 0}, "1234", {DECIMAL, 5, 2}, "NULL"},
          {{INT, 0, 0}, "-7", {STRING, 0, 0}, "-7"});
}

static void floating_point_stops_at_the_ends_of_integers(void **state)
{
    (void)state;
    CHECK({{DOUBLE, 0, 0}, "-1.9", {INT, 0, 0}, "-1"},
          {{DOUBLE, 0, 0}, "1e10", {INT, 0, 0}, "2147483647"},
          {{DOUBLE, 0, 0}, "1e10", {BIGINT, 0, 0}, "10000000000"},
          {{DOUBLE, 0, 0}, "-1e30", {BIGINT, 0, 0}, "-9223372036854775808"},
          {{DOUBLE, 0, 0}, "NaN", {INT, 0, 0}, "0"}, {{DOUBLE, 0, 0}, "300", {TINYINT, 0, 0}, "44"},
          {{DOUBLE, 0, 0}, "1e10", {TINYINT, 0, 0}, "-1"},
          {{FLOAT, 0, 0}, "9234567891.12", {BIGINT, 0, 0}, "9234568192"},
          {{FLOAT, 0, 0}, "0.1", {DOUBLE, 0, 0}, "0.10000000149011612"},
          {{DOUBLE, 0, 0}, "1e300", {FLOAT, 0, 0}, "Infinity"},
          {{DOUBLE, 0, 0}, "0.15", {DECIMAL, 5, 1}, "0.2"},
          {{DOUBLE, 0, 0}, "99999.5", {DECIMAL, 5, 0}, "NULL"},
          {{DOUBLE, 0, 0}, "NaN", {DECIMAL, 5, 0}, NULL});
}

static void decimals_round_half_up_and_overflow_to_null(void **state)
{
    (void)state;
    CHECK({{DECIMAL, 10, 3}, "1.005", {DECIMAL, 5, 2}, "1.01"},
          {{DECIMAL, 10, 3}, "-1.005", {DECIMAL, 5, 2}, "-1.01"},
          {{DECIMAL, 10, 3}, "999.995", {DECIMAL, 5, 2}, "NULL"},
          {{DECIMAL, 4, 3}, "9.87", {BIGINT, 0, 0}, "9"},
          {{DECIMAL, 4, 3}, "-9.87", {INT, 0, 0}, "-9"},
          {{DECIMAL, 20, 0}, "4294967297", {INT, 0, 0}, "1"},
          {{DECIMAL, 4, 3}, "9.87", {DOUBLE, 0, 0}, "9.87"},
          {{DECIMAL, 4, 3}, "9.87", {FLOAT, 0, 0}, "9.87"},
          {{DECIMAL, 4, 3}, "0.5", {STRING, 0, 0}, "0.500"});
}

static void texts_are_trimmed_and_read(void **state)
{
    (void)state;
    CHECK({{STRING, 0, 0}, " 12 ", {INT, 0, 0}, "12"},
          {{STRING, 0, 0}, "1.234", {BIGINT, 0, 0}, "1"},
          {{STRING, 0, 0}, "128", {TINYINT, 0, 0}, NULL}, {{STRING, 0, 0}, "", {INT, 0, 0}, NULL},
          {{STRING, 0, 0}, "twelve", {DOUBLE, 0, 0}, NULL},
          {{STRING, 0, 0}, " -3276913443134", {FLOAT, 0, 0}, "-3.2769135E12"},
          {{STRING, 0, 0}, "1e-3", {DOUBLE, 0, 0}, "0.001"},
          {{STRING, 0, 0}, "1.235", {DECIMAL, 3, 2}, "1.24"},
          {{STRING, 0, 0}, "12.35", {DECIMAL, 3, 2}, "NULL"},
          {{STRING, 0, 0}, "x", {DECIMAL, 3, 2}, NULL},
          {{STRING, 0, 0}, "abc", {BYTES, 0, 0}, "616263"},
          {{BYTES, 0, 0}, "abc", {STRING, 0, 0}, "abc"});
}

static void booleans_have_words_and_numbers(void **state)
{
    (void)state;
    CHECK({{STRING, 0, 0}, " True", {BOOLEAN, 0, 0}, "TRUE"},
          {{STRING, 0, 0}, "n", {BOOLEAN, 0, 0}, "FALSE"},
          {{STRING, 0, 0}, "0", {BOOLEAN, 0, 0}, "FALSE"},
          {{STRING, 0, 0}, "2", {BOOLEAN, 0, 0}, NULL},
          {{STRING, 0, 0}, "tru", {BOOLEAN, 0, 0}, NULL},
          {{BOOLEAN, 0, 0}, "true", {STRING, 0, 0}, "TRUE"},
          {{BOOLEAN, 0, 0}, "yes", {INT, 0, 0}, "1"},
          {{BOOLEAN, 0, 0}, "no", {DOUBLE, 0, 0}, "0.0"},
          {{BOOLEAN, 0, 0}, "yes", {FLOAT, 0, 0}, "1.0"},
          {{BOOLEAN, 0, 0}, "yes", {DECIMAL, 3, 1}, "1.0"},
          {{INT, 0, 0}, "-3", {BOOLEAN, 0, 0}, "TRUE"},
          {{BIGINT, 0, 0}, "0", {BOOLEAN, 0, 0}, "FALSE"},
          {{DOUBLE, 0, 0}, "1", {BOOLEAN, 0, 0}, NULL});
}

static void timestamps_have_texts(void **state)
{
    (void)state;
    CHECK(
        {{TIMESTAMP, 3, 0}, "2026-01-31 08:00:00.25", {STRING, 0, 0}, "2026-01-31 08:00:00.250"},
        {{TIMESTAMP, 0, 0}, "2026-01-31T08:00:00.999999", {STRING, 0, 0}, "2026-01-31 08:00:00"},
        {{TIMESTAMP, 3, 0}, "2024-02-29", {STRING, 0, 0}, "2024-02-29 00:00:00.000"},
        {{TIMESTAMP, 3, 0}, "1969-12-31 23:59:59.999", {STRING, 0, 0}, "1969-12-31 23:59:59.999"},
        {{TIMESTAMP, 3, 0}, "0000-02-29", {STRING, 0, 0}, "0000-02-29 00:00:00.000"},
        {{TIMESTAMP, 3, 0}, "0001-01-01 00:00", {STRING, 0, 0}, "0001-01-01 00:00:00.000"},
        {{TIMESTAMP, 3, 0}, "9999-12-31 23:59:59", {STRING, 0, 0}, "9999-12-31 23:59:59.000"},
        {{TIMESTAMP, 3, 0}, "2000-02-29 12:34:56.789", {TIMESTAMP, 1, 0}, "2000-02-29 12:34:56.7"},
        {{STRING, 0, 0}, "2023-02-29", {TIMESTAMP, 3, 0}, NULL},
        {{STRING, 0, 0}, "1900-02-29", {TIMESTAMP, 3, 0}, NULL},
        {{STRING, 0, 0}, "2023-13-01", {TIMESTAMP, 3, 0}, NULL},
        {{STRING, 0, 0}, "2023-01-01 24:00:00", {TIMESTAMP, 3, 0}, NULL},
        {{STRING, 0, 0}, "2023-01-01 10:00:00.", {TIMESTAMP, 3, 0}, NULL},
        {{STRING, 0, 0}, "2023-01-01 10:00:00Z", {TIMESTAMP, 3, 0}, NULL},
        {{STRING, 0, 0}, "123", {TIMESTAMP, 3, 0}, NULL},
        {{BIGINT, 0, 0}, "0", {TIMESTAMP, 3, 0}, NULL},
        {{TIMESTAMP, 3, 0}, "2023-01-01", {BIGINT, 0, 0}, NULL});
    struct arena arena;
    arena_init(&arena, 1 << 20);
    const char *why = NULL;
    struct query_value value = {.kind = QUERY_TYPE_STRING,
                                .text = slice_text("2026-01-01 00:00:00.001")};
    struct query_type type = {.kind = QUERY_TYPE_TIMESTAMP, .precision = 3};
    assert_int_equal(query_value_cast(&value, type, &arena, &value, &why), OK);
    assert_true(value.integer == 1767225600001);
    arena_fini(&arena);
}

/* Every day of eight centuries, there and back. */
static void every_day_is_read_as_it_is_written(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 1 << 20);
    const struct query_type type = {.kind = QUERY_TYPE_TIMESTAMP, .precision = 3};
    for (int64_t day = -146097; day < 146097; day += 1) {
        const char *why = NULL;
        struct query_value value = {.kind = QUERY_TYPE_TIMESTAMP, .integer = day * 86400000}, back;
        struct buf text;
        buf_init(&text);
        query_value_text(&value, &text);
        struct query_value read = {.kind = QUERY_TYPE_STRING, .text = buf_slice(&text)};
        assert_int_equal(query_value_cast(&read, type, &arena, &back, &why), OK);
        assert_true(back.integer == value.integer);
        buf_fini(&text);
    }
    arena_fini(&arena);
}

static void floats_show_their_own_digits(void **state)
{
    (void)state;
    static const struct {
        float number;
        const char *text;
    } CASES[] = {{0.1f, "0.1"},
                 {0.3f, "0.3"},
                 {16777216.0f, "1.6777216E7"},
                 {5592405.5f, "5592405.5"},
                 {-0.0f, "-0.0"},
                 {0x1p-149f, "1.4E-45"},
                 {3.4028234663852886e38f, "3.4028235E38"},
                 {(float)INFINITY, "Infinity"},
                 {(float)NAN, "NaN"}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct query_value value = {.kind = QUERY_TYPE_FLOAT, .float32 = CASES[i].number};
        assert_text(&value, CASES[i].text);
    }
}

static void null_stays_null_and_unknown_casts_are_refused(void **state)
{
    (void)state;
    const char *why = NULL;
    struct query_value null = {.kind = QUERY_TYPE_NULL}, out = {.kind = QUERY_TYPE_INT};
    struct query_type type = {.kind = QUERY_TYPE_INT};
    assert_int_equal(query_value_cast(&null, type, NULL, &out, &why), OK);
    assert_int_equal(out.kind, QUERY_TYPE_NULL);
    assert_text(&out, "NULL");
    static const enum query_type_kind CASES[][2] = {
        {QUERY_TYPE_BYTES, QUERY_TYPE_INT},         {QUERY_TYPE_INT, QUERY_TYPE_BYTES},
        {QUERY_TYPE_BOOLEAN, QUERY_TYPE_BYTES},     {QUERY_TYPE_TIMESTAMP, QUERY_TYPE_DOUBLE},
        {QUERY_TYPE_INT, QUERY_TYPE_TIMESTAMP},     {QUERY_TYPE_DECIMAL, QUERY_TYPE_BOOLEAN},
        {QUERY_TYPE_FLOAT, QUERY_TYPE_BOOLEAN},     {QUERY_TYPE_INT, QUERY_TYPE_NULL},
        {QUERY_TYPE_BOOLEAN, QUERY_TYPE_TIMESTAMP},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct query_value in = {.kind = CASES[i][0]};
        type.kind = CASES[i][1];
        why = NULL;
        assert_int_equal(query_value_cast(&in, type, NULL, &out, &why), ERROR_INVALID);
        assert_non_null(why);
        assert_false(query_type_casts((struct query_type){.kind = CASES[i][0]}, type));
    }
    struct query_value bytes = {.kind = QUERY_TYPE_BYTES, .text = slice_of("\xff", 1)};
    type.kind = QUERY_TYPE_STRING;
    assert_int_equal(query_value_cast(&bytes, type, NULL, &out, &why), ERROR_INVALID);
}

static void memory_that_fails_is_reported(void **state)
{
    (void)state;
    const struct query_type type = {.kind = QUERY_TYPE_STRING};
    const struct query_value in = {.kind = QUERY_TYPE_DOUBLE, .float64 = 1.5};
    long live = mem_fault_live();
    enum error error = ERROR_MEMORY;
    unsigned n = 1;
    for (; error == ERROR_MEMORY; n++) {
        const char *why = NULL;
        struct arena arena;
        struct query_value out = {.kind = QUERY_TYPE_NULL};
        arena_init(&arena, 1 << 20);
        mem_fault_fail_at(n);
        error = query_value_cast(&in, type, &arena, &out, &why);
        mem_fault_fail_at(0);
        assert_int_equal(out.kind, error == OK ? QUERY_TYPE_STRING : QUERY_TYPE_NULL);
        arena_fini(&arena);
        assert_int_equal(mem_fault_live(), live);
    }
    assert_int_equal(error, OK);
    assert_true(n > 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_wrap_into_smaller_types),
        cmocka_unit_test(floating_point_stops_at_the_ends_of_integers),
        cmocka_unit_test(decimals_round_half_up_and_overflow_to_null),
        cmocka_unit_test(texts_are_trimmed_and_read),
        cmocka_unit_test(booleans_have_words_and_numbers),
        cmocka_unit_test(timestamps_have_texts),
        cmocka_unit_test(every_day_is_read_as_it_is_written),
        cmocka_unit_test(floats_show_their_own_digits),
        cmocka_unit_test(null_stays_null_and_unknown_casts_are_refused),
        cmocka_unit_test(memory_that_fails_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
