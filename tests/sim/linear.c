#include "tests/sim/linear.h"

#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim_impl.h"

/* The configurations that were tried: which operations have happened, and the value then. */
struct memo {
    uint64_t *entries; /* `words` of the set, then the value, and whether it is unseen */
    uint32_t *slots;   /* 1 + index of an entry; 0: free */
    size_t count, cap, slot_count, words;
};

struct search {
    const struct linear_op *ops; /* by call */
    size_t count, words;
    uint64_t *done;    /* a bit for each operation that has happened */
    size_t first;      /* every operation before it has happened, or is open and passed by */
    size_t *by_answer; /* the order in which they are tried: mostly it is the right one */
    size_t answered;   /* still to be placed */
    bool *is_noise;    /* it writes a value that nobody saw */
    bool is_unseen;    /* the last one that was placed is open: who needs it comes next */
    struct memo memo;
    size_t budget;
    size_t best, best_at; /* the most that were placed, and the first that was not */
};

/* All values that nobody saw. */
#define NOISE (UINT64_MAX / 2)

struct choice {
    size_t op; /* that was placed */
    uint64_t value_before;
    bool unseen_before;
    size_t next; /* place in by_answer to go on from when this one fails */
};

static bool is_done(const struct search *search, size_t op)
{
    return (search->done[op / 64] >> (op % 64) & 1) != 0;
}

static void flip(struct search *search, size_t op)
{
    search->done[op / 64] ^= UINT64_C(1) << (op % 64);
}

static uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

static size_t memo_slot(const struct memo *memo, const uint64_t *entry)
{
    uint64_t hash = 1;
    for (size_t i = 0; i <= memo->words; i++)
        hash = mix(hash, entry[i]);
    size_t slot = hash & (memo->slot_count - 1);
    while (memo->slots[slot] != 0 &&
           memcmp(&memo->entries[(memo->slots[slot] - 1) * (memo->words + 1)], entry,
                  (memo->words + 1) * sizeof *entry) != 0)
        slot = (slot + 1) & (memo->slot_count - 1);
    return slot;
}

static void memo_grow(struct memo *memo)
{
    memo->cap = memo->cap == 0 ? 256 : memo->cap * 2;
    memo->entries =
        sim_realloc(memo->entries, memo->cap * (memo->words + 1) * sizeof *memo->entries);
    free(memo->slots);
    memo->slot_count = memo->cap * 4;
    memo->slots = sim_alloc(memo->slot_count * sizeof *memo->slots);
    for (size_t i = 0; i < memo->count; i++)
        memo->slots[memo_slot(memo, &memo->entries[i * (memo->words + 1)])] = (uint32_t)i + 1;
}

/* False if the configuration was there already. */
static bool memo_add(struct search *search, uint64_t value)
{
    struct memo *memo = &search->memo;
    if (memo->count == memo->cap)
        memo_grow(memo);
    uint64_t *entry = &memo->entries[memo->count * (memo->words + 1)];
    memcpy(entry, search->done, memo->words * sizeof *entry);
    entry[memo->words] = value * 2 + search->is_unseen;
    size_t slot = memo_slot(memo, entry);
    if (memo->slots[slot] != 0)
        return false;
    memo->slots[slot] = (uint32_t)++memo->count;
    return true;
}

/* The value after the operation; false if it cannot have happened at this value. */
static bool apply(const struct linear_op *op, uint64_t value, uint64_t *after)
{
    *after = value;
    switch (op->kind) {
    case LINEAR_PUT:
        *after = op->value;
        return true;
    case LINEAR_REMOVE:
        *after = 0;
        return true;
    case LINEAR_GET:
        return op->seen == value;
    case LINEAR_PUT_IF_ABSENT:
        if (value == 0)
            *after = op->value;
        return op->answered == LINEAR_OPEN || op->seen == value;
    }
    return false;
}

static bool sees(const struct linear_op *op, uint64_t value)
{
    return op->answered != LINEAR_OPEN && op->seen == value &&
           (op->kind == LINEAR_GET || op->kind == LINEAR_PUT_IF_ABSENT);
}

/* It has its place here because of the value. */
static bool needs(const struct linear_op *op, uint64_t value)
{
    return sees(op, value) || (op->kind == LINEAR_PUT_IF_ABSENT && value == 0);
}

/* No operation of its session that was called later has happened. A read that was forwarded may be
 * asked again, behind them. */
static bool is_in_session_order(const struct search *search, size_t at)
{
    uint32_t session = search->ops[at].kind == LINEAR_GET ? 0 : search->ops[at].session;
    for (size_t i = at + 1; session != 0 && i < search->count; i++)
        if (search->ops[i].session == session && is_done(search, i))
            return false;
    return true;
}

static uint64_t first_answer(const struct search *search)
{
    uint64_t first = LINEAR_OPEN;
    for (size_t i = search->first; i < search->count && search->ops[i].called <= first; i++)
        if (!is_done(search, i) && search->ops[i].answered < first)
            first = search->ops[i].answered;
    return first;
}

static bool is_needed(const struct search *search, uint64_t value)
{
    bool needed = value == 0;
    for (size_t i = search->first; i < search->count && !needed && value != NOISE; i++)
        needed = !is_done(search, i) && sees(&search->ops[i], value);
    return needed;
}

/* Something that only looks, and can happen now, may as well happen now: no other choice is better.
 * So may what nobody saw, when nobody needs any more what it overwrites. Unless something called
 * before it in its session could then not happen any more. */
static bool is_settled(const struct search *search, size_t at, uint64_t value_before)
{
    const struct linear_op *op = &search->ops[at];
    bool looks = op->kind == LINEAR_GET ||
                 (op->kind == LINEAR_PUT_IF_ABSENT && op->answered != LINEAR_OPEN && op->seen != 0);
    bool is_noise = op->kind == LINEAR_PUT && search->is_noise[at];
    if (!looks && !(is_noise && !is_needed(search, value_before)))
        return false;
    for (size_t i = search->first; op->session != 0 && i < at; i++)
        if (search->ops[i].session == op->session && search->ops[i].kind != LINEAR_GET &&
            !is_done(search, i))
            return false;
    return true;
}

/* The next candidate from place *at on, which is moved behind it: called before the first answer
 * that is still to come. What is open needs a place only where the next one needs it; elsewhere it
 * may be left out. */
static size_t next_candidate(const struct search *search, size_t *at, uint64_t value,
                             uint64_t *after)
{
    uint64_t bound = first_answer(search);
    while (*at < search->count) {
        size_t i = search->by_answer[(*at)++];
        const struct linear_op *op = &search->ops[i];
        if (op->called >= bound || is_done(search, i) || !apply(op, value, after) ||
            (search->is_unseen && !needs(op, value)) || !is_in_session_order(search, i))
            continue;
        if (search->is_noise[i] && *after == op->value)
            *after = NOISE;
        return i;
    }
    return search->count;
}

/* A candidate that leaves no choice. */
static size_t settled_candidate(const struct search *search, uint64_t value, uint64_t *after)
{
    uint64_t bound = first_answer(search);
    for (size_t i = search->first; i < search->count && search->ops[i].called < bound; i++) {
        const struct linear_op *op = &search->ops[i];
        if (is_done(search, i) || !apply(op, value, after) || *after != value ||
            (search->is_unseen && !needs(op, value)) || !is_in_session_order(search, i) ||
            !is_settled(search, i, value))
            continue;
        return i;
    }
    return search->count;
}

static void place(struct search *search, size_t op)
{
    flip(search, op);
    search->answered -= search->ops[op].answered != LINEAR_OPEN;
    while (search->first < search->count && is_done(search, search->first))
        search->first++;
    size_t placed = search->count - search->answered;
    if (placed > search->best) {
        search->best = placed;
        search->best_at = search->first;
        while (search->best_at < search->count &&
               (is_done(search, search->best_at) ||
                search->ops[search->best_at].answered == LINEAR_OPEN))
            search->best_at++;
    }
}

static void take_back(struct search *search, size_t op)
{
    flip(search, op);
    search->answered += search->ops[op].answered != LINEAR_OPEN;
    if (op < search->first)
        search->first = op;
}

static enum linear_verdict run(struct search *search)
{
    struct choice *stack = sim_alloc((search->count + 1) * sizeof *stack);
    size_t depth = 0, at = 0;
    uint64_t value = 0, after = 0;
    enum linear_verdict verdict = LINEAR_OK;
    while (search->answered > 0) {
        size_t op = at > 0 ? search->count : settled_candidate(search, value, &after);
        bool is_only = op < search->count;
        if (!is_only)
            op = next_candidate(search, &at, value, &after);
        if (op == search->count) {
            if (depth == 0) {
                verdict = LINEAR_BROKEN;
                break;
            }
            depth--;
            take_back(search, stack[depth].op);
            value = stack[depth].value_before;
            search->is_unseen = stack[depth].unseen_before;
            at = stack[depth].next;
            continue;
        }
        bool unseen_before = search->is_unseen;
        place(search, op);
        search->is_unseen = search->ops[op].answered == LINEAR_OPEN;
        if (!memo_add(search, after)) {
            take_back(search, op);
            search->is_unseen = unseen_before;
            at = is_only ? search->count : at;
            continue;
        }
        if (search->memo.count > search->budget) {
            verdict = LINEAR_UNDECIDED;
            break;
        }
        stack[depth++] =
            (struct choice){.op = op,
                            .value_before = value,
                            .unseen_before = unseen_before,
                            .next = is_only || is_settled(search, op, value) ? search->count : at};
        value = after;
        at = 0;
    }
    free(stack);
    return verdict;
}

static int by_call(const void *a, const void *b)
{
    uint64_t left = ((const struct linear_op *)a)->called;
    uint64_t right = ((const struct linear_op *)b)->called;
    return left < right ? -1 : left > right;
}

struct answer {
    uint64_t answered;
    size_t op;
};

static int by_answer(const void *a, const void *b)
{
    const struct answer *left = a, *right = b;
    if (left->answered != right->answered)
        return left->answered < right->answered ? -1 : 1;
    return left->op < right->op ? -1 : left->op > right->op;
}

static void order_by_answer(struct search *search)
{
    struct answer *answers = sim_alloc((search->count + 1) * sizeof *answers);
    for (size_t i = 0; i < search->count; i++)
        answers[i] = (struct answer){search->ops[i].answered, i};
    qsort(answers, search->count, sizeof *answers, by_answer);
    search->by_answer = sim_alloc((search->count + 1) * sizeof *search->by_answer);
    for (size_t i = 0; i < search->count; i++)
        search->by_answer[i] = answers[i].op;
    free(answers);
}

static bool is_seen(const struct linear_op *ops, size_t count, uint64_t value)
{
    for (size_t i = 0; i < count; i++)
        if (sees(&ops[i], value))
            return true;
    return false;
}

/* An open read tells nothing. An open write whose value nobody saw may be left out of any order in
 * which it stands: the operations behind it, up to the next write, saw nothing, or they would have
 * seen it. */
static size_t drop_silent(struct linear_op *ops, size_t count)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        bool writes = ops[i].kind == LINEAR_PUT || ops[i].kind == LINEAR_PUT_IF_ABSENT;
        if (ops[i].answered == LINEAR_OPEN &&
            (ops[i].kind == LINEAR_GET || (writes && !is_seen(ops, count, ops[i].value))))
            continue;
        struct linear_op op = ops[i];
        ops[i] = ops[kept];
        ops[kept++] = op;
    }
    return kept;
}

enum linear_verdict linear_check(struct linear_op *ops, size_t count, size_t budget,
                                 struct linear_op *stuck)
{
    count = drop_silent(ops, count);
    qsort(ops, count, sizeof *ops, by_call);
    struct search search = {.ops = ops, .count = count, .budget = budget};
    search.words = count / 64 + 1;
    search.memo.words = search.words;
    search.done = sim_alloc(search.words * sizeof *search.done);
    search.is_noise = sim_alloc(count + 1);
    for (size_t i = 0; i < count; i++) {
        bool writes = ops[i].kind == LINEAR_PUT || ops[i].kind == LINEAR_PUT_IF_ABSENT;
        search.answered += ops[i].answered != LINEAR_OPEN;
        search.is_noise[i] = writes && !is_seen(ops, count, ops[i].value);
    }
    order_by_answer(&search);
    enum linear_verdict verdict = run(&search);
    if (stuck != NULL && verdict != LINEAR_OK && search.best_at < count)
        *stuck = ops[search.best_at];
    free(search.done);
    free(search.is_noise);
    free(search.by_answer);
    free(search.memo.entries);
    free(search.memo.slots);
    return verdict;
}
