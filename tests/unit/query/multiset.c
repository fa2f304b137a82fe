#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>

#include "query/multiset.h"
#include "tests/lib/mem_fault.h"

static struct query_value number(double number)
{
    return (struct query_value){.kind = QUERY_TYPE_DOUBLE, .float64 = number};
}

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static void an_empty_set_has_no_ends(void **state)
{
    (void)state;
    struct multiset set;
    multiset_init(&set);
    assert_null(multiset_min(&set));
    assert_null(multiset_max(&set));
    multiset_fini(&set);
}

static void knows_its_ends_through_any_changes(void **state)
{
    enum { VALUES = 300 };
    (void)state;
    uint64_t random = 1;
    unsigned counts[VALUES] = {0};
    struct multiset set;
    multiset_init(&set);
    for (int step = 0; step < 60000; step++) {
        unsigned value = (unsigned)(next_random(&random) % VALUES);
        struct query_value boxed = number((double)value);
        /* Phases that grow and phases that shrink. */
        bool add = next_random(&random) % 100 < (step / 10000 % 2 == 0 ? 60 : 40);
        if (add) {
            assert_int_equal(multiset_add(&set, &boxed), OK);
            counts[value]++;
        } else if (counts[value] > 0) {
            multiset_remove(&set, &boxed);
            counts[value]--;
        }
        int least = 0, most = VALUES - 1;
        while (least < VALUES && counts[least] == 0) {
            least++;
        }
        while (most >= 0 && counts[most] == 0) {
            most--;
        }
        const struct query_value *min = multiset_min(&set), *max = multiset_max(&set);
        assert_int_equal(min == NULL, least == VALUES);
        assert_true(min == NULL || min->float64 == (double)least);
        assert_true(max == NULL || max->float64 == (double)most);
    }
    multiset_fini(&set);
}

/* Ascending, descending and alternating input make a bad tree degenerate; an invariant bounds the
 * way to a leaf, and 200,000 steps of a list would take for ever. */
static void sorted_input_stays_cheap_and_goes_away_completely(void **state)
{
    enum { VALUES = 200000 };
    (void)state;
    long live = mem_fault_live();
    for (int order = 0; order < 3; order++) {
        struct multiset set;
        multiset_init(&set);
        for (int i = 0; i < VALUES; i++) {
            int value = order == 0 ? i : order == 1 ? -i : i % 2 == 0 ? i : -i;
            struct query_value boxed = number(value);
            assert_int_equal(multiset_add(&set, &boxed), OK);
        }
        assert_true(set.bytes > 0);
        for (int i = 0; i < VALUES; i++) {
            int value = order == 0 ? i : order == 1 ? -i : i % 2 == 0 ? i : -i;
            struct query_value boxed = number(value);
            multiset_remove(&set, &boxed);
        }
        assert_null(set.root);
        assert_int_equal(set.bytes, 0);
        assert_int_equal(mem_fault_live(), live);
        multiset_fini(&set);
    }
}

static void keeps_copies_of_strings(void **state)
{
    (void)state;
    char text[] = "middle";
    struct multiset set;
    multiset_init(&set);
    struct query_value value = {.kind = QUERY_TYPE_STRING, .text = slice_text(text)};
    assert_int_equal(multiset_add(&set, &value), OK);
    memcpy(text, "a", 2);
    value.text = slice_text("z");
    assert_int_equal(multiset_add(&set, &value), OK);
    value.text = slice_of(NULL, 0);
    assert_int_equal(multiset_add(&set, &value), OK);
    assert_int_equal(multiset_min(&set)->text.len, 0);
    multiset_remove(&set, &value);
    assert_true(slice_equal(multiset_min(&set)->text, slice_text("middle")));
    assert_true(slice_equal(multiset_max(&set)->text, slice_text("z")));
    multiset_fini(&set);
}

static void the_hash_tells_contents_not_history(void **state)
{
    (void)state;
    struct multiset a, b;
    multiset_init(&a);
    multiset_init(&b);
    for (int i = 0; i < 100; i++) {
        struct query_value up = number(i), down = number(99 - i);
        multiset_add(&a, &up);
        multiset_add(&b, &down);
    }
    assert_int_equal(multiset_hash(&a, 1), multiset_hash(&b, 1));
    struct query_value one = number(50);
    multiset_add(&a, &one);
    assert_int_not_equal(multiset_hash(&a, 1), multiset_hash(&b, 1));
    multiset_remove(&a, &one);
    assert_int_equal(multiset_hash(&a, 1), multiset_hash(&b, 1));
    multiset_fini(&a);
    multiset_fini(&b);
}

static void without_memory_nothing_changes(void **state)
{
    (void)state;
    struct multiset set;
    multiset_init(&set);
    struct query_value one = number(1), two = number(2);
    multiset_add(&set, &one);
    mem_fault_fail_from(1);
    assert_int_equal(multiset_add(&set, &two), ERROR_MEMORY);
    assert_true(multiset_max(&set)->float64 == 1);
    assert_int_equal(multiset_add(&set, &one), OK); /* known already */
    multiset_remove(&set, &one);
    multiset_remove(&set, &one);
    mem_fault_fail_at(0);
    assert_null(multiset_min(&set));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_set_has_no_ends),
        cmocka_unit_test(knows_its_ends_through_any_changes),
        cmocka_unit_test(sorted_input_stays_cheap_and_goes_away_completely),
        cmocka_unit_test(keeps_copies_of_strings),
        cmocka_unit_test(the_hash_tells_contents_not_history),
        cmocka_unit_test(without_memory_nothing_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
