#include "tests/unit/server/subscriber.h"

struct batch {
    Pb__WriteBatchRequest request;
    Pb__WriteOperation operations[8], *pointers[8];
    Pb__EncodedValue keys[8], values[8];
};

static void begin(struct batch *batch, uint64_t sequence, uint64_t completed_through)
{
    memset(batch, 0, sizeof *batch);
    pb__write_batch_request__init(&batch->request);
    batch->request.writer_id = message_bytes(slice_of("0123456789abcdef", 16));
    batch->request.sequence = sequence;
    batch->request.completed_through = completed_through;
    batch->request.region = message_bytes(slice_text("my_region"));
    batch->request.operation = batch->pointers;
}

static void add(struct batch *batch, const char *key, Pb__EncodedValue value)
{
    size_t i = batch->request.n_operation++;
    batch->keys[i] = fixture_string(key);
    batch->values[i] = value;
    pb__write_operation__init(&batch->operations[i]);
    batch->operations[i].key = &batch->keys[i];
    batch->operations[i].value = &batch->values[i];
    batch->pointers[i] = &batch->operations[i];
}

static void add_remove(struct batch *batch, const char *key)
{
    add(batch, key, fixture_null());
    batch->operations[batch->request.n_operation - 1].type = PB__WRITE_OPERATION__TYPE__REMOVE;
    batch->operations[batch->request.n_operation - 1].value = NULL;
}

static void check_written(struct stage *stage, const struct batch *batch, uint32_t applied,
                          uint32_t repeated)
{
    const Pb__WriteBatchResponse *response = (const Pb__WriteBatchResponse *)fixture_client_ask(
        &stage->writer, 1016, &batch->request.base, 1017);
    assert_int_equal(response->applied, applied);
    assert_int_equal(response->repeated_count, repeated);
}

static void check_refused(struct stage *stage, const struct batch *batch, uint32_t code)
{
    assert_int_equal(fixture_client_fail(&stage->writer, 1016, &batch->request.base)->error_code,
                     code);
}

static void check_value(struct stage *stage, const char *key, int32_t value)
{
    Pb__GetRequest request = PB__GET_REQUEST__INIT;
    Pb__EncodedValue encoded = fixture_string(key);
    request.region_name = message_bytes(slice_text("my_region"));
    request.key = &encoded;
    const Pb__GetResponse *response =
        (const Pb__GetResponse *)fixture_client_ask(&stage->writer, 4, &request.base, 5);
    if (value < 0) {
        assert_int_equal(response->result->value_case, PB__ENCODED_VALUE__VALUE_NULL_RESULT);
    } else {
        assert_int_equal(response->result->value_case, PB__ENCODED_VALUE__VALUE_INT_RESULT);
        assert_int_equal(response->result->int_result, value);
    }
}

static void a_repeated_batch_is_applied_once(void **state)
{
    (void)state;
    struct stage stage;
    struct batch batch, other;
    stage_begin(&stage, 5);
    begin(&batch, 1, 0);
    add(&batch, "a", fixture_int(1));
    add(&batch, "b", fixture_int(2));
    add(&batch, "a", fixture_int(3));
    check_written(&stage, &batch, 3, 0);
    check_value(&stage, "a", 3);
    begin(&other, 4, 3);
    add_remove(&other, "a");
    add(&other, "b", fixture_int(9));
    check_written(&stage, &other, 2, 0);
    check_written(&stage, &batch, 0, 3);
    check_written(&stage, &other, 0, 2);
    check_value(&stage, "a", -1);
    check_value(&stage, "b", 9);
    stage_end(&stage);
}

static void an_overlapping_batch_is_applied_in_part(void **state)
{
    (void)state;
    struct stage stage;
    struct batch batch;
    stage_begin(&stage, 5);
    begin(&batch, 10, 0);
    add(&batch, "a", fixture_int(1));
    check_written(&stage, &batch, 1, 0);
    begin(&batch, 9, 0);
    add(&batch, "c", fixture_int(5));
    add(&batch, "a", fixture_int(7));
    add(&batch, "d", fixture_int(6));
    check_written(&stage, &batch, 2, 1);
    check_value(&stage, "a", 1);
    check_value(&stage, "c", 5);
    check_value(&stage, "d", 6);
    stage_end(&stage);
}

static void a_long_lived_writer_is_never_taken_for_its_past(void **state)
{
    (void)state;
    struct stage stage;
    struct batch batch;
    stage_begin(&stage, 1);
    for (uint64_t sequence = 1; sequence < 5000; sequence++) {
        begin(&batch, sequence, sequence - 1);
        add(&batch, "a", fixture_int((int32_t)sequence));
        check_written(&stage, &batch, 1, 0);
    }
    check_value(&stage, "a", 4999);
    stage_end(&stage);
}

static void what_is_wrong_is_refused_as_a_whole(void **state)
{
    (void)state;
    struct stage stage;
    struct batch batch;
    stage_begin(&stage, 5);
    begin(&batch, 1, 0);
    add(&batch, "a", fixture_int(1));
    batch.request.writer_id = message_bytes(slice_text("short"));
    check_refused(&stage, &batch, FAILURE_INVALID_REQUEST);
    batch.request.writer_id = message_bytes(slice_of("0123456789abcdef", 16));
    batch.request.sequence = 0;
    check_refused(&stage, &batch, FAILURE_INVALID_REQUEST);
    batch.request.sequence = 1025;
    check_refused(&stage, &batch, FAILURE_INVALID_REQUEST);
    batch.request.completed_through = 1;
    check_written(&stage, &batch, 1, 0);
    begin(&batch, UINT64_MAX, UINT64_MAX - 1);
    add(&batch, "a", fixture_int(1));
    check_refused(&stage, &batch, FAILURE_INVALID_REQUEST);
    begin(&batch, 1026, 1);
    add(&batch, "x", fixture_int(1));
    check_refused(&stage, &batch, FAILURE_INVALID_REQUEST);
    begin(&batch, 1024, 1);
    add(&batch, "x", fixture_int(1));
    add(&batch, "y", fixture_json("{"));
    check_refused(&stage, &batch, FAILURE_SERVER_ERROR);
    check_value(&stage, "x", -1); /* nothing of it was applied */
    begin(&batch, 1024, 1);
    add(&batch, "x", fixture_null());
    check_refused(&stage, &batch, FAILURE_SERVER_ERROR);
    batch.request.region = message_bytes(slice_text("nowhere"));
    check_refused(&stage, &batch, FAILURE_SERVER_ERROR);
    begin(&batch, 1024, 1);
    check_written(&stage, &batch, 0, 0);
    stage_end(&stage);
}

static void a_failed_allocation_is_made_up_for_by_a_repeat(void **state)
{
    (void)state;
    struct stage stage;
    uint32_t failures = 0;
    stage_begin(&stage, 3);
    for (uint64_t sequence = 1; sequence < 150; sequence += 3) {
        struct batch batch;
        char keys[3][16];
        begin(&batch, sequence, sequence - 1);
        for (uint32_t i = 0; i < 3; i++) {
            snprintf(keys[i], sizeof keys[i], "k%u", (unsigned)sequence + i);
            add(&batch, keys[i], fixture_int((int32_t)(sequence + i)));
        }
        bool done = false;
        for (unsigned n = 1; !done; n++) {
            ProtobufCMessage *message;
            mem_fault_fail_at(n);
            fixture_client_send(&stage.writer, 1016, &batch.request.base);
            mem_fault_fail_at(0);
            uint32_t answer = fixture_client_receive(&stage.writer, &message);
            if (fake_conn_state(stage.writer.conn) != FAKE_OPEN) {
                fixture_client_fini(&stage.writer);
                fixture_client_init(&stage.writer, &stage.fixture);
            }
            done = answer == 1017;
            failures += !done;
        }
        for (uint32_t i = 0; i < 3; i++)
            check_value(&stage, keys[i], (int32_t)(sequence + i));
    }
    uint64_t records = 0;
    for (uint32_t b = 0; b < 3; b++)
        records += stage.region->buckets[b].last_seq;
    assert_int_equal(records, 150); /* each operation once */
    assert_true(failures > 10);
    stage_end(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_repeated_batch_is_applied_once),
        cmocka_unit_test(an_overlapping_batch_is_applied_in_part),
        cmocka_unit_test(a_long_lived_writer_is_never_taken_for_its_past),
        cmocka_unit_test(what_is_wrong_is_refused_as_a_whole),
        cmocka_unit_test(a_failed_allocation_is_made_up_for_by_a_repeat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
