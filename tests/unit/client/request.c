/* Requests byte for byte as a real Geode takes them, and its replies as it gave them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "client/vug.h"
#include "client/wire.h"

static const struct value key = {.type = VALUE_STRING, .bytes = {(const uint8_t *)"k", 1}};
static const struct value text = {.type = VALUE_STRING, .bytes = {(const uint8_t *)"v", 1}};

/* The frame of a request, as hex digits. */
static void assert_frame(uint32_t number, const struct buf *body, const char *expected)
{
    struct buf frame, hex;
    buf_init(&frame);
    buf_init(&hex);
    vug_wire_frame(&frame, number, buf_slice(body));
    for (size_t i = 0; i < frame.len; i++)
        buf_printf(&hex, "%02x", frame.data[i]);
    buf_append_byte(&hex, '\0');
    assert_string_equal((const char *)hex.data, expected);
    buf_fini(&hex);
    buf_fini(&frame);
}

static void requests_are_geodes_bytes(void **state)
{
    (void)state;
    struct buf body;
    buf_init(&body);
    assert_frame(VUG_HANDSHAKE, &body, "03b20100");
    vug_entry_request(&body, "R", &key, &text);
    assert_frame(VUG_PUT, &body, "11120f0a0152120a0a034a016b12034a0176");
    buf_clear(&body);
    vug_key_request(&body, "R", &key);
    assert_frame(VUG_GET, &body, "0a22080a015212034a016b");
    assert_frame(VUG_REMOVE, &body, "0a52080a015212034a016b");
    buf_clear(&body);
    vug_region_request(&body, "R");
    assert_frame(VUG_SIZE, &body, "068201030a0152");
    assert_frame(VUG_KEY_SET, &body, "06e201030a0152");
    vug_get_all_key(&body, &(struct value){.type = VALUE_STRING, .bytes = slice_text("a")});
    vug_get_all_key(&body, &(struct value){.type = VALUE_STRING, .bytes = slice_text("zz")});
    assert_frame(VUG_GET_ALL, &body, "10420e0a015212034a016112044a027a7a");
    buf_fini(&body);
}

static struct slice bytes(const char *hex, uint8_t out[256])
{
    size_t len = 0;
    for (; *hex != '\0'; hex += 2) {
        unsigned byte = 0;
        sscanf(hex, "%2x", &byte);
        out[len++] = (uint8_t)byte;
    }
    return slice_of(out, len);
}

static void replies_are_read(void **state)
{
    (void)state;
    uint8_t data[256];
    struct value value, got_key;
    uint64_t size = 9;
    assert_int_equal(vug_value_reply(bytes("0a034a0176", data), &value), OK);
    assert_int_equal(value.type, VALUE_STRING);
    assert_int_equal(vug_value_reply(bytes("0a025800", data), &value), OK);
    assert_int_equal(value.type, VALUE_NULL);
    assert_int_equal(vug_value_reply((struct slice){0}, &value), ERROR_MALFORMED);
    assert_int_equal(vug_size_reply((struct slice){0}, &size), OK);
    assert_int_equal(size, 0);
    assert_int_equal(vug_size_reply(bytes("0801", data), &size), OK);
    assert_int_equal(size, 1);
    struct slice walk = bytes("0a0a0a034a016112034a01310a0a0a044a027a7a12025800", data);
    assert_true(vug_next_entry(&walk, &got_key, &value));
    assert_true(slice_equal(got_key.bytes, slice_text("a")));
    assert_true(vug_next_entry(&walk, &got_key, &value));
    assert_int_equal(value.type, VALUE_NULL);
    assert_false(vug_next_entry(&walk, &got_key, &value));
    walk = bytes("0a034a016b0a", data); /* cut off */
    assert_true(vug_next_key(&walk, &value));
    assert_false(vug_next_key(&walk, &value));
}

static void errors_get_their_kind_from_code_and_text(void **state)
{
    (void)state;
    static const struct {
        uint32_t code;
        const char *text;
        enum error kind;
    } rows[] = {
        {100, "org.apache.geode.cache.RegionDestroyedException: Region not found nope",
         ERROR_NOT_FOUND},
        {101, "Unable to find a server", ERROR_NO_SERVER},
        {20, "Not authorized: x", ERROR_UNAUTHORIZED},
        {50, "NULL is not a valid key for removal.", ERROR_INVALID},
        {60, "Unsupported operation:null", ERROR_UNSUPPORTED},
        {100, "java.lang.NullPointerException: value must not be null", ERROR_IO},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf inner, body;
        struct vug_error error;
        buf_init(&inner);
        buf_init(&body);
        vug_wire_uint(&inner, 1, rows[i].code);
        vug_wire_text(&inner, 2, rows[i].text);
        vug_wire_bytes(&body, 1, buf_slice(&inner));
        vug_error_of_response(&error, buf_slice(&body));
        assert_int_equal(error.error, rows[i].kind);
        assert_int_equal(error.code, rows[i].code);
        assert_string_equal(error.text, rows[i].text);
        buf_fini(&body);
        buf_fini(&inner);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_geodes_bytes),
        cmocka_unit_test(replies_are_read),
        cmocka_unit_test(errors_get_their_kind_from_code_and_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
