#include <inttypes.h>
#include <string.h>

#include "common/mem.h"
#include "locator/map_store.h"

enum request { REQUEST_NONE, REQUEST_LOAD, REQUEST_STORE };

struct memory_store {
    struct map_store base;
    struct map_memory *memory;
    struct loop_timer timer; /* answers come by it, after memory->delay_us */
    enum request request;
    uint64_t expected_epoch, epoch;
    uint8_t *bytes;
    size_t len;
    map_store_loaded_fn *on_loaded;
    map_store_stored_fn *on_stored;
    void *arg;
};

void map_memory_init(struct map_memory *memory)
{
    *memory = (struct map_memory){0};
}

void map_memory_fini(struct map_memory *memory)
{
    mem_free(memory->bytes);
    map_memory_init(memory);
}

/* The planned failure, if one is left. */
static bool fails(struct map_memory *memory, struct map_problem *problem)
{
    if (memory->fail_count == 0)
        return false;
    memory->fail_count--;
    map_problem_set(problem, memory->fail_with, "The cluster map cannot be reached: %s.",
                    error_text(memory->fail_with));
    return true;
}

static void answer_load(struct memory_store *store)
{
    struct map_memory *memory = store->memory;
    struct map_problem problem;
    bool failed = fails(memory, &problem);
    memory->loads += !failed;
    store->on_loaded(store->arg, failed ? &problem : NULL, failed ? 0 : memory->epoch,
                     failed ? slice_of(NULL, 0) : slice_of(memory->bytes, memory->len));
}

static void answer_store(struct memory_store *store)
{
    struct map_memory *memory = store->memory;
    struct map_problem problem;
    bool failed = fails(memory, &problem);
    if (!failed && memory->epoch != store->expected_epoch) {
        failed = true;
        map_problem_set(&problem, ERROR_CONFLICT,
                        "The cluster map has epoch %" PRIu64 ", not %" PRIu64
                        ": it was changed in the meantime.",
                        memory->epoch, store->expected_epoch);
    }
    if (failed) {
        mem_free(store->bytes);
    } else {
        mem_free(memory->bytes);
        memory->bytes = store->bytes;
        memory->len = store->len;
        memory->epoch = store->epoch;
        memory->stores++;
    }
    store->bytes = NULL;
    store->on_stored(store->arg, failed ? &problem : NULL);
}

static void on_timer(void *arg)
{
    struct memory_store *store = arg;
    enum request request = store->request;
    store->request = REQUEST_NONE;
    if (request == REQUEST_LOAD)
        answer_load(store);
    else
        answer_store(store);
}

static enum error memory_store_load(struct map_store *base, map_store_loaded_fn *on_loaded,
                                    void *arg)
{
    struct memory_store *store = (struct memory_store *)base;
    PRE(store->request == REQUEST_NONE);
    store->request = REQUEST_LOAD;
    store->on_loaded = on_loaded;
    store->arg = arg;
    loop_timer_set(&store->timer, store->memory->delay_us);
    return OK;
}

static enum error memory_store_store(struct map_store *base, uint64_t expected_epoch,
                                     uint64_t epoch, struct slice bytes,
                                     map_store_stored_fn *on_stored, void *arg)
{
    struct memory_store *store = (struct memory_store *)base;
    PRE(store->request == REQUEST_NONE && epoch > expected_epoch && bytes.len > 0);
    store->bytes = mem_alloc(bytes.len);
    if (store->bytes == NULL)
        return ERROR_MEMORY;
    memcpy(store->bytes, bytes.data, bytes.len);
    store->len = bytes.len;
    store->expected_epoch = expected_epoch;
    store->epoch = epoch;
    store->request = REQUEST_STORE;
    store->on_stored = on_stored;
    store->arg = arg;
    loop_timer_set(&store->timer, store->memory->delay_us);
    return OK;
}

static void memory_store_free(struct map_store *base)
{
    struct memory_store *store = (struct memory_store *)base;
    loop_timer_fini(&store->timer);
    mem_free(store->bytes);
    mem_free(store);
}

static const struct map_store_ops memory_store_ops = {
    .load = memory_store_load,
    .store = memory_store_store,
    .free = memory_store_free,
};

enum error map_store_memory_new(struct loop *loop, struct map_memory *memory,
                                struct map_store **out)
{
    struct memory_store *store = mem_zalloc(sizeof(*store));
    if (store == NULL)
        return ERROR_MEMORY;
    store->base.ops = &memory_store_ops;
    store->base.is_shared = true;
    store->memory = memory;
    enum error error = loop_timer_init(&store->timer, loop, on_timer, store);
    if (error != OK) {
        mem_free(store);
        return error;
    }
    *out = &store->base;
    return OK;
}
