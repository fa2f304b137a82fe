/* What the simulation is made of: its memory, its random numbers, its trace and its queue of
 * events. */
#include "tests/sim/sim_impl.h"

#include <stdlib.h>
#include <string.h>

/* ---- Memory ---- */

void *sim_alloc(size_t size)
{
    void *block = calloc(1, size);

    INVARIANT(block != NULL);
    return block;
}

void *sim_realloc(void *old, size_t size)
{
    void *block = realloc(old, size);

    INVARIANT(block != NULL);
    return block;
}

/* ---- Random numbers: xoshiro256**, seeded by splitmix64 ---- */

static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void sim_prng_init(struct sim_prng *prng, uint64_t seed)
{
    for (int i = 0; i < 4; i++)
        prng->words[i] = splitmix(&seed);
}

static uint64_t rotate(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

uint64_t sim_prng_next(struct sim_prng *prng)
{
    uint64_t *s = prng->words;
    uint64_t result = rotate(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

uint64_t sim_random(struct sim *sim)
{
    return sim_prng_next(&sim->prng);
}

uint64_t sim_random_below(struct sim *sim, uint64_t bound)
{
    return bound == 0 ? 0 : (uint64_t)(((unsigned __int128)sim_random(sim) * bound) >> 64);
}

bool sim_chance(struct sim *sim, uint32_t ppm)
{
    return ppm > 0 && sim_random_below(sim, 1000000) < ppm;
}

/* ---- The trace ---- */

static void fold(struct sim *sim, uint64_t value)
{
    uint64_t state = sim->hash ^ value;

    sim->hash = splitmix(&state);
}

void sim_trace(struct sim *sim, const char *what, const struct sim_node *node, uint64_t a,
               uint64_t b)
{
    fold(sim, sim->now_us);
    for (const char *c = what; *c != '\0'; c++)
        sim->hash = (sim->hash ^ (uint8_t)*c) * UINT64_C(0x100000001b3);
    fold(sim, node != NULL ? node->id + 1 : 0);
    fold(sim, a);
    fold(sim, b);
    if (sim->trace != NULL)
        fprintf(sim->trace, "%12llu %-10s %-16s %llu %llu\n", (unsigned long long)sim->now_us,
                node != NULL ? node->name : "-", what, (unsigned long long)a,
                (unsigned long long)b);
}

void sim_trace_bytes(struct sim *sim, const uint8_t *data, size_t len)
{
    for (; len >= 8; data += 8, len -= 8) {
        uint64_t word;

        memcpy(&word, data, 8);
        sim->hash = rotate(sim->hash ^ word, 23) * UINT64_C(0x9e3779b97f4a7c15);
    }
    for (; len > 0; data++, len--)
        sim->hash = (sim->hash ^ *data) * UINT64_C(0x100000001b3);
}

void sim_note(struct sim *sim, const char *what, uint64_t a, uint64_t b)
{
    sim_trace(sim, what, NULL, a, b);
}

void sim_set_trace(struct sim *sim, FILE *trace)
{
    sim->trace = trace;
}

uint64_t sim_trace_hash(const struct sim *sim)
{
    return sim->hash;
}

uint64_t sim_now_us(const struct sim *sim)
{
    return sim->now_us;
}

/* ---- Events: a binary heap, whose places the events know ---- */

static bool is_before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->seq < b->seq;
}

static void heap_put(struct sim *sim, size_t index, struct sim_event *event)
{
    sim->heap[index - 1] = event;
    event->index = index;
}

static void heap_sift(struct sim *sim, size_t index, struct sim_event *event)
{
    while (index > 1 && is_before(event, sim->heap[index / 2 - 1])) {
        heap_put(sim, index, sim->heap[index / 2 - 1]);
        index /= 2;
    }
    for (;;) {
        size_t child = index * 2;

        if (child > sim->heap_len)
            break;
        if (child < sim->heap_len && is_before(sim->heap[child], sim->heap[child - 1]))
            child++;
        if (!is_before(sim->heap[child - 1], event))
            break;
        heap_put(sim, index, sim->heap[child - 1]);
        index = child;
    }
    heap_put(sim, index, event);
}

void sim_event_init(struct sim_event *event, struct sim_loop *loop, loop_fn *on_event, void *arg)
{
    *event = (struct sim_event){.loop = loop, .on_event = on_event, .arg = arg};
}

bool sim_event_is_set(const struct sim_event *event)
{
    return event->index != 0 || event->held;
}

void sim_event_clear(struct sim *sim, struct sim_event *event)
{
    if (event->held) {
        struct sim_node *node = event->loop->node;
        struct sim_event *before = NULL;

        for (struct sim_event *at = node->held; at != event; at = at->next_held)
            before = at;
        if (before != NULL)
            before->next_held = event->next_held;
        else
            node->held = event->next_held;
        if (node->held_tail == event)
            node->held_tail = before;
        event->held = false;
    }
    if (event->index != 0) {
        size_t index = event->index;
        struct sim_event *last = sim->heap[--sim->heap_len];

        event->index = 0;
        if (last != event)
            heap_sift(sim, index, last);
    }
}

void sim_event_set(struct sim *sim, struct sim_event *event, uint64_t delay_us)
{
    sim_event_clear(sim, event);
    if (event->loop != NULL && event->loop->dead)
        return;
    if (sim->heap_len == sim->heap_cap) {
        sim->heap_cap = sim->heap_cap == 0 ? 256 : sim->heap_cap * 2;
        sim->heap = sim_realloc(sim->heap, sim->heap_cap * sizeof *sim->heap);
    }
    event->at_us = sim->now_us + delay_us;
    event->seq = ++sim->seq;
    heap_sift(sim, ++sim->heap_len, event);
}
