/* Handshake, disconnect, and what is refused before authentication. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/lib/fake_session.h"

#define STATE_ERROR                                                                                \
    "org.apache.geode.internal.protocol.protobuf.v1.state.exception.ConnectionStateException: "

static void without_users_a_handshake_may_be_repeated_and_credentials_are_ignored(void **state)
{
    struct fake_session fake;
    struct fake_conn *conn;

    (void)state;
    fake_session_init(&fake, SESSION_SERVER);
    conn = fake_session_hello(&fake);
    fake_session_feed(conn, "03b20100");
    assert_true(fake_session_sent(conn, "03ba0100"));
    fake_session_feed(conn, "09b201060a040a0175120178"); /* a credential {u: (cut)} is malformed */
    assert_int_equal(fake_conn_state(conn), FAKE_FINISHED);
    conn = fake_session_hello(&fake);
    fake_session_feed(conn, "0bb201080a060a0175120170"
                            "03b20100");
    assert_true(fake_session_sent(conn, "05ba01020801"
                                        "03ba0100"));
    assert_int_equal(fake_conn_state(conn), FAKE_OPEN);
    fake_session_fini(&fake);
}

static void an_unknown_value_format_is_refused_and_the_connection_closed(void **state)
{
    struct fake_session fake;
    struct fake_conn *conn;

    (void)state;
    for (int role = SESSION_SERVER; role <= SESSION_LOCATOR; role++) {
        fake_session_init(&fake, (enum session_role)role);
        conn = fake_session_hello(&fake);
        fake_session_feed(conn, "07b2010412025858"
                                "027200");
        assert_int_equal(fake_session_frames(conn), 1);
        assert_true(fake_session_sent_text(conn, STATE_ERROR
                                           "Unable to find a ValueSerializer for format XX"));
        assert_int_equal(fake_conn_sent(conn).data[fake_conn_sent(conn).len - 1], 'X');
        assert_int_equal(fake_conn_state(conn), FAKE_FINISHED);
        fake_session_fini(&fake);
    }
}

static void a_disconnect_is_answered_logged_and_the_rest_discarded(void **state)
{
    struct fake_session fake;
    struct fake_conn *conn;

    (void)state;
    fake_session_init(&fake, SESSION_LOCATOR);
    conn = fake_session_hello(&fake);
    fake_session_feed(conn, "0af201070a056279650a21"
                            "027200");
    assert_true(fake_session_sent(conn, "03fa0100"));
    assert_int_equal(fake_conn_state(conn), FAKE_FINISHED);
    assert_non_null(strstr(fake.log, "bye"));
    assert_null(strstr(fake.log, "bye\n!")); /* escaped */
    fake_session_fini(&fake);
}

/* The input of a connection that still has to authenticate, and what it is told. */
static const struct {
    const char *input, *text; /* NULL: nothing */
} before_authentication[] = {
    {"027200", "User has not yet authenticated"},
    {"03f20100", "User has not yet authenticated"},
    {"026200", "User has not yet authenticated"},
    {"039a0600", NULL},
    {"021a00", NULL},
    {"0472020a05", NULL},
    {"8220", NULL}, /* longer than who is nobody may be */
};

static void before_authentication_only_a_handshake_is_heard(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof before_authentication / sizeof before_authentication[0]; i++) {
        for (int role = SESSION_SERVER; role <= SESSION_LOCATOR; role++) {
            struct fake_session fake;
            struct fake_conn *conn;

            fake_session_init(&fake, (enum session_role)role);
            fake.host.requires_authentication = true;
            conn = fake_session_hello(&fake);
            fake_session_feed(conn, before_authentication[i].input);
            assert_int_equal(fake_conn_state(conn), FAKE_FINISHED);
            if (before_authentication[i].text == NULL) {
                assert_true(fake_session_sent(conn, ""));
            } else {
                assert_true(fake_session_sent_text(conn, before_authentication[i].text));
                assert_int_equal(fake_conn_sent(conn).data[6], 11); /* the code */
            }
            fake_session_fini(&fake);
        }
    }
}

static void without_users_authentication_fails_and_is_counted(void **state)
{
    struct fake_session fake;
    struct fake_conn *conn;

    (void)state;
    fake_session_init(&fake, SESSION_SERVER);
    fake.host.requires_authentication = true;
    conn = fake_session_hello(&fake);
    fake_session_feed(conn, "0bb201080a060a0175120170"
                            "027200");
    assert_true(fake_session_sent(conn, "03ba0100"));
    assert_int_equal(fake_conn_state(conn), FAKE_FINISHED);
    assert_int_equal(fake.host.counters.authentication_failures, 1);
    assert_int_equal(fake.executed, 0);
    fake_session_fini(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_users_a_handshake_may_be_repeated_and_credentials_are_ignored),
        cmocka_unit_test(an_unknown_value_format_is_refused_and_the_connection_closed),
        cmocka_unit_test(a_disconnect_is_answered_logged_and_the_rest_discarded),
        cmocka_unit_test(before_authentication_only_a_handshake_is_heard),
        cmocka_unit_test(without_users_authentication_fails_and_is_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
