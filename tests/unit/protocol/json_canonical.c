/* The form in which documents are returned. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "protocol/json.h"
#include "tests/lib/mem_fault.h"

static const struct {
    const char *document, *canonical; /* NULL: stays as it is */
} rows[] = {
    {"{\"name\":\"Charlemagne\",\"age\":1276,\"nationality\":\"french\",\"emailAddress\":\"none\"}",
     NULL},
    {"{}", NULL},
    {"{\"id\":\"EWR\",\"temperature\":39.02,\"true\":true,\"l\":[1,-2,null,{\"a\":1.0E7}]}", NULL},
    {"{\"a\":-0.0,\"b\":4.9E-324,\"c\":\"/\x7f\"}", NULL},
    {"{ \"a\" : 1 }", "{\"a\":1}"},
    {"{\"a\":1.5e3,\"b\":1e400,\"c\":1e-7,\"d\":-1e400}",
     "{\"a\":1500.0,\"b\":\"Infinity\",\"c\":1.0E-7,\"d\":\"-Infinity\"}"},
    {"{\"a\":1.50,\"b\":1e2,\"c\":100000000.0,\"d\":0.0001,\"e\":12345678.9}",
     "{\"a\":1.5,\"b\":100.0,\"c\":1.0E8,\"d\":1.0E-4,\"e\":1.23456789E7}"},
    {"{3 : 2,a-b:[ 1 , 2 ]}", "{\"3\":2,\"a-b\":[1,2]}"},
    {"{\"a\":1,b:2}", "{\"a\":1,\"b\":2}"},
    {"{\"a\":\"\xc3\xa9\xf0\x9f\x98\x80\"}", "{\"a\":\"\\u00E9\\uD83D\\uDE00\"}"},
    {"{\"a\":\"\\u00e9\\ud83d\\ude00\\ud800\"}", "{\"a\":\"\\u00E9\\uD83D\\uDE00\\uD800\"}"},
    {"{\"\xc3\xa9\":\"\\/\\q\\u0041\\u0001\\u000b\\n\\\"\\\\\"}",
     "{\"\\u00E9\":\"/qA\\u0001\\u000B\\n\\\"\\\\\"}"},
    {"{\"a\":-0,\"b\":0}", "{\"a\":0,\"b\":0}"},
    {"{\"a\":{\"b\":[\n]}}", "{\"a\":{\"b\":[]}}"},
};

static void documents_become_what_geode_returns(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct slice document = slice_text(rows[i].document);
        const char *expected = rows[i].canonical != NULL ? rows[i].canonical : rows[i].document;
        struct buf out, again;

        buf_init(&out);
        buf_init(&again);
        assert_int_equal(json_canonical(&document, &out), OK);
        if (!slice_equal(document, slice_text(expected)))
            fail_msg("%s gives %.*s", rows[i].document, SLICE_FMT(document));
        if (rows[i].canonical == NULL)
            assert_ptr_equal(document.data, rows[i].document);
        /* The form has itself as its form. */
        assert_int_equal(json_canonical(&document, &again), OK);
        assert_true(slice_equal(document, slice_text(expected)));
        buf_fini(&again);
        buf_fini(&out);
    }
}

static void a_number_of_a_thousand_digits_is_read_whole(void **state)
{
    struct slice document;
    struct buf text, out;

    (void)state;
    buf_init(&text);
    buf_init(&out);
    buf_append_text(&text, "{\"a\":0.");
    for (int i = 0; i < 1000; i++)
        buf_append_byte(&text, '3');
    buf_append_byte(&text, '}');
    document = buf_slice(&text);
    assert_int_equal(json_canonical(&document, &out), OK);
    assert_true(slice_equal(document, slice_text("{\"a\":0.3333333333333333}")));
    buf_fini(&out);
    buf_fini(&text);
}

static void failed_allocations_are_told(void **state)
{
    enum error result = ERROR_MEMORY;

    (void)state;
    for (unsigned long n = 1; result == ERROR_MEMORY; n++) {
        struct slice document = slice_text("{ \"a\" : 1.50 , \"b\": \"\xc3\xa9\" }");
        struct buf out;

        buf_init(&out);
        mem_fault_fail_at(n);
        result = json_canonical(&document, &out);
        mem_fault_fail_at(0);
        assert_true(n < 20);
        buf_fini(&out);
    }
    assert_int_equal(result, OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_become_what_geode_returns),
        cmocka_unit_test(a_number_of_a_thousand_digits_is_read_whole),
        cmocka_unit_test(failed_allocations_are_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
