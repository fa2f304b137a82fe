/* The operations on keys and regions, as a client sees them. */
#include "tests/unit/server/subscriber.h"

#define NULL_POINTER "java.lang.NullPointerException: "

static struct region *add_region(struct stage *stage, const char *name,
                                 enum cluster_region_type type, enum value_type key,
                                 enum value_type value)
{
    struct cluster_region region = {.name = slice_text(name),
                                    .type = type,
                                    .bucket_count = 3,
                                    .key_constraint = key,
                                    .value_constraint = value};
    return server_fixture_region(&stage->fixture, &region);
}

static Pb__EncodedValue not_set(void)
{
    return (Pb__EncodedValue)PB__ENCODED_VALUE__INIT;
}

static Pb__EncodedValue float64(double number)
{
    Pb__EncodedValue value = not_set();
    value.value_case = PB__ENCODED_VALUE__VALUE_DOUBLE_RESULT;
    value.double_result = number;
    return value;
}

static Pb__EncodedValue int64(int64_t number)
{
    Pb__EncodedValue value = not_set();
    value.value_case = PB__ENCODED_VALUE__VALUE_LONG_RESULT;
    value.long_result = number;
    return value;
}

/* What an operation answered: NULL, or the failure as "CODE text". */
static const char *failure_text(uint32_t number, const ProtobufCMessage *message)
{
    static char text[2200];
    if (number != 1)
        return NULL;
    const Pb__Error *error = ((const Pb__ErrorResponse *)message)->error;
    snprintf(text, sizeof text, "%d %.*s", error->error_code,
             SLICE_FMT(message_slice(error->message)));
    return text;
}

static const char *put(struct stage *stage, const char *region, Pb__EncodedValue key,
                       Pb__EncodedValue value)
{
    ProtobufCMessage *message;
    Pb__Entry entry = PB__ENTRY__INIT;
    Pb__PutRequest request = PB__PUT_REQUEST__INIT;
    entry.key = &key;
    entry.value = &value;
    request.region_name = message_bytes(slice_text(region));
    request.entry = &entry;
    fixture_client_send(&stage->writer, 2, &request.base);
    uint32_t number = fixture_client_receive(&stage->writer, &message);
    assert_true(number == 3 || number == 1);
    return failure_text(number, message);
}

static const Pb__EncodedValue *value_or_failure(struct stage *stage, uint32_t answer,
                                                const char **failure)
{
    ProtobufCMessage *message;
    uint32_t number = fixture_client_receive(&stage->writer, &message);
    *failure = failure_text(number, message);
    if (number == 1)
        return NULL;
    assert_int_equal(number, answer);
    return answer == 5 ? ((const Pb__GetResponse *)message)->result
                       : ((const Pb__PutIfAbsentResponse *)message)->old_value;
}

static const Pb__EncodedValue *get(struct stage *stage, const char *region, Pb__EncodedValue key,
                                   const char **failure)
{
    Pb__GetRequest request = PB__GET_REQUEST__INIT;
    request.region_name = message_bytes(slice_text(region));
    request.key = &key;
    fixture_client_send(&stage->writer, 4, &request.base);
    return value_or_failure(stage, 5, failure);
}

static const Pb__EncodedValue *put_if_absent(struct stage *stage, const char *region,
                                             Pb__EncodedValue key, Pb__EncodedValue value,
                                             const char **failure)
{
    Pb__Entry entry = PB__ENTRY__INIT;
    Pb__PutIfAbsentRequest request = PB__PUT_IF_ABSENT_REQUEST__INIT;
    entry.key = &key;
    entry.value = &value;
    request.region_name = message_bytes(slice_text(region));
    request.entry = &entry;
    fixture_client_send(&stage->writer, 34, &request.base);
    return value_or_failure(stage, 35, failure);
}

static const char *remove_key(struct stage *stage, const char *region, Pb__EncodedValue key)
{
    ProtobufCMessage *message;
    Pb__RemoveRequest request = PB__REMOVE_REQUEST__INIT;
    request.region_name = message_bytes(slice_text(region));
    request.key = &key;
    fixture_client_send(&stage->writer, 10, &request.base);
    uint32_t number = fixture_client_receive(&stage->writer, &message);
    assert_true(number == 11 || number == 1);
    return failure_text(number, message);
}

static int32_t size_of(struct stage *stage, const char *region)
{
    Pb__GetSizeRequest request = PB__GET_SIZE_REQUEST__INIT;
    request.region_name = message_bytes(slice_text(region));
    return ((const Pb__GetSizeResponse *)fixture_client_ask(&stage->writer, 16, &request.base, 17))
        ->size;
}

static size_t key_count(struct stage *stage, const char *region)
{
    Pb__KeySetRequest request = PB__KEY_SET_REQUEST__INIT;
    request.region_name = message_bytes(slice_text(region));
    return ((const Pb__KeySetResponse *)fixture_client_ask(&stage->writer, 28, &request.base, 29))
        ->n_keys;
}

static void check_int(const Pb__EncodedValue *value, int32_t number)
{
    assert_non_null(value);
    assert_int_equal(value->value_case, PB__ENCODED_VALUE__VALUE_INT_RESULT);
    assert_int_equal(value->int_result, number);
}

static void check_null(const Pb__EncodedValue *value)
{
    assert_non_null(value);
    assert_int_equal(value->value_case, PB__ENCODED_VALUE__VALUE_NULL_RESULT);
}

static void put_get_and_remove(void **state)
{
    (void)state;
    struct stage stage;
    const char *failure;
    stage_begin(&stage, 5);
    check_null(get(&stage, "my_region", fixture_string("a"), &failure));
    assert_null(put(&stage, "my_region", fixture_string("a"), fixture_int(1)));
    check_int(get(&stage, "/my_region", fixture_string("a"), &failure), 1);
    assert_null(put(&stage, "/my_region/", fixture_string("a"), fixture_int(2)));
    check_int(get(&stage, "my_region", fixture_string("a"), &failure), 2);
    assert_int_equal(size_of(&stage, "my_region"), 1);
    assert_null(remove_key(&stage, "my_region", fixture_string("a")));
    assert_null(remove_key(&stage, "my_region", fixture_string("a"))); /* an absent key: success */
    check_null(get(&stage, "my_region", fixture_string("a"), &failure));
    assert_int_equal(size_of(&stage, "my_region"), 0);
    stage_end(&stage);
}

static void the_type_is_part_of_a_key(void **state)
{
    (void)state;
    struct stage stage;
    const char *failure;
    stage_begin(&stage, 5);
    assert_null(put(&stage, "my_region", fixture_int(1), fixture_int(10)));
    assert_null(put(&stage, "my_region", int64(1), fixture_int(20)));
    assert_null(put(&stage, "my_region", fixture_string("1"), fixture_int(30)));
    assert_null(put(&stage, "my_region", float64(1), fixture_int(40)));
    assert_int_equal(size_of(&stage, "my_region"), 4);
    assert_int_equal(key_count(&stage, "my_region"), 4);
    check_int(get(&stage, "my_region", int64(1), &failure), 20);
    /* Zeros have two signs; numbers that are none are all one key, whatever their bits. */
    assert_null(put(&stage, "my_region", float64(0.0), fixture_int(1)));
    assert_null(put(&stage, "my_region", float64(-0.0), fixture_int(2)));
    check_int(get(&stage, "my_region", float64(0.0), &failure), 1);
    assert_null(put(&stage, "my_region", float64(__builtin_nan("")), fixture_int(3)));
    assert_null(put(&stage, "my_region", float64(-__builtin_nan("77")), fixture_int(4)));
    check_int(get(&stage, "my_region", float64(__builtin_nan("5")), &failure), 4);
    assert_int_equal(size_of(&stage, "my_region"), 7);
    stage_end(&stage);
}

static void nulls_and_missing_values_are_refused_in_geodes_words(void **state)
{
    (void)state;
    struct stage stage;
    const char *failure;
    stage_begin(&stage, 5);
    Pb__EncodedValue a = fixture_string("a"), one = fixture_int(1), null = fixture_null(),
                     unset = not_set();
    assert_string_equal(put(&stage, "my_region", a, null),
                        "100 " NULL_POINTER "value must not be null");
    assert_string_equal(put(&stage, "my_region", null, one),
                        "100 " NULL_POINTER "key cannot be null");
    assert_string_equal(put(&stage, "my_region", null, null),
                        "100 " NULL_POINTER "key cannot be null");
    assert_string_equal(
        put(&stage, "nowhere", null, null),
        "100 org.apache.geode.cache.RegionDestroyedException: Region not found nowhere");
    assert_string_equal(put(&stage, "nowhere", a, unset),
                        "100 " FAILURE_VALUE_NOT_SET); /* values come before regions */
    assert_string_equal(put(&stage, "", a, one),
                        "100 java.lang.IllegalArgumentException: path cannot be empty");
    assert_null(get(&stage, "nowhere", null, &failure));
    assert_string_equal(failure, "50 Performing a get on a NULL key.");
    assert_string_equal(remove_key(&stage, "nowhere", null),
                        "50 NULL is not a valid key for removal.");
    assert_string_equal(
        remove_key(&stage, "nowhere", a),
        "100 org.apache.geode.cache.RegionDestroyedException: Region not found nowhere");
    assert_null(put_if_absent(&stage, "my_region", null, one, &failure));
    assert_string_equal(failure, "100 " NULL_POINTER "key cannot be null");
    assert_int_equal(size_of(&stage, "my_region"), 0);
    stage_end(&stage);
}

static void put_if_absent_keeps_what_is_there(void **state)
{
    (void)state;
    struct stage stage;
    const char *failure;
    stage_begin(&stage, 5);
    Pb__EncodedValue a = fixture_string("a"), b = fixture_string("b");
    check_null(put_if_absent(&stage, "my_region", a, fixture_int(1), &failure));
    check_int(put_if_absent(&stage, "my_region", a, fixture_int(2), &failure), 1);
    check_int(get(&stage, "my_region", a, &failure), 1);
    /* A null value makes an entry that is counted, listed, and not replaced. */
    check_null(put_if_absent(&stage, "my_region", b, fixture_null(), &failure));
    assert_int_equal(size_of(&stage, "my_region"), 2);
    assert_int_equal(key_count(&stage, "my_region"), 2);
    check_null(get(&stage, "my_region", b, &failure));
    check_null(put_if_absent(&stage, "my_region", b, fixture_string("x"), &failure));
    check_null(get(&stage, "my_region", b, &failure));
    assert_null(remove_key(&stage, "my_region", b));
    assert_int_equal(size_of(&stage, "my_region"), 1);
    check_null(put_if_absent(&stage, "my_region", b, fixture_int(5), &failure));
    check_int(get(&stage, "my_region", b, &failure), 5);
    stage_end(&stage);
}

static void constraints_name_both_classes(void **state)
{
    (void)state;
    struct stage stage;
    const char *failure;
    stage_begin(&stage, 5);
    add_region(&stage, "typed", CLUSTER_PARTITION, VALUE_INT, VALUE_STRING);
    assert_null(put(&stage, "typed", fixture_int(1), fixture_string("v")));
    assert_string_equal(put(&stage, "typed", fixture_string("1"), fixture_string("v")),
                        "100 java.lang.ClassCastException: key ( java.lang.String ) does not "
                        "satisfy keyConstraint ( "
                        "java.lang.Integer )");
    assert_string_equal(put(&stage, "typed", fixture_int(1), fixture_int(1)),
                        "100 java.lang.ClassCastException: value ( java.lang.Integer ) does not "
                        "satisfy valueConstraint ( "
                        "java.lang.String )");
    assert_null(put(&stage, "typed", fixture_int(2), fixture_json("{}"))); /* a document passes */
    assert_null(get(&stage, "typed", fixture_string("1"), &failure));
    assert_non_null(strstr(failure, "does not satisfy keyConstraint"));
    assert_non_null(strstr(remove_key(&stage, "typed", int64(1)), "java.lang.Long"));
    assert_int_equal(size_of(&stage, "typed"), 2);
    stage_end(&stage);
}

static void put_all_reports_what_it_could_not_put(void **state)
{
    (void)state;
    struct stage stage;
    const char *failure;
    stage_begin(&stage, 5);
    add_region(&stage, "typed", CLUSTER_PARTITION, VALUE_INT, VALUE_NOT_SET);
    Pb__EncodedValue keys[5] = {fixture_int(1), fixture_string("x"), fixture_int(2), fixture_null(),
                                fixture_int(1)};
    Pb__EncodedValue values[5] = {fixture_int(10), fixture_int(20), fixture_null(), fixture_int(40),
                                  fixture_int(50)};
    Pb__Entry entries[5], *pointers[5];
    Pb__PutAllRequest request = PB__PUT_ALL_REQUEST__INIT;
    for (int i = 0; i < 5; i++) {
        entries[i] = (Pb__Entry)PB__ENTRY__INIT;
        entries[i].key = &keys[i];
        entries[i].value = &values[i];
        pointers[i] = &entries[i];
    }
    request.region_name = message_bytes(slice_text("typed"));
    request.n_entry = 5;
    request.entry = pointers;
    const Pb__PutAllResponse *response =
        (const Pb__PutAllResponse *)fixture_client_ask(&stage.writer, 6, &request.base, 7);
    assert_int_equal(response->n_failed_keys, 3);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(response->failed_keys[i]->error->error_code, FAILURE_SERVER_ERROR);
    assert_int_equal(response->failed_keys[2]->key->value_case,
                     PB__ENCODED_VALUE__VALUE_NULL_RESULT);
    check_int(get(&stage, "typed", fixture_int(1), &failure),
              50); /* of equal keys the last one counts */
    assert_int_equal(size_of(&stage, "typed"), 1);
    /* One that cannot be decoded fails the request before anything is put. */
    keys[0] = fixture_int(7);
    values[4] = not_set();
    assert_int_equal(fixture_client_fail(&stage.writer, 6, &request.base)->error_code,
                     FAILURE_SERVER_ERROR);
    check_null(get(&stage, "typed", fixture_int(7), &failure));
    request.n_entry = 0;
    fixture_client_ask(&stage.writer, 6, &request.base, 7);
    request.region_name = message_bytes(slice_text("nowhere"));
    fixture_client_fail(&stage.writer, 6, &request.base);
    stage_end(&stage);
}

static void get_all_answers_in_the_order_of_the_keys(void **state)
{
    (void)state;
    struct stage stage;
    stage_begin(&stage, 5);
    put(&stage, "my_region", fixture_string("a"), fixture_int(1));
    put(&stage, "my_region", fixture_string("c"), fixture_int(3));
    Pb__EncodedValue keys[5] = {fixture_string("c"), fixture_string("b"), fixture_null(),
                                fixture_string("a"), fixture_string("c")};
    Pb__EncodedValue *pointers[5];
    Pb__GetAllRequest request = PB__GET_ALL_REQUEST__INIT;
    for (int i = 0; i < 5; i++)
        pointers[i] = &keys[i];
    request.region_name = message_bytes(slice_text("my_region"));
    request.n_key = 5;
    request.key = pointers;
    const Pb__GetAllResponse *response =
        (const Pb__GetAllResponse *)fixture_client_ask(&stage.writer, 8, &request.base, 9);
    assert_int_equal(response->n_entries, 4);
    check_int(response->entries[0]->value, 3);
    check_null(response->entries[1]->value);
    check_int(response->entries[2]->value, 1);
    check_int(response->entries[3]->value, 3);
    assert_int_equal(response->n_failures, 1);
    assert_int_equal(response->failures[0]->error->error_code, FAILURE_SERVER_ERROR);
    assert_true(slice_equal(message_slice(response->failures[0]->error->message),
                            slice_text(FAILURE_JAVA_NULL_KEY)));
    stage_end(&stage);
}

static void clear_is_for_regions_without_partitions(void **state)
{
    (void)state;
    struct stage stage;
    stage_begin(&stage, 5);
    add_region(&stage, "copies", CLUSTER_REPLICATE, VALUE_NOT_SET, VALUE_NOT_SET);
    for (int i = 0; i < 20; i++) {
        put(&stage, "copies", fixture_int(i), fixture_int(i));
        put(&stage, "my_region", fixture_int(i), fixture_int(i));
    }
    Pb__ClearRequest request = PB__CLEAR_REQUEST__INIT;
    request.region_name = message_bytes(slice_text("copies"));
    fixture_client_ask(&stage.writer, 32, &request.base, 33);
    assert_int_equal(size_of(&stage, "copies"), 0);
    request.region_name = message_bytes(slice_text("my_region"));
    const Pb__Error *error = fixture_client_fail(&stage.writer, 32, &request.base);
    assert_int_equal(error->error_code, FAILURE_UNSUPPORTED_OPERATION);
    assert_true(
        slice_equal(message_slice(error->message), slice_text("Unsupported operation:null")));
    assert_int_equal(size_of(&stage, "my_region"), 20);
    Pb__RegionClearRequest any = PB__REGION_CLEAR_REQUEST__INIT;
    any.name = message_bytes(slice_text("my_region"));
    const Pb__RegionClearResponse *response =
        (const Pb__RegionClearResponse *)fixture_client_ask(&stage.writer, 1030, &any.base, 1031);
    assert_int_equal(response->entries, 20);
    assert_int_equal(size_of(&stage, "my_region"), 0);
    stage_end(&stage);
}

static void region_names_are_full_paths(void **state)
{
    (void)state;
    struct stage stage;
    stage_begin(&stage, 5);
    add_region(&stage, "other", CLUSTER_REPLICATE, VALUE_NOT_SET, VALUE_NOT_SET);
    Pb__GetRegionNamesRequest request = PB__GET_REGION_NAMES_REQUEST__INIT;
    const Pb__GetRegionNamesResponse *response =
        (const Pb__GetRegionNamesResponse *)fixture_client_ask(&stage.writer, 14, &request.base,
                                                               15);
    assert_int_equal(response->n_regions, 2);
    assert_true(slice_equal(message_slice(response->regions[0]), slice_text("/my_region")));
    assert_true(slice_equal(message_slice(response->regions[1]), slice_text("/other")));
    stage_end(&stage);
}

static void a_large_key_set_is_read_in_steps(void **state)
{
    (void)state;
    struct stage stage;
    struct fixture_client leaves;
    stage_begin(&stage, 5);
    for (int32_t i = 0; i < 9000; i++)
        assert_null(put(&stage, "my_region", fixture_int(i), fixture_int(i)));
    assert_int_equal(key_count(&stage, "my_region"), 9000);
    /* Who leaves after the first step is not waited for. */
    fixture_client_init(&leaves, &stage.fixture);
    static const uint8_t key_set[] = {0x0e, 0xe2, 0x01, 0x0b, 0x0a, 0x09, 'm', 'y',
                                      '_',  'r',  'e',  'g',  'i',  'o',  'n'};
    struct session_host *host = &stage.fixture.worker->host;
    uint64_t served = host->counters.messages_received;
    fake_conn_block(leaves.conn, true);
    fake_conn_feed(leaves.conn, key_set, sizeof key_set);
    assert_int_equal(host->counters.messages_received, served + 1);
    fixture_client_fini(&leaves);
    stage_end(&stage);
}

static void without_a_locator_administration_says_what_is_missing(void **state)
{
    (void)state;
    struct stage stage;
    stage_begin(&stage, 5);
    Pb__ClusterStatusRequest request = PB__CLUSTER_STATUS_REQUEST__INIT;
    const Pb__Error *error = fixture_client_fail(&stage.writer, 1024, &request.base);
    assert_int_equal(error->error_code, FAILURE_SERVER_ERROR);
    assert_memory_equal(error->message.data, "UNREACHABLE: ", 13);
    /* The connection goes on. */
    assert_null(put(&stage, "my_region", fixture_int(1), fixture_int(1)));
    stage_end(&stage);
}

static void a_put_without_memory_fails_by_itself(void **state)
{
    (void)state;
    struct stage stage;
    uint32_t failures = 0;
    stage_begin(&stage, 3);
    for (int32_t i = 0; i < 60; i++) {
        bool done = false;
        for (unsigned n = 1; !done; n++) {
            ProtobufCMessage *message;
            Pb__EncodedValue key = fixture_int(i), value = fixture_int(i);
            Pb__Entry entry = PB__ENTRY__INIT;
            Pb__PutRequest request = PB__PUT_REQUEST__INIT;
            entry.key = &key;
            entry.value = &value;
            request.region_name = message_bytes(slice_text("my_region"));
            request.entry = &entry;
            mem_fault_fail_at(n);
            fixture_client_send(&stage.writer, 2, &request.base);
            mem_fault_fail_at(0);
            uint32_t answer = fixture_client_receive(&stage.writer, &message);
            assert_int_equal(fake_conn_state(stage.writer.conn), FAKE_OPEN);
            done = answer == 3;
            if (!done) {
                failures++;
                assert_non_null(strstr(failure_text(answer, message), "LowMemoryException"));
                assert_int_equal(size_of(&stage, "my_region"), i);
            }
        }
    }
    assert_true(failures >= 60);
    stage_end(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(put_get_and_remove),
        cmocka_unit_test(the_type_is_part_of_a_key),
        cmocka_unit_test(nulls_and_missing_values_are_refused_in_geodes_words),
        cmocka_unit_test(put_if_absent_keeps_what_is_there),
        cmocka_unit_test(constraints_name_both_classes),
        cmocka_unit_test(put_all_reports_what_it_could_not_put),
        cmocka_unit_test(get_all_answers_in_the_order_of_the_keys),
        cmocka_unit_test(clear_is_for_regions_without_partitions),
        cmocka_unit_test(region_names_are_full_paths),
        cmocka_unit_test(a_large_key_set_is_read_in_steps),
        cmocka_unit_test(without_a_locator_administration_says_what_is_missing),
        cmocka_unit_test(a_put_without_memory_fails_by_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
