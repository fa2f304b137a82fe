/* Keys and values as people type them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/typed.h"

static enum error read(const char *word, const char *text, struct value *value)
{
    const char *problem = NULL;
    struct buf bytes;
    buf_init(&bytes);
    enum error error = typed_value(word, text, &bytes, value, &problem);
    buf_fini(&bytes);
    return error;
}

static void reads_every_type(void **state)
{
    (void)state;
    struct value value;
    assert_int_equal(read("int", "-2147483648", &value), OK);
    assert_int_equal(value.integer, INT32_MIN);
    assert_int_equal(read("long", "9223372036854775807", &value), OK);
    assert_true(value.integer == INT64_MAX);
    assert_int_equal(read("short", "7", &value), OK);
    assert_int_equal(value.type, VALUE_SHORT);
    assert_int_equal(read("byte", "-128", &value), OK);
    assert_int_equal(read("double", "21.5", &value), OK);
    assert_true(value.float64 == 21.5);
    assert_int_equal(read("float", "0.5", &value), OK);
    assert_int_equal(read("boolean", "true", &value), OK);
    assert_int_equal(value.integer, 1);
    assert_int_equal(read("string", "x", &value), OK);
    assert_int_equal(value.type, VALUE_STRING);
    assert_int_equal(read("json", "{}", &value), OK);
    assert_int_equal(value.type, VALUE_JSON);
}

static void bytes_are_hex(void **state)
{
    (void)state;
    const char *problem = NULL;
    struct value value;
    struct buf bytes;
    buf_init(&bytes);
    assert_int_equal(typed_value("bytes", "00fF", &bytes, &value, &problem), OK);
    assert_int_equal(value.bytes.len, 2);
    assert_memory_equal(value.bytes.data, "\x00\xff", 2);
    buf_clear(&bytes);
    assert_int_equal(typed_value("bytes", "0", &bytes, &value, &problem), ERROR_INVALID);
    buf_fini(&bytes);
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    struct value value;
    assert_int_equal(read("int", "2147483648", &value), ERROR_INVALID);
    assert_int_equal(read("byte", "128", &value), ERROR_INVALID);
    assert_int_equal(read("double", "warm", &value), ERROR_INVALID);
    assert_int_equal(read("double", "", &value), ERROR_INVALID);
    assert_int_equal(read("boolean", "yes", &value), ERROR_INVALID);
    assert_int_equal(read("colour", "red", &value), ERROR_NOT_FOUND);
}

static void guesses_documents(void **state)
{
    (void)state;
    bool almost = true;
    assert_int_equal(typed_guess("{\"a\": 1}", &almost).type, VALUE_JSON);
    assert_false(almost);
    assert_int_equal(typed_guess(" [1, {\"a\": [2]}] ", &almost).type, VALUE_JSON);
    assert_int_equal(typed_guess("21.5", &almost).type, VALUE_STRING);
    assert_false(almost);
    assert_int_equal(typed_guess("{\"a\": ", &almost).type, VALUE_STRING);
    assert_true(almost);
    assert_int_equal(typed_guess("{} and more", &almost).type, VALUE_STRING);
    assert_int_equal(typed_guess("", &almost).type, VALUE_STRING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_type),
        cmocka_unit_test(bytes_are_hex),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(guesses_documents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
