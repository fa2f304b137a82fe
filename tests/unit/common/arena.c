#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "common/arena.h"
#include "tests/lib/mem_fault.h"

static void pieces_are_aligned_and_do_not_overlap(void **state)
{
    static const size_t sizes[] = {0, 1, 15, 16, 17, 100, 5000, 40000, 3, 300000, 7};
    uint8_t *pieces[11];
    struct arena arena;

    (void)state;
    arena_init(&arena, 1 << 20);
    for (size_t i = 0; i < 11; i++) {
        pieces[i] = arena_alloc(&arena, sizes[i]);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % 16, 0);
        memset(pieces[i], (int)i, sizes[i]);
    }
    for (size_t i = 0; i < 11; i++) {
        for (size_t j = 0; j < sizes[i]; j++)
            assert_int_equal(pieces[i][j], i);
    }
    arena_fini(&arena);
}

static void the_cap_holds(void **state)
{
    struct arena arena;

    (void)state;
    arena_init(&arena, 1000);
    assert_non_null(arena_alloc(&arena, 900));
    assert_null(arena_alloc(&arena, 200));
    assert_null(arena_alloc(&arena, SIZE_MAX));
    assert_null(arena_strndup(&arena, "x", SIZE_MAX));
    assert_non_null(arena_alloc(&arena, 50));
    /* Rounded up it would not fit. */
    assert_null(arena_alloc(&arena, 20));
    assert_true(arena.bytes <= 1000);
    arena_reset(&arena);
    assert_int_equal(arena.bytes, 0);
    assert_non_null(arena_alloc(&arena, 900));
    arena_fini(&arena);
}

static void a_reset_keeps_one_small_block_and_no_huge_one(void **state)
{
    long live = mem_fault_live();
    struct arena arena;

    (void)state;
    arena_init(&arena, 100 << 20);
    for (int i = 0; i < 1000; i++)
        assert_non_null(arena_alloc(&arena, 4000));
    assert_non_null(arena_alloc(&arena, 20 << 20));
    arena_reset(&arena);
    assert_int_equal(mem_fault_live(), live + 1);
    mem_fault_fail_at(0);
    assert_non_null(arena_alloc(&arena, 4000));
    assert_int_equal(mem_fault_calls(), 0);
    arena_fini(&arena);
    assert_int_equal(mem_fault_live(), live);
}

static void copies_are_terminated_and_zeroed_memory_is_zero(void **state)
{
    struct arena arena;
    uint8_t *zeros;

    (void)state;
    arena_init(&arena, 10000);
    memset(arena_alloc(&arena, 4000), 0xff, 4000);
    arena_reset(&arena);
    zeros = arena_zalloc(&arena, 4000);
    for (int i = 0; i < 4000; i++)
        assert_int_equal(zeros[i], 0);
    assert_string_equal(arena_strndup(&arena, "hello world", 5), "hello");
    assert_string_equal(arena_strndup(&arena, NULL, 0), "");
    arena_fini(&arena);
}

static void without_memory_it_returns_null_and_goes_on_later(void **state)
{
    struct arena arena;

    (void)state;
    arena_init(&arena, 1 << 20);
    mem_fault_fail_at(1);
    assert_null(arena_alloc(&arena, 100));
    assert_int_equal(arena.bytes, 0);
    assert_non_null(arena_alloc(&arena, 100));
    mem_fault_fail_at(1);
    assert_null(arena_zalloc(&arena, 100000));
    assert_non_null(arena_alloc(&arena, 100));
    arena_fini(&arena);
}

static void protobuf_unpacks_from_it_and_its_free_does_nothing(void **state)
{
    struct arena arena;
    void *piece;

    (void)state;
    arena_init(&arena, 1000);
    piece = arena.protobuf.alloc(arena.protobuf.allocator_data, 100);
    assert_non_null(piece);
    assert_int_equal(arena.bytes, 112);
    arena.protobuf.free(arena.protobuf.allocator_data, piece);
    assert_int_equal(arena.bytes, 112);
    assert_null(arena.protobuf.alloc(arena.protobuf.allocator_data, 1000));
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_aligned_and_do_not_overlap),
        cmocka_unit_test(the_cap_holds),
        cmocka_unit_test(a_reset_keeps_one_small_block_and_no_huge_one),
        cmocka_unit_test(copies_are_terminated_and_zeroed_memory_is_zero),
        cmocka_unit_test(without_memory_it_returns_null_and_goes_on_later),
        cmocka_unit_test(protobuf_unpacks_from_it_and_its_free_does_nothing),
    };

    return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
