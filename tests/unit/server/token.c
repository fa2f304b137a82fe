#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "server/subscription.h"
#include "tests/lib/mem_fault.h"

static uint64_t random_state = 5;

static uint64_t next_random(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return random_state >> 11;
}

static struct token_position random_position(void)
{
    struct token_position position = {.generation = 1, .at = {.sub = UINT32_MAX}};
    position.at.seq = next_random() >> (next_random() % 50);
    if (next_random() % 4 == 0)
        position.generation = (uint32_t)(next_random() | 1);
    position.in_snapshot = next_random() % 4 == 0;
    if (position.in_snapshot)
        position.begin = next_random() >> (next_random() % 50);
    if (next_random() % 2 == 0)
        position.at.sub = next_random() % 2 == 0 ? UINT32_MAX - 1 : (uint32_t)(next_random() % 3);
    return position;
}

static void check_equal(const struct token_position *a, const struct token_position *b)
{
    assert_int_equal(a->generation, b->generation);
    assert_int_equal(a->in_snapshot, b->in_snapshot);
    assert_int_equal(a->begin, b->begin);
    assert_int_equal(a->at.seq, b->at.seq);
    assert_int_equal(a->at.sub, b->at.sub);
}

static void random_positions_come_back(void **state)
{
    (void)state;
    static const uint32_t counts[] = {0, 1, 2, 113, 128, 500};
    for (int round = 0; round < 200; round++) {
        struct token_position positions[500], read[500];
        uint32_t count = counts[next_random() % 6];
        uint64_t id = next_random() << 13 | 1;
        struct token_head read_id = {0};
        struct buf token;
        for (uint32_t i = 0; i < count; i++)
            positions[i] = random_position();
        buf_init(&token);
        token_encode(&(struct token_head){id, 5, 9}, positions, count, &token);
        assert_int_equal(token_read_head(buf_slice(&token), &read_id), OK);
        assert_int_equal(read_id.instance, id);
        assert_int_equal(read_id.life, 5);
        assert_int_equal(read_id.plan, 9);
        assert_int_equal(token_decode(buf_slice(&token), &read_id, read, count), OK);
        assert_int_equal(read_id.instance, id);
        assert_int_equal(read_id.life, 5);
        assert_int_equal(read_id.plan, 9);
        for (uint32_t i = 0; i < count; i++)
            check_equal(&positions[i], &read[i]);
        assert_int_equal(token_decode(buf_slice(&token), &read_id, read, count + 1),
                         ERROR_CONFLICT);
        if (count > 0)
            assert_int_equal(token_decode(buf_slice(&token), &read_id, read, count - 1),
                             ERROR_CONFLICT);
        buf_fini(&token);
    }
}

static void the_extremes_come_back(void **state)
{
    (void)state;
    const struct token_position positions[] = {
        {.generation = UINT32_MAX,
         .in_snapshot = true,
         .begin = UINT64_MAX,
         .at = {UINT64_MAX, UINT32_MAX}},
        {.generation = UINT32_MAX, .at = {UINT64_MAX, UINT32_MAX - 1}},
        {.generation = 1, .in_snapshot = true, .at = {0, 0}},
    };
    struct token_position read[3];
    struct token_head id = {0};
    struct buf token;
    buf_init(&token);
    token_encode(&(struct token_head){UINT64_MAX, 5, 9}, positions, 3, &token);
    assert_int_equal(token_decode(buf_slice(&token), &id, read, 3), OK);
    assert_true(id.instance == UINT64_MAX);
    for (int i = 0; i < 3; i++)
        check_equal(&positions[i], &read[i]);
    buf_fini(&token);
}

static void make_token(struct buf *token, struct token_position positions[40])
{
    for (uint32_t i = 0; i < 40; i++)
        positions[i] = random_position();
    buf_init(token);
    token_encode(&(struct token_head){77, 5, 9}, positions, 40, token);
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    struct token_position positions[40];
    struct buf token;
    struct token_head id = {0};
    make_token(&token, positions);
    for (size_t len = 0; len < token.len; len++) {
        assert_int_equal(token_decode(slice_of(token.data, len), &id, positions, 40),
                         ERROR_MALFORMED);
        assert_int_equal(token_read_head(slice_of(token.data, len), &id), ERROR_MALFORMED);
    }
    buf_append_byte(&token, 0);
    assert_int_equal(token_decode(buf_slice(&token), &id, positions, 40), ERROR_MALFORMED);
    buf_fini(&token);
}

static void every_bit_flip_is_refused(void **state)
{
    (void)state;
    struct token_position positions[40];
    struct buf token;
    struct token_head id = {0};
    make_token(&token, positions);
    for (size_t bit = 0; bit < token.len * 8; bit++) {
        token.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(token_decode(buf_slice(&token), &id, positions, 40), ERROR_MALFORMED);
        assert_int_equal(token_read_head(buf_slice(&token), &id), ERROR_MALFORMED);
        token.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_int_equal(token_decode(buf_slice(&token), &id, positions, 40), OK);
    buf_fini(&token);
}

static void a_token_of_quiet_buckets_is_short(void **state)
{
    (void)state;
    struct token_position positions[113];
    struct buf token;
    for (uint32_t i = 0; i < 113; i++)
        positions[i] = (struct token_position){.generation = 1, .at = {i, UINT32_MAX}};
    buf_init(&token);
    token_encode(&(struct token_head){1, 5, 9}, positions, 113, &token);
    assert_in_range(token.len, 100, 300);
    buf_fini(&token);
}

static void without_memory_no_token_is_made(void **state)
{
    (void)state;
    long live = mem_fault_live();
    struct token_position position = {.generation = 1};
    struct buf token;
    buf_init(&token);
    mem_fault_fail_from(1);
    token_encode(&(struct token_head){1, 5, 9}, &position, 1, &token);
    mem_fault_fail_from(0);
    assert_true(token.failed);
    buf_fini(&token);
    assert_int_equal(mem_fault_live(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_positions_come_back),
        cmocka_unit_test(the_extremes_come_back),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(every_bit_flip_is_refused),
        cmocka_unit_test(a_token_of_quiet_buckets_is_short),
        cmocka_unit_test(without_memory_no_token_is_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
