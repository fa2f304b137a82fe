#include "tests/unit/server/call_fixture.h"

static void an_answer_waits_for_the_copies(void **state)
{
    (void)state;
    begin();
    struct node *a = &nodes[0];
    put(a, "k", 1);
    assert_int_equal(answer(a), 3);
    commits_at_once = false;
    put(a, "k", 2);
    send_key(a, 4, "k", 0);      /* sees it, and waits for it */
    send_key(a, 34, "k", 9);     /* loses, and waits for that */
    send_key(a, 10, "never", 0); /* absence: for all there is */
    turn();
    assert_int_equal(answer(a), 0);
    commit();
    assert_int_equal(answer(a), 3);
    check_value(a, 5, 2);
    check_value(a, 35, 2);
    assert_int_equal(answer(a), 11);
    end();
}

static void what_another_server_leads_is_asked_there(void **state)
{
    (void)state;
    begin();
    struct node *b = &nodes[1];
    put(b, "k", 1);
    send_key(b, 4, "k", 0);
    send_key(b, 34, "k", 9);
    send_key(b, 34, "new", 5);
    send_key(b, 10, "k", 0);
    send_key(b, 4, "k", 0);
    assert_int_equal(answer(b), 0);
    turn();
    assert_int_equal(answer(b), 3);
    check_value(b, 5, 1);
    check_value(b, 35, 1);
    check_null(b, 35);
    assert_int_equal(answer(b), 11);
    check_null(b, 5);
    Pb__GetSizeRequest size = PB__GET_SIZE_REQUEST__INIT;
    size.region_name = message_bytes(slice_text("R"));
    fixture_client_send(&b->client, 16, &size.base);
    turn();
    ProtobufCMessage *body;
    assert_int_equal(fixture_client_receive(&b->client, &body), 17);
    assert_int_equal(((Pb__GetSizeResponse *)body)->size, 1);
    Pb__KeySetRequest keys = PB__KEY_SET_REQUEST__INIT;
    keys.region_name = size.region_name;
    fixture_client_send(&b->client, 28, &keys.base);
    turn();
    assert_int_equal(fixture_client_receive(&b->client, &body), 29);
    assert_int_equal(((Pb__KeySetResponse *)body)->n_keys, 1);
    end();
}

static void a_copy_answers_what_is_committed_there(void **state)
{
    (void)state;
    begin();
    struct node *a = &nodes[0], *b = &nodes[1];
    may_read_here = true;
    put(a, "k", 1);
    put(a, "old", 3);
    send_key(b, 4, "k", 0);
    check_value(b, 5, 1); /* without a turn: from here */
    commits_at_once = false;
    put(a, "k", 2);
    deliver();
    send_key(b, 4, "k", 0);
    assert_int_equal(answer(b), 0); /* what is not committed is the primary's */
    send_key(b, 10, "old", 0);
    send_key(b, 4, "old", 0); /* behind a change of its own connection */
    turn();
    assert_int_equal(answer(b), 0);
    commit();
    check_value(b, 5, 2);
    assert_int_equal(answer(b), 11);
    check_null(b, 5);
    end();
}

static void a_deposed_primary_asks_the_new_one_and_it_happens_once(void **state)
{
    (void)state;
    begin();
    struct node *a = &nodes[0], *b = &nodes[1];
    put(a, "k", 1);
    assert_int_equal(answer(a), 3);
    commits_at_once = false;
    put(a, "k", 2);
    send_key(a, 34, "p", 7);
    send_key(a, 34, "p", 8); /* loses against the one before it: a note */
    deliver();
    uint64_t seq = b->bucket->last_seq;
    assert_int_equal(seq, 4);
    set_leader(1);
    turn();
    assert_int_equal(answer(a), 0);
    assert_int_equal(b->bucket->last_seq, seq); /* known: not applied again */
    atomic_store(&a->bucket->committed, seq);
    kept_applied = kept_count;
    commit();
    assert_int_equal(answer(a), 3);
    check_null(a, 35);
    check_value(a, 35, 7);
    assert_int_equal(b->bucket->last_seq, seq);
    end();
}

/* A change that was sent may arrive late where somebody else leads by then: whoever has done it
 * alone in between leaves word of it. */
static void what_was_sent_is_known_to_be_done_by_who_leads_alone_now(void **state)
{
    (void)state;
    begin();
    struct node *a = &nodes[0], *b = &nodes[1];
    struct stream_result stored;
    uint64_t origin = b->fixture.server.incarnation;
    put(b, "k", 1);
    call_fill(&b->other, &b->requests.conn);
    assert_int_equal(b->requests.count, 1); /* on its way for long */
    set_link(1, false);
    bucket_lock(b->bucket);
    b->bucket->term++;
    b->bucket->replica.role = REPLICA_PRIMARY;
    b->bucket->replica.led = b->bucket->term;
    b->bucket->replica.copy_count = 0;
    call_on_role_locked(b->bucket);
    assert_int_equal(b->bucket->last_seq, 1);
    assert_int_equal(streams_check(&b->bucket->streams, origin, 1, 0, &stored), STREAM_REPEATED);
    bucket_unlock(b->bucket);
    turn();
    assert_int_equal(answer(b), 3);
    /* What was never sent needs no word. */
    put(b, "k", 2);
    assert_int_equal(answer(b), 3);
    assert_int_equal(b->bucket->last_seq, 2);
    assert_int_equal(streams_check(&b->bucket->streams, origin, 2, 0, &stored), STREAM_NEW);
    assert_int_equal(a->bucket->last_seq, 0);
    end();
}

static void what_a_deposed_primary_applied_is_not_done_again_by_who_sent_it(void **state)
{
    (void)state;
    begin();
    struct node *a = &nodes[0], *b = &nodes[1];
    commits_at_once = false;
    put(b, "k", 1);
    turn();
    deliver();
    assert_int_equal(b->bucket->last_seq, 1);
    /* a is deposed first, and sends back what it applied; then b finds that it leads itself. */
    bucket_lock(a->bucket);
    a->bucket->replica.role = REPLICA_COPY;
    a->bucket->replica.led = 0;
    call_on_role_locked(a->bucket);
    bucket_unlock(a->bucket);
    turn();
    assert_int_equal(answer(b), 0);
    set_leader(1);
    turn();
    assert_int_equal(b->bucket->last_seq, 1);
    kept_applied = kept_count;
    commit();
    assert_int_equal(answer(b), 3);
    end();
}

/* What came to nothing may come to something elsewhere: a later read is of the same moment. */
static void a_read_does_not_pass_a_change_without_effect(void **state)
{
    (void)state;
    begin();
    struct node *a = &nodes[0], *b = &nodes[1];
    put(a, "k", 1);
    assert_int_equal(answer(a), 3);
    commits_at_once = false;
    send_key(a, 34, "k", 2); /* a note */
    send_key(a, 4, "k", 0);
    turn();
    assert_int_equal(answer(a), 0);
    assert_int_equal(a->bucket->call_count, 2); /* it waits for the note, to be decided with it */
    send_key(a, 4, "k", 0);
    send_key(b, 4, "k", 0);
    turn();
    assert_int_equal(answer(b), 0);
    commit();
    check_value(a, 35, 1);
    check_value(a, 5, 1);
    check_value(a, 5, 1);
    check_value(b, 5, 1);
    send_key(a, 4, "k", 0);
    check_value(a, 5, 1);
    assert_int_equal(a->bucket->call_count, 0);
    end();
}

static void a_broken_link_costs_no_change_and_doubles_none(void **state)
{
    (void)state;
    begin();
    struct node *a = &nodes[0], *b = &nodes[1];
    for (int32_t round = 0; round < 40; round++) {
        for (int32_t i = 0; i < 5; i++)
            put(b, "k", round * 10 + i);
        send_key(b, 34, "p", round);
        send_key(b, 10, "p", 0);
        send_key(b, 4, "k", 0);
        if (round % 4 == 0) { /* requests are lost */
            call_fill(&b->other, &b->requests.conn);
            set_link(1, false);
        } else if (round % 4 == 1) { /* answers are */
            carry_requests(b);
            fake_net_turn(a->fixture.net);
            assert_true(a->answers.count > 0);
            set_link(1, false);
        } else if (round % 4 == 2) { /* some of the requests are */
            call_fill(&b->other, &b->requests.conn);
            b->requests.count -= 3;
            for (int i = 0; i < 3; i++)
                free(b->requests
                         .frames[(b->requests.first + b->requests.count + (uint32_t)i) % FRAMES]
                         .content);
            carry_requests(b);
            set_link(1, false);
        }
        turn();
        set_link(1, true);
        turn();
        for (int i = 0; i < 5; i++)
            assert_int_equal(answer(b), 3);
        check_null(b, 35);
        assert_int_equal(answer(b), 11);
        check_value(b, 5, round * 10 + 4);
        assert_int_equal(a->bucket->last_seq, (uint64_t)(round + 1) * 7);
    }
    end();
}

static void while_nobody_may_write_calls_wait_in_order(void **state)
{
    (void)state;
    begin();
    struct node *a = &nodes[0], *b = &nodes[1];
    a->bucket->replica.handing_over = true;
    put(a, "k", 1);
    put(b, "k", 2);
    turn();
    put(a, "k", 3);
    send_key(a, 4, "k", 0);
    turn();
    assert_int_equal(answer(a), 0);
    assert_int_equal(answer(b), 0);
    assert_int_equal(a->bucket->last_seq, 0);
    a->bucket->replica.handing_over = false;
    tick();
    assert_int_equal(answer(a), 3);
    assert_int_equal(answer(b), 3);
    assert_int_equal(answer(a), 3);
    check_value(a, 5, 3);
    end();
}

static void who_does_not_lead_sends_back(void **state)
{
    (void)state;
    begin();
    struct node *a = &nodes[0], *b = &nodes[1];
    /* b has the older map: it still asks a, which leads no more. */
    bucket_lock(a->bucket);
    a->bucket->replica.role = REPLICA_COPY;
    a->bucket->replica.led = 0;
    bucket_unlock(a->bucket);
    put(b, "k", 1);
    turn();
    assert_int_equal(answer(b), 0);
    set_leader(1);
    turn();
    assert_int_equal(answer(b), 3);
    assert_int_equal(b->bucket->last_seq, 1);
    end();
}

static void what_was_refused_twice_before_its_time_is_asked_once_more(void **state)
{
    (void)state;
    begin();
    struct node *a = &nodes[0], *b = &nodes[1];
    bucket_lock(a->bucket);
    a->bucket->replica.role = REPLICA_COPY;
    a->bucket->replica.led = 0;
    bucket_unlock(a->bucket);
    put(b, "k", 1);
    turn();
    for (int again = 0; again < 2; again++) {
        bucket_lock(b->bucket);
        call_on_role_locked(b->bucket); /* it need not wait any more, and is refused again */
        bucket_unlock(b->bucket);
        turn();
    }
    set_leader(0);
    for (int i = 0; i < 20; i++)
        advance(5000);
    assert_int_equal(answer(b), 3);
    assert_int_equal(a->bucket->last_seq, 1);
    end();
}

static void a_request_of_a_newer_map_is_held_back(void **state)
{
    (void)state;
    begin();
    struct node *a = &nodes[0], *b = &nodes[1];
    bucket_lock(a->bucket);
    a->bucket->replica.role = REPLICA_COPY;
    a->bucket->replica.led = 0;
    bucket_unlock(a->bucket);
    atomic_store(&b->fixture.server.adopted_epoch, 6);
    put(b, "k", 1);
    send_key(b, 4, "k", 0);
    advance(20000);
    assert_int_equal(answer(b), 0);
    assert_int_equal(b->answers.count + a->answers.count, 0);
    set_leader(0);
    atomic_store(&a->fixture.server.adopted_epoch, 6);
    advance(5000);
    assert_int_equal(answer(b), 3);
    check_value(b, 5, 1);
    end();
}

static void on_nothing(struct call *call, void *arg)
{
    (void)call;
    ++*(uint32_t *)arg;
}

static void no_more_than_the_limit_wait(void **state)
{
    (void)state;
    begin();
    struct node *b = &nodes[1];
    uint32_t results = 0;
    set_link(1, false);
    struct call_options options = {.kind = CALL_COUNT,
                                   .bucket = b->bucket,
                                   .worker = b->fixture.worker,
                                   .on_result = on_nothing,
                                   .arg = &results};
    for (uint32_t i = 0; i < LIMIT_CALLS; i++)
        assert_int_equal(call_start(&options), OK);
    assert_int_equal(call_start(&options), ERROR_BUSY);
    put(b, "k", 1);
    check_failure(b, "4096 operations wait");
    set_link(1, true);
    turn();
    assert_int_equal(results, LIMIT_CALLS);
    end();
}

static void without_memory_nothing_is_started(void **state)
{
    (void)state;
    begin();
    struct node *b = &nodes[1];
    uint32_t results = 0;
    struct call_options options = {.kind = CALL_COUNT,
                                   .bucket = b->bucket,
                                   .worker = b->fixture.worker,
                                   .on_result = on_nothing,
                                   .arg = &results};
    mem_fault_fail_at(1);
    assert_int_equal(call_start(&options), ERROR_MEMORY);
    mem_fault_fail_at(0);
    /* At the primary: whatever fails, the origin is told something, and nothing is lost. */
    for (unsigned n = 1; n < 12; n++) {
        uint64_t seq = nodes[0].bucket->last_seq;
        commits_at_once = false; /* the copy has its memory */
        put(b, "k", (int32_t)n);
        call_fill(&b->other, &b->requests.conn);
        mem_fault_fail_at(n);
        carry_requests(b);
        mem_fault_fail_at(0);
        turn();
        advance(5000); /* who was told "busy" asks again */
        commit();
        uint32_t number = answer(b);
        assert_true(number == 3 || number == 1);
        assert_int_equal(nodes[0].bucket->last_seq, seq + (number == 3));
    }
    end();
}

static void operations_over_many_keys_gather_their_answers(void **state)
{
    (void)state;
    enum { KEYS = 1200 }; /* more than are asked for at a time */
    static Pb__EncodedValue keys[KEYS], values[KEYS];
    static Pb__Entry entries[KEYS], *entry_list[KEYS];
    static Pb__EncodedValue *key_list[KEYS];
    begin();
    struct node *b = &nodes[1];
    commits_at_once = false;
    struct slice region = slice_text("R");
    for (int32_t i = 0; i < KEYS; i++) {
        keys[i] = fixture_int(i);
        values[i] = fixture_int(i * 2);
        entries[i] = (Pb__Entry)PB__ENTRY__INIT;
        entries[i].key = &keys[i];
        entries[i].value = i == 7 ? &keys[0] : &values[i];
        entry_list[i] = &entries[i];
        key_list[i] = &keys[i];
    }
    Pb__EncodedValue none = fixture_null();
    entries[7].value = &none; /* cannot be put */
    Pb__PutAllRequest put_all = PB__PUT_ALL_REQUEST__INIT;
    put_all.region_name = message_bytes(region);
    put_all.entry = entry_list;
    put_all.n_entry = KEYS;
    ProtobufCMessage *body;
    fixture_client_send(&b->client, 6, &put_all.base);
    for (int i = 0; i < 4; i++) {
        turn();
        commit();
    }
    assert_int_equal(fixture_client_receive(&b->client, &body), 7);
    assert_int_equal(((Pb__PutAllResponse *)body)->n_failed_keys, 1);
    assert_int_equal(nodes[0].bucket->table.entry_count, KEYS - 1);
    Pb__GetAllRequest get_all = PB__GET_ALL_REQUEST__INIT;
    get_all.region_name = put_all.region_name;
    get_all.key = key_list;
    get_all.n_key = KEYS;
    key_list[3] = &none;
    fixture_client_send(&b->client, 8, &get_all.base);
    turn();
    assert_int_equal(fixture_client_receive(&b->client, &body), 9);
    const Pb__GetAllResponse *got = (Pb__GetAllResponse *)body;
    assert_int_equal(got->n_entries, KEYS - 1);
    assert_int_equal(got->n_failures, 1);
    for (int32_t i = 0; i < KEYS - 1; i++) {
        int32_t key = i < 3 ? i : i + 1; /* in the order of the request */
        assert_int_equal(got->entries[i]->key->int_result, key);
        if (key != 7)
            assert_int_equal(got->entries[i]->value->int_result, key * 2);
    }
    Pb__RegionClearRequest clear = PB__REGION_CLEAR_REQUEST__INIT;
    clear.name = put_all.region_name;
    fixture_client_send(&b->client, 1030, &clear.base);
    turn();
    commit();
    assert_int_equal(fixture_client_receive(&b->client, &body), 1031);
    assert_int_equal(((Pb__RegionClearResponse *)body)->entries, KEYS - 1);
    assert_int_equal(nodes[0].bucket->table.entry_count, 0);
    end();
}

static void an_idempotent_batch_is_applied_once_from_anywhere(void **state)
{
    (void)state;
    begin();
    uint8_t id[16] = "0123456789abcde";
    Pb__EncodedValue key = fixture_string("k"), value = fixture_int(4);
    Pb__WriteOperation operation = PB__WRITE_OPERATION__INIT, *operations[3];
    operation.key = &key;
    operation.value = &value;
    operations[0] = operations[1] = operations[2] = &operation;
    Pb__WriteBatchRequest batch = PB__WRITE_BATCH_REQUEST__INIT;
    batch.region = message_bytes(slice_text("R"));
    batch.writer_id = (ProtobufCBinaryData){sizeof id, id};
    batch.sequence = 1;
    batch.operation = operations;
    batch.n_operation = 3;
    ProtobufCMessage *body;
    for (int round = 0; round < 4; round++) {
        struct node *node = &nodes[round % 2];
        fixture_client_send(&node->client, 1016, &batch.base);
        turn();
        assert_int_equal(fixture_client_receive(&node->client, &body), 1017);
        const Pb__WriteBatchResponse *response = (Pb__WriteBatchResponse *)body;
        assert_int_equal(response->applied, round == 0 ? 3 : 0);
        assert_int_equal(response->repeated_count, round == 0 ? 0 : 3);
    }
    batch.sequence = 1 + LIMIT_WRITER_WINDOW;
    fixture_client_send(&nodes[1].client, 1016, &batch.base);
    turn();
    check_failure(&nodes[1], "above");
    end();
}

static void a_select_reads_what_is_elsewhere(void **state)
{
    (void)state;
    begin();
    struct node *b = &nodes[1];
    for (int i = 0; i < NODES; i++) {
        server_fixture_table(&nodes[i].fixture, "T", "R",
                             "CREATE TABLE T (id INT) WITH "
                             "('connector'='geode-region','region'='R')");
        nodes[i].client.fixture = &nodes[i].fixture;
    }
    fixture_client_put(&nodes[0].client, "R", "a", "{\"id\":5}");
    turn();
    assert_int_equal(answer(&nodes[0]), 3);
    Pb__SqlExecuteRequest request = PB__SQL_EXECUTE_REQUEST__INIT;
    request.statement = message_bytes(slice_text("SELECT id FROM T"));
    fixture_client_send(&b->client, 1012, &request.base);
    turn();
    ProtobufCMessage *body;
    uint32_t number = fixture_client_receive(&b->client, &body);
    assert_int_equal(number, 1013);
    assert_int_equal(((Pb__SqlExecuteResponse *)body)->n_row, 1);
    end();
}

static void the_stream_of_who_is_gone_is_dropped(void **state)
{
    (void)state;
    begin();
    struct node *a = &nodes[0], *b = &nodes[1];
    put(b, "k", 1);
    turn();
    assert_int_equal(answer(b), 3);
    assert_int_equal(a->bucket->streams.count, 1);
    tick();
    assert_int_equal(a->bucket->streams.count, 1);
    atomic_store(&a->other.gone, true);
    tick();
    assert_int_equal(a->bucket->streams.count, 0);
    assert_int_equal(b->bucket->streams.count, 0);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_waits_for_the_copies),
        cmocka_unit_test(what_another_server_leads_is_asked_there),
        cmocka_unit_test(a_copy_answers_what_is_committed_there),
        cmocka_unit_test(a_deposed_primary_asks_the_new_one_and_it_happens_once),
        cmocka_unit_test(what_a_deposed_primary_applied_is_not_done_again_by_who_sent_it),
        cmocka_unit_test(what_was_sent_is_known_to_be_done_by_who_leads_alone_now),
        cmocka_unit_test(a_read_does_not_pass_a_change_without_effect),
        cmocka_unit_test(a_broken_link_costs_no_change_and_doubles_none),
        cmocka_unit_test(while_nobody_may_write_calls_wait_in_order),
        cmocka_unit_test(who_does_not_lead_sends_back),
        cmocka_unit_test(what_was_refused_twice_before_its_time_is_asked_once_more),
        cmocka_unit_test(a_request_of_a_newer_map_is_held_back),
        cmocka_unit_test(no_more_than_the_limit_wait),
        cmocka_unit_test(without_memory_nothing_is_started),
        cmocka_unit_test(operations_over_many_keys_gather_their_answers),
        cmocka_unit_test(an_idempotent_batch_is_applied_once_from_anywhere),
        cmocka_unit_test(a_select_reads_what_is_elsewhere),
        cmocka_unit_test(the_stream_of_who_is_gone_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
