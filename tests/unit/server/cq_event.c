#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "protocol/message.h"
#include "server/cq.h"
#include "tests/lib/mem_fault.h"

struct made {
    struct arena arena;
    struct buf encoded;
    Pb__CqEvent *message;
};

static void encode(struct made *made, const struct cq_event *event)
{
    arena_init(&made->arena, 1 << 20);
    buf_init(&made->encoded);
    assert_int_equal(cq_event_encode(event, &made->arena, &made->encoded), OK);
    made->message = pb__cq_event__unpack(NULL, made->encoded.len, made->encoded.data);
    assert_non_null(made->message);
    assert_int_equal(made->encoded.data[CQ_EVENT_KIND_OFFSET], event->kind);
}

static void made_fini(struct made *made)
{
    pb__cq_event__free_unpacked(made->message, NULL);
    buf_fini(&made->encoded);
    arena_fini(&made->arena);
}

static void every_field_arrives(void **state)
{
    (void)state;
    struct made made;
    uint8_t key[8];
    struct value key_value = {.type = VALUE_STRING, .bytes = slice_text("key")};
    struct value number = {.type = VALUE_DOUBLE, .float64 = 2.5}, null = {.type = VALUE_NULL};
    struct query_value values[2];
    assert_int_equal(query_value_from_wire(&number, &values[0]), OK);
    assert_int_equal(query_value_from_wire(&null, &values[1]), OK);
    struct query_row row = {.values = values, .count = 2};
    struct cq_event event = {.bucket = 112,
                             .generation = 3,
                             .position = {UINT64_MAX, UINT32_MAX - 1},
                             .kind = QUERY_UPDATE_AFTER,
                             .row = &row,
                             .key = slice_of(key, (size_t)(value_store(&key_value, key) - key)),
                             .time_ms = 1700000000123};
    encode(&made, &event);
    assert_int_equal(made.message->bucket, 112);
    assert_int_equal(made.message->generation, 3);
    assert_true(made.message->seq == UINT64_MAX);
    assert_int_equal(made.message->sub, UINT32_MAX - 1);
    assert_int_equal(made.message->kind, PB__KIND__UPDATE_AFTER);
    assert_int_equal(made.message->n_value, 2);
    assert_true(made.message->value[0]->double_result == 2.5);
    assert_int_equal(made.message->value[1]->value_case, PB__ENCODED_VALUE__VALUE_NULL_RESULT);
    assert_true(slice_equal(message_slice(made.message->key->string_result), slice_text("key")));
    assert_int_equal(made.message->ingest_time_ms, 1700000000123);
    made_fini(&made);
}

static void the_first_generation_and_an_empty_key_are_left_out(void **state)
{
    (void)state;
    struct made made;
    struct cq_event event = {.generation = 1, .position = {5, 0}, .kind = QUERY_INSERT};
    encode(&made, &event);
    assert_int_equal(made.message->generation, 0);
    assert_null(made.message->key);
    assert_int_equal(made.message->n_value, 0);
    assert_int_equal(made.message->seq, 5);
    made_fini(&made);
}

static void an_error_has_its_text(void **state)
{
    (void)state;
    struct made made;
    struct cq_event event = {
        .generation = 1, .position = {5, 0}, .kind = QUERY_ROW_ERROR, .error = "It does not fit."};
    encode(&made, &event);
    assert_int_equal(made.message->kind, PB__KIND__ERROR);
    assert_true(slice_equal(message_slice(made.message->error), slice_text("It does not fit.")));
    made_fini(&made);
}

static void without_memory_there_is_no_event(void **state)
{
    (void)state;
    long live = mem_fault_live();
    struct arena arena;
    struct buf encoded;
    struct value number = {.type = VALUE_DOUBLE, .float64 = 2.5};
    struct query_value value;
    assert_int_equal(query_value_from_wire(&number, &value), OK);
    struct query_row row = {.values = &value, .count = 1};
    struct cq_event event = {.generation = 2, .position = {5, 0}, .row = &row, .error = "text"};
    enum error error = ERROR_MEMORY;
    for (unsigned n = 1; error != OK; n++) {
        arena_init(&arena, 1 << 20);
        buf_init(&encoded);
        mem_fault_fail_at(n);
        error = cq_event_encode(&event, &arena, &encoded);
        mem_fault_fail_at(0);
        assert_int_equal(error, encoded.failed ? ERROR_MEMORY : OK);
        buf_fini(&encoded);
        arena_fini(&arena);
    }
    assert_int_equal(mem_fault_live(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_arrives),
        cmocka_unit_test(the_first_generation_and_an_empty_key_are_left_out),
        cmocka_unit_test(an_error_has_its_text),
        cmocka_unit_test(without_memory_there_is_no_event),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
