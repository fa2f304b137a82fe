#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "server/entry_list.h"
#include "tests/lib/mem_fault.h"

static struct entry *make(uint64_t seq)
{
    uint8_t value[64] = {1};
    struct entry *entry = entry_new(slice_of(value, 5), slice_of(value, 1 + seq % 60), 1, seq);
    assert_non_null(entry);
    return entry;
}

static void entries_leave_in_the_order_in_which_they_came(void **state)
{
    (void)state;
    long live = mem_fault_live();
    struct entry_list list = {0};
    uint64_t added = 0, taken = 0;
    for (unsigned round = 0; round < 30; round++) {
        for (unsigned i = 0; i < round * 7 % 100; i++) {
            struct entry *entry = make(++added);
            assert_true(entry_list_add(&list, entry));
            entry_unref(entry);
        }
        for (unsigned i = 0; i < round * 5 % 90 && entry_list_count(&list) > 0; i++) {
            struct entry *entry = entry_list_take(&list);
            assert_int_equal(entry->seq, ++taken);
            entry_unref(entry);
        }
        assert_int_equal(entry_list_count(&list), added - taken);
        uint64_t bytes = 0;
        for (uint64_t seq = taken + 1; seq <= added; seq++)
            bytes += sizeof(struct entry) + 5 + 1 + seq % 60;
        assert_int_equal(list.bytes, bytes);
    }
    assert_true(taken > 500 && added > taken);
    entry_list_fini(&list);
    entry_list_fini(&list);
    assert_int_equal(mem_fault_live(), live);
}

static void without_memory_the_list_is_as_it_was(void **state)
{
    (void)state;
    long live = mem_fault_live();
    struct entry_list list = {0};
    struct entry *entry = make(9);
    unsigned refused = 0;
    for (unsigned i = 0; i < 300; i++) {
        mem_fault_fail_at(1);
        struct entry_list before = list;
        if (!entry_list_add(&list, entry)) {
            refused++;
            assert_int_equal(entry_list_count(&list), entry_list_count(&before));
            assert_int_equal(list.bytes, before.bytes);
            mem_fault_fail_at(0);
            assert_true(entry_list_add(&list, entry));
        }
        mem_fault_fail_at(0);
    }
    assert_int_equal(entry_list_count(&list), 300);
    assert_int_equal(refused, 4); /* 64, 128, 256, 512 */
    entry_unref(entry);
    entry_list_fini(&list);
    assert_int_equal(mem_fault_live(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_leave_in_the_order_in_which_they_came),
        cmocka_unit_test(without_memory_the_list_is_as_it_was),
    };
    return cmocka_run_group_tests_name("server/entry_list", tests, NULL, NULL);
}
