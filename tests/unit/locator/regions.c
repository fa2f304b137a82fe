/* Regions: what can be one, when a create is answered, what is refused and how. */
#include "tests/unit/locator/fixture.h"

struct region_case {
    const char *name, *type;
    uint32_t copies, buckets;
    const char *key, *value;
    const char *failure; /* begins so; NULL: it is created */
    const char *says;
};

static void test_every_request_is_created_or_refused_with_its_reason(void **state)
{
    static const char long_name[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                                    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                                    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                                    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                                    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    static const struct region_case cases[] = {
        {"a", "PARTITION", 0, 0, "", "", NULL, NULL},
        {"/b", "partition", 0, 1, "string", "json", NULL, NULL},
        {"c_-9", "REPLICATE", 0, 16384, "", "", NULL, NULL},
        {"d", "PARTITION_REDUNDANT", 0, 0, "", "", NULL, NULL},
        {"e", "PARTITION", 3, 0, "", "", NULL, NULL},
        {"_f", "REPLICATE", 0, 0, "", "", NULL, NULL},
        {"a", "PARTITION", 0, 0, "", "", "EXISTS: ", "same attributes"},
        {"a", "REPLICATE", 0, 0, "", "", "EXISTS: ", "exists already, as PARTITION"},
        {"", "PARTITION", 0, 0, "", "", "INVALID: ", "needs a name"},
        {"__x", "PARTITION", 0, 0, "", "", "INVALID: ", "the system's"},
        {"a/b", "PARTITION", 0, 0, "", "", "INVALID: ", "Regions inside of regions"},
        {"a b", "PARTITION", 0, 0, "", "", "INVALID: ", "character 2"},
        {long_name, "PARTITION", 0, 0, "", "", "INVALID: ", "at most 255"},
        {"g", "", 0, 0, "", "", "INVALID: ", "needs a type"},
        {"g", "PARTITIN", 0, 0, "", "", "INVALID: ", "did you mean PARTITION?"},
        {"g", "xyzzy", 0, 0, "", "", "INVALID: ", "there are PARTITION"},
        {"g", "REPLICATE_PERSISTENT", 0, 0, "", "",
         "UNSUPPORTED: ", "the nearest that is supported is REPLICATE."},
        {"g", "PARTITION_REDUNDANT_HEAP_LRU", 0, 0, "", "",
         "UNSUPPORTED: ", "supported is PARTITION_REDUNDANT."},
        {"h", "LOCAL", 0, 0, "", "", NULL, NULL},
        {"g", "LOCAL", 1, 0, "", "", "INVALID: ", "no copies on other servers"},
        {"g", "LOCAL_HEAP_LRU", 0, 0, "", "", "UNSUPPORTED: ", "supported is LOCAL."},
        {"g", "CACHING_PROXY", 0, 0, "", "", "UNSUPPORTED: ", "supported is PARTITION."},
        {"i", "PARTITION", 15, 0, "", "", NULL, NULL},
        {"g", "PARTITION", 16, 0, "", "", "INVALID: ", "0 to 15 redundant copies, not 16"},
        {"g", "REPLICATE", 1, 0, "", "", "INVALID: ", "copy on every server"},
        {"g", "PARTITION", 0, 16385, "", "", "INVALID: ", "1 to 16384 buckets"},
        {"g", "PARTITION", 0, 0, "text", "", "INVALID: ", "key constraint text"},
        {"g", "PARTITION", 0, 0, "", "a-word-that-is-much-longer-than-any",
         "INVALID: ", "value constraint"},
    };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct region_case *row = &cases[i];
        struct answer answer;
        Pb__RegionCreateRequest request = PB__REGION_CREATE_REQUEST__INIT;
        request.name = message_bytes(slice_text(row->name));
        request.type = message_bytes(slice_text(row->type));
        request.redundant_copies = row->copies;
        request.bucket_count = row->buckets;
        request.key_constraint = message_bytes(slice_text(row->key));
        request.value_constraint = message_bytes(slice_text(row->value));
        ask(fixture, 1020, &request.base, &answer);
        if (row->failure == NULL) {
            assert_int_equal(answer.number, 1021);
            continue;
        }
        assert_int_equal(answer.number, 1);
        if (strncmp(answer.text, row->failure, strlen(row->failure)) != 0 ||
            strstr(answer.text, row->says) == NULL)
            fail_msg("%s %s: %s", row->name, row->type, answer.text);
    }
    struct locator_state now;
    locator_state(fixture->locator, &now);
    assert_int_equal(now.regions, 8);
    assert_int_equal(now.epoch, 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_every_request_is_created_or_refused_with_its_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
