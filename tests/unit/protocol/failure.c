/* Failures: texts, their bound, and the values that requests may not use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "common/text.h"
#include "protocol/failure.h"
#include "tests/lib/mem_fault.h"

static void a_long_text_is_clipped_at_a_character(void **state)
{
    struct failure failure;
    char long_text[4096];

    (void)state;
    for (unsigned shift = 0; shift < 4; shift++) {
        size_t len = shift;

        memset(long_text, 'x', shift);
        while (len + 4 < sizeof long_text) {
            memcpy(long_text + len, "\xf0\x9f\x98\x80", 4);
            len += 4;
        }
        long_text[len] = '\0';
        failure_set(&failure, 100, "%s", long_text);
        assert_true(text_is_utf8(slice_text(failure.text)));
        assert_in_range(strlen(failure.text), sizeof failure.text - 5, sizeof failure.text - 1);
    }
    failure_set(&failure, 50, "%s %d", "short", 5);
    assert_string_equal(failure.text, "short 5");
    assert_int_equal(failure.code, 50);
}

static void every_error_has_a_failure(void **state)
{
    static const enum error errors[] = {
#define X(name, text) name,
        ERROR_LIST(X)
#undef X
    };
    struct failure failure;

    (void)state;
    for (size_t i = 1; i < sizeof errors / sizeof errors[0]; i++) {
        failure_of_error(&failure, errors[i]);
        assert_true(failure.code == 20 || failure.code == 60 || failure.code == 100 ||
                    failure.code == 101);
        assert_true(strlen(failure.text) > 10);
    }
    failure_of_error(&failure, ERROR_IO);
    assert_string_equal(failure.text,
                        "org.apache.geode.InternalGemFireException: input or output error");
    failure_of_error(&failure, ERROR_NO_SERVER);
    assert_int_equal(failure.code, 101);
    assert_string_equal(failure.text, "Unable to find a server");
}

static void values_that_cannot_be_used_have_geodes_texts(void **state)
{
    struct value value = {.type = VALUE_NOT_SET};
    struct failure failure;

    (void)state;
    assert_int_equal(failure_check_value(&value, &failure), ERROR_INVALID);
    assert_int_equal(failure.code, 100);
    assert_string_equal(
        failure.text,
        "org.apache.geode.internal.protocol.protobuf.v1.serialization.exception.DecodingException: "
        "Unknown Protobuf encoding type: VALUE_NOT_SET");
    value = (struct value){.type = VALUE_CUSTOM, .bytes = slice_text("x")};
    assert_int_equal(failure_check_value(&value, &failure), ERROR_INVALID);
    assert_string_equal(
        failure.text,
        "java.lang.IllegalStateException: Received a custom value, but did not set the "
        "valueFormat in the handshakeMessage");
    value = (struct value){.type = VALUE_JSON, .bytes = slice_text("{\"a\":1,}")};
    assert_int_equal(failure_check_value(&value, &failure), ERROR_INVALID);
    assert_string_equal(
        failure.text, "org.apache.geode.internal.protocol.protobuf.v1.serialization.exception."
                      "DecodingException: Could not decode "
                      "JSON-encoded object  Caused by: "
                      "org.apache.geode.pdx.JSONFormatterException: Could not parse JSON document  "
                      "Caused by: com.fasterxml.jackson.core.JsonParseException: Unexpected "
                      "character ('}' (code 125)): was expecting "
                      "either valid name character (for unquoted name) or double-quote (for "
                      "quoted) to start field name\n at [Source: "
                      "(String)\"{\"a\":1,}\"; line: 1, column: 9]");
    value = (struct value){.type = VALUE_JSON, .bytes = slice_text("[1]")};
    assert_int_equal(failure_check_value(&value, &failure), ERROR_INVALID);
    assert_non_null(strstr(
        failure.text, "JSON document: [Source: (String)\"[1]\"; line: 1, column: 2] Caused by: "
                      "java.lang.IllegalStateException: "));
}

static void usable_values_pass_and_documents_are_cut_at_their_end(void **state)
{
    struct value value = {.type = VALUE_JSON, .bytes = slice_text("{\"a\":1} x")};
    struct failure failure;

    (void)state;
    assert_int_equal(failure_check_value(&value, &failure), OK);
    assert_true(slice_equal(value.bytes, slice_text("{\"a\":1}")));
    value = (struct value){.type = VALUE_NULL};
    assert_int_equal(failure_check_value(&value, &failure), OK);
    value = (struct value){.type = VALUE_INT};
    assert_int_equal(failure_check_value(&value, &failure), OK);
    value = (struct value){.type = VALUE_JSON, .bytes = slice_text("{\"a\":1}")};
    mem_fault_fail_at(1);
    assert_int_equal(failure_check_value(&value, &failure), ERROR_MEMORY);
    mem_fault_fail_at(0);
    assert_non_null(strstr(failure.text, "out of memory"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_long_text_is_clipped_at_a_character),
        cmocka_unit_test(every_error_has_a_failure),
        cmocka_unit_test(values_that_cannot_be_used_have_geodes_texts),
        cmocka_unit_test(usable_values_pass_and_documents_are_cut_at_their_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
