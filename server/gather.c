#include "server/gather.h"

#include "common/mem.h"
#include "server/ops.h"

struct gather *gather_new(struct worker *worker, struct region *region, uint32_t window,
                          void (*on_part)(struct gather *gather, struct gather_part *part),
                          void (*on_end)(struct gather *gather))
{
    struct gather *gather = mem_zalloc(sizeof *gather);
    if (gather == NULL)
        return NULL;
    gather->worker = worker;
    gather->region = region_ref(region);
    gather->window = window;
    gather->on_part = on_part;
    gather->on_end = on_end;
    gather->end = &gather->first;
    arena_init(&gather->arena, LIMIT_ARENA_BYTES);
    buf_init(&gather->reply);
    return gather;
}

void gather_free(struct gather *gather)
{
    PRE(gather->in_flight == 0);
    for (struct gather_part *part = gather->first; part != NULL; part = part->next)
        call_result_fini(&part->result);
    buf_fini(&gather->reply);
    arena_fini(&gather->arena);
    region_unref(gather->region);
    mem_free(gather);
}

static enum error copy(struct gather *gather, struct slice *slice)
{
    if (slice->len == 0) {
        *slice = slice_of(NULL, 0);
        return OK;
    }
    uint8_t *bytes = arena_alloc(&gather->arena, slice->len);
    if (bytes == NULL)
        return ERROR_MEMORY;
    memcpy(bytes, slice->data, slice->len);
    slice->data = bytes;
    return OK;
}

static void on_result(struct call *call, void *arg);

enum error gather_add(struct gather *gather, const struct call_options *options)
{
    struct gather_part *part = arena_zalloc(&gather->arena, sizeof *part);
    if (part == NULL)
        return ERROR_MEMORY;
    part->gather = gather;
    part->options = *options;
    part->options.worker = gather->worker;
    part->options.on_result = on_result;
    part->options.arg = part;
    if (options->mark != NULL) {
        part->mark = *options->mark;
        part->options.mark = &part->mark;
    }
    buf_init(&part->result.content);
    if (copy(gather, &part->options.key) != OK || copy(gather, &part->options.value) != OK)
        return ERROR_MEMORY;
    *gather->end = part;
    gather->end = &part->next;
    return OK;
}

enum error gather_add_known(struct gather *gather, struct buf **content)
{
    struct gather_part *part = arena_zalloc(&gather->arena, sizeof *part);
    if (part == NULL)
        return ERROR_MEMORY;
    part->gather = gather;
    part->is_done = true;
    buf_init(&part->result.content);
    *content = &part->result.content;
    *gather->end = part;
    gather->end = &part->next;
    return OK;
}

enum error gather_add_buckets(struct gather *gather, enum call_kind kind)
{
    enum error error = OK;
    for (uint32_t i = 0; i < gather->region->bucket_count && error == OK; i++) {
        struct call_options options = {.kind = kind, .bucket = &gather->region->buckets[i]};
        error = gather_add(gather, &options);
    }
    return error;
}

void gather_fail(struct gather *gather, const struct call_result *result)
{
    if (gather->failed)
        return;
    gather->failed = true;
    op_failure_of_call(result, &gather->failure);
}

/* Gives what is complete to the operation, in order. */
static void take(struct gather *gather)
{
    for (struct gather_part *part = gather->next_take; part != gather->next_start && part->is_done;
         part = part->next) {
        if (!gather->failed)
            gather->on_part(gather, part);
        call_result_fini(&part->result);
        gather->next_take = part->next;
        gather->untaken--;
    }
}

static void start(struct gather *gather)
{
    while (gather->next_start != NULL && gather->untaken < gather->window && !gather->failed) {
        struct gather_part *part = gather->next_start;
        gather->next_start = part->next;
        gather->untaken++;
        if (part->is_done)
            continue;
        part->result.error = call_start(&part->options);
        part->is_done = part->is_refused = part->result.error != OK;
        gather->in_flight += !part->is_done;
        if (part->is_refused && gather->on_error != NULL)
            gather->on_error(gather, part);
    }
}

static void go_on(struct gather *gather)
{
    struct gather_part *before;
    do {
        before = gather->next_take;
        start(gather);
        take(gather);
    } while (gather->next_take != before && gather->next_take != NULL);
    bool is_over = gather->failed || (gather->next_take == NULL && gather->next_start == NULL);
    if (is_over && gather->in_flight == 0)
        gather->on_end(gather);
}

static void on_result(struct call *call, void *arg)
{
    struct gather_part *part = arg;
    part->result = call->result;
    memset(&call->result, 0, sizeof call->result);
    buf_init(&call->result.content);
    part->is_done = true;
    part->gather->in_flight--;
    if (part->result.error != OK && part->gather->on_error != NULL)
        part->gather->on_error(part->gather, part);
    go_on(part->gather);
}

void gather_run(struct gather *gather)
{
    gather->next_start = gather->next_take = gather->first;
    go_on(gather);
}
