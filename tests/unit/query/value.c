#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "query/decimal.h"
#include "query/value.h"
#include "tests/lib/mem_fault.h"

static struct query_value number(double number)
{
    return (struct query_value){.kind = QUERY_TYPE_DOUBLE, .float64 = number};
}

static struct query_value text(const char *text)
{
    return (struct query_value){.kind = QUERY_TYPE_STRING, .text = slice_text(text)};
}

static struct query_value integer(enum query_type_kind kind, int64_t number)
{
    return (struct query_value){.kind = kind, .integer = number};
}

static struct query_value decimal(int128 digits, uint8_t scale)
{
    return (struct query_value){.kind = QUERY_TYPE_DECIMAL, .scale = scale, .decimal = digits};
}

static struct query_type type_of(enum query_type_kind kind, uint8_t precision, uint8_t scale)
{
    return (struct query_type){.kind = kind, .precision = precision, .scale = scale};
}

#define DECIMAL(p, s) type_of(QUERY_TYPE_DECIMAL, p, s)
#define PLAIN(kind)   type_of(QUERY_TYPE_##kind, 0, 0)

/* Some values of each kind, in ascending order within a kind. */
static size_t samples(struct query_value *values)
{
    static const double numbers[] = {
        -(double)INFINITY, -1e300, -1.5,  -0x1p-1074,       -0.0,       0.0,
        0x1p-1074,         1.5,    1e300, (double)INFINITY, (double)NAN};
    size_t count = 0;
    values[count++] = (struct query_value){.kind = QUERY_TYPE_NULL};
    values[count++] = (struct query_value){.kind = QUERY_TYPE_BOOLEAN, .boolean = false};
    values[count++] = (struct query_value){.kind = QUERY_TYPE_BOOLEAN, .boolean = true};
    for (int64_t i = -128; i < 128; i += 51) {
        values[count++] = integer(QUERY_TYPE_TINYINT, i);
    }
    values[count++] = integer(QUERY_TYPE_SMALLINT, -32768);
    values[count++] = integer(QUERY_TYPE_SMALLINT, 32767);
    values[count++] = integer(QUERY_TYPE_INT, INT32_MIN);
    values[count++] = integer(QUERY_TYPE_INT, 0);
    values[count++] = integer(QUERY_TYPE_INT, INT32_MAX);
    values[count++] = integer(QUERY_TYPE_BIGINT, INT64_MIN);
    values[count++] = integer(QUERY_TYPE_BIGINT, -1);
    values[count++] = integer(QUERY_TYPE_BIGINT, INT64_MAX);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        values[count++] = number(numbers[i]);
    }
    values[count++] = (struct query_value){.kind = QUERY_TYPE_FLOAT, .float32 = -0.0f};
    values[count++] = (struct query_value){.kind = QUERY_TYPE_FLOAT, .float32 = 0.1f};
    values[count++] = (struct query_value){.kind = QUERY_TYPE_FLOAT, .float32 = (float)NAN};
    values[count++] = decimal(1 - decimal_power(38), 0);
    values[count++] = decimal(-1, 38);
    values[count++] = decimal(0, 2);
    values[count++] = decimal(150, 2);
    values[count++] = decimal(decimal_power(38) - 1, 38);
    values[count - 1].scale = 1;
    values[count++] = text("");
    values[count++] = text("a");
    values[count++] = text("ab");
    values[count++] = text("b");
    values[count++] = text("\xc3\xa9");
    values[count++] = (struct query_value){.kind = QUERY_TYPE_BYTES, .text = slice_of("\0\1", 2)};
    values[count++] = integer(QUERY_TYPE_TIMESTAMP, -1);
    values[count++] = integer(QUERY_TYPE_TIMESTAMP, 1767225600000);
    return count;
}

enum { SAMPLES_MAX = 64 };

static void orders_totally_and_hashes_what_is_identical_alike(void **state)
{
    (void)state;
    struct query_value values[SAMPLES_MAX];
    size_t count = samples(values);
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < count; j++) {
            bool same_kind = values[i].kind == values[j].kind;
            assert_int_equal(query_value_identical(&values[i], &values[j]), i == j);
            assert_int_equal(query_value_hash(&values[i], 5) == query_value_hash(&values[j], 5),
                             i == j);
            if (same_kind) {
                int order = query_value_compare_total(&values[i], &values[j]);
                assert_int_equal((order > 0) - (order < 0), (i > j) - (i < j));
            }
        }
    }
    struct query_value null = values[0], one = number(1);
    assert_true(query_value_compare_total(&null, &one) < 0);
    assert_true(query_value_compare_total(&one, &null) > 0);
}

static void all_nan_are_one_value(void **state)
{
    (void)state;
    struct query_value a = number((double)NAN), b = number(-(double)NAN);
    assert_true(query_value_identical(&a, &b));
    assert_int_equal(query_value_hash(&a, 1), query_value_hash(&b, 1));
    struct buf left, right;
    buf_init(&left);
    buf_init(&right);
    query_value_pack(&a, &left);
    query_value_pack(&b, &right);
    assert_true(slice_equal(buf_slice(&left), buf_slice(&right)));
    buf_fini(&left);
    buf_fini(&right);
}

static void decimals_compare_by_value_but_are_identical_by_digits(void **state)
{
    (void)state;
    struct query_value a = decimal(15, 1), b = decimal(150, 2);
    assert_int_equal(query_value_compare_total(&a, &b), 0);
    assert_false(query_value_identical(&a, &b));
}

/* Packed keys are compared between machines, so the hash may not change with the machine or the
 * version. */
static void hashes_are_the_same_everywhere(void **state)
{
    (void)state;
    struct query_value a = integer(QUERY_TYPE_BIGINT, 42), b = text("sensor-1");
    assert_true(query_value_hash(&a, 0) == UINT64_C(0xf2f80a10be6d4730));
    assert_true(query_value_hash(&b, 7) == UINT64_C(0x141504cadc719e8a));
}

static void packs_and_unpacks_every_value(void **state)
{
    (void)state;
    struct query_value values[SAMPLES_MAX], back;
    size_t count = samples(values);
    struct buf packed;
    buf_init(&packed);
    for (size_t i = 0; i < count; i++) {
        query_value_pack(&values[i], &packed);
    }
    struct slice rest = buf_slice(&packed);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(query_value_unpack(&rest, &back), OK);
        assert_true(query_value_identical(&values[i], &back));
    }
    assert_int_equal(rest.len, 0);
    assert_int_equal(query_value_unpack(&rest, &back), ERROR_MALFORMED);
    buf_fini(&packed);
}

static void no_packed_value_begins_another(void **state)
{
    (void)state;
    struct query_value values[SAMPLES_MAX], back;
    size_t count = samples(values);
    for (size_t i = 0; i < count; i++) {
        struct buf packed;
        buf_init(&packed);
        query_value_pack(&values[i], &packed);
        for (size_t len = 0; len < packed.len; len++) {
            struct slice rest = slice_of(packed.data, len);
            assert_int_equal(query_value_unpack(&rest, &back), ERROR_MALFORMED);
            assert_ptr_equal(rest.data, packed.data);
            assert_int_equal(rest.len, len);
        }
        buf_fini(&packed);
    }
}

static void refuses_bytes_that_pack_never_makes(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
    } CASES[] = {
        {"\x0c", 1},                                          /* no such kind */
        {"\xff", 1},                                          /* nor this */
        {"\1\2", 2},                                          /* BOOLEAN 2 */
        {"\2\x80\2", 3},                                      /* TINYINT 128 */
        {"\2\x80\0", 3},                                      /* zero, not the shortest way */
        {"\3\x80\x80\4", 4},                                  /* SMALLINT 32768 */
        {"\4\x80\x80\x80\x80\x10", 6},                        /* INT 2^31 */
        {"\5\xff\xff\xff\xff\xff\xff\xff\xff\xff\2", 11},     /* BIGINT of 65 bits */
        {"\5\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", 12}, /* BIGINT that does not end */
        {"\x08\x27\0", 3},                                    /* DECIMAL scale 39 */
        {"\x08\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\3", 21},
        {"\x09\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", 11}, /* STRING longer than all */
        {"\x09\3ab", 4},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct slice rest = slice_of(CASES[i].bytes, CASES[i].len);
        struct query_value value;
        assert_int_equal(query_value_unpack(&rest, &value), ERROR_MALFORMED);
        assert_int_equal(rest.len, CASES[i].len);
    }
}

static void travels_as_the_value_of_its_width(void **state)
{
    (void)state;
    struct query_value values[SAMPLES_MAX], back;
    size_t count = samples(values);
    struct arena arena;
    arena_init(&arena, 1 << 20);
    for (size_t i = 0; i < count; i++) {
        struct value wire;
        assert_int_equal(query_value_to_wire(&values[i], &arena, &wire), OK);
        assert_int_equal(query_value_from_wire(&wire, &back), OK);
        if (values[i].kind == QUERY_TYPE_DECIMAL) {
            assert_int_equal(wire.type, VALUE_STRING);
        } else if (values[i].kind == QUERY_TYPE_TIMESTAMP) {
            assert_int_equal(wire.type, VALUE_LONG);
            assert_int_equal(wire.integer, values[i].integer);
        } else {
            assert_true(query_value_identical(&values[i], &back));
        }
    }
    struct value wire;
    struct query_value price = decimal(-5, 2);
    assert_int_equal(query_value_to_wire(&price, &arena, &wire), OK);
    assert_true(slice_equal(wire.bytes, slice_text("-0.05")));
    struct query_value tiny = integer(QUERY_TYPE_TINYINT, 1),
                       small = integer(QUERY_TYPE_SMALLINT, 1);
    query_value_to_wire(&tiny, &arena, &wire);
    assert_int_equal(wire.type, VALUE_BYTE);
    query_value_to_wire(&small, &arena, &wire);
    assert_int_equal(wire.type, VALUE_SHORT);
    const enum value_type refused[] = {VALUE_NOT_SET, VALUE_JSON, VALUE_CUSTOM};
    for (int i = 0; i < 3; i++) {
        wire = (struct value){.type = refused[i], .bytes = slice_text("{}")};
        assert_int_equal(query_value_from_wire(&wire, &back), ERROR_INVALID);
    }
    arena_fini(&arena);
    arena_init(&arena, 1 << 20);
    mem_fault_fail_from(1);
    assert_int_equal(query_value_to_wire(&price, &arena, &wire), ERROR_MEMORY);
    mem_fault_fail_at(0);
    arena_fini(&arena);
}

static void names_types_as_flink_does(void **state)
{
    (void)state;
    struct buf name;
    buf_init(&name);
    query_type_name(DECIMAL(5, 2), &name);
    buf_append_byte(&name, ' ');
    query_type_name(type_of(QUERY_TYPE_TIMESTAMP, 3, 0), &name);
    buf_append_byte(&name, ' ');
    query_type_name(PLAIN(BIGINT), &name);
    assert_true(slice_equal(buf_slice(&name), slice_text("DECIMAL(5, 2) TIMESTAMP(3) BIGINT")));
    buf_fini(&name);
    assert_true(query_type_equal(DECIMAL(5, 2), DECIMAL(5, 2)));
    assert_false(query_type_equal(DECIMAL(5, 2), DECIMAL(6, 2)));
    assert_false(query_type_equal(PLAIN(INT), PLAIN(BIGINT)));
    assert_true(query_type_equal(type_of(QUERY_TYPE_INT, 9, 9), PLAIN(INT)));
}

/* `result` of kind NULL: there is none. */
static const struct {
    enum query_arithmetic op;
    struct query_type a, b, result;
} ARITHMETIC[] = {
    {QUERY_ADD, {QUERY_TYPE_TINYINT, 0, 0}, {QUERY_TYPE_INT, 0, 0}, {QUERY_TYPE_INT, 0, 0}},
    {QUERY_DIVIDE, {QUERY_TYPE_BIGINT, 0, 0}, {QUERY_TYPE_INT, 0, 0}, {QUERY_TYPE_BIGINT, 0, 0}},
    {QUERY_ADD, {QUERY_TYPE_FLOAT, 0, 0}, {QUERY_TYPE_FLOAT, 0, 0}, {QUERY_TYPE_FLOAT, 0, 0}},
    {QUERY_ADD, {QUERY_TYPE_FLOAT, 0, 0}, {QUERY_TYPE_BIGINT, 0, 0}, {QUERY_TYPE_FLOAT, 0, 0}},
    {QUERY_ADD, {QUERY_TYPE_INT, 0, 0}, {QUERY_TYPE_DOUBLE, 0, 0}, {QUERY_TYPE_DOUBLE, 0, 0}},
    {QUERY_ADD, {QUERY_TYPE_DECIMAL, 5, 2}, {QUERY_TYPE_FLOAT, 0, 0}, {QUERY_TYPE_DOUBLE, 0, 0}},
    {QUERY_ADD,
     {QUERY_TYPE_DECIMAL, 38, 8},
     {QUERY_TYPE_DECIMAL, 32, 8},
     {QUERY_TYPE_DECIMAL, 38, 7}},
    {QUERY_SUBTRACT,
     {QUERY_TYPE_DECIMAL, 30, 20},
     {QUERY_TYPE_DECIMAL, 28, 20},
     {QUERY_TYPE_DECIMAL, 31, 20}},
    {QUERY_ADD,
     {QUERY_TYPE_DECIMAL, 10, 10},
     {QUERY_TYPE_DECIMAL, 10, 10},
     {QUERY_TYPE_DECIMAL, 11, 10}},
    {QUERY_ADD,
     {QUERY_TYPE_DECIMAL, 38, 5},
     {QUERY_TYPE_DECIMAL, 38, 4},
     {QUERY_TYPE_DECIMAL, 38, 5}},
    {QUERY_ADD, {QUERY_TYPE_DECIMAL, 5, 2}, {QUERY_TYPE_INT, 0, 0}, {QUERY_TYPE_DECIMAL, 13, 2}},
    {QUERY_MULTIPLY,
     {QUERY_TYPE_DECIMAL, 30, 10},
     {QUERY_TYPE_DECIMAL, 30, 10},
     {QUERY_TYPE_DECIMAL, 38, 6}},
    {QUERY_MULTIPLY,
     {QUERY_TYPE_DECIMAL, 30, 20},
     {QUERY_TYPE_DECIMAL, 30, 20},
     {QUERY_TYPE_DECIMAL, 38, 17}},
    {QUERY_MULTIPLY,
     {QUERY_TYPE_DECIMAL, 38, 2},
     {QUERY_TYPE_DECIMAL, 38, 3},
     {QUERY_TYPE_DECIMAL, 38, 5}},
    {QUERY_DIVIDE,
     {QUERY_TYPE_DECIMAL, 32, 8},
     {QUERY_TYPE_DECIMAL, 38, 8},
     {QUERY_TYPE_DECIMAL, 38, 6}},
    {QUERY_DIVIDE,
     {QUERY_TYPE_DECIMAL, 30, 20},
     {QUERY_TYPE_DECIMAL, 30, 20},
     {QUERY_TYPE_DECIMAL, 38, 8}},
    {QUERY_MODULO,
     {QUERY_TYPE_DECIMAL, 30, 20},
     {QUERY_TYPE_DECIMAL, 25, 20},
     {QUERY_TYPE_DECIMAL, 25, 20}},
    {QUERY_MODULO,
     {QUERY_TYPE_DECIMAL, 9, 0},
     {QUERY_TYPE_SMALLINT, 0, 0},
     {QUERY_TYPE_DECIMAL, 5, 0}},
    {QUERY_ADD, {QUERY_TYPE_NULL, 0, 0}, {QUERY_TYPE_SMALLINT, 0, 0}, {QUERY_TYPE_SMALLINT, 0, 0}},
    {QUERY_ADD, {QUERY_TYPE_STRING, 0, 0}, {QUERY_TYPE_INT, 0, 0}, {QUERY_TYPE_NULL, 0, 0}},
    {QUERY_ADD, {QUERY_TYPE_INT, 0, 0}, {QUERY_TYPE_BOOLEAN, 0, 0}, {QUERY_TYPE_NULL, 0, 0}},
    {QUERY_ADD, {QUERY_TYPE_TIMESTAMP, 3, 0}, {QUERY_TYPE_NULL, 0, 0}, {QUERY_TYPE_NULL, 0, 0}},
};

static void derives_the_types_of_arithmetic(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ARITHMETIC / sizeof *ARITHMETIC; i++) {
        struct query_type result = {0};
        bool derived =
            query_type_arithmetic(ARITHMETIC[i].op, ARITHMETIC[i].a, ARITHMETIC[i].b, &result);
        assert_int_equal(derived, ARITHMETIC[i].result.kind != QUERY_TYPE_NULL);
        assert_true(!derived || query_type_equal(result, ARITHMETIC[i].result));
    }
}

static void finds_the_least_common_type(void **state)
{
    (void)state;
    struct query_type common;
    assert_true(query_type_common(PLAIN(INT), PLAIN(BIGINT), &common));
    assert_int_equal(common.kind, QUERY_TYPE_BIGINT);
    assert_true(query_type_common(DECIMAL(5, 2), PLAIN(INT), &common));
    assert_true(query_type_equal(common, DECIMAL(12, 2)));
    assert_true(query_type_common(DECIMAL(38, 2), DECIMAL(38, 10), &common));
    assert_true(query_type_equal(common, DECIMAL(38, 2)));
    assert_true(query_type_common(DECIMAL(5, 2), PLAIN(FLOAT), &common));
    assert_int_equal(common.kind, QUERY_TYPE_DOUBLE);
    assert_true(query_type_common(PLAIN(NULL), PLAIN(STRING), &common));
    assert_int_equal(common.kind, QUERY_TYPE_STRING);
    assert_true(query_type_common(type_of(QUERY_TYPE_TIMESTAMP, 0, 0),
                                  type_of(QUERY_TYPE_TIMESTAMP, 3, 0), &common));
    assert_int_equal(common.precision, 3);
    assert_false(query_type_common(PLAIN(STRING), PLAIN(INT), &common));
    assert_false(query_type_common(PLAIN(BOOLEAN), PLAIN(INT), &common));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(orders_totally_and_hashes_what_is_identical_alike),
        cmocka_unit_test(all_nan_are_one_value),
        cmocka_unit_test(decimals_compare_by_value_but_are_identical_by_digits),
        cmocka_unit_test(hashes_are_the_same_everywhere),
        cmocka_unit_test(packs_and_unpacks_every_value),
        cmocka_unit_test(no_packed_value_begins_another),
        cmocka_unit_test(refuses_bytes_that_pack_never_makes),
        cmocka_unit_test(travels_as_the_value_of_its_width),
        cmocka_unit_test(names_types_as_flink_does),
        cmocka_unit_test(derives_the_types_of_arithmetic),
        cmocka_unit_test(finds_the_least_common_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
