/* Requests without a row in the host's table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/lib/fake_session.h"

#define CONTEXT                                                                                    \
    "360a340a320832122e496e76616c696420657865637574696f6e20636f6e7465787420666f756e6420666f72206f" \
    "7065726174"                                                                                   \
    "696f6e2e"
#define NOT_SET "Unknown Protobuf encoding type: VALUE_NOT_SET"
#define CUSTOM  "Received a custom value, but did not set the valueFormat"
#define BAD_JSON                                                                                   \
    "Could not decode JSON-encoded object  Caused by: org.apache.geode.pdx.JSONFormatterException"
#define REFUSED "Invalid execution context found for operation."

static const struct {
    const char *what, *input;
    const char *text; /* in the answer; "": none */
    bool stays;
} locator_rows[] = {
    {"size", "068201030a0152", REFUSED, false},
    {"names", "027200", REFUSED, false},
    {"get", "0a22080a015212034a016b", REFUSED, false},
    {"get of a null key", "0922070a015212025800", "Performing a get on a NULL key.", true},
    {"get without a key", "0522030a0152", NOT_SET, true},
    {"get of a custom key", "0a22080a01521203620178", CUSTOM, true},
    {"remove of a null key", "0952070a015212025800", "NULL is not a valid key for removal.", true},
    {"put", "11120f0a0152120a0a034a016b12034a0176", REFUSED, false},
    {"put of a null key", "10120e0a015212090a02580012034a0176", REFUSED, false},
    {"put of a custom value", "11120f0a0152120a0a034a016b1203620178", CUSTOM, true},
    {"put without an entry", "0512030a0152", NOT_SET, true},
    {"put of a bad document", "11120f0a0152120a0a034a016b120352017b", BAD_JSON, true},
    {"putIfAbsent of a custom value", "1292020f0a0152120a0a034a016b1203620178", CUSTOM, true},
    {"putAll of a custom value", "1132 0f0a0152120a0a034a016b1203620178", REFUSED, false},
    {"getAll of a custom key", "0a42080a01521203620178", REFUSED, false},
    {"query", "08d201050a03312b31", REFUSED, false},
    {"query with a custom parameter", "08d201051203620178", CUSTOM, true},
    {"function without arguments", "0c9201090a046563686f120152", REFUSED, false},
    {"function with a custom argument",
     "08920105"
     "1a03620178",
     CUSTOM, true},
    {"function with a custom filter",
     "08920105"
     "2203620178",
     CUSTOM, true},
    {"function on a member with an unset argument",
     "05a20102"
     "1a00",
     NOT_SET, true},
    {"function on a group with a custom argument",
     "08c20105"
     "1a03620178",
     CUSTOM, true},
    {"subscribe", "03ca3e00", REFUSED, false},
    {"a malformed size", "058201020aff", "", false},
    {"a size that is no UTF-8", "068201030a01ff", "", false},
};

static void strip(const char *from, char *to)
{
    while (*from != '\0') {
        if (*from != ' ')
            *to++ = *from;
        from++;
    }
    *to = '\0';
}

static void a_locator_refuses_what_belongs_to_servers_as_geode_does(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof locator_rows / sizeof locator_rows[0]; i++) {
        struct fake_session fake;
        struct fake_conn *conn;
        char input[256];

        fake_session_init(&fake, SESSION_LOCATOR);
        conn = fake_session_hello(&fake);
        strip(locator_rows[i].input, input);
        fake_session_feed(conn, input);
        if (locator_rows[i].text[0] == '\0'
                ? fake_session_frames(conn) != 0
                : fake_session_frames(conn) != 1 ||
                      !fake_session_sent_text(conn, locator_rows[i].text))
            fail_msg("%s: %.*s", locator_rows[i].what, SLICE_FMT(fake_conn_sent(conn)));
        if ((fake_conn_state(conn) == FAKE_OPEN) != locator_rows[i].stays)
            fail_msg("%s: state %d", locator_rows[i].what, fake_conn_state(conn));
        fake_session_fini(&fake);
    }
}

static void a_server_refuses_get_server_and_closes(void **state)
{
    struct fake_session fake;
    struct fake_conn *conn;

    (void)state;
    fake_session_init(&fake, SESSION_SERVER);
    conn = fake_session_hello(&fake);
    fake_session_feed(conn, "026200"
                            "027200");
    assert_true(fake_session_sent(conn, CONTEXT));
    assert_int_equal(fake_conn_state(conn), FAKE_FINISHED);
    fake_session_fini(&fake);
}

static void a_server_names_the_operation_that_it_does_not_support(void **state)
{
    struct fake_session fake;
    struct fake_conn *conn;

    (void)state;
    fake_session_init(&fake, SESSION_SERVER);
    conn = fake_session_hello(&fake);
    fake_session_feed(conn, "08d201050a03312b31"
                            "027200");
    assert_int_equal(fake_session_frames(conn), 2);
    assert_true(fake_session_sent_text(conn, "\x08\x3c\x12")); /* code 60 */
    assert_true(
        fake_session_sent_text(conn, "Unsupported operation:oqlQuery is not supported yet"));
    fake_session_feed(conn, "08d2010512036201"); /* cut short inside */
    fake_session_feed(conn, "ff");
    fake_conn_take(conn);
    fake_session_feed(conn, "06d201030a01ff");
    assert_true(fake_session_sent(conn, ""));
    assert_int_equal(fake_conn_state(conn), FAKE_FINISHED);
    fake_session_fini(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_locator_refuses_what_belongs_to_servers_as_geode_does),
        cmocka_unit_test(a_server_refuses_get_server_and_closes),
        cmocka_unit_test(a_server_names_the_operation_that_it_does_not_support),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
