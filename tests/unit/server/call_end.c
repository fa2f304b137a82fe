#include "tests/unit/server/call_fixture.h"

static void what_nobody_answers_ends_with_a_text(void **state)
{
    (void)state;
    begin();
    struct node *a = &nodes[0], *b = &nodes[1];
    set_link(1, false);
    put(b, "k", 1);
    send_key(b, 4, "k", 0);
    advance(9900000);
    tick();
    assert_int_equal(answer(b), 0);
    advance(200000);
    tick();
    check_failure(b, "its primary is server s1 (10.0.0.2:40404)");
    check_failure(b, "Try again later.");
    commits_at_once = false;
    put(a, "k", 1);
    advance(10000000);
    tick();
    check_failure(a, "not known");
    /* The only copy is gone: that is said at once. */
    b->bucket->replica.in_sync_count = 1;
    atomic_store(&b->other.gone, true);
    put(b, "k", 1);
    tick();
    check_failure(
        b, "TIMEOUT: Bucket 0 of region /R has no copy that answers: its last one is server s1 "
           "(10.0.0.2:40404), which does not.");
    commit();
    end();
}

static void send_batch(struct node *node, uint64_t sequence, char *text)
{
    Pb__EncodedValue key = fixture_string(text), value = fixture_int(4);
    Pb__WriteOperation operation = PB__WRITE_OPERATION__INIT, *operations[1] = {&operation};
    uint8_t id[16] = "0123456789abcde";
    operation.key = &key;
    operation.value = &value;
    Pb__WriteBatchRequest batch = PB__WRITE_BATCH_REQUEST__INIT;
    batch.region = message_bytes(slice_text("R"));
    batch.writer_id = (ProtobufCBinaryData){sizeof id, id};
    batch.sequence = sequence;
    batch.operation = operations;
    batch.n_operation = 1;
    fixture_client_send(&node->client, 1016, &batch.base);
    turn();
}

static void a_write_that_is_given_up_takes_the_later_ones_with_it(void **state)
{
    (void)state;
    begin();
    struct node *b = &nodes[1];
    set_link(1, false);
    send_batch(b, 1, "k");
    advance(2000000);
    send_batch(b, 2, "l");
    send_key(b, 4, "k", 0);
    turn();
    assert_int_equal(b->bucket->call_count, 3);
    advance(LIMIT_CALL_MS * 1000ull);
    tick();
    assert_int_equal(b->bucket->call_count, 2); /* a read is not as patient */
    advance((LIMIT_WRITE_CALL_MS - LIMIT_CALL_MS - 2000) * 1000ull);
    tick();
    assert_null(b->bucket->calls);
    check_failure(b, "its primary is server s1");
    /* Its connection takes nothing more: what the writer repeats comes on another one. */
    set_link(1, true);
    send_batch(b, 3, "m");
    assert_int_equal(nodes[0].bucket->last_seq, 0);
    end();
}

static void count_result(struct call *call, void *arg)
{
    (void)call;
    ++*(int *)arg;
}

static void until_a_batch_knows_that_it_was_given_up_no_write_is_taken(void **state)
{
    (void)state;
    begin();
    struct node *b = &nodes[1];
    int results = 0;
    struct writer_mark mark = {.id = "0123456789abcde", .sequence = 1};
    struct call_options options = {.kind = CALL_WRITE_PUT,
                                   .bucket = b->bucket,
                                   .key = slice_text("\tk"), /* stored forms of text */
                                   .value = slice_text("\tv"),
                                   .mark = &mark,
                                   .worker = b->fixture.worker,
                                   .on_result = count_result,
                                   .arg = &results};
    b->bucket->replica.in_sync_count = 1;
    atomic_store(&b->other.gone, true);
    set_link(1, false);
    assert_int_equal(call_start(&options), OK);
    bucket_lock(b->bucket);
    call_tick_locked(b->bucket, loop_clock_us(b->fixture.server.loop));
    bucket_unlock(b->bucket);
    atomic_store(&b->other.gone, false);
    set_link(1, true);
    mark.sequence = 2;
    assert_int_equal(call_start(&options), ERROR_BUSY);
    options.kind = CALL_PUT;
    assert_int_equal(call_start(&options), OK);
    assert_int_equal(results, 0);
    turn();
    assert_int_equal(results, 2);
    options.kind = CALL_WRITE_PUT;
    assert_int_equal(call_start(&options), OK);
    turn();
    assert_int_equal(results, 3);
    end();
}

static void a_new_generation_leaves_changes_in_doubt(void **state)
{
    (void)state;
    begin();
    struct node *b = &nodes[1];
    put(b, "k", 1); /* it is on its way */
    send_key(b, 4, "k", 0);
    call_fill(&b->other, &b->requests.conn);
    set_link(1, false);
    put(b, "k", 2); /* it was never sent */
    bucket_lock(b->bucket);
    call_on_generation_locked(b->bucket);
    bucket_unlock(b->bucket);
    for (int i = 0; i < NODES; i++)
        nodes[i].bucket->generation = 2;
    turn();
    check_failure(b, "has lost its contents");
    set_link(1, true);
    turn();
    check_null(b, 5);
    assert_int_equal(answer(b), 3);
    end();
}

static void a_destroyed_region_ends_its_calls(void **state)
{
    (void)state;
    begin();
    struct node *b = &nodes[1];
    set_link(1, false);
    put(b, "k", 1);
    atomic_store(&b->region->destroyed, true);
    call_on_destroyed(b->region);
    turn();
    check_failure(b, "Region not found R");
    atomic_store(&b->region->destroyed, false);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_nobody_answers_ends_with_a_text),
        cmocka_unit_test(a_write_that_is_given_up_takes_the_later_ones_with_it),
        cmocka_unit_test(until_a_batch_knows_that_it_was_given_up_no_write_is_taken),
        cmocka_unit_test(a_new_generation_leaves_changes_in_doubt),
        cmocka_unit_test(a_destroyed_region_ends_its_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
