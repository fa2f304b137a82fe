#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "server/table.h"
#include "tests/lib/mem_fault.h"

/* The reference: an array of all keys that the test uses, with what each should hold. */
#define KEYS 3000u

struct model {
    struct table table;
    uint64_t seq[KEYS]; /* 0: absent */
    uint32_t present;
    uint64_t state;
    bool collide; /* all hashes are equal */
};

static uint32_t next_random(struct model *model)
{
    model->state = model->state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(model->state >> 33);
}

static struct slice key_of(uint32_t number, uint8_t key[8])
{
    memcpy(key, "key", 3);
    memcpy(key + 3, &number, 4);
    return slice_of(key, 7);
}

static uint64_t hash_of(const struct model *model, struct slice key)
{
    return model->collide ? 0x1234567 : table_hash(key, 42);
}

/* The value's bytes follow from key and seq, so that an entry that was mixed up is seen. */
static struct slice value_of(uint32_t number, uint64_t seq, uint8_t value[64])
{
    size_t len = (number * 7 + seq) % 64;
    memset(value, (int)(number + seq), len);
    return slice_of(value, len);
}

static struct entry *make(const struct model *model, uint32_t number, uint64_t seq)
{
    uint8_t key[8], value[64];
    struct slice key_slice = key_of(number, key);
    return entry_new(key_slice, value_of(number, seq, value), hash_of(model, key_slice), seq);
}

static void put(struct model *model, uint32_t number, uint64_t seq)
{
    struct entry *old, *entry = make(model, number, seq);
    assert_non_null(entry);
    assert_int_equal(table_put(&model->table, entry, &old), OK);
    assert_int_equal(old == NULL, model->seq[number] == 0);
    if (old != NULL)
        assert_int_equal(old->seq, model->seq[number]);
    else
        model->present++;
    entry_unref(old);
    model->seq[number] = seq;
}

static void remove_one(struct model *model, uint32_t number)
{
    uint8_t key[8];
    struct slice key_slice = key_of(number, key);
    struct entry *entry = table_remove(&model->table, key_slice, hash_of(model, key_slice));
    assert_int_equal(entry != NULL, model->seq[number] != 0);
    if (entry == NULL)
        return;
    assert_int_equal(entry->seq, model->seq[number]);
    entry_unref(entry);
    model->seq[number] = 0;
    model->present--;
}

static void check_one(const struct model *model, uint32_t number)
{
    uint8_t key[8], value[64];
    struct slice key_slice = key_of(number, key);
    struct entry *entry = table_find(&model->table, key_slice, hash_of(model, key_slice));
    assert_int_equal(entry != NULL, model->seq[number] != 0);
    if (entry == NULL)
        return;
    assert_int_equal(entry->seq, model->seq[number]);
    assert_true(slice_equal(entry_key(entry), key_slice));
    assert_true(slice_equal(entry_value(entry), value_of(number, entry->seq, value)));
}

struct census {
    const struct model *model;
    uint64_t seen, bytes;
};

static void count_entry(void *arg, struct entry *entry)
{
    struct census *census = arg;
    uint32_t number;
    memcpy(&number, entry_key(entry).data + 3, 4);
    assert_in_range(number, 0, KEYS - 1);
    assert_int_equal(entry->seq, census->model->seq[number]);
    census->seen++;
    census->bytes += sizeof *entry + entry->key_len + entry->value_len;
}

/* Every entry is there exactly once: found by its key, and the walk sees as many as there are. */
static void check_all(const struct model *model)
{
    struct census census = {.model = model};
    for (uint32_t i = 0; i < KEYS; i++)
        check_one(model, i);
    table_each(&model->table, count_entry, &census);
    assert_int_equal(census.seen, model->present);
    assert_int_equal(model->table.entry_count, model->present);
    assert_int_equal(model->table.bytes, census.bytes);
}

static struct model *model_new(uint64_t seed)
{
    struct model *model = calloc(1, sizeof *model);
    assert_non_null(model);
    model->state = seed;
    assert_int_equal(table_init(&model->table), OK);
    return model;
}

static void model_free(struct model *model, long live_before)
{
    table_fini(&model->table);
    free(model);
    assert_int_equal(mem_fault_live(), live_before);
}

static void random_operations_agree_with_a_map(void **state)
{
    (void)state;
    long live = mem_fault_live();
    struct model *model = model_new(7);
    for (uint64_t step = 1; step <= 200000; step++) {
        uint32_t number = next_random(model) % KEYS;
        /* Phases in which the table mostly grows, and in which it mostly shrinks. */
        bool removes = next_random(model) % 10 < (step / 20000 % 2 == 0 ? 2u : 7u);
        if (removes)
            remove_one(model, number);
        else
            put(model, number, step);
        check_one(model, next_random(model) % KEYS);
        if (step % 20000 == 0)
            check_all(model);
        if (step == 130000) {
            table_clear(&model->table);
            memset(model->seq, 0, sizeof model->seq);
            model->present = 0;
            check_all(model);
        }
    }
    model_free(model, live);
}

static void growing_loses_and_doubles_no_entry(void **state)
{
    (void)state;
    long live = mem_fault_live();
    struct model *model = model_new(1);
    uint32_t lines = model->table.line_count;
    for (uint32_t i = 0; i < KEYS; i++) {
        put(model, i, i + 1);
        if (model->table.line_count != lines || i < 100) {
            assert_in_range(model->table.line_count, lines, lines + 1);
            lines = model->table.line_count;
            check_all(model);
        }
    }
    assert_in_range(lines, KEYS / 6, KEYS / 4);
    model_free(model, live);
}

static void equal_hashes_make_a_chain_that_stays_right(void **state)
{
    (void)state;
    long live = mem_fault_live();
    struct model *model = model_new(3);
    model->collide = true;
    for (uint32_t i = 0; i < 200; i++)
        put(model, i, i + 1);
    check_all(model);
    for (uint64_t step = 1; step <= 5000; step++) {
        uint32_t number = next_random(model) % 200;
        if (next_random(model) % 2 == 0)
            remove_one(model, number);
        else
            put(model, number, 1000 + step);
        if (step % 500 == 0)
            check_all(model);
    }
    model_free(model, live);
}

static void removing_frees_overflow_lines(void **state)
{
    (void)state;
    struct model *model = model_new(5);
    model->collide = true;
    for (uint32_t i = 0; i < 100; i++)
        put(model, i, i + 1);
    long full = mem_fault_live();
    for (uint32_t i = 0; i < 100; i++)
        remove_one(model, 99 - i);
    /* 100 entries, and the lines beyond the first that they needed. */
    assert_in_range(full - mem_fault_live(), 100 + 100 / 7 - 1, 200);
    check_all(model);
    table_fini(&model->table);
    free(model);
}

static void a_reference_outlives_the_table(void **state)
{
    (void)state;
    long live = mem_fault_live();
    struct model *model = model_new(5);
    put(model, 1, 10);
    uint8_t key[8], value[64];
    struct slice key_slice = key_of(1, key);
    struct entry *entry =
        entry_ref(table_find(&model->table, key_slice, hash_of(model, key_slice)));
    put(model, 1, 11);
    table_fini(&model->table);
    assert_int_equal(entry->seq, 10);
    assert_true(slice_equal(entry_value(entry), value_of(1, 10, value)));
    entry_unref(entry);
    entry_unref(NULL);
    free(model);
    assert_int_equal(mem_fault_live(), live);
}

static void a_failed_put_leaves_the_table_as_it_was(void **state)
{
    (void)state;
    long live = mem_fault_live();
    for (int collide = 0; collide < 2; collide++) {
        struct model *model = model_new(9);
        model->collide = collide == 1;
        for (uint32_t i = 0; i < 400; i++) {
            struct entry *old, *entry = make(model, i, i + 1);
            assert_non_null(entry);
            bool done = false;
            for (unsigned n = 1; !done; n++) {
                mem_fault_fail_at(n);
                enum error error = table_put(&model->table, entry, &old);
                mem_fault_fail_at(0);
                done = error == OK;
                if (!done) {
                    assert_int_equal(error, ERROR_MEMORY);
                    check_one(model, i);
                    assert_int_equal(entry->refs, 1);
                }
            }
            assert_null(old);
            model->seq[i] = i + 1;
            model->present++;
        }
        check_all(model);
        /* Growth that found no memory is made up for by later insertions. */
        for (uint32_t i = 400; i < 1200; i++)
            put(model, i, i + 1);
        check_all(model);
        table_fini(&model->table);
        free(model);
    }
    assert_int_equal(mem_fault_live(), live);
}

static void without_memory_to_grow_everything_stays_findable(void **state)
{
    (void)state;
    long live = mem_fault_live();
    struct model *model = model_new(11);
    for (uint32_t i = 0; i < 1000; i++) {
        /* Of the calls of this put (entry, overflow line, segment, lines of the split) only the
         * first ones succeed. */
        mem_fault_fail_from(2 + i % 4);
        struct entry *old = NULL, *entry = make(model, i, i + 1);
        assert_non_null(entry);
        enum error error = table_put(&model->table, entry, &old);
        mem_fault_fail_from(0);
        if (error == OK) {
            model->seq[i] = i + 1;
            model->present++;
        } else {
            entry_unref(entry);
        }
        if (i % 50 == 0)
            check_all(model);
    }
    check_all(model);
    assert_true(model->present > 500);
    model_free(model, live);
}

static void a_table_that_cannot_begin_says_so(void **state)
{
    (void)state;
    long live = mem_fault_live();
    struct table table;
    mem_fault_fail_at(1);
    assert_int_equal(table_init(&table), ERROR_MEMORY);
    mem_fault_fail_at(1);
    assert_null(entry_new(slice_text("k"), slice_text("v"), 1, 1));
    mem_fault_fail_at(0);
    table_fini(&table);
    assert_int_equal(mem_fault_live(), live);
}

static void the_seed_changes_the_hash(void **state)
{
    (void)state;
    assert_int_not_equal(table_hash(slice_text("a"), 1), table_hash(slice_text("a"), 2));
    assert_int_equal(table_hash(slice_text("a"), 1), table_hash(slice_text("a"), 1));
}

/* What a walk has met. */
struct walk {
    struct model *model;
    uint64_t begin_seq; /* entries up to it were there at the start */
    uint64_t met[KEYS]; /* the seq, 0: not met */
    uint32_t others;    /* entries of other tests' keys, of which there are none */
};

static void meet(void *arg, struct entry *entry)
{
    struct walk *walk = arg;
    uint32_t number;
    memcpy(&number, entry->data + 3, 4);
    if (number >= KEYS)
        walk->others++;
    else if (entry->seq <= walk->begin_seq)
        walk->met[number] = entry->seq;
}

static void a_cursor_meets_what_was_there_while_the_table_changes(void **state)
{
    (void)state;
    static struct walk walk;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct model model = {.state = seed, .collide = seed == 0};
        struct table_cursor cursor = {0};
        uint64_t before[KEYS];
        uint32_t owed = seed == 0 ? 50 : next_random(&model) % KEYS;
        assert_int_equal(table_init(&model.table), OK);
        memset(&walk, 0, sizeof walk);
        walk.model = &model;
        for (uint64_t seq = 1; seq <= owed; seq++)
            put(&model, next_random(&model) % KEYS, seq);
        walk.begin_seq = owed;
        memcpy(before, model.seq, sizeof before);
        uint64_t seq = owed;
        assert_int_equal(table_cursor_left(&model.table, &cursor), model.table.line_count);
        while (table_cursor_step(&model.table, &cursor, meet, &walk))
            for (unsigned i = 0; i < 12 && seq < owed + 4000 && seed != 0; i++) {
                uint8_t key[8];
                uint32_t number = next_random(&model) % KEYS;
                struct slice slice = key_of(number, key);
                uint64_t hash = hash_of(&model, slice);
                const struct entry *old = table_find(&model.table, slice, hash);
                /* What goes before it was met is what its owner has to keep. */
                if (old != NULL && table_cursor_passed(&model.table, &cursor, hash))
                    assert_true(old->seq > owed || walk.met[number] == old->seq);
                else if (old != NULL && old->seq <= owed)
                    walk.met[number] = old->seq;
                if (next_random(&model) % 3 == 0)
                    remove_one(&model, number);
                else
                    put(&model, number, ++seq);
            }
        assert_int_equal(table_cursor_left(&model.table, &cursor), 0);
        assert_memory_equal(walk.met, before, sizeof before);
        assert_int_equal(walk.others, 0);
        table_fini(&model.table);
    }
}

static void a_table_is_cleared_in_steps(void **state)
{
    (void)state;
    long live = mem_fault_live();
    struct model model = {.state = 1};
    struct table_cursor cursor = {0};
    unsigned steps = 0;
    assert_int_equal(table_init(&model.table), OK);
    for (uint32_t i = 0; i < 2000; i++)
        put(&model, i, i + 1);
    uint64_t count = model.table.entry_count;
    while (table_clear_some(&model.table, &cursor, 10)) {
        assert_true(count - model.table.entry_count < 200);
        count = model.table.entry_count;
        steps++;
    }
    assert_true(steps > 30);
    assert_int_equal(model.table.entry_count, 0);
    assert_int_equal(model.table.bytes, 0);
    table_fini(&model.table);
    assert_int_equal(mem_fault_live(), live);
}

static void tables_exchange_their_contents(void **state)
{
    (void)state;
    long live = mem_fault_live();
    static struct model left, right;
    memset(&left, 0, sizeof left);
    memset(&right, 0, sizeof right);
    assert_int_equal(table_init(&left.table), OK);
    assert_int_equal(table_init(&right.table), OK);
    for (uint32_t i = 0; i < 2500; i++)
        put(&left, i, i + 1);
    put(&right, 2999, 7);
    table_swap(&left.table, &right.table);
    assert_int_equal(left.table.entry_count, 1);
    assert_int_equal(right.table.entry_count, 2500);
    struct model swapped = left;
    memcpy(left.seq, right.seq, sizeof left.seq);
    memcpy(right.seq, swapped.seq, sizeof right.seq);
    for (uint32_t i = 0; i < 2500; i += 2)
        remove_one(&right, i);
    remove_one(&left, 2999);
    for (uint32_t i = 0; i < 500; i++)
        put(&left, i, i + 1);
    assert_int_equal(right.table.entry_count, 1250);
    assert_int_equal(left.table.entry_count, 500);
    table_fini(&left.table);
    table_fini(&right.table);
    assert_int_equal(mem_fault_live(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations_agree_with_a_map),
        cmocka_unit_test(growing_loses_and_doubles_no_entry),
        cmocka_unit_test(equal_hashes_make_a_chain_that_stays_right),
        cmocka_unit_test(removing_frees_overflow_lines),
        cmocka_unit_test(a_reference_outlives_the_table),
        cmocka_unit_test(a_failed_put_leaves_the_table_as_it_was),
        cmocka_unit_test(without_memory_to_grow_everything_stays_findable),
        cmocka_unit_test(a_table_that_cannot_begin_says_so),
        cmocka_unit_test(the_seed_changes_the_hash),
        cmocka_unit_test(a_cursor_meets_what_was_there_while_the_table_changes),
        cmocka_unit_test(a_table_is_cleared_in_steps),
        cmocka_unit_test(tables_exchange_their_contents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
