#include "tests/sim/audience.h"

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/message.h"
#include "tests/lib/mem_fault.h"
#include "tests/sim/scenario.h"
#include "tests/sim/sim_impl.h"

#define PATIENCE_US 120000000

/* ---- The scene ---- */

static void on_line(void *arg, enum log_level level, const char *line)
{
    (void)level;
    fprintf(arg, "             - %s\n", line);
}

static uint64_t no_time(void *arg)
{
    (void)arg;
    return 0;
}

static void start_trace(struct scene *scene)
{
    const char *path = getenv("VUG_TRACE");
    FILE *file = path == NULL ? NULL : fopen(path, "w");
    if (file == NULL)
        return;
    setvbuf(file, NULL, _IOLBF, 0);
    scene->log = log_new(LOG_DEBUG, on_line, file, no_time);
    sim_set_trace(scene->sim, file);
}

void scene_start(struct scene *scene, const struct scene_options *options)
{
    struct grid_options grid = {.locators = 1,
                                .servers = options->servers,
                                .clients = GRID_CLIENTS_MAX,
                                .workers = 2,
                                .map_delay_us = 300,
                                .ring_bytes_max = options->ring_bytes_max};
    Pb__RegionCreateRequest request = PB__REGION_CREATE_REQUEST__INIT;
    uint8_t packed[256];
    memset(scene, 0, sizeof *scene);
    scene->options = *options;
    scene->live = mem_fault_live();
    scene->sim = sim_new(options->seed);
    start_trace(scene);
    if (!grid_start(&scene->grid, scene->sim, &grid, scene->log))
        fail_msg("seed %llu: the cluster did not start", (unsigned long long)options->seed);
    watch_init(&scene->watch, &scene->grid, &scene->verdict);
    request.name = message_bytes(slice_text(SCENE_REGION));
    request.type = message_bytes(slice_text("PARTITION_REDUNDANT"));
    request.redundant_copies = options->copies;
    request.bucket_count = options->buckets;
    request.if_not_exists = true;
    scene_admin(scene, VUG_REGION_CREATE,
                slice_of(packed, protobuf_c_message_pack(&request.base, packed)));
    scene_settle(scene);
}

void scene_stop(struct scene *scene)
{
    struct verdict verdict = scene->verdict;
    for (unsigned i = 0; i < scene->pen_count; i++) {
        vug_writer_free(scene->pens[i].writer);
        free(scene->pens[i].readings);
    }
    grid_stop(&scene->grid);
    watch_fini(&scene->watch);
    log_free(scene->log);
    sim_free(scene->sim);
    if (verdict.failed)
        fail_msg("seed %llu: %s", (unsigned long long)scene->options.seed, verdict.text);
    if (mem_fault_live() != scene->live)
        fail_msg("seed %llu: %ld blocks of memory were not given back",
                 (unsigned long long)scene->options.seed, mem_fault_live() - scene->live);
}

static void write_due(struct pen *pen)
{
    uint64_t now_us = sim_now_us(pen->scene->sim);
    while (pen->next < pen->count && pen->next - pen->done < pen->window &&
           now_us >= pen->next_us) {
        const struct sim_reading *reading = &pen->readings[pen->next];
        char document[256];
        size_t len = sim_reading_document(reading, document, sizeof document);
        struct value key = {.type = VALUE_STRING, .bytes = slice_text(reading->key)};
        struct value value = {.type = VALUE_JSON, .bytes = slice_of(document, len)};
        enum error error = vug_writer_put(pen->writer, &key, &value, pen->next);
        if (error == ERROR_BUSY)
            return;
        if (error != OK)
            verdict_fail(&pen->scene->verdict, "a pen takes nothing more: %s", error_text(error));
        pen->next++;
        if (pen->gap_us > 0)
            pen->next_us = now_us + sim_random_below(pen->scene->sim, pen->gap_us);
    }
}

bool scene_step(struct scene *scene)
{
    if (scene->verdict.failed || !sim_step(scene->sim))
        return false;
    scene->steps++;
    grid_reap(&scene->grid);
    watch_step(&scene->watch);
    for (unsigned i = 0; i < scene->pen_count; i++)
        write_due(&scene->pens[i]);
    return true;
}

bool scene_run(struct scene *scene, bool (*predicate)(void *arg), void *arg, uint64_t max_us)
{
    uint64_t end_us = sim_now_us(scene->sim) + max_us;
    while (predicate == NULL || !predicate(arg))
        if (sim_now_us(scene->sim) >= end_us || !scene_step(scene))
            return false;
    return true;
}

bool scene_is_written(void *arg)
{
    const struct scene *scene = arg;
    for (unsigned i = 0; i < scene->pen_count; i++)
        if (scene->pens[i].done < scene->pens[i].count)
            return false;
    return true;
}

void scene_settle(struct scene *scene)
{
    char why[256] = "";
    uint64_t end_us = sim_now_us(scene->sim) + PATIENCE_US;
    for (;;) {
        bool written = scene_is_written(scene), ready = grid_is_ready(&scene->grid);
        if (written && ready && watch_is_whole(&scene->watch, why, sizeof why))
            return;
        if (scene->verdict.failed || sim_now_us(scene->sim) >= end_us)
            fail_msg("seed %llu: not whole: %s%s%s%s", (unsigned long long)scene->options.seed, why,
                     written ? "" : ", writes are unanswered",
                     ready ? "" : ", a member is not ready", scene->verdict.text);
        scene_run(scene, NULL, NULL, 20000);
    }
}

struct request {
    bool is_over, failed;
    char text[256];
};

static void on_reply(void *arg, const struct vug_error *error, struct slice body)
{
    struct request *request = arg;
    (void)body;
    request->is_over = true;
    request->failed = error != NULL;
    if (error != NULL)
        snprintf(request->text, sizeof request->text, "%.255s", error->text);
}

static bool is_over(void *arg)
{
    return ((const struct request *)arg)->is_over;
}

void scene_admin(struct scene *scene, uint32_t number, struct slice body)
{
    struct vug_client *client;
    struct sim_process *process = &scene->grid.clients[0];
    struct request request = {.failed = true};
    assert_int_equal(vug_client_new(process->loops[0], process->nets[0], &scene->grid.target,
                                    VUG_TO_LOCATOR, &client),
                     OK);
    for (int tries = 0; tries < 20 && request.failed; tries++) {
        request = (struct request){.failed = true};
        assert_int_equal(vug_client_call(client, number, body, on_reply, &request), OK);
        scene_run(scene, is_over, &request, PATIENCE_US);
        if (request.failed)
            scene_run(scene, NULL, NULL, 300000);
    }
    vug_client_free(client);
    if (request.failed)
        fail_msg("seed %llu: request %u: %s%s", (unsigned long long)scene->options.seed, number,
                 request.text, scene->verdict.text);
}

void scene_destroy_region(struct scene *scene)
{
    struct buf body;
    buf_init(&body);
    vug_region_request(&body, SCENE_REGION);
    scene_admin(scene, VUG_REGION_DESTROY, buf_slice(&body));
    buf_fini(&body);
}

unsigned scene_queries(struct scene *scene)
{
    struct cluster_map *map;
    struct map_memory *memory = &scene->grid.memory;
    assert_int_equal(cluster_map_unpack(slice_of(memory->bytes, memory->len), &map), OK);
    unsigned count = map->query_count;
    cluster_map_unref(map);
    return count;
}

struct bucket *scene_bucket(struct scene *scene, unsigned server, uint32_t bucket)
{
    struct grid_member *member = &scene->grid.servers[server];
    struct region *region = !member->running || member->server->catalog == NULL
                                ? NULL
                                : catalog_region(member->server->catalog, slice_text(SCENE_REGION));
    return region == NULL ? NULL : &region->buckets[bucket];
}

static unsigned find(struct scene *scene, uint32_t bucket, enum replica_role role)
{
    for (unsigned i = 0; i < GRID_SERVERS_MAX; i++) {
        struct bucket *found = scene_bucket(scene, i, bucket);
        if (found != NULL && found->replica.role == role &&
            (role == REPLICA_COPY ? found->replica.in_set : found->replica.led != 0))
            return i;
    }
    return GRID_SERVERS_MAX;
}

unsigned scene_primary(struct scene *scene, uint32_t bucket)
{
    return find(scene, bucket, REPLICA_PRIMARY);
}

unsigned scene_copy(struct scene *scene, uint32_t bucket)
{
    return find(scene, bucket, REPLICA_COPY);
}

static struct vug_target target_of(struct scene *scene, unsigned at)
{
    return at == SCENE_ANYWHERE ? scene->grid.target : grid_straight(&scene->grid, at, 0);
}

/* ---- Pens ---- */

static void on_done(void *arg, uint64_t tag, const struct vug_error *error)
{
    struct pen *pen = arg;
    if (error != NULL || tag != pen->done)
        verdict_fail(&pen->scene->verdict, "write %llu, the %uth that was answered: %s",
                     (unsigned long long)tag, pen->done,
                     error == NULL ? "out of order" : error->text);
    pen->done++;
}

static void on_pen_failed(void *arg, const struct vug_error *error)
{
    verdict_fail(&((struct pen *)arg)->scene->verdict, "a pen gave up: %s", error->text);
}

struct pen *scene_write(struct scene *scene, unsigned at, unsigned count, unsigned window,
                        unsigned gap_us)
{
    static const struct vug_writer_events events = {.on_done = on_done, .on_failed = on_pen_failed};
    struct pen *pen = &scene->pens[scene->pen_count];
    unsigned index = scene->pen_count++;
    struct sim_process *process = &scene->grid.clients[index];
    struct vug_target target = target_of(scene, at);
    struct vug_writer_options options = {.region = SCENE_REGION, .batch_ops = 8};
    struct sim *draws = sim_new(scene->options.seed * 31 + index); /* the same in every run */
    assert_true(index < SCENE_PENS_MAX);
    *pen = (struct pen){.scene = scene, .count = count, .window = window, .gap_us = gap_us};
    pen->readings = sim_alloc((count + 1) * sizeof *pen->readings);
    for (unsigned i = 0; i < count; i++) {
        unsigned number = index * 4096 + i;
        sim_reading_random(draws, &pen->readings[i], scene->options.ids, number,
                           scene->options.key_is_id);
        pen->readings[i].has_temperature = true;
        pen->readings[i].temperature = ((double)(number * 40503u % 65521) - 20000) / 64;
    }
    sim_free(draws);
    assert_int_equal(vug_writer_new(process->loops[0], process->nets[0], &target, &options, &events,
                                    pen, &pen->writer),
                     OK);
    return pen;
}

/* ---- Watchers ---- */

static void keep_token(struct watcher *watcher)
{
    if (watcher->count < SCENE_TOKENS_MAX && watcher->tokens[watcher->count].len == 0)
        vug_subscription_token(watcher->subscription, &watcher->tokens[watcher->count]);
}

static void on_event(void *arg, const struct vug_event *event)
{
    struct watcher *watcher = arg;
    if (event->value_count < 2 || event->values[0].type != VALUE_STRING) {
        verdict_fail(&watcher->scene->verdict, "a result that makes no sense: %s %.*s",
                     vug_kind_text(event->kind), SLICE_FMT(event->error));
        return;
    }
    if (watcher->count == watcher->cap) {
        watcher->cap = watcher->cap == 0 ? 64 : watcher->cap * 2;
        watcher->sights = sim_realloc(watcher->sights, watcher->cap * sizeof *watcher->sights);
    }
    struct sight *sight = &watcher->sights[watcher->count++];
    *sight = (struct sight){.kind = event->kind,
                            .phase = event->phase,
                            .bucket = event->bucket,
                            .generation = event->generation,
                            .seq = event->seq,
                            .sub = event->sub,
                            .is_null = event->values[1].type != VALUE_DOUBLE,
                            .average = event->values[1].float64,
                            .count = event->value_count > 2 ? event->values[2].integer : 0,
                            .at_us = sim_now_us(watcher->scene->sim)};
    snprintf(sight->id, sizeof sight->id, "%.*s", SLICE_FMT(event->values[0].bytes));
    keep_token(watcher);
    sim_note(watcher->scene->sim, "result", event->bucket, event->seq);
}

static void on_status(void *arg, const struct vug_status *status)
{
    struct watcher *watcher = arg;
    sim_note(watcher->scene->sim, "status", status->code, status->bucket);
    switch (status->code) {
    case VUG_SUBSCRIBED:
        watcher->subscribed++;
        keep_token(watcher);
        return;
    case VUG_SNAPSHOT_ENDED:
        watcher->snapshot_ends++;
        return;
    case VUG_RECONNECTING:
        watcher->reconnects++;
        return;
    default:
        break;
    }
    if (watcher->told_count == SCENE_TOLD_MAX) {
        verdict_fail(&watcher->scene->verdict, "a watcher is told more and more");
        return;
    }
    watcher->told[watcher->told_count++] = (struct told){.code = status->code,
                                                         .bucket = status->bucket,
                                                         .from_seq = status->from_seq,
                                                         .to_seq = status->to_seq,
                                                         .sights = watcher->count};
}

static void on_failed(void *arg, const struct vug_error *error)
{
    struct watcher *watcher = arg;
    watcher->failed = true;
    snprintf(watcher->why, sizeof watcher->why, "%.255s", error->text);
}

static void subscribe(struct watcher *watcher, unsigned at, const char *sql,
                      const struct vug_subscription_options *options)
{
    static const struct vug_subscription_events events = {
        .on_event = on_event, .on_status = on_status, .on_failed = on_failed};
    struct scene *scene = watcher->scene;
    struct sim_process *process = &scene->grid.clients[GRID_CLIENTS_MAX - 1];
    struct vug_target target = target_of(scene, at);
    struct vug_subscription_options own = {0};
    if (options != NULL)
        own = *options;
    own.sql = slice_text(sql);
    assert_int_equal(vug_subscription_new(process->loops[0], process->nets[0], &target, &own,
                                          &events, watcher, &watcher->subscription),
                     OK);
}

void watcher_start(struct watcher *watcher, struct scene *scene, unsigned at, const char *sql,
                   const struct vug_subscription_options *options)
{
    memset(watcher, 0, sizeof *watcher);
    watcher->scene = scene;
    subscribe(watcher, at, sql, options);
}

bool watcher_is_subscribed(void *arg)
{
    const struct watcher *watcher = arg;
    return watcher->subscribed > 0 || watcher->failed;
}

void watcher_await(struct watcher *watcher)
{
    if (!scene_run(watcher->scene, watcher_is_subscribed, watcher, PATIENCE_US) || watcher->failed)
        fail_msg("seed %llu: the subscription did not begin: %s%s",
                 (unsigned long long)watcher->scene->options.seed, watcher->why,
                 watcher->scene->verdict.text);
}

void watcher_leave(struct watcher *watcher)
{
    if (watcher->subscription != NULL)
        vug_subscription_free(watcher->subscription);
    watcher->subscription = NULL;
}

void watcher_resume(struct watcher *watcher, unsigned at, const char *sql, struct slice token)
{
    struct vug_subscription_options options = {.resume = token};
    watcher_leave(watcher);
    watcher->subscribed = 0;
    subscribe(watcher, at, sql, &options);
}

void watcher_fini(struct watcher *watcher)
{
    watcher_leave(watcher);
    for (size_t i = 0; i < SCENE_TOKENS_MAX; i++)
        buf_fini(&watcher->tokens[i]);
    free(watcher->sights);
    memset(watcher, 0, sizeof *watcher);
}

unsigned watcher_told(const struct watcher *watcher, enum vug_status_code code)
{
    unsigned count = 0;
    for (size_t i = 0; i < watcher->told_count; i++)
        count += watcher->told[i].code == code;
    return count;
}

/* ---- Checks ---- */

static void complain(struct watcher *watcher, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void complain(struct watcher *watcher, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fail_msg("seed %llu: %s", (unsigned long long)watcher->scene->options.seed, text);
}

static unsigned lane_of(const struct scene *scene, unsigned pen, const struct sim_reading *reading)
{
    struct value key = {.type = VALUE_STRING, .bytes = slice_text(reading->key)};
    return value_bucket(&key, scene->options.buckets) * SCENE_PENS_MAX + pen;
}

static void check_id(struct watcher *watcher, const char *id)
{
    struct scene *scene = watcher->scene;
    size_t most = 0, row_count = 0, seen_count = 0;
    char why[160];
    for (unsigned i = 0; i < scene->pen_count; i++)
        most += scene->pens[i].count;
    struct ledger_row *rows = sim_alloc((most + 1) * sizeof *rows);
    double *seen = sim_alloc((watcher->count + 1) * sizeof *seen);
    for (unsigned i = 0; i < scene->pen_count; i++) {
        const struct pen *pen = &scene->pens[i];
        for (unsigned j = 0; j < pen->done; j++)
            if (strcmp(pen->readings[j].id, id) == 0)
                rows[row_count++] = (struct ledger_row){pen->readings[j].temperature,
                                                        lane_of(scene, i, &pen->readings[j]), j};
    }
    for (size_t i = 0; i < watcher->count; i++)
        if (strcmp(watcher->sights[i].id, id) == 0)
            seen[seen_count++] = watcher->sights[i].average;
    if (!ledger_explains(rows, row_count, seen, seen_count, why, sizeof why))
        complain(watcher, "id %s: %s", id, why);
    free(rows);
    free(seen);
}

void watcher_check_averages(struct watcher *watcher)
{
    for (size_t i = 0; i < watcher->count; i++)
        if (watcher->sights[i].kind != VUG_INSERT)
            complain(watcher, "result %zu is %s", i, vug_kind_text(watcher->sights[i].kind));
    for (unsigned id = 0; id < watcher->scene->options.ids; id++) {
        char text[24];
        snprintf(text, sizeof text, "s%u", id);
        check_id(watcher, text);
    }
}

/* A row of the table that a changelog makes. */
struct group {
    bool exists, is_away; /* between -U and +U */
    double average;
    int64_t count;
};

static void apply_change(struct watcher *watcher, size_t at, struct group *group)
{
    const struct sight *sight = &watcher->sights[at];
    bool holds = group->exists && group->average == sight->average && group->count == sight->count;
    const char *kind = vug_kind_text(sight->kind);
    if ((sight->kind == VUG_UPDATE_BEFORE || sight->kind == VUG_DELETE) && !holds)
        complain(watcher, "event %zu: %s %s takes back what does not stand there", at, kind,
                 sight->id);
    if (sight->kind == VUG_INSERT && (group->exists || group->is_away))
        complain(watcher, "event %zu: %s %s is there already", at, kind, sight->id);
    if (sight->count < group->count)
        complain(watcher, "event %zu: %s %s counts %lld after %lld", at, kind, sight->id,
                 (long long)sight->count, (long long)group->count);
    group->exists = sight->kind == VUG_INSERT || sight->kind == VUG_UPDATE_AFTER;
    group->is_away = sight->kind == VUG_UPDATE_BEFORE;
    group->average = sight->average;
    group->count = sight->count;
}

void watcher_check_groups(struct watcher *watcher)
{
    struct scene *scene = watcher->scene;
    for (unsigned id = 0; id < scene->options.ids; id++) {
        struct group group = {0};
        double sum = 0;
        int64_t count = 0;
        char text[24];
        snprintf(text, sizeof text, "s%u", id);
        for (size_t i = 0; i < watcher->count; i++)
            if (strcmp(watcher->sights[i].id, text) == 0)
                apply_change(watcher, i, &group);
        for (unsigned i = 0; i < scene->pen_count; i++)
            for (unsigned j = 0; j < scene->pens[i].done; j++)
                if (strcmp(scene->pens[i].readings[j].id, text) == 0) {
                    sum += scene->pens[i].readings[j].temperature;
                    count++;
                }
        if (group.exists != (count > 0) || group.count != count ||
            (count > 0 && group.average != sum / (double)count))
            complain(watcher, "id %s ends with %g of %lld readings, not %g of %lld", text,
                     group.average, (long long)group.count, sum / (double)count, (long long)count);
    }
}

static bool is_before(const struct sight *a, const struct sight *b)
{
    if (a->generation != b->generation)
        return a->generation < b->generation;
    return a->seq != b->seq ? a->seq < b->seq : a->sub < b->sub;
}

void watcher_check_order(struct watcher *watcher)
{
    for (uint32_t bucket = 0; bucket < watcher->scene->options.buckets; bucket++) {
        const struct sight *last = NULL;
        for (size_t i = 0; i < watcher->count; i++) {
            const struct sight *sight = &watcher->sights[i];
            if (sight->bucket != bucket)
                continue;
            if (last != NULL && !is_before(last, sight))
                complain(watcher, "bucket %u: (%u, %llu, %u) comes after (%u, %llu, %u)", bucket,
                         sight->generation, (unsigned long long)sight->seq, sight->sub,
                         last->generation, (unsigned long long)last->seq, last->sub);
            last = sight;
        }
    }
}

static size_t next_of(const struct watcher *watcher, size_t at, uint32_t bucket)
{
    while (at < watcher->count && watcher->sights[at].bucket != bucket)
        at++;
    return at;
}

static bool is_equal(const struct sight *a, const struct sight *b)
{
    return a->kind == b->kind && a->phase == b->phase && a->generation == b->generation &&
           a->seq == b->seq && a->sub == b->sub && strcmp(a->id, b->id) == 0 &&
           a->is_null == b->is_null && a->count == b->count &&
           memcmp(&a->average, &b->average, sizeof a->average) == 0;
}

void watcher_check_rest(struct watcher *whole, struct watcher *rest, size_t behind)
{
    if (rest->count != whole->count - behind)
        complain(rest, "%zu results behind %zu of %zu", rest->count, behind, whole->count);
    for (uint32_t bucket = 0; bucket < rest->scene->options.buckets; bucket++) {
        size_t at = behind;
        for (size_t i = 0; i < rest->count; i++) {
            if (rest->sights[i].bucket != bucket)
                continue;
            while (at < whole->count && whole->sights[at].bucket != bucket)
                at++;
            if (at == whole->count || !is_equal(&whole->sights[at++], &rest->sights[i]))
                complain(rest, "result %zu behind %zu is another one in bucket %u", i, behind,
                         bucket);
        }
    }
}

void watcher_check_same(struct watcher *a, struct watcher *b, size_t whole)
{
    for (uint32_t bucket = 0; bucket < a->scene->options.buckets; bucket++) {
        size_t i = next_of(a, 0, bucket), j = next_of(b, 0, bucket), n = 0;
        for (; i < a->count && j < b->count;
             i = next_of(a, i + 1, bucket), j = next_of(b, j + 1, bucket), n++) {
            const struct sight *left = &a->sights[i], *right = &b->sights[j];
            bool same_id = !is_before(left, right) && !is_before(right, left);
            if (left->kind != right->kind || (n < whole && !same_id) ||
                strcmp(left->id, right->id) != 0 || left->average != right->average ||
                left->count != right->count)
                complain(a, "bucket %u: (%u, %llu, %u) %s %s %g, but (%u, %llu, %u) %s %s %g",
                         bucket, left->generation, (unsigned long long)left->seq, left->sub,
                         vug_kind_text(left->kind), left->id, left->average, right->generation,
                         (unsigned long long)right->seq, right->sub, vug_kind_text(right->kind),
                         right->id, right->average);
        }
        if (i < a->count || j < b->count)
            complain(a, "bucket %u: one of two watchers saw more", bucket);
    }
}

void watcher_check_quiet(struct watcher *watcher)
{
    if (watcher->failed)
        complain(watcher, "a subscription ended: %s", watcher->why);
    if (watcher->told_count > 0)
        complain(watcher, "a watcher was told %s of bucket %u, %llu to %llu",
                 vug_status_text(watcher->told[0].code), watcher->told[0].bucket,
                 (unsigned long long)watcher->told[0].from_seq,
                 (unsigned long long)watcher->told[0].to_seq);
}
