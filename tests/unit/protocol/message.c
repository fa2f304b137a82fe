/* Members of Message, strict checks, unpacking, rewriting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>

#include "protocol/message.h"
#include "protocol/peer.pb-c.h"

static size_t unhex(const char *hex, uint8_t *bytes)
{
    size_t len = strlen(hex) / 2;

    for (size_t i = 0; i < 2 * len; i++) {
        uint8_t nibble = (uint8_t)(hex[i] <= '9' ? hex[i] - '0' : hex[i] - 'a' + 10);

        bytes[i / 2] = (uint8_t)(i % 2 == 0 ? nibble << 4 : bytes[i / 2] | nibble);
    }
    return len;
}

static void every_member_has_a_descriptor_and_a_kind(void **state)
{
    unsigned requests = 0, members = 0;

    (void)state;
    for (uint32_t number = 0; number < 2000; number++) {
        assert_int_equal(message_descriptor(number) != NULL, message_is_member(number));
        assert_int_equal(message_kind(number) == MESSAGE_UNKNOWN, !message_is_member(number));
        if (!message_is_member(number))
            continue;
        members++;
        const char *name = message_descriptor(number)->short_name;
        bool is_request = strstr(name, "Request") != NULL || strcmp(name, "CqAck") == 0;

        assert_int_equal(message_kind(number) == MESSAGE_REQUEST, is_request);
        assert_int_equal(message_request_name(number) != NULL, is_request);
        requests += is_request;
        /* A reply's number is the request's + 1. */
        if (is_request && number != 1004)
            assert_non_null(strstr(message_descriptor(number + 1)->short_name, "Response"));
    }
    assert_int_equal(members, 35 + 35);
    assert_int_equal(requests, 17 + 9 + 8);
    assert_string_equal(message_request_name(26), "oqlQuery");
}

/* Reads the .proto files: each `bytes` field must be known as such, each string must not. */
static void strings_and_bytes_are_told_apart(void **state)
{
    static const char *const files[] = {"value", "geode", "vug", "admin", "map", "peer"};
    static const ProtobufCMessageDescriptor *const more[] = {
        &pb__encoded_value__descriptor, &pb__cq_info__descriptor,
        &pb__cq_event__descriptor,      &pb__peer_hello__descriptor,
        &pb__peer_welcome__descriptor,  &pb__peer_map_push__descriptor,
        &pb__peer_call__descriptor,     &pb__peer_answer__descriptor,
    };
    uint8_t body[] = {0, 0, 1, 0xff};
    unsigned checked = 0;

    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char path[512], line[512], message[128] = "";
        FILE *file;

        snprintf(path, sizeof path, "%s/protocol/%s.proto", TEST_SOURCE_ROOT, files[i]);
        file = fopen(path, "r");
        assert_non_null(file);
        while (fgets(line, sizeof line, file) != NULL) {
            const ProtobufCMessageDescriptor *descriptor = NULL;
            char kind[64], name[64];
            unsigned number;
            char *at = line + strspn(line, " ");

            if (strncmp(at, "repeated ", 9) == 0)
                at += 9;
            if (sscanf(line, "message %100s", message) == 1)
                continue;
            if (sscanf(at, "%60s %60s = %u", kind, name, &number) != 3 ||
                (strcmp(kind, "bytes") != 0 && strcmp(kind, "string") != 0))
                continue;
            for (uint32_t member = 1; member < 1034; member++) {
                if (message_is_member(member) &&
                    strcmp(message_descriptor(member)->short_name, message) == 0)
                    descriptor = message_descriptor(member);
            }
            for (size_t j = 0; j < sizeof more / sizeof more[0]; j++) {
                if (strcmp(more[j]->short_name, message) == 0)
                    descriptor = more[j];
            }
            if (descriptor == NULL)
                continue;
            /* The field with a byte that is no UTF-8. */
            body[0] = (uint8_t)((number << 3 | 2) & 0x7f) | (number > 15 ? 0x80 : 0);
            body[1] = (uint8_t)(number >> 4);
            if (message_check(descriptor, number > 15
                                              ? slice_of(body, 4)
                                              : slice_of((uint8_t[]){body[0], 1, 0xff}, 3)) !=
                (strcmp(kind, "bytes") == 0 ? OK : ERROR_MALFORMED))
                fail_msg("%s.%s", message, name);
            checked++;
        }
        fclose(file);
    }
    if (checked < 60)
        fail_msg("only %u fields were checked", checked);
}

static const struct {
    const char *what, *hex;
    bool accepted;
} checks[] = {
    {"nothing", "", true},
    {"unknown fields", "a0060ba90600000000000000009a060178", true},
    {"a string that is no UTF-8", "0a01ff", false},
    {"bytes that are no UTF-8", "4201ff", true},
    {"a parameter's key that is no UTF-8", "2a030a01ff", false},
    {"a packed column", "92010301ff01", true},
    {"a packed column that is cut", "92010201ff", false},
    {"an unpacked column", "9001019001ff01", true},
    {"a number of another wire type", "320178", true},
    {"a nested message that is cut", "2a020a05", false},
    {"a group", "0b0c", false},
};

static void bodies_are_checked_as_the_reference_does(void **state)
{
    uint8_t bytes[64];

    (void)state;
    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++) {
        size_t len = unhex(checks[i].hex, bytes);
        struct arena arena;
        ProtobufCMessage *message;

        if ((message_check(&pb__cq_subscribe_request__descriptor, slice_of(bytes, len)) == OK) !=
            checks[i].accepted)
            fail_msg("%s", checks[i].what);
        arena_init(&arena, 1 << 20);
        assert_int_equal(message_unpack(&pb__cq_subscribe_request__descriptor, &arena,
                                        slice_of(bytes, len), &message),
                         checks[i].accepted ? OK : ERROR_MALFORMED);
        arena_fini(&arena);
    }
    assert_int_equal(message_check_member(16, slice_of("\x0a\x01\xff", 3)), ERROR_MALFORMED);
    assert_int_equal(message_check_member(99, slice_of("\x0a\x01\xff", 3)), OK);
    /* Between members strings end with NUL, so none may stand inside. */
    assert_int_equal(message_check(&pb__peer_hello__descriptor, slice_of("\x12\x02x\0", 4)),
                     ERROR_MALFORMED);
    assert_int_equal(message_check(&pb__peer_hello__descriptor, slice_of("\x12\x02xy", 4)), OK);
}

static void what_protobuf_c_reads_otherwise_is_unpacked_as_the_reference_does(void **state)
{
    struct arena arena;
    ProtobufCMessage *message;
    uint8_t bytes[64];

    (void)state;
    arena_init(&arena, 1 << 20);
    /* A boolean with a length (unknown, so unset), a tag of seven bytes, a length of six. */
    assert_int_equal(message_unpack(&pb__cq_pause_request__descriptor, &arena,
                                    slice_of(bytes, unhex("1201018880808080800005", bytes)),
                                    &message),
                     OK);
    assert_false(((Pb__CqPauseRequest *)message)->pause);
    assert_int_equal(((Pb__CqPauseRequest *)message)->subscription_id, 5);
    assert_int_equal(message_unpack(&pb__get_size_request__descriptor, &arena,
                                    slice_of(bytes, unhex("0a818080808000520a0158", bytes)),
                                    &message),
                     OK);
    assert_true(
        slice_equal(message_slice(((Pb__GetSizeRequest *)message)->region_name), slice_text("X")));
    /* A function's arguments twice, the first without a value. */
    assert_int_equal(message_unpack(&pb__execute_function_on_region_request__descriptor, &arena,
                                    slice_of(bytes, unhex("1a001a0208011a001a020802", bytes)),
                                    &message),
                     OK);
    assert_int_equal(((Pb__ExecuteFunctionOnRegionRequest *)message)->arguments->int_result, 2);
    arena_fini(&arena);
}

static void the_arenas_cap_is_no_memory(void **state)
{
    struct arena arena;
    ProtobufCMessage *message;
    uint8_t bytes[64];

    (void)state;
    arena_init(&arena, 16);
    assert_int_equal(message_unpack(&pb__get_size_request__descriptor, &arena,
                                    slice_of(bytes, unhex("0a0158", bytes)), &message),
                     ERROR_MEMORY);
    arena_fini(&arena);
}

/* A Message that the peer's end cut short, and what is taken for it. NULL: malformed. */
static const struct {
    const char *hex, *whole;
} cuts[] = {
    {"", ""},
    {"7200", "7200"},
    {"72", NULL},
    {"7205", "7200"},
    {"22080a0152", "22030a0152"},
    {"22080a01521203", "22050a01521200"},
    {"22080a015212034a", NULL},
    {"22080a01", NULL},
    {"12100a01521209", "12050a01521200"},
    {"12100a015212090a02", "12070a015212020a00"},
    {"12100a015212090a020801", "12090a015212040a020801"},
    {"9a060a01", NULL},
    {"7200720a", "72007200"},
};

static void a_body_that_was_cut_between_fields_is_made_whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        uint8_t bytes[64], whole[64];
        size_t len = unhex(cuts[i].hex, bytes);
        struct buf out;

        buf_init(&out);
        if (cuts[i].whole == NULL) {
            assert_int_equal(
                message_rewrite(&pb__message__descriptor, slice_of(bytes, len), true, &out),
                ERROR_MALFORMED);
        } else {
            assert_int_equal(
                message_rewrite(&pb__message__descriptor, slice_of(bytes, len), true, &out), OK);
            if (!slice_equal(buf_slice(&out), slice_of(whole, unhex(cuts[i].whole, whole))))
                fail_msg("%s", cuts[i].hex);
        }
        buf_fini(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_member_has_a_descriptor_and_a_kind),
        cmocka_unit_test(strings_and_bytes_are_told_apart),
        cmocka_unit_test(bodies_are_checked_as_the_reference_does),
        cmocka_unit_test(what_protobuf_c_reads_otherwise_is_unpacked_as_the_reference_does),
        cmocka_unit_test(the_arenas_cap_is_no_memory),
        cmocka_unit_test(a_body_that_was_cut_between_fields_is_made_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
