/* Statements, one-shot queries and the list of continuous queries. */
#include "tests/unit/server/subscriber.h"

static const Pb__SqlExecuteResponse *execute(struct stage *stage, const char *statement)
{
    Pb__SqlExecuteRequest request = PB__SQL_EXECUTE_REQUEST__INIT;
    request.statement = message_bytes(slice_text(statement));
    return (const Pb__SqlExecuteResponse *)fixture_client_ask(&stage->writer, 1012, &request.base,
                                                              1013);
}

static const Pb__Error *refuse(struct stage *stage, const char *statement)
{
    Pb__SqlExecuteRequest request = PB__SQL_EXECUTE_REQUEST__INIT;
    request.statement = message_bytes(slice_text(statement));
    return fixture_client_fail(&stage->writer, 1012, &request.base);
}

static void check_text(ProtobufCBinaryData bytes, const char *text)
{
    assert_int_equal(bytes.len, strlen(text));
    assert_memory_equal(bytes.data, text, bytes.len);
}

static void tables_are_shown_and_described(void **state)
{
    (void)state;
    struct stage stage;
    stage_begin(&stage, 5);
    const Pb__SqlExecuteResponse *response = execute(&stage, "SHOW TABLES");
    assert_int_equal(response->n_column, 2);
    assert_int_equal(response->n_row, 1);
    check_text(response->row[0]->value[0]->string_result, "Readings");
    check_text(response->row[0]->value[1]->string_result, "my_region");
    response = execute(&stage, "DESCRIBE Readings;");
    assert_int_equal(response->n_row, 2);
    check_text(response->row[0]->value[0]->string_result, "id");
    check_text(response->row[0]->value[1]->string_result, "STRING");
    check_text(response->row[1]->value[0]->string_result, "temperature");
    check_text(response->row[1]->value[1]->string_result, "DOUBLE");
    assert_int_equal(refuse(&stage, "DESCRIBE nothing")->error_code, FAILURE_INVALID_REQUEST);
    assert_true(execute(&stage, "EXPLAIN " AVERAGE)->n_row > 1);
    assert_int_equal(refuse(&stage, "SELECT")->error_code, FAILURE_INVALID_REQUEST);
    assert_int_equal(refuse(&stage, "SELECT id FROM nowhere")->error_code, FAILURE_SERVER_ERROR);
    stage_end(&stage);
}

static void a_select_reads_the_current_entries(void **state)
{
    (void)state;
    struct stage stage;
    char key[16];
    stage_begin(&stage, 5);
    assert_int_equal(execute(&stage, FILTER)->n_row, 0);
    for (uint32_t i = 0; i < 1000; i++) {
        snprintf(key, sizeof key, "r%u", i);
        stage_put(&stage, key, i % 4, i % 40);
    }
    const Pb__SqlExecuteResponse *response = execute(&stage, FILTER);
    check_text(response->column[0], "id");
    check_text(response->column[1], "temperature");
    check_text(response->type[1], "DOUBLE");
    assert_int_equal(response->n_row, 25 * 19);
    for (size_t i = 0; i < response->n_row; i++)
        assert_true(response->row[i]->value[1]->double_result > 20);
    response = execute(&stage, GROUPING);
    assert_int_equal(response->n_row, 4);
    for (size_t i = 0; i < 4; i++) {
        char id = (char)response->row[i]->value[0]->string_result.data[1];
        assert_true(response->row[i]->value[1]->double_result == 18 + (id - '0'));
    }
    assert_int_equal(execute(&stage, AVERAGE)->n_row, 1000);
    stage_end(&stage);
}

static void a_row_that_does_not_fit_fails_a_select_with_its_reason(void **state)
{
    (void)state;
    struct stage stage;
    ProtobufCMessage *answer;
    stage_begin(&stage, 5);
    fixture_client_put(&stage.writer, "my_region", "bad",
                       "{\"id\":\"s1\",\"temperature\":\"hot\"}");
    assert_int_equal(fixture_client_receive(&stage.writer, &answer), 3);
    const Pb__Error *error = refuse(&stage, FILTER);
    assert_int_equal(error->error_code, FAILURE_INVALID_REQUEST);
    assert_true(error->message.len > 10);
    stage_end(&stage);
}

static void a_select_without_memory_is_answered_or_its_connection_ends(void **state)
{
    (void)state;
    struct stage stage;
    stage_begin(&stage, 2);
    for (uint32_t id = 0; id < 10; id++)
        stage_put(&stage, NULL, id, 30);
    uint32_t failures = 0;
    bool done = false;
    for (unsigned n = 1; !done; n++) {
        ProtobufCMessage *message;
        Pb__SqlExecuteRequest request = PB__SQL_EXECUTE_REQUEST__INIT;
        request.statement = message_bytes(slice_text(GROUPING));
        mem_fault_fail_at(n);
        fixture_client_send(&stage.writer, 1012, &request.base);
        mem_fault_fail_at(0);
        uint32_t answer = fixture_client_receive(&stage.writer, &message);
        done = answer == 1013;
        failures += !done;
        assert_true(answer != 0 || fake_conn_state(stage.writer.conn) != FAKE_OPEN);
        if (fake_conn_state(stage.writer.conn) != FAKE_OPEN) {
            fixture_client_fini(&stage.writer);
            fixture_client_init(&stage.writer, &stage.fixture);
        }
        if (done)
            assert_int_equal(((const Pb__SqlExecuteResponse *)message)->n_row, 10);
    }
    assert_true(failures > 10);
    stage_end(&stage);
}

static void continuous_queries_are_listed_with_what_they_did(void **state)
{
    (void)state;
    struct stage stage;
    struct subscriber named, other;
    stage_begin(&stage, 5);
    Pb__CqSubscribeRequest request = subscribe_request(AVERAGE);
    request.name = message_bytes(slice_text("averages"));
    subscriber_init(&named, &stage);
    subscriber_subscribe(&named, &request);
    subscriber_begin(&other, &stage, FILTER);
    for (uint32_t i = 0; i < 10; i++)
        stage_put(&stage, NULL, i, 18 + i);
    Pb__CqListRequest list = PB__CQ_LIST_REQUEST__INIT;
    const Pb__CqListResponse *response =
        (const Pb__CqListResponse *)fixture_client_ask(&stage.writer, 1010, &list.base, 1011);
    assert_int_equal(response->n_cq, 2);
    const Pb__CqInfo *filter = response->cq[0], *average = response->cq[1];
    check_text(average->name, "averages");
    check_text(average->sql, AVERAGE);
    assert_int_equal(average->subscribers, 1);
    assert_int_equal(average->rows_in, 10);
    assert_int_equal(average->events, 10);
    assert_int_equal(filter->events, 7);
    assert_int_equal(filter->errors, 0);
    assert_true(
        slice_equal(message_slice(filter->plan_id), message_slice(other.response->plan_id)));
    subscriber_turn(&named);
    subscriber_turn(&other);
    subscriber_fini(&named);
    subscriber_fini(&other);
    stage_end(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_shown_and_described),
        cmocka_unit_test(a_select_reads_the_current_entries),
        cmocka_unit_test(a_row_that_does_not_fit_fails_a_select_with_its_reason),
        cmocka_unit_test(a_select_without_memory_is_answered_or_its_connection_ends),
        cmocka_unit_test(continuous_queries_are_listed_with_what_they_did),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
