#include "tests/lib/fake_session.h"

#include <stdio.h>

#include "protocol/codec.h"
#include "protocol/message.h"

static struct fake_session *fake_of(struct session *session)
{
    struct fake_session *fake = session_owner(session);

    fake->last = session;
    return fake;
}

static enum error fake_names(struct session *session, struct slice body)
{
    struct slice region = slice_text("/R");
    uint8_t *place;

    if (message_check(&pb__get_region_names_request__descriptor, body) != OK)
        return ERROR_MALFORMED;
    fake_of(session)->executed++;
    place = session_reply_begin(session, 15, codec_bytes_field_size(1, region.len));
    if (place == NULL)
        return ERROR_MEMORY;
    memcpy(codec_put_bytes_header(place, 1, region.len), region.data, region.len);
    session_reply_end(session);
    return OK;
}

static enum error fake_get(struct session *session, struct slice body)
{
    struct fake_session *fake = fake_of(session);
    struct codec_key_request request;
    Pb__EncodedValue value = PB__ENCODED_VALUE__INIT;
    Pb__GetResponse response = PB__GET_RESPONSE__INIT;
    enum error error = codec_key_request(body, &request);
    char *big = NULL;

    if (error != OK)
        return error;
    fake->executed++;
    value.value_case = PB__ENCODED_VALUE__VALUE_STRING_RESULT;
    value.string_result = message_bytes(slice_text("v"));
    if (fake->big_reply > 0) {
        big = arena_alloc(session_arena(session), fake->big_reply);
        if (big == NULL)
            return ERROR_MEMORY;
        memset(big, 'b', fake->big_reply);
        value.string_result = message_bytes(slice_of(big, fake->big_reply));
    }
    response.result = &value;
    return session_reply_message(session, 5, &response.base);
}

static enum error fake_slot(struct session *session, struct slice body)
{
    struct fake_session *fake = fake_of(session);
    struct session_slot *slot = session_slot_new(session);

    (void)body;
    if (slot == NULL)
        return ERROR_MEMORY;
    PRE(fake->slot_count < FAKE_SLOTS_MAX);
    fake->executed++;
    fake->slots[fake->slot_count++] = slot;
    return OK;
}

static enum error fake_put_all(struct session *session, struct slice body)
{
    (void)session;
    (void)body;
    return ERROR_MEMORY;
}

static enum error fake_get_all(struct session *session, struct slice body)
{
    (void)session;
    (void)body;
    return ERROR_MALFORMED;
}

static enum error fake_subscribe(struct session *session, struct slice body)
{
    struct session_slot *slot = session_slot_new(session);

    (void)body;
    if (slot == NULL)
        return ERROR_MEMORY;
    session_set_subscribed(session, true);
    session_slot_reply(slot, 1002, slice_of(NULL, 0));
    if (session_push_begin(session, 1003, 0) == NULL)
        return ERROR_MEMORY;
    session_push_end(session);
    return OK;
}

static enum error fake_ack(struct session *session, struct slice body)
{
    (void)body;
    fake_of(session)->acks++;
    return OK;
}

static const struct operation fake_operations[] = {
    {4, "get", 0, NULL, fake_get},
    {6, "putAll", 0, NULL, fake_put_all},
    {8, "getAll", 0, NULL, fake_get_all},
    {14, "getRegionNames", 0, NULL, fake_names},
    {16, "getSize", 0, NULL, fake_slot},
    {28, "keySet", OPERATION_ALONE, NULL, fake_slot},
    {1001, "cqSubscribe", 0, NULL, fake_subscribe},
    {1004, "cqAck", OPERATION_PASSES, NULL, fake_ack},
    {0, NULL, 0, NULL, NULL},
};

/* Of a locator: none but the built-in ones. */
static const struct operation fake_no_operations[] = {{0, NULL, 0, NULL, NULL}};

static void fake_on_end(void *owner, struct session *session)
{
    struct fake_session *fake = owner;

    (void)session;
    fake->ends++;
}

static void fake_log(void *arg, enum log_level level, const char *line)
{
    struct fake_session *fake = arg;
    size_t len = strlen(fake->log);

    (void)level;
    snprintf(fake->log + len, sizeof fake->log - len, "%s\n", line);
}

static uint64_t fake_log_wall(void *arg)
{
    (void)arg;
    return 1700000000000u;
}

void fake_session_init(struct fake_session *fake, enum session_role role)
{
    *fake = (struct fake_session){.net = fake_net_new()};
    fake->host = (struct session_host){
        .role = role,
        .loop = fake_net_loop(fake->net),
        .log = log_new(LOG_DEBUG, fake_log, fake, fake_log_wall),
        .operations = role == SESSION_SERVER ? fake_operations : fake_no_operations,
        .owner = fake,
        .http_port = 7071,
        .connections_max = role == SESSION_SERVER ? 16 : 0,
        .idle_ms = 2000,
        .connection_count = &fake->connection_count,
        .on_session_end = fake_on_end,
    };
    PRE(session_host_init(&fake->host) == OK);
}

void fake_session_fini(struct fake_session *fake)
{
    session_host_fini(&fake->host);
    log_free(fake->host.log);
    fake_net_free(fake->net);
}

struct fake_conn *fake_session_connect(struct fake_session *fake)
{
    struct fake_conn *conn = fake_net_accept(fake->net);

    PRE(session_accept(&fake->host, fake_net_net(fake->net), fake_conn_socket(conn)) == OK);
    return conn;
}

struct fake_conn *fake_session_hello(struct fake_session *fake)
{
    struct fake_conn *conn = fake_session_connect(fake);

    fake_session_feed(conn, "0a0d010000001501000000");
    PRE(fake_session_sent(conn, "06080110011801"));
    return conn;
}

static uint8_t fake_hex(char digit)
{
    return (uint8_t)(digit <= '9' ? digit - '0' : digit - 'a' + 10);
}

static size_t fake_unhex(const char *hex, uint8_t *bytes, size_t size)
{
    size_t len = strlen(hex) / 2;

    PRE(strlen(hex) % 2 == 0 && len <= size);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(fake_hex(hex[2 * i]) << 4 | fake_hex(hex[2 * i + 1]));
    return len;
}

void fake_session_feed(struct fake_conn *conn, const char *hex)
{
    uint8_t bytes[4096];

    fake_conn_feed(conn, bytes, fake_unhex(hex, bytes, sizeof bytes));
}

bool fake_session_sent(struct fake_conn *conn, const char *hex)
{
    uint8_t bytes[4096];
    size_t len = fake_unhex(hex, bytes, sizeof bytes);
    struct slice sent = fake_conn_sent(conn);
    bool same = slice_equal(sent, slice_of(bytes, len));

    if (!same) {
        fprintf(stderr, "# expected %s, sent ", hex);
        for (size_t i = 0; i < sent.len && i < 256; i++)
            fprintf(stderr, "%02x", sent.data[i]);
        fprintf(stderr, "\n");
    }
    fake_conn_take(conn);
    return same;
}

unsigned fake_session_frames(struct fake_conn *conn)
{
    struct slice sent = fake_conn_sent(conn);
    const uint8_t *at = sent.data, *end = sent.data + sent.len;
    unsigned count = 0;

    while (at < end) {
        uint64_t len;

        at = codec_get_varint(at, end, &len);
        PRE(at != NULL && len <= (size_t)(end - at));
        at += len;
        count++;
    }
    return count;
}

bool fake_session_sent_text(struct fake_conn *conn, const char *text)
{
    struct slice sent = fake_conn_sent(conn);

    return memmem(sent.data, sent.len, text, strlen(text)) != NULL;
}
