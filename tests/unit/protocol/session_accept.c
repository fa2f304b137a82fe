/* First bytes and the version exchange, on server and locator. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>

#include "tests/lib/fake_session.h"

#define ACCEPTED "06080110011801"
#define REFUSED  "0408011001"
#define UNKNOWN  "756e6b6e6f776e2070726f746f636f6c2076657273696f6e" /* unknown protocol version */

static const struct version {
    const char *what, *input;
    bool half;
    const char *answer;
    bool stays;
} versions[] = {
    {"1.1", "0a0d010000001501000000", false, ACCEPTED, true},
    {"1.1 with the fields swapped", "0a15010000000d01000000", false, ACCEPTED, true},
    {"1.-1", "0a0d0100000015ffffffff", false, ACCEPTED, true},
    {"1.2", "0a0d010000001502000000", false, REFUSED, false},
    {"2000.1", "0a0dd00700001501000000", false, REFUSED, false},
    {"-1.1", "0a0dffffffff1501000000", false, REFUSED, false},
    {"1.0 spelled out", "0a0d010000001500000000", false, REFUSED, false},
    {"five unknown fields", "0a18011801180118011801", false, REFUSED, false},
    {"garbage", "0affffffffffffffffffff", false, "", false},
    {"the first byte, then the end", "0a", true, REFUSED, false},
    {"cut between fields", "0a0d01000000", true, REFUSED, false},
    {"cut inside of a field", "0a0d0100", true, "", false},
    {"the first byte and silence", "0a", false, "", true},
    {"nothing and the end", "", true, "", false},
};

static void versions_are_exchanged_as_geode_does_at_every_split(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof versions / sizeof versions[0]; i++) {
        for (size_t split = 0; split <= strlen(versions[i].input) / 2; split++) {
            struct fake_session fake;
            struct fake_conn *conn;
            char first[64];

            fake_session_init(&fake, i % 2 == 0 ? SESSION_SERVER : SESSION_LOCATOR);
            conn = fake_session_connect(&fake);
            snprintf(first, sizeof first, "%.*s", (int)split * 2, versions[i].input);
            if (first[0] != '\0')
                fake_session_feed(conn, first);
            if (versions[i].input[split * 2] != '\0')
                fake_session_feed(conn, versions[i].input + split * 2);
            if (versions[i].half)
                fake_conn_eof(conn);
            if (!fake_session_sent(conn, versions[i].answer) ||
                (fake_conn_state(conn) == FAKE_OPEN) != versions[i].stays)
                fail_msg("%s, split at %zu", versions[i].what, split);
            fake_session_fini(&fake);
        }
    }
}

static const struct stranger {
    const char *what, *input;
    bool half;
    const char *server_answer, *locator_answer, *code;
} strangers[] = {
    {"a version of five bytes", "050d01000000", false, "", UNKNOWN, "VG1315"},
    {"0", "00", false, "", UNKNOWN, "VG1315"},
    {"1", "01", false, "", UNKNOWN, "VG1315"},
    {"255", "ff", false, "", UNKNOWN, "VG1315"},
    {"110", "6e", false, "", UNKNOWN, "VG1315"},
    {"a classic client", "64", false, "", "43", "VG1313"},
    {"a classic queue", "6b", false, "", "43", "VG1313"},
    {"TLS", "1603010005", false, "15030100020246", "15030100020246", "VG1311"},
    {"a peer where none is expected", "56", false, "", "", "VG1314"},
    {"a word that is no method", "4742", false, "", UNKNOWN, "VG1315"},
    {"half a method and the end", "474554", true, "", UNKNOWN, "VG1315"},
};

static void strangers_get_an_answer_that_they_can_read_and_a_line_in_the_log(void **state)
{
    (void)state;
    for (int role = SESSION_SERVER; role <= SESSION_LOCATOR; role++) {
        for (size_t i = 0; i < sizeof strangers / sizeof strangers[0]; i++) {
            struct fake_session fake;
            struct fake_conn *conn;

            fake_session_init(&fake, (enum session_role)role);
            conn = fake_session_connect(&fake);
            fake_session_feed(conn, strangers[i].input);
            if (strangers[i].half)
                fake_conn_eof(conn);
            if (!fake_session_sent(conn, role == SESSION_SERVER ? strangers[i].server_answer
                                                                : strangers[i].locator_answer) ||
                fake_conn_state(conn) != FAKE_FINISHED)
                fail_msg("%s on role %d", strangers[i].what, role);
            assert_non_null(strstr(fake.log, strangers[i].code));
            assert_non_null(strstr(fake.log, "192.0.2.7:4711"));
            assert_int_equal(fake.connection_count, 0);
            assert_int_equal(fake.host.counters.connection_starts, 0);
            fake_session_fini(&fake);
        }
    }
}

static void http_is_told_the_right_port(void **state)
{
    static const char *const requests[] = {
        "GET / HTTP/1.1\r\n", "HEAD /",   "POST /",  "PUT /",  "DELETE /",
        "OPTIONS *",          "CONNECT ", "TRACE /", "PATCH /"};

    (void)state;
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        struct fake_session fake;
        struct fake_conn *conn;

        fake_session_init(&fake, i % 2 == 0 ? SESSION_SERVER : SESSION_LOCATOR);
        conn = fake_session_connect(&fake);
        fake_conn_feed(conn, requests[i], 2);
        assert_int_equal(fake_conn_state(conn), FAKE_OPEN);
        fake_conn_feed(conn, requests[i] + 2, strlen(requests[i]) - 2);
        assert_int_equal(fake_conn_state(conn), FAKE_FINISHED);
        assert_memory_equal(fake_conn_sent(conn).data, "HTTP/1.1 400 Bad Request\r\n", 26);
        assert_true(fake_session_sent_text(conn, "HTTP is on port 7071"));
        assert_non_null(strstr(fake.log, "VG1312"));
        fake_session_fini(&fake);
    }
}

static void a_storm_of_strangers_is_logged_a_few_times(void **state)
{
    struct fake_session fake;
    unsigned lines = 0;

    (void)state;
    fake_session_init(&fake, SESSION_SERVER);
    for (int i = 0; i < 100; i++)
        fake_session_feed(fake_session_connect(&fake), "ff");
    for (const char *at = fake.log; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    assert_in_range(lines, 1, LIMIT_LOG_LINES);
    fake_session_fini(&fake);
}

static void the_connection_after_the_last_is_closed_without_a_byte(void **state)
{
    struct fake_session fake;
    struct fake_conn *conns[17];

    (void)state;
    fake_session_init(&fake, SESSION_SERVER);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 16; i++)
            conns[i] = fake_session_hello(&fake);
        conns[16] = fake_session_connect(&fake);
        assert_int_equal(fake_conn_state(conns[16]),
                         FAKE_OPEN); /* the limit is asked with the first byte */
        fake_session_feed(conns[16], "0a");
        assert_int_equal(fake_conn_state(conns[16]), FAKE_FINISHED);
        assert_true(fake_session_sent(conns[16], ""));
        assert_int_equal(fake.connection_count, 16);
        for (int i = 0; i < 16; i++)
            fake_conn_reset(conns[i]);
        assert_int_equal(fake.connection_count, 0);
    }
    assert_non_null(strstr(fake.log, "VG1316"));
    fake_session_fini(&fake);
}

static size_t peer_on_data(void *arg, const uint8_t *data, size_t len)
{
    struct fake_session *fake = arg;

    assert_int_equal(data[0], 86);
    fake->peers += (uint32_t)len;
    return len;
}

static void peer_on_close(void *arg, enum error why)
{
    (void)arg;
    (void)why;
}

static const struct net_conn_events peer_events = {.on_data = peer_on_data,
                                                   .on_close = peer_on_close};

static void on_peer(void *owner, struct net_conn *conn, struct slice data)
{
    assert_int_equal(data.data[0], 86);
    net_conn_hand_over(conn, &peer_events, owner);
    net_conn_pause(conn);
    net_conn_resume(conn);
}

static void a_peer_is_handed_over_with_all_its_bytes(void **state)
{
    struct fake_session fake;
    struct fake_conn *conn;

    (void)state;
    fake_session_init(&fake, SESSION_LOCATOR);
    fake.host.on_peer = on_peer;
    conn = fake_session_connect(&fake);
    fake_session_feed(conn, "560102");
    assert_int_equal(fake.peers, 3);
    assert_null(fake.host.sessions);
    fake_conn_reset(conn);
    fake_session_fini(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_are_exchanged_as_geode_does_at_every_split),
        cmocka_unit_test(strangers_get_an_answer_that_they_can_read_and_a_line_in_the_log),
        cmocka_unit_test(http_is_told_the_right_port),
        cmocka_unit_test(a_storm_of_strangers_is_logged_a_few_times),
        cmocka_unit_test(the_connection_after_the_last_is_closed_without_a_byte),
        cmocka_unit_test(a_peer_is_handed_over_with_all_its_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
