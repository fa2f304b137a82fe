/* The hand-written codec: captured exchanges, and agreement with protobuf-c on what is random and
 * mutated. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>

#include "protocol/codec.h"
#include "protocol/message.h"

static size_t unhex(const char *hex, uint8_t *bytes)
{
    size_t len = strlen(hex) / 2;

    for (size_t i = 0; i < 2 * len; i++) {
        uint8_t nibble = (uint8_t)(hex[i] <= '9' ? hex[i] - '0' : hex[i] - 'a' + 10);

        bytes[i / 2] = (uint8_t)(i % 2 == 0 ? nibble << 4 : bytes[i / 2] | nibble);
    }
    return len;
}

static void varints_are_written_and_read(void **state)
{
    static const uint64_t values[] = {0,     1,          127,        128,       16383,
                                      16384, UINT32_MAX, 1ull << 63, UINT64_MAX};
    uint8_t bytes[11];
    uint64_t again;

    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        uint8_t *end = codec_put_varint(bytes, values[i]);

        assert_int_equal(end - bytes, codec_varint_size(values[i]));
        assert_ptr_equal(codec_get_varint(bytes, end, &again), end);
        assert_true(again == values[i]);
        assert_null(codec_get_varint(bytes, end - 1, &again));
    }
    for (uint32_t bit = 0; bit < 64; bit++)
        assert_int_equal(codec_varint_size(1ull << bit), bit / 7 + 1);
    memset(bytes, 0xff, sizeof bytes);
    assert_null(codec_get_varint(bytes, bytes + sizeof bytes, &again));
    assert_null(codec_get_varint(bytes, bytes, &again));
}

static void fields_that_are_malformed_are_refused(void **state)
{
    static const char *const malformed[] = {"00", "0200",         "77",          "76",
                                            "0b", "0c",           "08",          "0880",
                                            "0a", "0a01",         "0d000000",    "0900000000000000",
                                            "80", "0affffffff7f", "0affffffff0f"};
    uint8_t bytes[16];

    (void)state;
    for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
        struct slice rest = slice_of(bytes, unhex(malformed[i], bytes));
        struct codec_field field;

        if (codec_next_field(&rest, &field) != ERROR_MALFORMED)
            fail_msg("%s is accepted", malformed[i]);
    }
}

static struct slice frame_of(const char *hex, uint8_t *bytes)
{
    size_t len = unhex(hex, bytes);

    assert_int_equal(bytes[0], len - 1);
    return slice_of(bytes + 1, len - 1);
}

static void captured_requests_are_decoded(void **state)
{
    struct codec_entry_request entry;
    struct codec_key_request key;
    struct slice body, region, walk;
    struct value k, v;
    uint8_t bytes[256];
    uint32_t number, count;

    (void)state;
    assert_int_equal(codec_message(frame_of("0b22090a022f5212034a016b", bytes), &number, &body),
                     OK); /* G08 */
    assert_int_equal(number, 4);
    assert_int_equal(codec_key_request(body, &key), OK);
    assert_true(slice_equal(key.region, slice_text("/R")));
    assert_int_equal(key.key.type, VALUE_STRING);
    assert_true(slice_equal(key.key.bytes, slice_text("k")));

    /* G29 */
    assert_int_equal(
        codec_message(frame_of("1312110a0152120c0a034a017412053d0000c03f", bytes), &number, &body),
        OK);
    assert_int_equal(number, 2);
    assert_int_equal(codec_entry_request(body, &entry), OK);
    assert_true(slice_equal(entry.region, slice_text("R")));
    assert_true(slice_equal(entry.key.bytes, slice_text("t")));
    assert_int_equal(entry.value.type, VALUE_FLOAT);
    assert_true(entry.value.float32 == 1.5f);

    /* G37 */
    assert_int_equal(
        codec_message(
            frame_of("1d321b0a0152120a0a034a016112034a0131120a0a034a016212034a0132", bytes),
            &number, &body),
        OK);
    assert_int_equal(number, 6);
    assert_int_equal(codec_entries_request(body, &region, &count), OK);
    assert_int_equal(count, 2);
    walk = body;
    assert_true(codec_next_entry(&walk, &k, &v));
    assert_true(slice_equal(k.bytes, slice_text("a")) && slice_equal(v.bytes, slice_text("1")));
    assert_true(codec_next_entry(&walk, &k, &v));
    assert_true(slice_equal(k.bytes, slice_text("b")) && slice_equal(v.bytes, slice_text("2")));
    assert_false(codec_next_entry(&walk, &k, &v));

    assert_int_equal(
        codec_message(frame_of("10420e0a015212034a016112044a027a7a", bytes), &number, &body),
        OK); /* G40 */
    assert_int_equal(codec_keys_request(body, &region, &count), OK);
    assert_true(slice_equal(region, slice_text("R")));
    assert_int_equal(count, 2);
    walk = body;
    assert_true(codec_next_key(&walk, &k) && slice_equal(k.bytes, slice_text("a")));
    assert_true(codec_next_key(&walk, &k) && slice_equal(k.bytes, slice_text("zz")));
    assert_false(codec_next_key(&walk, &k));

    assert_int_equal(
        codec_message(frame_of("1292020f0a0152120a0a034a017012034a0131", bytes), &number, &body),
        OK);
    assert_int_equal(number, 34); /* G43 */
}

static void a_captured_reply_is_encoded(void **state)
{
    struct value value = {.type = VALUE_STRING, .bytes = slice_text("v")};
    uint8_t expected[16], out[16], *end;
    size_t len = unhex("072a050a034a0176", expected); /* G07 */
    size_t body = codec_bytes_field_size(1, value_encoded_size(&value));

    (void)state;
    end = codec_put_varint(out, codec_bytes_field_size(5, body));
    end = codec_put_bytes_header(end, 5, body);
    end = codec_put_bytes_header(end, 1, value_encoded_size(&value));
    end = value_encode(&value, end);
    assert_int_equal(end - out, len);
    assert_memory_equal(out, expected, len);
}

static void of_several_members_the_last_counts_and_all_are_checked(void **state)
{
    uint8_t bytes[32];
    struct slice body;
    uint32_t number;

    (void)state;
    assert_int_equal(codec_message(slice_of(bytes, unhex("72001a00", bytes)), &number, &body), OK);
    assert_int_equal(number, 3);
    assert_int_equal(codec_message(slice_of(bytes, unhex("9a06007001", bytes)), &number, &body),
                     OK);
    assert_int_equal(number, 0);
    assert_int_equal(codec_message(slice_of(bytes, unhex("220172", bytes)), &number, &body), OK);
    assert_int_equal(codec_message(slice_of(bytes, unhex("2201727200", bytes)), &number, &body),
                     ERROR_MALFORMED);
    assert_int_equal(codec_message(slice_of(bytes, 0), &number, &body), OK);
    assert_int_equal(number, 0);
}

static void contents_of_a_repeated_field_are_merged(void **state)
{
    struct codec_entry_request entry;
    uint8_t bytes[64];

    (void)state;
    /* entry{key "k"} entry{value 1}; then key{} sets nothing */
    assert_int_equal(codec_entry_request(slice_of(bytes, unhex("12050a034a016b1204120208011202"
                                                               "0a00",
                                                               bytes)),
                                         &entry),
                     OK);
    assert_int_equal(entry.key.type, VALUE_STRING);
    assert_int_equal(entry.value.type, VALUE_INT);
}

/* ---- Agreement with protobuf-c ---- */

static uint64_t seed;

static uint32_t pick(uint32_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 33) % below;
}

static void put_nested(struct buf *out, uint32_t number, const struct buf *content)
{
    uint8_t head[20], *end = codec_put_bytes_header(head, number, content->len);

    buf_append(out, head, (size_t)(end - head));
    buf_append_slice(out, buf_slice(content));
}

static void put_value(struct buf *out)
{
    static const char *const texts[] = {"",          "k",    "caf\xc3\xa9", "\xf0\x9f\x98\x80",
                                        "{\"a\":1}", "\xff", "a\0b"};
    struct value value = {.type = (enum value_type)pick(13)};
    uint8_t *end;

    switch (value.type) {
    case VALUE_BINARY:
    case VALUE_STRING:
    case VALUE_JSON:
    case VALUE_CUSTOM:
        value.bytes = slice_text(texts[pick(7)]);
        break;
    case VALUE_DOUBLE:
        value.float64 = (double)pick(1000) / 7;
        break;
    case VALUE_FLOAT:
        value.float32 = (float)pick(1000) / 7;
        break;
    case VALUE_BOOLEAN:
        value.integer = pick(2);
        break;
    case VALUE_NULL:
        break;
    default:
        value.integer = (int64_t)pick(100000) - 50000;
        break;
    }
    end = buf_reserve(out, value_encoded_size(&value));
    assert_non_null(end);
    out->len += (size_t)(value_encode(&value, end) - end);
}

static void put_message(struct buf *out, int depth)
{
    uint32_t fields = pick(4);

    for (uint32_t i = 0; i < fields; i++) {
        struct buf content;

        buf_init(&content);
        switch (pick(6)) {
        case 0:
            buf_append_text(&content, pick(8) == 0 ? "\xc0\xaf" : "region");
            break;
        case 1:
        case 2:
            put_value(&content);
            if (pick(8) == 0)
                put_value(&content);
            break;
        default:
            if (depth > 0)
                put_message(&content, depth - 1);
            else
                put_value(&content);
            break;
        }
        put_nested(out, 1 + pick(pick(10) == 0 ? 20 : 2), &content);
        buf_fini(&content);
    }
}

static void mutate(struct buf *bytes)
{
    for (uint32_t n = pick(3); n > 0 && bytes->len > 0; n--) {
        switch (pick(4)) {
        case 0:
            bytes->data[pick((uint32_t)bytes->len)] = (uint8_t)pick(256);
            break;
        case 1:
            bytes->data[pick((uint32_t)bytes->len)] ^= (uint8_t)(1u << pick(8));
            break;
        case 2:
            bytes->len = pick((uint32_t)bytes->len + 1);
            break;
        default:
            buf_append_byte(bytes, (uint8_t)pick(256));
            break;
        }
    }
}

static struct value value_of(const Pb__EncodedValue *from)
{
    struct value value = {.type = VALUE_NOT_SET};

    if (from == NULL)
        return value;
    value.type = (enum value_type)from->value_case;
    switch (value.type) {
    case VALUE_INT:
        value.integer = from->int_result;
        break;
    case VALUE_LONG:
        value.integer = from->long_result;
        break;
    case VALUE_SHORT:
        value.integer = (int16_t)from->short_result;
        break;
    case VALUE_BYTE:
        value.integer = (int8_t)from->byte_result;
        break;
    case VALUE_BOOLEAN:
        value.integer = from->boolean_result;
        break;
    case VALUE_DOUBLE:
        value.float64 = from->double_result;
        break;
    case VALUE_FLOAT:
        value.float32 = from->float_result;
        break;
    case VALUE_BINARY:
        value.bytes = message_slice(from->binary_result);
        break;
    case VALUE_STRING:
        value.bytes = message_slice(from->string_result);
        break;
    case VALUE_JSON:
        value.bytes = message_slice(from->json_object_result);
        break;
    case VALUE_CUSTOM:
        value.bytes = message_slice(from->custom_object_result);
        break;
    default:
        break;
    }
    return value;
}

static bool same_value(struct value a, const Pb__EncodedValue *b)
{
    struct value other = value_of(b);

    return value_equal(&a, &other);
}

/* Does the codec say what protobuf-c says? Fills *error with the codec's verdict. */
static bool agrees(uint32_t number, struct slice body, const ProtobufCMessage *message,
                   enum error *error)
{
    struct codec_entry_request entry;
    struct codec_key_request key;
    struct value k, v;
    struct slice region, walk = body;
    uint32_t count, i = 0;

    switch (number) {
    case 2: {
        const Pb__PutRequest *put = (const Pb__PutRequest *)message;

        *error = codec_entry_request(body, &entry);
        return *error != OK || put == NULL ||
               (slice_equal(entry.region, message_slice(put->region_name)) &&
                same_value(entry.key, put->entry == NULL ? NULL : put->entry->key) &&
                same_value(entry.value, put->entry == NULL ? NULL : put->entry->value));
    }
    case 4: {
        const Pb__GetRequest *get = (const Pb__GetRequest *)message;

        *error = codec_key_request(body, &key);
        return *error != OK || get == NULL ||
               (slice_equal(key.region, message_slice(get->region_name)) &&
                same_value(key.key, get->key));
    }
    case 6: {
        const Pb__PutAllRequest *put = (const Pb__PutAllRequest *)message;

        *error = codec_entries_request(body, &region, &count);
        if (*error != OK || put == NULL)
            return true;
        for (; codec_next_entry(&walk, &k, &v); i++) {
            if (i >= put->n_entry || !same_value(k, put->entry[i]->key) ||
                !same_value(v, put->entry[i]->value))
                return false;
        }
        return i == count && count == put->n_entry &&
               slice_equal(region, message_slice(put->region_name));
    }
    default: {
        const Pb__GetAllRequest *get = (const Pb__GetAllRequest *)message;

        *error = codec_keys_request(body, &region, &count);
        if (*error != OK || get == NULL)
            return true;
        for (; codec_next_key(&walk, &k); i++) {
            if (i >= get->n_key || !same_value(k, get->key[i]))
                return false;
        }
        return i == count && count == get->n_key &&
               slice_equal(region, message_slice(get->region_name));
    }
    }
}

/* 250,000 messages. Where the codec and protobuf-c differ, the reason must be one of these:
 *   only the codec refuses    a string is no UTF-8, or a field has number 0: the reference refuses
 * too only protobuf-c refuses   a known field of another wire type, or a tag or length that is
 * written too long: the reference accepts, and protobuf-c does when the message is written again
 * without them */
static void the_codec_agrees_with_protobuf_c(void **state)
{
    static const uint32_t numbers[] = {2, 4, 6, 8};
    unsigned accepted = 0, refused = 0, stricter = 0, laxer = 0;
    struct arena arena;
    struct buf bytes;

    (void)state;
    seed = 20261122;
    buf_init(&bytes);
    arena_init(&arena, 1 << 24);
    for (unsigned i = 0; i < 250000; i++) {
        uint32_t number = numbers[i % 4];
        const ProtobufCMessageDescriptor *descriptor = message_descriptor(number);
        ProtobufCMessage *plain, *checked = NULL;
        enum error error, check;
        struct slice body;

        buf_clear(&bytes);
        arena_reset(&arena);
        put_message(&bytes, 2);
        mutate(&bytes);
        body = buf_slice(&bytes);
        plain = protobuf_c_message_unpack(descriptor, &arena.protobuf, body.len, body.data);
        check = message_unpack(descriptor, &arena, body, &checked);
        if (!agrees(number, body, check == OK ? checked : NULL, &error)) {
            for (size_t j = 0; j < body.len; j++)
                fprintf(stderr, "%02x", body.data[j]);
            fail_msg(" differs as message %u", number);
        }
        if (error != check) {
            for (size_t j = 0; j < body.len; j++)
                fprintf(stderr, "%02x", body.data[j]);
            fail_msg(" message %u: the codec says %d, the check %d", number, error, check);
        }
        accepted += error == OK && plain != NULL;
        refused += error != OK && plain == NULL;
        stricter += error != OK && plain != NULL;
        laxer += error == OK && plain == NULL;
    }
    print_message("# %u accepted by both, %u refused by both, %u by the codec, %u by protobuf-c\n",
                  accepted, refused, stricter, laxer);
    assert_true(accepted > 50000 && refused > 10000 && stricter > 1000 && laxer > 1000);
    arena_fini(&arena);
    buf_fini(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(varints_are_written_and_read),
        cmocka_unit_test(fields_that_are_malformed_are_refused),
        cmocka_unit_test(captured_requests_are_decoded),
        cmocka_unit_test(a_captured_reply_is_encoded),
        cmocka_unit_test(of_several_members_the_last_counts_and_all_are_checked),
        cmocka_unit_test(contents_of_a_repeated_field_are_merged),
        cmocka_unit_test(the_codec_agrees_with_protobuf_c),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
