#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>

#include "query/aggregate.h"
#include "query/decimal.h"
#include "tests/lib/mem_fault.h"

#define TINYINT        QUERY_TYPE_TINYINT
#define SMALLINT       QUERY_TYPE_SMALLINT
#define INT            QUERY_TYPE_INT
#define BIGINT         QUERY_TYPE_BIGINT
#define FLOAT          QUERY_TYPE_FLOAT
#define DOUBLE         QUERY_TYPE_DOUBLE
#define DECIMAL        QUERY_TYPE_DECIMAL
#define STRING         QUERY_TYPE_STRING
#define COUNT_ROWS     AGGREGATE_COUNT_ROWS
#define COUNT          AGGREGATE_COUNT
#define SUM            AGGREGATE_SUM
#define AVG            AGGREGATE_AVG
#define MIN            AGGREGATE_MIN
#define MAX            AGGREGATE_MAX
#define FLINK          QUERY_FLINK
#define EXACT          QUERY_EXACT
#define GROUP          false, false
#define GROUP_CHANGES  false, true
#define OVER_UNBOUNDED true, false
#define OVER_FRAME     true, true

/* What arrives and leaves, and what the function tells then: "+2 +3=5 -2=3". NULL is \N. */
struct script {
    struct aggregate_spec spec;
    const char *steps;
};

static struct query_value read_value(struct slice text, struct query_type type, struct arena *arena)
{
    const char *why = "";
    struct query_value value = {.kind = QUERY_TYPE_STRING, .text = text};
    if (slice_equal(text, slice_text("\\N"))) {
        value.kind = QUERY_TYPE_NULL;
    }
    assert_int_equal(query_value_cast(&value, type, arena, &value, &why), OK);
    return value;
}

static void assert_result(const struct aggregate_spec *spec, const void *accumulator,
                          struct slice expected, struct arena *arena, const char *steps)
{
    struct query_type type;
    struct query_value result;
    assert_int_equal(aggregate_result_type(spec, &type), OK);
    struct query_value value = read_value(expected, type, arena);
    aggregate_result(spec, accumulator, &result);
    if (!query_value_identical(&result, &value)) {
        struct buf text;
        buf_init(&text);
        query_value_text(&result, &text);
        fail_msg("%.*s != %.*s in %s", SLICE_FMT(buf_slice(&text)), SLICE_FMT(expected), steps);
    }
}

static void run(const struct script *script)
{
    struct arena arena;
    arena_init(&arena, 1 << 20);
    const struct aggregate_spec *spec = &script->spec;
    void *accumulator = mem_alloc(aggregate_size(spec));
    assert_int_equal(aggregate_size(spec) % 16, 0);
    aggregate_init(spec, accumulator);
    for (const char *step = script->steps; *step != 0;) {
        size_t len = strcspn(step, " "), value_len = strcspn(step, " =");
        struct query_value value =
            read_value(slice_of(step + 1, value_len - 1), spec->input, &arena);
        if (*step == '+') {
            assert_int_equal(aggregate_add(spec, accumulator, &value), OK);
        } else {
            aggregate_retract(spec, accumulator, &value);
        }
        if (value_len < len) {
            struct slice expected = slice_of(step + value_len + 1, len - value_len - 1);
            assert_result(spec, accumulator, expected, &arena, script->steps);
        }
        step += len;
        step += strspn(step, " ");
    }
    aggregate_fini(spec, accumulator);
    mem_free(accumulator);
    arena_fini(&arena);
}

#define RUN(...)                                                                                   \
    do {                                                                                           \
        static const struct script scripts[] = {__VA_ARGS__};                                      \
        for (size_t script_ = 0; script_ < sizeof scripts / sizeof *scripts; script_++) {          \
            run(&scripts[script_]);                                                                \
        }                                                                                          \
    } while (0)

/* ---- What Flink 2.3.0 gave; the names are those of the recorded cases ---- */

static void flink_c3_nulls(void **state)
{
    (void)state;
    RUN({{AVG, {DOUBLE, 0, 0}, FLINK, OVER_UNBOUNDED}, "+\\N=\\N +\\N=\\N +8.0=8.0"},
        {{SUM, {DOUBLE, 0, 0}, FLINK, OVER_UNBOUNDED}, "+\\N=\\N +\\N=\\N +8.0=8.0"},
        {{COUNT, {DOUBLE, 0, 0}, FLINK, OVER_UNBOUNDED}, "+\\N=0 +\\N=0 +8.0=1"},
        {{COUNT_ROWS, {0, 0, 0}, FLINK, OVER_UNBOUNDED}, "+\\N=1 +\\N=2 +\\N=3"});
}

static void flink_c20_integers(void **state)
{
    (void)state;
    RUN({{AVG, {INT, 0, 0}, FLINK, GROUP}, "+1=1 +2=1"},
        {{SUM, {INT, 0, 0}, FLINK, GROUP}, "+1=1 +2=3"},
        {{AVG, {INT, 0, 0}, FLINK, GROUP}, "+-1=-1 +-2=-1"},
        {{SUM, {INT, 0, 0}, FLINK, GROUP}, "+-1=-1 +-2=-3"},
        {{AVG, {INT, 0, 0}, FLINK, GROUP}, "+2147483647=2147483647 +1=1073741824"},
        {{SUM, {INT, 0, 0}, FLINK, GROUP}, "+2147483647=2147483647 +1=-2147483648"},
        {{AVG, {BIGINT, 0, 0}, FLINK, GROUP},
         "+9223372036854775807=9223372036854775807 +1=-4611686018427387904"},
        {{SUM, {BIGINT, 0, 0}, FLINK, GROUP},
         "+9223372036854775807=9223372036854775807 +1=-9223372036854775808"},
        {{AVG, {BIGINT, 0, 0}, FLINK, GROUP}, "+-7=-7 +2=-2"},
        {{SUM, {BIGINT, 0, 0}, FLINK, GROUP}, "+-7=-7 +2=-5"},
        {{AVG, {TINYINT, 0, 0}, FLINK, GROUP}, "+127=127 +2=64"},
        {{SUM, {TINYINT, 0, 0}, FLINK, GROUP}, "+127=127 +2=-127"},
        {{AVG, {SMALLINT, 0, 0}, FLINK, GROUP}, "+32767=32767 +2=16384"},
        {{SUM, {SMALLINT, 0, 0}, FLINK, GROUP}, "+32767=32767 +2=-32767"});
}

static void flink_c20_decimals(void **state)
{
    (void)state;
    RUN({{AVG, {DECIMAL, 5, 2}, FLINK, GROUP}, "+1.00=1.000000 +2.00=1.500000 +2.00=1.666667"},
        {{SUM, {DECIMAL, 5, 2}, FLINK, GROUP}, "+1.00=1.00 +2.00=3.00 +2.00=5.00"},
        {{AVG, {DECIMAL, 5, 2}, FLINK, GROUP},
         "+-1.00=-1.000000 +-2.00=-1.500000 +-2.00=-1.666667"},
        {{SUM, {DECIMAL, 5, 2}, FLINK, GROUP}, "+-1.00=-1.00 +-2.00=-3.00 +-2.00=-5.00"},
        {{AVG, {DECIMAL, 9, 6}, FLINK, GROUP}, "+0.000001=0.000001 +0=0.000001"},
        {{AVG, {DECIMAL, 9, 6}, FLINK, GROUP}, "+0.000003=0.000003 +0=0.000002"},
        {{AVG, {DECIMAL, 9, 6}, FLINK, GROUP}, "+-0.000001=-0.000001 +0=-0.000001"},
        {{AVG, {DECIMAL, 9, 6}, FLINK, GROUP}, "+-0.000003=-0.000003 +0=-0.000002"});
}

#define WIDE "99999999999999999999999999999999.000000"

static void flink_c20_decimal_overflow(void **state)
{
    (void)state;
    RUN({{AVG, {DECIMAL, 38, 6}, FLINK, GROUP}, "+" WIDE "=" WIDE " +" WIDE "=\\N +-" WIDE "=\\N"},
        {{SUM, {DECIMAL, 38, 6}, FLINK, GROUP},
         "+" WIDE "=" WIDE " +" WIDE "=\\N +-" WIDE "=-" WIDE});
}

static void flink_c20_floats(void **state)
{
    (void)state;
    RUN({{AVG, {FLOAT, 0, 0}, FLINK, GROUP}, "+0.1=0.1 +0.2=0.15"},
        {{SUM, {FLOAT, 0, 0}, FLINK, GROUP}, "+0.1=0.1 +0.2=0.3"});
}

static void flink_c21_doubles_are_added_as_they_come(void **state)
{
    (void)state;
    RUN({{AVG, {DOUBLE, 0, 0}, FLINK, OVER_UNBOUNDED},
         "+0.1=0.1 +0.2=0.15000000000000002 +0.3=0.20000000000000004"},
        {{AVG, {DOUBLE, 0, 0}, FLINK, OVER_FRAME},
         "+1.0E16=1.0E16 +1=5.0E15 -1.0E16 +2=1.0 -1 +3=2.0"},
        {{AVG, {DOUBLE, 0, 0}, FLINK, OVER_FRAME},
         "+10=10 +NaN=NaN -10 +20=NaN -NaN +30=NaN -20 +40=NaN"},
        {{AVG, {DOUBLE, 0, 0}, FLINK, OVER_FRAME},
         "+10=10 +Infinity=Infinity -10 +20=Infinity -Infinity +30=NaN -20 +40=NaN"});
}

static void flink_c22_extremes_of_special_doubles(void **state)
{
    (void)state;
    RUN({{MIN, {DOUBLE, 0, 0}, FLINK, GROUP}, "+NaN=NaN +2.0=NaN"},
        {{MAX, {DOUBLE, 0, 0}, FLINK, GROUP}, "+NaN=NaN +2.0=NaN"},
        {{MIN, {DOUBLE, 0, 0}, FLINK, GROUP}, "+2.0=2.0 +NaN=2.0"},
        {{MAX, {DOUBLE, 0, 0}, FLINK, GROUP}, "+2.0=2.0 +NaN=2.0"},
        {{MIN, {DOUBLE, 0, 0}, FLINK, GROUP}, "+0.0=0.0 +-0.0=0.0"},
        {{MAX, {DOUBLE, 0, 0}, FLINK, GROUP}, "+0.0=0.0 +-0.0=0.0"},
        {{MIN, {DOUBLE, 0, 0}, FLINK, GROUP}, "+3.0=3.0 +2.0=2.0"},
        {{MAX, {DOUBLE, 0, 0}, FLINK, GROUP}, "+3.0=3.0 +2.0=3.0"},
        {{MIN, {DOUBLE, 0, 0}, FLINK, GROUP}, "+-0.0=-0.0 +0.0=-0.0"},
        {{MAX, {DOUBLE, 0, 0}, FLINK, GROUP}, "+-0.0=-0.0 +0.0=-0.0"},
        {{MIN, {FLOAT, 0, 0}, FLINK, GROUP}, "+NaN=NaN +2.0=NaN"},
        {{MIN, {DOUBLE, 0, 0}, FLINK, OVER_FRAME}, "+NaN=NaN +2.0=2.0 -NaN +3.0=2.0"},
        {{MAX, {DOUBLE, 0, 0}, FLINK, OVER_FRAME}, "+NaN=NaN +2.0=NaN -NaN +3.0=3.0"},
        {{MIN, {DOUBLE, 0, 0}, FLINK, OVER_FRAME}, "+2.0=2.0 +NaN=2.0 -2.0 +1.0=1.0 -NaN +0.0=0.0"},
        {{MAX, {DOUBLE, 0, 0}, FLINK, OVER_FRAME}, "+2.0=2.0 +NaN=NaN -2.0 +1.0=NaN -NaN +0.0=1.0"},
        {{MIN, {DOUBLE, 0, 0}, FLINK, OVER_FRAME}, "+0.0=0.0 +-0.0=-0.0 -0.0 +0.0=-0.0"},
        {{MAX, {DOUBLE, 0, 0}, FLINK, OVER_FRAME}, "+0.0=0.0 +-0.0=0.0 -0.0 +0.0=0.0"});
}

static void flink_p7_p8_p20_retraction(void **state)
{
    (void)state;
    RUN({{AVG, {DOUBLE, 0, 0}, FLINK, GROUP_CHANGES}, "+\\N=\\N +8.0=8.0 -8.0=\\N -\\N"},
        {{SUM, {DOUBLE, 0, 0}, FLINK, GROUP_CHANGES}, "+\\N=\\N +8.0=8.0 -8.0=\\N -\\N"},
        {{MIN, {DOUBLE, 0, 0}, FLINK, GROUP_CHANGES}, "+\\N=\\N +8.0=8.0 -8.0=\\N -\\N"},
        {{COUNT, {DOUBLE, 0, 0}, FLINK, GROUP_CHANGES}, "+\\N=0 +8.0=1 -8.0=0 -\\N=0"},
        {{COUNT_ROWS, {DOUBLE, 0, 0}, FLINK, GROUP_CHANGES}, "+\\N=1 +8.0=2 -8.0=1 -\\N=0"},
        {{AVG, {DOUBLE, 0, 0}, FLINK, GROUP_CHANGES},
         "+1.0E16=1.0E16 +1.0=5.0E15 -1.0E16=0.0 +NaN=NaN -NaN=NaN"},
        {{SUM, {DOUBLE, 0, 0}, FLINK, GROUP_CHANGES},
         "+1.0E16=1.0E16 +1.0=1.0E16 -1.0E16=0.0 +NaN=NaN -NaN=NaN"},
        {{MIN, {DOUBLE, 0, 0}, FLINK, GROUP_CHANGES}, "+NaN=NaN +2.0=2.0 -NaN=2.0 +NaN=2.0"},
        {{MAX, {DOUBLE, 0, 0}, FLINK, GROUP_CHANGES}, "+NaN=NaN +2.0=NaN -NaN=2.0 +NaN=NaN"},
        {{MIN, {DOUBLE, 0, 0}, FLINK, GROUP_CHANGES}, "+0.0=0.0 +-0.0=-0.0 --0.0=0.0 -0.0=\\N"},
        {{MAX, {DOUBLE, 0, 0}, FLINK, GROUP_CHANGES}, "+0.0=0.0 +-0.0=0.0 --0.0=0.0 -0.0=\\N"});
}

static void flink_p24_nulls_leave_a_frame(void **state)
{
    (void)state;
    RUN({{SUM, {DOUBLE, 0, 0}, FLINK, OVER_FRAME}, "+5=5 +\\N=5 -5 +\\N=\\N -\\N +3=3 -\\N +9=12"},
        {{AVG, {DOUBLE, 0, 0}, FLINK, OVER_FRAME}, "+5=5 +\\N=5 -5 +\\N=\\N -\\N +3=3 -\\N +9=6"},
        {{COUNT, {DOUBLE, 0, 0}, FLINK, OVER_FRAME}, "+5=1 +\\N=1 -5 +\\N=0 -\\N +3=1 -\\N +9=2"},
        {{COUNT_ROWS, {DOUBLE, 0, 0}, FLINK, OVER_FRAME},
         "+5=1 +\\N=2 -5 +\\N=2 -\\N +3=2 -\\N +9=2"},
        {{MIN, {DOUBLE, 0, 0}, FLINK, OVER_FRAME}, "+5=5 +\\N=5 -5 +\\N=\\N -\\N +3=3 -\\N +9=3"},
        {{MAX, {DOUBLE, 0, 0}, FLINK, OVER_FRAME}, "+5=5 +\\N=5 -5 +\\N=\\N -\\N +3=3 -\\N +9=9"});
}

static void flink_p27_p28_p29_over_adds_in_the_input_type(void **state)
{
    (void)state;
    RUN({{AVG, {INT, 0, 0}, FLINK, OVER_UNBOUNDED}, "+2147483647=2147483647 +1=-1073741824"},
        {{SUM, {INT, 0, 0}, FLINK, OVER_UNBOUNDED}, "+2147483647=2147483647 +1=-2147483648"},
        {{AVG, {INT, 0, 0}, FLINK, OVER_UNBOUNDED}, "+-1=-1 +-2=-1"},
        {{AVG, {INT, 0, 0}, FLINK, OVER_UNBOUNDED}, "+1=1 +2=1"},
        {{AVG, {FLOAT, 0, 0}, FLINK, OVER_UNBOUNDED}, "+0.1=0.1 +0.2=0.15"},
        {{SUM, {FLOAT, 0, 0}, FLINK, OVER_UNBOUNDED}, "+0.1=0.1 +0.2=0.3"},
        {{AVG, {FLOAT, 0, 0}, FLINK, OVER_UNBOUNDED},
         "+1.6777216E7=1.6777216E7 +1=8388608.0 +1=5592405.5"},
        {{SUM, {FLOAT, 0, 0}, FLINK, OVER_UNBOUNDED},
         "+1.6777216E7=1.6777216E7 +1=1.6777216E7 +1=1.6777216E7"},
        {{AVG, {FLOAT, 0, 0}, FLINK, GROUP}, "+1.6777216E7=1.6777216E7 +1=8388608.0 +1=5592406.0"},
        {{SUM, {FLOAT, 0, 0}, FLINK, GROUP},
         "+1.6777216E7=1.6777216E7 +1=1.6777216E7 +1=1.6777216E7"},
        {{AVG, {DECIMAL, 5, 2}, FLINK, OVER_UNBOUNDED},
         "+1.00=1.000000 +2.00=1.500000 +2.00=1.666667"},
        {{SUM, {DECIMAL, 5, 2}, FLINK, OVER_UNBOUNDED}, "+1.00=1.00 +2.00=3.00 +2.00=5.00"});
}

static void flink_p30_sums_of_minus_zero(void **state)
{
    (void)state;
    RUN({{AVG, {DOUBLE, 0, 0}, FLINK, OVER_UNBOUNDED}, "+-0.0=0.0 +-0.0=0.0"},
        {{SUM, {DOUBLE, 0, 0}, FLINK, OVER_UNBOUNDED}, "+-0.0=0.0 +-0.0=0.0"},
        {{AVG, {DOUBLE, 0, 0}, FLINK, GROUP}, "+-0.0=0.0"},
        {{SUM, {DOUBLE, 0, 0}, FLINK, GROUP}, "+-0.0=-0.0"},
        {{SUM, {DOUBLE, 0, 0}, FLINK, GROUP}, "+\\N=\\N"});
}

static void flink_p33_frame_of_three(void **state)
{
    (void)state;
    RUN({{AVG, {DOUBLE, 0, 0}, FLINK, OVER_FRAME},
         "+0.1=0.1 +0.2=0.15000000000000002 +0.3=0.20000000000000004 -0.1 +22.08=7.526666666666666 "
         "-0.2 +0.001=7.460333333333334 -0.3 +19.97=14.017000000000001 "
         "-22.08 +0.7=6.890333333333334"},
        {{SUM, {DOUBLE, 0, 0}, FLINK, OVER_FRAME},
         "+0.1=0.1 +0.2=0.30000000000000004 +0.3=0.6000000000000001 -0.1 +22.08=22.58 "
         "-0.2 +0.001=22.381 -0.3 +19.97=42.051 -22.08 +0.7=20.671000000000003"});
}

/* ---- Exact mode ---- */

static void exact_sums_are_rounded_once_and_forget(void **state)
{
    (void)state;
    RUN({{AVG, {DOUBLE, 0, 0}, EXACT, OVER_UNBOUNDED},
         "+0.1=0.1 +0.2=0.15000000000000002 +0.3=0.2"},
        {{AVG, {DOUBLE, 0, 0}, EXACT, OVER_FRAME},
         "+1.0E16=1.0E16 +1=5.0E15 -1.0E16 +2=1.5 -1 +3=2.5"},
        {{AVG, {DOUBLE, 0, 0}, EXACT, OVER_FRAME},
         "+10=10 +NaN=NaN -10 +20=NaN -NaN +30=25 -20 +40=35"},
        {{AVG, {DOUBLE, 0, 0}, EXACT, OVER_FRAME},
         "+10=10 +Infinity=Infinity -10 +20=Infinity -Infinity +30=25 -20 +40=35"},
        {{SUM, {DOUBLE, 0, 0}, EXACT, GROUP_CHANGES},
         "+1.0E16=1.0E16 +1=1.0E16 -1.0E16=1.0 +NaN=NaN -NaN=1.0 -1=\\N"},
        {{SUM, {DOUBLE, 0, 0}, EXACT, GROUP}, "+\\N=\\N +0.1 +0.2 +0.3=0.6"});
}

static void exact_sums_of_minus_zero(void **state)
{
    (void)state;
    RUN({{SUM, {DOUBLE, 0, 0}, EXACT, GROUP}, "+-0.0=-0.0 +-0.0=-0.0 +0.0=0.0"},
        {{AVG, {DOUBLE, 0, 0}, EXACT, GROUP}, "+-0.0=0.0"},
        {{SUM, {DOUBLE, 0, 0}, EXACT, OVER_UNBOUNDED}, "+-0.0=0.0"},
        {{AVG, {DOUBLE, 0, 0}, EXACT, OVER_UNBOUNDED}, "+-0.0=0.0"},
        {{SUM, {FLOAT, 0, 0}, EXACT, GROUP}, "+-0.0=-0.0"},
        {{SUM, {FLOAT, 0, 0}, EXACT, OVER_UNBOUNDED}, "+-0.0=0.0"},
        /* What is no zero before rounding keeps its sign. */
        {{AVG, {DOUBLE, 0, 0}, EXACT, GROUP}, "+-4.9E-324 +0=-0.0"},
        {{AVG, {DOUBLE, 0, 0}, EXACT, OVER_UNBOUNDED}, "+-4.9E-324 +0=-0.0"});
}

static void exact_floats_have_the_whole_sum(void **state)
{
    (void)state;
    RUN({{AVG, {FLOAT, 0, 0}, EXACT, OVER_UNBOUNDED}, "+1.6777216E7 +1=8388608.0 +1=5592406.0"},
        {{SUM, {FLOAT, 0, 0}, EXACT, GROUP}, "+1.6777216E7 +1=1.6777216E7 +1=1.6777218E7"});
}

static void exact_decimals_that_overflow_stay_null(void **state)
{
    (void)state;
    RUN({{SUM, {DECIMAL, 38, 6}, EXACT, GROUP},
         "+" WIDE "=" WIDE " +" WIDE "=\\N +-" WIDE "=\\N +1=\\N"},
        {{AVG, {DECIMAL, 38, 6}, EXACT, OVER_UNBOUNDED}, "+" WIDE " +" WIDE "=\\N +-" WIDE "=\\N"},
        /* Unless rows leave: then the sum is that of the rows that are there. */
        {{SUM, {DECIMAL, 38, 6}, EXACT, OVER_FRAME},
         "+" WIDE "=" WIDE " +" WIDE "=\\N +" WIDE "=\\N -" WIDE "=\\N -" WIDE "=" WIDE},
        {{SUM, {DECIMAL, 38, 6}, EXACT, GROUP_CHANGES},
         "+-" WIDE " +-" WIDE " +-" WIDE "=\\N --" WIDE " --" WIDE "=-" WIDE " --" WIDE "=\\N"},
        {{AVG, {DECIMAL, 5, 2}, EXACT, GROUP}, "+1.00=1.000000 +2.00=1.500000 +2.00=1.666667"});
}

static void exact_extremes_do_not_depend_on_who_came_first(void **state)
{
    (void)state;
    RUN({{MIN, {DOUBLE, 0, 0}, EXACT, GROUP}, "+NaN=NaN +2=2 +-0.0=-0.0 +0.0=-0.0"},
        {{MAX, {DOUBLE, 0, 0}, EXACT, GROUP}, "+-0.0=-0.0 +0.0=0.0 +2=2 +NaN=NaN +3=NaN"});
}

static void strings_have_extremes(void **state)
{
    (void)state;
    RUN({{MIN, {STRING, 0, 0}, EXACT, GROUP}, "+\\N=\\N +pear=pear +apple=apple +plum=apple"},
        {{MAX, {STRING, 0, 0}, FLINK, GROUP}, "+pear=pear +apple=pear +plum=plum +=plum"},
        {{MAX, {STRING, 0, 0}, EXACT, OVER_FRAME}, "+pear=pear +plum=plum -plum=pear -pear=\\N"},
        {{MIN, {DECIMAL, 9, 2}, EXACT, GROUP}, "+1.50=1.50 +-1.50=-1.50 +7=-1.50"},
        {{MAX, {QUERY_TYPE_BOOLEAN, 0, 0}, EXACT, GROUP}, "+false=false +true=true"},
        {{MAX, {BIGINT, 0, 0}, EXACT, OVER_FRAME}, "+5 +9=9 +9 -9=9 -9=5"});
}

/* ---- Properties ---- */

static const struct aggregate_spec SPECS[] = {
    {COUNT_ROWS, {DOUBLE, 0, 0}, EXACT, OVER_FRAME}, {COUNT, {DOUBLE, 0, 0}, EXACT, OVER_FRAME},
    {SUM, {DOUBLE, 0, 0}, EXACT, OVER_FRAME},        {AVG, {DOUBLE, 0, 0}, EXACT, GROUP_CHANGES},
    {SUM, {FLOAT, 0, 0}, EXACT, OVER_FRAME},         {AVG, {FLOAT, 0, 0}, EXACT, GROUP_CHANGES},
    {SUM, {TINYINT, 0, 0}, EXACT, OVER_FRAME},       {AVG, {INT, 0, 0}, FLINK, OVER_FRAME},
    {AVG, {BIGINT, 0, 0}, FLINK, GROUP_CHANGES},     {SUM, {DECIMAL, 38, 2}, EXACT, OVER_FRAME},
    {AVG, {DECIMAL, 38, 2}, EXACT, GROUP_CHANGES},   {MIN, {DOUBLE, 0, 0}, EXACT, OVER_FRAME},
    {MAX, {STRING, 0, 0}, EXACT, GROUP_CHANGES},
};
enum { SPEC_COUNT = sizeof SPECS / sizeof *SPECS, VALUES = 24 };

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static struct query_value random_value(struct query_type type, uint64_t *random)
{
    static const char *const words[] = {"", "a", "b", "sensor", "sensors", "z"};
    static const double specials[] = {(double)NAN, (double)INFINITY, -(double)INFINITY, -0.0};
    uint64_t bits = next_random(random);
    struct query_value value = {.kind = type.kind, .scale = type.scale};
    if (bits % 8 == 0) {
        return (struct query_value){.kind = QUERY_TYPE_NULL};
    }
    double number = ldexp((double)(int64_t)bits, (int)(next_random(random) % 400) - 263);
    number = bits % 32 == 1 ? specials[bits / 32 % 4] : number;
    switch (type.kind) {
    case DOUBLE:
        value.float64 = number;
        break;
    case FLOAT:
        value.float32 = (float)number;
        break;
    case DECIMAL:
        value.decimal = (int128)(int64_t)bits * (int64_t)9000000000000000000;
        break;
    case STRING:
        value.text = slice_text(words[bits / 8 % 6]);
        break;
    case TINYINT:
        value.integer = (int8_t)(bits >> 8);
        break;
    case INT:
        value.integer = (int32_t)(bits >> 8);
        break;
    default:
        value.integer = (int64_t)bits;
    }
    return value;
}

static void assert_same(const struct aggregate_spec *spec, const void *a, const void *b)
{
    struct query_value left, right;
    aggregate_result(spec, a, &left);
    aggregate_result(spec, b, &right);
    assert_true(query_value_identical(&left, &right));
    assert_int_equal(aggregate_hash(spec, a, 9), aggregate_hash(spec, b, 9));
}

static void order_and_departed_rows_leave_no_trace(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        for (size_t which = 0; which < SPEC_COUNT; which++) {
            const struct aggregate_spec *spec = &SPECS[which];
            uint64_t random = seed;
            struct query_value values[VALUES];
            void *a = mem_alloc(aggregate_size(spec)), *b = mem_alloc(aggregate_size(spec));
            aggregate_init(spec, a);
            aggregate_init(spec, b);
            for (size_t i = 0; i < VALUES; i++) {
                values[i] = random_value(spec->input, &random);
                assert_int_equal(aggregate_add(spec, a, &values[i]), OK);
            }
            /* The last third leaves; b sees only the others, in another order. */
            for (size_t i = VALUES * 2 / 3; i < VALUES; i++) {
                aggregate_retract(spec, a, &values[i]);
            }
            size_t start = next_random(&random) % VALUES;
            for (size_t i = 0; i < VALUES; i++) {
                size_t at = (start + i * 7) % VALUES;
                if (at < VALUES * 2 / 3) {
                    assert_int_equal(aggregate_add(spec, b, &values[at]), OK);
                }
            }
            assert_same(spec, a, b);
            for (size_t i = 0; i < VALUES * 2 / 3; i++) {
                aggregate_retract(spec, a, &values[i]);
            }
            aggregate_fini(spec, b);
            aggregate_init(spec, b);
            assert_same(spec, a, b);
            assert_int_equal(aggregate_heap_bytes(spec, a), 0);
            aggregate_fini(spec, a);
            aggregate_fini(spec, b);
            mem_free(a);
            mem_free(b);
        }
    }
}

static void failed_additions_change_nothing(void **state)
{
    (void)state;
    static const struct aggregate_spec append[] = {{MIN, {STRING, 0, 0}, EXACT, GROUP},
                                                   {SUM, {DOUBLE, 0, 0}, EXACT, GROUP}};
    long live = mem_fault_live();
    size_t failures = 0;
    for (size_t which = 0; which < SPEC_COUNT + 2; which++) {
        const struct aggregate_spec *spec =
            which < SPEC_COUNT ? &SPECS[which] : &append[which - SPEC_COUNT];
        uint64_t random = which;
        void *accumulator = mem_alloc(aggregate_size(spec));
        aggregate_init(spec, accumulator);
        for (size_t i = 0; i < 200; i++) {
            struct query_value value = random_value(spec->input, &random);
            uint64_t before = aggregate_hash(spec, accumulator, 4);
            mem_fault_fail_at(1);
            enum error error = aggregate_add(spec, accumulator, &value);
            mem_fault_fail_at(0);
            if (error != OK) {
                failures++;
                assert_int_equal(error, ERROR_MEMORY);
                assert_int_equal(aggregate_hash(spec, accumulator, 4), before);
                assert_int_equal(aggregate_add(spec, accumulator, &value), OK);
            }
        }
        aggregate_fini(spec, accumulator);
        mem_free(accumulator);
    }
    assert_true(failures > 100);
    assert_int_equal(mem_fault_live(), live);
}

static void result_types_are_flinks(void **state)
{
    (void)state;
    static const struct {
        enum aggregate_function function;
        struct query_type input, result; /* kind NULL: refused */
    } CASES[] = {
        {COUNT_ROWS, {0, 0, 0}, {BIGINT, 0, 0}},
        {COUNT, {STRING, 0, 0}, {BIGINT, 0, 0}},
        {SUM, {TINYINT, 0, 0}, {TINYINT, 0, 0}},
        {AVG, {SMALLINT, 0, 0}, {SMALLINT, 0, 0}},
        {AVG, {FLOAT, 0, 0}, {FLOAT, 0, 0}},
        {SUM, {DECIMAL, 5, 2}, {DECIMAL, 38, 2}},
        {AVG, {DECIMAL, 5, 2}, {DECIMAL, 38, 6}},
        {AVG, {DECIMAL, 20, 10}, {DECIMAL, 38, 10}},
        {MIN, {DECIMAL, 5, 2}, {DECIMAL, 5, 2}},
        {MAX, {QUERY_TYPE_TIMESTAMP, 3, 0}, {QUERY_TYPE_TIMESTAMP, 3, 0}},
        {SUM, {STRING, 0, 0}, {QUERY_TYPE_NULL, 0, 0}},
        {AVG, {QUERY_TYPE_BOOLEAN, 0, 0}, {QUERY_TYPE_NULL, 0, 0}},
        {SUM, {QUERY_TYPE_TIMESTAMP, 3, 0}, {QUERY_TYPE_NULL, 0, 0}},
        {MIN, {QUERY_TYPE_BYTES, 0, 0}, {QUERY_TYPE_NULL, 0, 0}},
        {MAX, {QUERY_TYPE_NULL, 0, 0}, {QUERY_TYPE_NULL, 0, 0}},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct aggregate_spec spec = {.function = CASES[i].function, .input = CASES[i].input};
        struct query_type result = {0};
        bool taken = aggregate_result_type(&spec, &result) == OK;
        assert_int_equal(taken, CASES[i].result.kind != QUERY_TYPE_NULL);
        assert_true(!taken || query_type_equal(result, CASES[i].result));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flink_c3_nulls),
        cmocka_unit_test(flink_c20_integers),
        cmocka_unit_test(flink_c20_decimals),
        cmocka_unit_test(flink_c20_decimal_overflow),
        cmocka_unit_test(flink_c20_floats),
        cmocka_unit_test(flink_c21_doubles_are_added_as_they_come),
        cmocka_unit_test(flink_c22_extremes_of_special_doubles),
        cmocka_unit_test(flink_p7_p8_p20_retraction),
        cmocka_unit_test(flink_p24_nulls_leave_a_frame),
        cmocka_unit_test(flink_p27_p28_p29_over_adds_in_the_input_type),
        cmocka_unit_test(flink_p30_sums_of_minus_zero),
        cmocka_unit_test(flink_p33_frame_of_three),
        cmocka_unit_test(exact_sums_are_rounded_once_and_forget),
        cmocka_unit_test(exact_sums_of_minus_zero),
        cmocka_unit_test(exact_floats_have_the_whole_sum),
        cmocka_unit_test(exact_decimals_that_overflow_stay_null),
        cmocka_unit_test(exact_extremes_do_not_depend_on_who_came_first),
        cmocka_unit_test(strings_have_extremes),
        cmocka_unit_test(order_and_departed_rows_leave_no_trace),
        cmocka_unit_test(failed_additions_change_nothing),
        cmocka_unit_test(result_types_are_flinks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
