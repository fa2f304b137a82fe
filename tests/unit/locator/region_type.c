/* Geode's shortcuts. */
#include "tests/unit/locator/fixture.h"

static void test_every_shortcut_of_geode_is_known(void **state)
{
    static const char *const words[] = {
        "REPLICATE",
        "REPLICATE_PERSISTENT",
        "REPLICATE_OVERFLOW",
        "REPLICATE_PERSISTENT_OVERFLOW",
        "REPLICATE_HEAP_LRU",
        "REPLICATE_PROXY",
        "PARTITION",
        "PARTITION_REDUNDANT",
        "PARTITION_PERSISTENT",
        "PARTITION_REDUNDANT_PERSISTENT",
        "PARTITION_OVERFLOW",
        "PARTITION_REDUNDANT_OVERFLOW",
        "PARTITION_PERSISTENT_OVERFLOW",
        "PARTITION_REDUNDANT_PERSISTENT_OVERFLOW",
        "PARTITION_HEAP_LRU",
        "PARTITION_REDUNDANT_HEAP_LRU",
        "PARTITION_PROXY",
        "PARTITION_PROXY_REDUNDANT",
        "LOCAL",
        "LOCAL_PERSISTENT",
        "LOCAL_HEAP_LRU",
        "LOCAL_OVERFLOW",
        "LOCAL_PERSISTENT_OVERFLOW",
        "PROXY",
        "CACHING_PROXY",
        "CACHING_PROXY_HEAP_LRU",
        "CACHING_PROXY_OVERFLOW",
    };
    struct fixture *fixture = *state;
    uint32_t created = 0;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        struct answer answer;
        char name[16];
        snprintf(name, sizeof(name), "r%zu", i);
        create_region(fixture, name, words[i], &answer);
        created += answer.number == 1021;
        if (answer.number != 1021 && strncmp(answer.text, "UNSUPPORTED: ", 13) != 0)
            fail_msg("%s: %s", words[i], answer.text);
    }
    assert_int_equal(created, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_every_shortcut_of_geode_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
