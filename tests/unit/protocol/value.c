/* Values and keys: the wire form, the stored form, Java's hashes and texts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>

#include "protocol/value.h"

static size_t unhex(const char *hex, uint8_t *bytes)
{
    size_t len = strlen(hex) / 2;

    for (size_t i = 0; i < 2 * len; i++) {
        uint8_t nibble = (uint8_t)(hex[i] <= '9' ? hex[i] - '0' : hex[i] - 'a' + 10);

        bytes[i / 2] = (uint8_t)(i % 2 == 0 ? nibble << 4 : bytes[i / 2] | nibble);
    }
    return len;
}

static const struct {
    const char *hex;
    enum value_type type;
    int64_t integer;
    const char *again; /* encoded; NULL: the same */
} integers[] = {
    {"0801", VALUE_INT, 1, NULL},
    {"0800", VALUE_INT, 0, NULL},
    {"08ffffffffffffffffff01", VALUE_INT, -1, NULL},
    {"08ffffffff0f", VALUE_INT, -1, "08ffffffffffffffffff01"},
    {"088080808010", VALUE_INT, 0, "0800"},
    {"1001", VALUE_LONG, 1, NULL},
    {"1080808080808080808001", VALUE_LONG, INT64_MIN, NULL},
    {"18c0b802", VALUE_SHORT, -25536, "18c0b8feffffffffffff01"},
    {"1801", VALUE_SHORT, 1, NULL},
    {"20c801", VALUE_BYTE, -56, "20c8ffffffffffffffff01"},
    {"20ac02", VALUE_BYTE, 44, "202c"},
    {"2801", VALUE_BOOLEAN, 1, NULL},
    {"2800", VALUE_BOOLEAN, 0, NULL},
    {"288002", VALUE_BOOLEAN, 1, "2801"},
    {"5800", VALUE_NULL, 0, NULL},
    {"5805", VALUE_NULL, 0, "5800"},
    {"08011002", VALUE_LONG, 2, "1002"},  /* the last member wins */
    {"0801980601", VALUE_INT, 1, "0801"}, /* an unknown field is skipped */
    {"08010a0178", VALUE_INT, 1, "0801"}, /* a known number of another wire type as well */
    {"880100", VALUE_NOT_SET, 0, ""},     /* field 17 */
    {"", VALUE_NOT_SET, 0, ""},
    {"8880808080808080800001", VALUE_INT, 1, "0801"}, /* a tag that is written too long */
};

static void integers_are_cut_to_their_width(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof integers / sizeof integers[0]; i++) {
        uint8_t bytes[32], again[32], expected[32], stored[16];
        size_t len = unhex(integers[i].hex, bytes);
        size_t expected_len =
            unhex(integers[i].again != NULL ? integers[i].again : integers[i].hex, expected);
        struct value value, loaded;

        if (value_decode(slice_of(bytes, len), &value) != OK)
            fail_msg("%s is refused", integers[i].hex);
        assert_int_equal(value.type, integers[i].type);
        assert_int_equal(value.integer, integers[i].integer);
        assert_int_equal(value_encoded_size(&value), expected_len);
        assert_ptr_equal(value_encode(&value, again), again + expected_len);
        assert_memory_equal(again, expected, expected_len);
        assert_ptr_equal(value_store(&value, stored), stored + value_stored_size(&value));
        loaded = value_load(slice_of(stored, value_stored_size(&value)));
        assert_true(value_equal(&loaded, &value));
        assert_int_equal(loaded.integer, value.integer);
    }
}

static const struct {
    const char *hex;
    enum value_type type;
    const char *bytes;
} texts[] = {
    {"420200ff", VALUE_BINARY, "00ff"},
    {"4200", VALUE_BINARY, ""},
    {"4a0176", VALUE_STRING, "76"},
    {"4a00", VALUE_STRING, ""},
    {"4a04f09f9880", VALUE_STRING, "f09f9880"},
    {"52027b7d", VALUE_JSON, "7b7d"},
    {"52017b", VALUE_JSON, "7b"},
    {"620178", VALUE_CUSTOM, "78"},
    {"6201ff", VALUE_CUSTOM, "ff"},
};

static void bytes_and_texts_are_kept_as_they_are(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        uint8_t bytes[32], again[32], content[32], stored[16];
        size_t len = unhex(texts[i].hex, bytes), content_len = unhex(texts[i].bytes, content);
        struct value value, loaded;

        assert_int_equal(value_decode(slice_of(bytes, len), &value), OK);
        assert_int_equal(value.type, texts[i].type);
        assert_true(slice_equal(value.bytes, slice_of(content, content_len)));
        assert_int_equal(value_encoded_size(&value), len);
        value_encode(&value, again);
        assert_memory_equal(again, bytes, len);
        assert_int_equal(value_stored_size(&value), 1 + content_len);
        value_store(&value, stored);
        loaded = value_load(slice_of(stored, 1 + content_len));
        assert_true(value_equal(&loaded, &value));
    }
}

static void floating_numbers_keep_their_bits(void **state)
{
    static const char *const doubles[] = {"31000000000000f03f", "310000000000000080",
                                          "31010000000000f87f", "31000000000000f0ff",
                                          "310100000000000000"};
    static const char *const floats[] = {"3d0000c03f", "3d00000080", "3d0100c07f", "3d0000807f"};

    (void)state;
    for (size_t i = 0; i < 9; i++) {
        const char *hex = i < 5 ? doubles[i] : floats[i - 5];
        uint8_t bytes[16], again[16], stored[16];
        size_t len = unhex(hex, bytes);
        struct value value, loaded;

        assert_int_equal(value_decode(slice_of(bytes, len), &value), OK);
        assert_int_equal(value.type, i < 5 ? VALUE_DOUBLE : VALUE_FLOAT);
        assert_int_equal(value_encoded_size(&value), len);
        value_encode(&value, again);
        assert_memory_equal(again, bytes, len);
        value_store(&value, stored);
        loaded = value_load(slice_of(stored, value_stored_size(&value)));
        value_encode(&loaded, again);
        assert_memory_equal(again, bytes, len);
    }
}

static void malformed_values_are_refused(void **state)
{
    static const char *const malformed[] = {
        "08",
        "0880",
        "08ffffffffffffffffffff01",
        "31000000",
        "3d0000",
        "4201",
        "4a0261",
        "4a01ff",
        "4a02c0af",
        "4a03eda080",
        "4a04f4908080",
        "5201ff",
        "0f",
        "0e",
        "0b",
        "0c",
        "00",
        "0200",
        "4a8080808008",
        "80",
        "6202ff",
        "4affffffffff7f",
    };

    (void)state;
    for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
        uint8_t bytes[32];
        struct value value;
        size_t len = unhex(malformed[i], bytes);

        if (value_decode(slice_of(bytes, len), &value) != ERROR_MALFORMED)
            fail_msg("%s is accepted", malformed[i]);
    }
}

static struct value text_value(const char *text)
{
    return (struct value){.type = VALUE_STRING, .bytes = slice_text(text)};
}

static struct value integer_value(enum value_type type, int64_t integer)
{
    return (struct value){.type = type, .integer = integer};
}

static void java_hashes_are_javas(void **state)
{
    static const struct {
        const char *text;
        int32_t hash;
    } strings[] = {
        {"", 0},
        {"a", 97},
        {"hello", 99162322},
        {"polygenelubricants", INT32_MIN},
        {"\xc3\xa9", 0xe9},
        {"\xe2\x82\xac", 0x20ac},
        {"\xf0\x9f\x98\x80", 0xd83d * 31 + 0xde00},
        {"EWR", 69088},
    };
    struct value value;

    (void)state;
    for (size_t i = 0; i < sizeof strings / sizeof strings[0]; i++) {
        value = text_value(strings[i].text);
        assert_int_equal(value_java_hash(&value), strings[i].hash);
    }
    value = integer_value(VALUE_INT, -7);
    assert_int_equal(value_java_hash(&value), -7);
    value = integer_value(VALUE_LONG, 1);
    assert_int_equal(value_java_hash(&value), 1);
    value = integer_value(VALUE_LONG, -1);
    assert_int_equal(value_java_hash(&value), 0);
    value = integer_value(VALUE_LONG, 0x123456789abcdef0);
    assert_int_equal(value_java_hash(&value), (int32_t)(0x12345678 ^ 0x9abcdef0));
    value = integer_value(VALUE_BOOLEAN, 1);
    assert_int_equal(value_java_hash(&value), 1231);
    value = integer_value(VALUE_BOOLEAN, 0);
    assert_int_equal(value_java_hash(&value), 1237);
    value = integer_value(VALUE_SHORT, -2);
    assert_int_equal(value_java_hash(&value), -2);
    value = (struct value){.type = VALUE_DOUBLE, .float64 = 1.0};
    assert_int_equal(value_java_hash(&value), 1072693248);
    value.float64 = nan("");
    assert_int_equal(value_java_hash(&value), 2146959360);
    value.float64 = -0.0;
    assert_int_equal(value_java_hash(&value), INT32_MIN);
    value = (struct value){.type = VALUE_FLOAT, .float32 = 1.5f};
    assert_int_equal(value_java_hash(&value), 1069547520);
    value = (struct value){.type = VALUE_BINARY, .bytes = slice_of("\x01\xff", 2)};
    assert_int_equal(value_java_hash(&value), (31 + 1) * 31 - 1);
    value.bytes.len = 0;
    assert_int_equal(value_java_hash(&value), 1);
}

static void buckets_are_never_negative(void **state)
{
    struct value value = text_value("polygenelubricants");

    (void)state;
    assert_int_equal(value_bucket(&value, 113), 2147483648u % 113);
    assert_int_equal(value_bucket(&value, 1), 0);
    value = integer_value(VALUE_INT, -5);
    assert_int_equal(value_bucket(&value, 113), 5);
    value = integer_value(VALUE_INT, 118);
    assert_int_equal(value_bucket(&value, 113), 5);
}

static void keys_are_equal_by_type_and_content(void **state)
{
    struct value keys[] = {
        integer_value(VALUE_INT, 1),
        integer_value(VALUE_LONG, 1),
        integer_value(VALUE_SHORT, 1),
        integer_value(VALUE_BYTE, 1),
        integer_value(VALUE_BOOLEAN, 1),
        {.type = VALUE_DOUBLE, .float64 = 1.0},
        {.type = VALUE_FLOAT, .float32 = 1.0f},
        {.type = VALUE_DOUBLE, .float64 = 0.0},
        {.type = VALUE_DOUBLE, .float64 = -0.0},
        {.type = VALUE_DOUBLE, .float64 = NAN},
        {.type = VALUE_FLOAT, .float32 = NAN},
        text_value("1"),
        {.type = VALUE_JSON, .bytes = slice_text("1")},
        {.type = VALUE_BINARY, .bytes = slice_text("1")},
        {.type = VALUE_NULL},
    };
    uint64_t other_nan = 0xfff8000000000123u;
    struct value value = {.type = VALUE_DOUBLE};
    uint8_t stored[16], other[16];

    (void)state;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        for (size_t j = 0; j < sizeof keys / sizeof keys[0]; j++)
            assert_int_equal(value_equal(&keys[i], &keys[j]), i == j);
    }
    memcpy(&value.float64, &other_nan, sizeof other_nan);
    assert_true(value_equal(&value, &keys[9]));
    assert_int_equal(value_java_hash(&value), value_java_hash(&keys[9]));
    value_make_key(&value);
    value_make_key(&keys[9]);
    value_store(&value, stored);
    value_store(&keys[9], other);
    assert_memory_equal(stored, other, value_stored_size(&value));
}

static void check_text(struct value value, const char *expected)
{
    struct buf text;

    buf_init(&text);
    value_text(&value, &text);
    buf_append_byte(&text, 0);
    assert_string_equal((char *)text.data, expected);
    buf_fini(&text);
}

static void texts_are_those_of_javas_to_string(void **state)
{
    static const struct {
        float number;
        const char *text;
    } floats[] = {
        {1.5f, "1.5"},
        {0.0f, "0.0"},
        {-0.0f, "-0.0"},
        {100.0f, "100.0"},
        {1e7f, "1.0E7"},
        {12345678.0f, "1.2345678E7"},
        {0.001f, "0.001"},
        {0.0001f, "1.0E-4"},
        {3.4028235e38f, "3.4028235E38"},
        {0.1f, "0.1"},
        {9999999.0f, "9999999.0"},
        {INFINITY, "Infinity"},
        {NAN, "NaN"},
        {1.17549435e-38f, "1.1754944E-38"},
        {16777216.0f, "1.6777216E7"},
        {123456.79f, "123456.79"},
    };

    (void)state;
    check_text(integer_value(VALUE_INT, -5), "-5");
    check_text(integer_value(VALUE_LONG, INT64_MIN), "-9223372036854775808");
    check_text(integer_value(VALUE_BOOLEAN, 1), "true");
    check_text((struct value){.type = VALUE_DOUBLE, .float64 = 5.0}, "5.0");
    check_text(text_value("k"), "k");
    check_text((struct value){.type = VALUE_BINARY, .bytes = slice_of("\x00\xfe", 2)}, "00fe");
    check_text((struct value){.type = VALUE_NULL}, "null");
    for (size_t i = 0; i < sizeof floats / sizeof floats[0]; i++)
        check_text((struct value){.type = VALUE_FLOAT, .float32 = floats[i].number},
                   floats[i].text);
}

static void types_have_words_and_classes(void **state)
{
    (void)state;
    for (int type = VALUE_INT; type <= VALUE_JSON; type++)
        assert_int_equal(value_type_of_word(value_type_word((enum value_type)type)), type);
    assert_int_equal(value_type_of_word("null"), VALUE_NOT_SET);
    assert_int_equal(value_type_of_word("text"), VALUE_NOT_SET);
    assert_string_equal(value_java_class(VALUE_BINARY), "[B");
    assert_string_equal(value_java_class(VALUE_FLOAT), "java.lang.Float");
    assert_string_equal(value_java_class(VALUE_JSON),
                        "org.apache.geode.pdx.internal.PdxInstanceImpl");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_are_cut_to_their_width),
        cmocka_unit_test(bytes_and_texts_are_kept_as_they_are),
        cmocka_unit_test(floating_numbers_keep_their_bits),
        cmocka_unit_test(malformed_values_are_refused),
        cmocka_unit_test(java_hashes_are_javas),
        cmocka_unit_test(buckets_are_never_negative),
        cmocka_unit_test(keys_are_equal_by_type_and_content),
        cmocka_unit_test(texts_are_those_of_javas_to_string),
        cmocka_unit_test(types_have_words_and_classes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
