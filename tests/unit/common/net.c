#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/net.h"

/* A net that only takes output: net_conn_write() stands on reserve and commit alone. */
struct output {
    struct net net;
    struct net_conn conn;
    uint8_t bytes[64];
    size_t len;
    bool full;
};

static uint8_t *reserve(struct net_conn *conn, size_t len)
{
    struct output *output = (struct output *)conn->net;

    if (output->full || len > sizeof output->bytes - output->len)
        return NULL;
    return output->bytes + output->len;
}

static void commit(struct net_conn *conn, size_t len)
{
    ((struct output *)conn->net)->len += len;
}

static const struct net_ops ops = {.reserve = reserve, .commit = commit};

static void written_bytes_are_reserved_and_committed(void **state)
{
    struct output output = {.net = {.ops = &ops}};

    (void)state;
    output.conn.net = &output.net;
    assert_int_equal(net_conn_write(&output.conn, "one", 3), OK);
    assert_int_equal(net_conn_write(&output.conn, "two", 3), OK);
    assert_int_equal(output.len, 6);
    assert_memory_equal(output.bytes, "onetwo", 6);
}

static void without_room_nothing_is_written(void **state)
{
    struct output output = {.net = {.ops = &ops}, .full = true};

    (void)state;
    output.conn.net = &output.net;
    assert_int_equal(net_conn_write(&output.conn, "one", 3), ERROR_MEMORY);
    assert_int_equal(output.len, 0);
    assert_int_equal(net_conn_write(&output.conn, NULL, 0), OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_bytes_are_reserved_and_committed),
        cmocka_unit_test(without_room_nothing_is_written),
    };

    return cmocka_run_group_tests_name("net", tests, NULL, NULL);
}
