/* Batches against requests that come one by one: the answers must be the same, byte for byte. */
#include "tests/unit/server/subscriber.h"

#include "protocol/codec.h"

enum { REQUESTS = 300, KEYS = 12, LONG_KEY_BYTES = 200 };

/* Requests as a client would send them, and where each ends. */
struct script {
    struct buf bytes;
    size_t ends[REQUESTS];
    uint32_t count;
};

static void add_frame(struct script *script, uint32_t number, const void *body, size_t len)
{
    size_t message = codec_bytes_field_size(number, len);
    uint8_t *at = buf_reserve(&script->bytes, codec_varint_size(message) + message);
    assert_non_null(at);
    uint8_t *end = codec_put_bytes_header(codec_put_varint(at, message), number, len);
    if (len > 0)
        memcpy(end, body, len);
    script->bytes.len += (size_t)(end - at) + len;
    script->ends[script->count++] = script->bytes.len;
}

static void add_message(struct script *script, uint32_t number, const ProtobufCMessage *message)
{
    uint8_t body[1024];
    size_t len = protobuf_c_message_get_packed_size(message);
    assert_true(len <= sizeof body);
    protobuf_c_message_pack(message, body);
    add_frame(script, number, body, len);
}

static uint32_t next(uint64_t *random, uint32_t limit)
{
    *random = *random * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)(*random >> 33) % limit;
}

/* Keys of several types and lengths, wrong ones among them. */
static Pb__EncodedValue some_key(uint64_t *random, char *text)
{
    uint32_t key = next(random, KEYS);
    Pb__EncodedValue value = PB__ENCODED_VALUE__INIT;
    switch (next(random, 12)) {
    case 0:
        return fixture_null();
    case 1:
        return value;
    case 2:
        return fixture_int((int32_t)key);
    case 3:
        value.value_case = PB__ENCODED_VALUE__VALUE_DOUBLE_RESULT;
        value.double_result = key % 2 == 0 ? __builtin_nan("1") : (double)key;
        return value;
    case 4:
        memset(text, 'k', LONG_KEY_BYTES);
        snprintf(text + LONG_KEY_BYTES, 8, "%u", key);
        return fixture_string(text);
    case 5:
        snprintf(text, 32, "{\"k\":%u}", key);
        return fixture_json(text);
    default:
        snprintf(text, 32, "key%u", key);
        return fixture_string(text);
    }
}

static ProtobufCBinaryData some_region(uint64_t *random)
{
    static const char *const names[] = {"my_region",  "my_region", "my_region", "other",
                                        "/my_region", "",          "nowhere",   "my_region/x"};
    return message_bytes(slice_text(names[next(random, 8)]));
}

static void add_some_request(struct script *script, uint64_t *random)
{
    char text[LONG_KEY_BYTES + 16], document[32];
    Pb__EncodedValue key = some_key(random, text), value = fixture_int((int32_t)next(random, 99));
    Pb__Entry entry = PB__ENTRY__INIT;
    Pb__PutRequest put = PB__PUT_REQUEST__INIT;
    Pb__GetRequest get = PB__GET_REQUEST__INIT;
    Pb__RemoveRequest remove = PB__REMOVE_REQUEST__INIT;
    Pb__GetSizeRequest size = PB__GET_SIZE_REQUEST__INIT;
    if (next(random, 4) == 0) {
        snprintf(document, sizeof document, "{\"a\":%u} tail", next(random, 99));
        if (next(random, 4) == 0)
            document[4] = '\0';
        value = fixture_json(document);
    }
    entry.key = &key;
    entry.value = &value;
    switch (next(random, 8)) {
    case 0:
        size.region_name = some_region(random);
        add_message(script, 16, &size.base);
        break;
    case 1:
        remove.region_name = some_region(random);
        remove.key = &key;
        add_message(script, 10, &remove.base);
        break;
    case 2:
    case 3:
    case 4:
        get.region_name = some_region(random);
        get.key = &key;
        add_message(script, 4, &get.base);
        break;
    default:
        put.region_name = some_region(random);
        put.entry = &entry;
        add_message(script, 2, &put.base);
        break;
    }
}

/* Feeds the script in pieces of `step` requests; step 0 feeds it in pieces of random length. Gives
 * the answers. */
static void play(const struct script *script, uint32_t step, uint64_t random, struct buf *answers,
                 enum fake_conn_state *state)
{
    struct stage stage;
    assert_non_null(buf_reserve(answers, 1 << 18)); /* the stage counts what is allocated in it */
    stage_begin(&stage, 5);
    server_fixture_partition(&stage.fixture, "other", 7);
    struct fake_conn *conn = stage.writer.conn;
    size_t before = fake_conn_sent(conn).len, at = 0;
    for (uint32_t i = 0; at < script->bytes.len; i += step) {
        uint32_t last = i + step - 1 < script->count ? i + step - 1 : script->count - 1;
        size_t end = step > 0 ? script->ends[last] : at + 1 + next(&random, 400);
        if (end > script->bytes.len)
            end = script->bytes.len;
        fake_conn_feed(conn, script->bytes.data + at, end - at);
        at = end;
    }
    struct slice sent = fake_conn_sent(conn);
    buf_append(answers, sent.data + before, sent.len - before);
    *state = fake_conn_state(conn);
    stage_end(&stage);
}

static void check_alike(const struct script *script, uint64_t random)
{
    static const uint32_t steps[] = {2, 3, 16, 17, REQUESTS, 0};
    enum fake_conn_state state, expected_state;
    struct buf expected, answers;
    buf_init(&expected);
    play(script, 1, random, &expected, &expected_state);
    for (unsigned i = 0; i < sizeof steps / sizeof *steps; i++) {
        buf_init(&answers);
        play(script, steps[i], random, &answers, &state);
        assert_int_equal(answers.len, expected.len);
        assert_memory_equal(answers.data, expected.data, expected.len);
        assert_int_equal(state, expected_state);
        buf_fini(&answers);
    }
    buf_fini(&expected);
}

static void a_batch_is_answered_as_its_requests_are(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct script script = {.count = 0};
        uint64_t random = seed;
        buf_init(&script.bytes);
        while (script.count < REQUESTS)
            add_some_request(&script, &random);
        check_alike(&script, seed);
        buf_fini(&script.bytes);
    }
}

static void a_batch_ends_where_a_request_is_malformed(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        static const uint8_t broken[] = {0x0a, 0x7f};
        struct script script = {.count = 0};
        uint64_t random = seed;
        buf_init(&script.bytes);
        uint32_t good = next(&random, 40);
        while (script.count < good)
            add_some_request(&script, &random);
        add_frame(&script, seed % 3 == 0 ? 3 : seed % 3 == 1 ? 4 : 2, broken, sizeof broken);
        while (script.count < good + 20)
            add_some_request(&script, &random);
        check_alike(&script, seed);
        buf_fini(&script.bytes);
    }
}

static void the_region_of_the_last_batch_may_be_gone(void **state)
{
    (void)state;
    struct stage stage;
    struct script script = {.count = 0};
    Pb__EncodedValue key = fixture_string("a");
    Pb__GetRequest get = PB__GET_REQUEST__INIT;
    ProtobufCMessage *message;
    stage_begin(&stage, 5);
    buf_init(&script.bytes);
    get.region_name = message_bytes(slice_text("my_region"));
    get.key = &key;
    for (int i = 0; i < 4; i++)
        add_message(&script, 4, &get.base);
    fixture_client_put(&stage.writer, "my_region", "a", "{}");
    assert_int_equal(fixture_client_receive(&stage.writer, &message), 3);
    fake_conn_feed(stage.writer.conn, script.bytes.data, script.bytes.len);
    for (int i = 0; i < 4; i++)
        assert_int_equal(fixture_client_receive(&stage.writer, &message), 5);
    server_fixture_remove_region(&stage.fixture, "my_region");
    fake_conn_feed(stage.writer.conn, script.bytes.data, script.bytes.len);
    for (int i = 0; i < 4; i++)
        assert_int_equal(fixture_client_receive(&stage.writer, &message), 1);
    buf_fini(&script.bytes);
    stage_end(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_is_answered_as_its_requests_are),
        cmocka_unit_test(a_batch_ends_where_a_request_is_malformed),
        cmocka_unit_test(the_region_of_the_last_batch_may_be_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
