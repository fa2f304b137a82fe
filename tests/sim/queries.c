/* Continuous queries on several servers: what subscribers see while servers die, hand over, join
 * and lose contents equals what they would have seen without that. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/message.h"
#include "tests/sim/audience.h"
#include "tests/sim/sim_impl.h"

#define PATIENCE_US 120000000
#define LATE_US     1500000 /* whatever comes twice comes within it */

static uint64_t seed_first(void)
{
    const char *text = getenv("VUG_SEED");
    return text == NULL ? 1 : strtoull(text, NULL, 10);
}

static uint64_t seed_count(uint64_t usual)
{
    const char *text = getenv("VUG_SEEDS");
    return text == NULL ? usual : strtoull(text, NULL, 10);
}

struct goal {
    struct watcher *watchers;
    unsigned watcher_count;
    size_t sights;
};

static bool is_reached(void *arg)
{
    const struct goal *goal = arg;
    for (unsigned i = 0; i < goal->watcher_count; i++)
        if (goal->watchers[i].count < goal->sights)
            return goal->watchers[i].failed;
    return true;
}

/* Each watcher sees so many results, and nothing after them. */
static void await_sights(struct scene *scene, struct watcher *watchers, unsigned watcher_count,
                         size_t sights)
{
    struct goal goal = {watchers, watcher_count, sights};
    if (!scene_run(scene, is_reached, &goal, PATIENCE_US))
        for (unsigned i = 0; i < watcher_count; i++)
            if (watchers[i].count < sights)
                fail_msg("seed %llu: watcher %u has %zu of %zu results, %u reconnects; %s",
                         (unsigned long long)scene->options.seed, i, watchers[i].count, sights,
                         watchers[i].reconnects, scene->verdict.text);
    scene_run(scene, NULL, NULL, LATE_US);
}

static void write_all(struct scene *scene)
{
    if (!scene_run(scene, scene_is_written, scene, PATIENCE_US))
        fail_msg("seed %llu: %u of %u writes are answered; %s",
                 (unsigned long long)scene->options.seed, scene->pens[0].done, scene->pens[0].count,
                 scene->verdict.text);
}

/* ---- C36, C38: deaths at every cut ---- */

enum victim { VICTIM_NONE, VICTIM_PRIMARY, VICTIM_COPY, VICTIM_WATCHED, VICTIM_BOTH, VICTIM_COUNT };
enum { FEW = 6, CUT_ROW = 3 };

struct cut {
    uint64_t seed;
    enum victim victim;
    unsigned steps; /* after row 4 was written */
    enum sim_crash how;
    unsigned long_steps; /* out: until row 4 was seen */
    size_t acknowledged; /* out: rows, at the cut */
    bool is_apart;       /* out: the watcher is at neither of the bucket's servers */
};

static bool is_row_written(void *arg)
{
    return ((const struct pen *)arg)->next > CUT_ROW;
}

static void kill_server(struct scene *scene, unsigned server, enum sim_crash how)
{
    if (server < GRID_SERVERS_MAX && scene->grid.servers[server].running)
        grid_member_crash(&scene->grid.servers[server], how);
}

static unsigned server_of_subscriber(struct scene *scene)
{
    unsigned at = 0;
    for (unsigned i = 0; i < scene->options.servers; i++)
        if (scene->grid.servers[i].server->subscription_count > 0)
            at = i;
    return at;
}

/* Six readings, one after the other; what the watcher saw is left in `watcher`. A witness is at a
 * server that lives. */
static void play_cut(struct cut *cut, struct watcher *watcher)
{
    struct scene scene;
    struct scene_options options = {
        .seed = cut->seed, .servers = 3, .copies = 1, .buckets = 1, .ids = 2, .key_is_id = true};
    struct vug_subscription_options way = {.name = "shared"};
    struct watcher witness;
    scene_start(&scene, &options);
    unsigned primary = scene_primary(&scene, 0), copy = scene_copy(&scene, 0);
    watcher_start(watcher, &scene, SCENE_ANYWHERE, SCENE_AVERAGES, &way);
    watcher_await(watcher);
    unsigned watched = server_of_subscriber(&scene);
    cut->is_apart = watched != primary && watched != copy;
    watcher_start(&witness, &scene, cut->victim == VICTIM_COPY ? primary : copy, SCENE_AVERAGES,
                  &way);
    watcher_await(&witness);
    struct pen *pen = scene_write(&scene, SCENE_ANYWHERE, FEW, 1, 0);
    assert_true(scene_run(&scene, is_row_written, pen, PATIENCE_US));
    uint64_t from = scene.steps;
    while (cut->victim == VICTIM_NONE ? watcher->count <= CUT_ROW : scene.steps - from < cut->steps)
        assert_true(scene_step(&scene));
    cut->long_steps = (unsigned)(scene.steps - from);
    cut->acknowledged = pen->done;
    if (cut->victim == VICTIM_PRIMARY || cut->victim == VICTIM_BOTH)
        kill_server(&scene, primary, cut->how);
    if (cut->victim == VICTIM_COPY)
        kill_server(&scene, copy, cut->how);
    if (cut->victim == VICTIM_WATCHED || cut->victim == VICTIM_BOTH)
        kill_server(&scene, watched, cut->how);
    write_all(&scene);
    await_sights(&scene, watcher, 1, FEW);
    await_sights(&scene, &witness, 1, FEW);
    watcher_check_quiet(watcher);
    watcher_check_order(watcher);
    watcher_check_averages(watcher);
    watcher_check_same(watcher, &witness, FEW);
    watcher_fini(&witness);
    watcher_leave(watcher);
    for (size_t i = 0; i < SCENE_TOKENS_MAX; i++)
        buf_fini(&watcher->tokens[i]); /* of this scene's memory */
    scene_stop(&scene);
    watcher->scene = NULL;
}

static void servers_that_die_at_any_moment_change_no_row(void **state)
{
    (void)state;
    struct cut whole = {.seed = seed_first()};
    struct watcher undisturbed, disturbed;
    struct scene none = {.options = {.buckets = 1}};
    play_cut(&whole, &undisturbed);
    while (!whole.is_apart) {
        watcher_fini(&undisturbed);
        whole.seed++;
        play_cut(&whole, &undisturbed);
    }
    undisturbed.scene = &none;
    for (enum victim victim = VICTIM_PRIMARY; victim < VICTIM_COUNT; victim++) {
        for (unsigned steps = 0; steps <= whole.long_steps + 10; steps++) {
            struct cut cut = {.seed = whole.seed,
                              .victim = victim,
                              .steps = steps,
                              /* A client learns of a machine that is gone in silence from
                               * its own system, which is not simulated. */
                              .how = steps % 4 == 3 && victim < VICTIM_WATCHED ? SIM_CRASH_SILENT
                                                                               : SIM_CRASH_RESET};
            none.options.seed = victim * 1000 + steps;
            play_cut(&cut, &disturbed);
            disturbed.scene = &none;
            watcher_check_same(&undisturbed, &disturbed, cut.acknowledged);
            watcher_fini(&disturbed);
        }
    }
    watcher_fini(&undisturbed);
}

/* ---- C35: resume behind any event, at any server ---- */

static void play_resume(uint64_t seed)
{
    struct scene scene;
    struct scene_options options = {.seed = seed,
                                    .servers = 3,
                                    .copies = 1,
                                    .buckets = seed % 3 == 0 ? 1 : 4,
                                    .ids = 2,
                                    .key_is_id = seed % 2 == 0};
    struct watcher watcher, again;
    scene_start(&scene, &options);
    watcher_start(&watcher, &scene, SCENE_ANYWHERE, SCENE_AVERAGES, NULL);
    watcher_await(&watcher);
    scene_write(&scene, SCENE_ANYWHERE, FEW, 1 + (unsigned)(seed % FEW), 0);
    write_all(&scene);
    await_sights(&scene, &watcher, 1, FEW);
    watcher_check_averages(&watcher);
    watcher_leave(&watcher); /* what it has is acknowledged or not */
    for (size_t behind = 0; behind <= FEW; behind++) {
        if (seed % 4 != 0 && behind == FEW / 2) {
            kill_server(&scene, scene_primary(&scene, (uint32_t)(seed % options.buckets)),
                        seed % 4 == 1 ? SIM_CRASH_SILENT : SIM_CRASH_RESET);
            scene_settle(&scene);
        }
        unsigned at = (unsigned)(seed + behind) % options.servers;
        memset(&again, 0, sizeof again);
        again.scene = &scene;
        watcher_resume(&again, scene.grid.servers[at].running ? at : SCENE_ANYWHERE, SCENE_AVERAGES,
                       buf_slice(&watcher.tokens[behind]));
        watcher_await(&again);
        await_sights(&scene, &again, 1, FEW - behind);
        watcher_check_rest(&watcher, &again, behind);
        watcher_check_quiet(&again);
        watcher_fini(&again);
    }
    watcher_fini(&watcher);
    scene_stop(&scene);
}

static void behind_each_event_a_resume_gives_the_others_bit_for_bit(void **state)
{
    (void)state;
    for (uint64_t seed = seed_first(); seed < seed_first() + seed_count(60); seed++)
        play_resume(seed);
}

/* ---- C42: buckets move under the query ---- */

static void join_and_rebalance(struct scene *scene)
{
    for (unsigned i = 0; i < 5; i++)
        if (!scene->grid.servers[i].running) {
            grid_member_start(&scene->grid.servers[i]);
            break;
        }
    scene_run(scene, grid_is_ready, &scene->grid, PATIENCE_US);
    scene_admin(scene, VUG_REBALANCE, (struct slice){0});
}

static void hand_over(struct scene *scene)
{
    for (unsigned i = 0; i < 5; i++)
        if (scene->grid.servers[i].running && !scene->grid.servers[i].draining) {
            grid_server_drain(&scene->grid.servers[i]);
            return;
        }
}

enum { STAYS = 2 }; /* the server that is neither new nor handed over */

static void play_moves(uint64_t seed, bool moves, struct watcher watchers[2], struct scene *scene)
{
    struct scene_options options = {
        .seed = seed, .servers = 3, .copies = 1, .buckets = 8, .ids = 6, .key_is_id = true};
    scene_start(scene, &options);
    for (unsigned i = 0; i < 2; i++) {
        struct vug_subscription_options way = {.name = "shared",
                                               .credit_events = i == 0 && seed % 2 == 0 ? 5 : 0,
                                               .max_batch_events = seed % 3 == 0 ? 2 : 0};
        watcher_start(&watchers[i], scene, i == 0 ? SCENE_ANYWHERE : STAYS,
                      seed % 2 == 0 ? SCENE_AVERAGES : SCENE_GROUPS, &way);
        watcher_await(&watchers[i]);
    }
    scene_write(scene, SCENE_ANYWHERE, 300, 16, 20000);
    scene_run(scene, NULL, NULL, 100000 + seed % 7 * 50000);
    if (moves) {
        join_and_rebalance(scene);
        hand_over(scene);
        scene_run(scene, NULL, NULL, 300000);
        join_and_rebalance(scene);
    }
    write_all(scene);
    scene_settle(scene);
    scene_run(scene, NULL, NULL, LATE_US);
    for (unsigned i = 0; i < 2; i++) {
        watcher_check_quiet(&watchers[i]);
        watcher_check_order(&watchers[i]);
        if (seed % 2 == 0)
            watcher_check_averages(&watchers[i]);
        else
            watcher_check_groups(&watchers[i]);
    }
    watcher_check_same(&watchers[0], &watchers[1], SIZE_MAX);
}

static void buckets_that_move_change_no_row(void **state)
{
    (void)state;
    for (uint64_t seed = seed_first(); seed < seed_first() + seed_count(40); seed++) {
        struct watcher still[2], moved[2];
        struct scene scenes[2];
        play_moves(seed, false, still, &scenes[0]);
        play_moves(seed, true, moved, &scenes[1]);
        watcher_check_same(&still[0], &moved[0], 0);
        for (unsigned i = 0; i < 2; i++)
            watcher_fini(&moved[i]);
        scene_stop(&scenes[1]);
        for (unsigned i = 0; i < 2; i++)
            watcher_fini(&still[i]);
        scene_stop(&scenes[0]);
    }
}

/* ---- C37: a repeat on another server ---- */

struct batch_answer {
    bool is_over;
    uint32_t applied, repeated;
};

static void on_batch(void *arg, const struct vug_error *error, struct slice body)
{
    struct batch_answer *answer = arg;
    struct arena arena;
    ProtobufCMessage *message;
    arena_init(&arena, LIMIT_STATEMENT_BYTES);
    answer->is_over = true;
    if (error == NULL &&
        message_unpack(&pb__write_batch_response__descriptor, &arena, body, &message) == OK) {
        answer->applied = ((const Pb__WriteBatchResponse *)message)->applied;
        answer->repeated = ((const Pb__WriteBatchResponse *)message)->repeated_count;
    }
    arena_fini(&arena);
}

static bool batch_is_over(void *arg)
{
    return ((const struct batch_answer *)arg)->is_over;
}

static void send_batch(struct scene *scene, unsigned at, uint64_t sequence, double temperature,
                       struct batch_answer *answer)
{
    struct sim_process *process = &scene->grid.clients[0];
    struct vug_target target = grid_straight(&scene->grid, at, 0);
    struct vug_client *client;
    uint8_t packed[512], writer[16] = "sixteen of them";
    char document[128];
    Pb__EncodedValue key = PB__ENCODED_VALUE__INIT, value = PB__ENCODED_VALUE__INIT;
    Pb__WriteOperation operation = PB__WRITE_OPERATION__INIT, *operations = &operation;
    Pb__WriteBatchRequest request = PB__WRITE_BATCH_REQUEST__INIT;
    snprintf(document, sizeof document, "{\"id\":\"s1\",\"timestamp\":1,\"temperature\":%g}",
             temperature);
    key.value_case = PB__ENCODED_VALUE__VALUE_STRING_RESULT;
    key.string_result = message_bytes(slice_text("s1"));
    value.value_case = PB__ENCODED_VALUE__VALUE_JSON_OBJECT_RESULT;
    value.json_object_result = message_bytes(slice_text(document));
    operation.key = &key;
    operation.value = &value;
    request.writer_id = message_bytes(slice_of(writer, sizeof writer));
    request.sequence = sequence;
    request.region = message_bytes(slice_text(SCENE_REGION));
    request.n_operation = 1;
    request.operation = &operations;
    *answer = (struct batch_answer){0};
    assert_int_equal(
        vug_client_new(process->loops[0], process->nets[0], &target, VUG_TO_SERVER, &client), OK);
    assert_int_equal(
        vug_client_call(client, VUG_WRITE_BATCH,
                        slice_of(packed, protobuf_c_message_pack(&request.base, packed)), on_batch,
                        answer),
        OK);
    assert_true(scene_run(scene, batch_is_over, answer, PATIENCE_US));
    vug_client_free(client);
}

static void a_batch_that_is_repeated_on_another_server_gives_no_output(void **state)
{
    (void)state;
    static const double temperatures[] = {20, 22, 21, 25};
    struct scene scene;
    struct scene_options options = {
        .seed = 6, .servers = 3, .copies = 1, .buckets = 4, .ids = 2, .key_is_id = true};
    struct watcher watcher;
    struct batch_answer answer;
    scene_start(&scene, &options);
    watcher_start(&watcher, &scene, SCENE_ANYWHERE, SCENE_AVERAGES, NULL);
    watcher_await(&watcher);
    for (unsigned i = 0; i < 4; i++) {
        send_batch(&scene, i % 3, i + 1, temperatures[i], &answer);
        assert_int_equal(answer.applied, 1);
        for (unsigned at = 0; at < 3; at++) {
            send_batch(&scene, at, i + 1, temperatures[i], &answer);
            assert_int_equal(answer.repeated, 1);
        }
    }
    await_sights(&scene, &watcher, 1, 4);
    assert_int_equal(watcher.count, 4);
    assert_true(watcher.sights[2].average == 21 && watcher.sights[3].average == 22);
    watcher_fini(&watcher);
    scene_stop(&scene);
}

/* ---- C41: more than is kept was missed ---- */

static void check_gaps(struct watcher *watcher, size_t before)
{
    struct scene *scene = watcher->scene;
    for (uint32_t bucket = 0; bucket < scene->options.buckets; bucket++) {
        const struct told *gap = NULL;
        uint64_t last = 0;
        for (size_t i = 0; i < before; i++)
            if (watcher->sights[i].bucket == bucket)
                last = watcher->sights[i].seq;
        for (size_t i = 0; i < watcher->told_count; i++)
            if (watcher->told[i].code == VUG_GAP && watcher->told[i].bucket == bucket) {
                if (gap != NULL)
                    fail_msg("bucket %u: a gap is told twice", bucket);
                gap = &watcher->told[i];
            }
        struct bucket *there = scene_bucket(scene, scene_primary(scene, bucket), bucket);
        bool missed = there->data_seq > last;
        if (gap != NULL && (gap->from_seq != last + 1 || gap->to_seq != there->data_seq))
            fail_msg("seed %llu: bucket %u: a gap of %llu to %llu was told, but %llu was the last "
                     "that was seen and %llu the last that is",
                     (unsigned long long)scene->options.seed, bucket,
                     (unsigned long long)gap->from_seq, (unsigned long long)gap->to_seq,
                     (unsigned long long)last, (unsigned long long)there->data_seq);
        for (size_t i = before; gap == NULL && missed && i < watcher->count; i++)
            if (watcher->sights[i].bucket == bucket && watcher->sights[i].phase == VUG_SNAPSHOT)
                fail_msg("bucket %u: a snapshot without a gap", bucket);
    }
}

/* The last average of each id is right, whatever was left out. */
static void check_last(struct watcher *watcher)
{
    struct scene *scene = watcher->scene;
    for (unsigned id = 0; id < scene->options.ids; id++) {
        char text[24];
        double sum = 0, seen = 0;
        unsigned count = 0;
        snprintf(text, sizeof text, "s%u", id);
        for (unsigned i = 0; i < scene->pen_count; i++)
            for (unsigned j = 0; j < scene->pens[i].done; j++)
                if (strcmp(scene->pens[i].readings[j].id, text) == 0) {
                    sum += scene->pens[i].readings[j].temperature;
                    count++;
                }
        for (size_t i = 0; i < watcher->count; i++)
            if (strcmp(watcher->sights[i].id, text) == 0)
                seen = watcher->sights[i].average;
        if (count > 0 && seen != sum / count)
            fail_msg("seed %llu: id %s ends with %g, not %g",
                     (unsigned long long)scene->options.seed, text, seen, sum / count);
    }
}

static void play_gap(uint64_t seed)
{
    struct scene scene;
    struct scene_options options = {.seed = seed,
                                    .servers = 3,
                                    .copies = 1,
                                    .buckets = 4,
                                    .ids = 6,
                                    .key_is_id = seed % 2 == 0,
                                    .ring_bytes_max = 40000};
    struct watcher watcher;
    struct buf token;
    buf_init(&token);
    scene_start(&scene, &options);
    watcher_start(&watcher, &scene, SCENE_ANYWHERE, SCENE_AVERAGES, NULL);
    watcher_await(&watcher);
    scene_write(&scene, SCENE_ANYWHERE, 60, 16, 0);
    write_all(&scene);
    await_sights(&scene, &watcher, 1, 60);
    vug_subscription_token(watcher.subscription, &token);
    size_t before = watcher.count;
    watcher_leave(&watcher); /* without a word */
    scene_write(&scene, SCENE_ANYWHERE, 4000, 256, 0);
    write_all(&scene);
    if (seed % 3 != 0) {
        kill_server(&scene, scene_primary(&scene, (uint32_t)(seed % 4)), SIM_CRASH_RESET);
        scene_settle(&scene);
    }
    scene_run(&scene, NULL, NULL, LATE_US);
    watcher_resume(&watcher, SCENE_ANYWHERE, SCENE_AVERAGES, buf_slice(&token));
    watcher_await(&watcher);
    scene_run(&scene, NULL, NULL, LATE_US);
    if (watcher_told(&watcher, VUG_GAP) == 0)
        fail_msg("seed %llu: no gap was told", (unsigned long long)seed);
    assert_int_equal(watcher.told_count, watcher_told(&watcher, VUG_GAP));
    check_gaps(&watcher, before);
    check_last(&watcher);
    scene_write(&scene, SCENE_ANYWHERE, 40, 16, 0);
    write_all(&scene);
    scene_run(&scene, NULL, NULL, LATE_US);
    check_last(&watcher);
    buf_fini(&token);
    watcher_fini(&watcher);
    scene_stop(&scene);
}

static void what_is_not_kept_any_more_is_told_exactly(void **state)
{
    (void)state;
    for (uint64_t seed = seed_first(); seed < seed_first() + seed_count(12); seed++)
        play_gap(seed);
}

/* ---- C34: a snapshot races with writers ---- */

static void check_race(struct watcher *watcher)
{
    struct scene *scene = watcher->scene;
    for (unsigned i = 0; i < scene->pen_count; i++) {
        const struct pen *pen = &scene->pens[i];
        /* Each reading is different from all others, so it is known by its temperature; a key is
         * of one pen alone. */
        for (unsigned id = 0; id < scene->options.ids; id++) {
            char text[24];
            size_t at = 0;
            bool begun = false, is_written = false;
            snprintf(text, sizeof text, "s%u", id);
            for (unsigned j = 0; j < pen->done; j++) {
                if (strcmp(pen->readings[j].id, text) != 0)
                    continue;
                is_written = true;
                size_t from = at;
                while (at < watcher->count &&
                       (strcmp(watcher->sights[at].id, text) != 0 ||
                        watcher->sights[at].average != pen->readings[j].temperature))
                    at++;
                if (at == watcher->count && !begun)
                    at = from; /* it was overwritten before the snapshot */
                else if (at == watcher->count)
                    fail_msg("seed %llu: reading %u of %s was not seen",
                             (unsigned long long)scene->options.seed, j, text);
                else {
                    begun = true;
                    at++;
                }
            }
            if (is_written && !begun)
                fail_msg("seed %llu: %s was not seen", (unsigned long long)scene->options.seed,
                         text);
        }
    }
}

static void play_race(uint64_t seed)
{
    struct scene scene;
    struct scene_options options = {
        .seed = seed, .servers = 3, .copies = 1, .buckets = 8, .ids = 100, .key_is_id = true};
    struct watcher watchers[3];
    scene_start(&scene, &options);
    scene_write(&scene, 0, 800, 64, 0);
    scene_run(&scene, NULL, NULL, 3000 + seed % 40 * 1000);
    for (unsigned i = 0; i < 3; i++) {
        struct vug_subscription_options way = {.credit_events = i == 1 ? 7 : 0, .progress = i == 2};
        watcher_start(&watchers[i], &scene, i, SCENE_ROWS, &way);
        scene_run(&scene, NULL, NULL, seed % 5 * 500);
    }
    write_all(&scene);
    scene_run(&scene, NULL, NULL, 2 * LATE_US);
    for (unsigned i = 0; i < 3; i++) {
        watcher_check_quiet(&watchers[i]);
        watcher_check_order(&watchers[i]);
        check_race(&watchers[i]);
        assert_int_equal(watchers[i].snapshot_ends, 1);
        watcher_fini(&watchers[i]);
    }
    scene_stop(&scene);
}

static void a_snapshot_and_its_tail_miss_nothing_while_others_write(void **state)
{
    (void)state;
    for (uint64_t seed = seed_first(); seed < seed_first() + seed_count(30); seed++)
        play_race(seed);
}

/* ---- Everything at once ---- */

enum { STORM_WATCHERS = 5, STORM_READINGS = 150 };

static const struct {
    const char *sql, *name;
    struct vug_subscription_options way;
} storm_ways[STORM_WATCHERS] = {
    {SCENE_AVERAGES, "shared", {.progress = true}},
    {SCENE_AVERAGES, "shared", {.credit_events = 6, .max_batch_events = 3}},
    {SCENE_AVERAGES, NULL, {.start = VUG_START_LATEST, .token_every_batch = true}},
    {SCENE_GROUPS, NULL, {.encoding = VUG_ENCODING_CHANGELOG, .credit_events = 9}},
    {SCENE_GROUPS, NULL, {.encoding = VUG_ENCODING_UPSERT, .slow_policy = 1, .credit_events = 40}},
};

static void make_trouble(struct scene *scene)
{
    struct sim *sim = scene->sim;
    unsigned server = (unsigned)sim_random_below(sim, 5);
    struct grid_member *member = &scene->grid.servers[server];
    if (!member->running) {
        grid_member_start(member);
    } else if (!member->draining && watch_can_lose(&scene->watch, member) &&
               grid_running(&scene->grid) > 2) {
        switch (sim_random_below(sim, 4)) {
        case 0: /* a client learns of that from its own system, which is not simulated */
            if (member->server == NULL || member->server->connection_count == 0)
                grid_member_crash(member, SIM_CRASH_SILENT);
            break;
        case 1:
            grid_server_drain(member);
            break;
        default:
            grid_member_crash(member, SIM_CRASH_RESET);
        }
    }
    if (sim_random_below(sim, 3) == 0)
        scene_admin(scene, VUG_REBALANCE, (struct slice){0});
}

static void play_storm(uint64_t seed)
{
    struct scene scene;
    struct scene_options options = {.seed = seed,
                                    .servers = 3,
                                    .copies = 1 + (unsigned)(seed % 2),
                                    .buckets = 5,
                                    .ids = 4,
                                    .key_is_id = seed % 3 == 0};
    struct watcher watchers[STORM_WATCHERS], passer = {0};
    scene_start(&scene, &options);
    for (unsigned i = 0; i < STORM_WATCHERS; i++) {
        struct vug_subscription_options way = storm_ways[i].way;
        way.name = storm_ways[i].name;
        watcher_start(&watchers[i], &scene, SCENE_ANYWHERE, storm_ways[i].sql, &way);
    }
    for (unsigned i = 0; i < STORM_WATCHERS; i++)
        watcher_await(&watchers[i]);
    for (unsigned i = 0; i < 2; i++)
        scene_write(&scene, SCENE_ANYWHERE, STORM_READINGS, 16, 30000);
    for (unsigned i = 0; i < 12; i++) {
        scene_run(&scene, NULL, NULL, sim_random_below(scene.sim, 400000));
        make_trouble(&scene);
        if (i % 3 == 0) /* somebody comes and goes in between */
            watcher_start(&passer, &scene, SCENE_ANYWHERE, SCENE_AVERAGES, NULL);
        if (i % 3 == 2)
            watcher_fini(&passer);
    }
    for (unsigned i = 0; i < 5; i++) /* whoever was connected to one learns by it that it died */
        if (!scene.grid.servers[i].running)
            grid_member_start(&scene.grid.servers[i]);
    write_all(&scene);
    scene_settle(&scene);
    await_sights(&scene, watchers, 3, 2 * STORM_READINGS);
    scene_run(&scene, NULL, NULL, 5 * LATE_US);
    for (unsigned i = 0; i < STORM_WATCHERS; i++) {
        watcher_check_quiet(&watchers[i]);
        if (i < 3)
            watcher_check_averages(&watchers[i]);
        else
            watcher_check_groups(&watchers[i]);
        if (i != 4) /* net changes of several records have the ids of some of them */
            watcher_check_order(&watchers[i]);
    }
    watcher_check_same(&watchers[0], &watchers[1], SIZE_MAX);
    for (unsigned i = 0; i < STORM_WATCHERS; i++)
        watcher_fini(&watchers[i]);
    watcher_fini(&passer);
    scene_stop(&scene);
}

static void subscribers_of_all_kinds_see_everything_once_among_faults(void **state)
{
    (void)state;
    for (uint64_t seed = seed_first(); seed < seed_first() + seed_count(60); seed++)
        play_storm(seed);
}

/* ---- Ends ---- */

static bool no_queries(void *arg)
{
    return scene_queries(arg) == 0;
}

/* No server holds anything of a query. */
static bool nothing_is_left(struct scene *scene)
{
    for (unsigned i = 0; i < GRID_SERVERS_MAX; i++) {
        const struct grid_member *member = &scene->grid.servers[i];
        if (member->running &&
            (member->server->instances != NULL || member->server->rows.watched != NULL))
            return false;
        for (uint32_t b = 0; member->running && b < scene->options.buckets; b++)
            if (scene_bucket(scene, i, b)->cqs != NULL)
                return false;
    }
    return true;
}

static bool nothing_left(void *arg)
{
    return no_queries(arg) && nothing_is_left(arg);
}

static void a_query_ends_everywhere_with_its_last_subscriber(void **state)
{
    (void)state;
    for (uint64_t seed = seed_first(); seed < seed_first() + seed_count(6); seed++) {
        struct scene scene;
        struct scene_options options = {
            .seed = seed, .servers = 3, .copies = 1, .buckets = 4, .ids = 4};
        struct watcher watchers[3];
        scene_start(&scene, &options);
        for (unsigned i = 0; i < 3; i++) {
            struct vug_subscription_options way = {.name = i == 2 ? "named" : NULL};
            watcher_start(&watchers[i], &scene, i, SCENE_AVERAGES, &way);
            watcher_await(&watchers[i]);
        }
        assert_int_equal(scene_queries(&scene), 3);
        scene_write(&scene, SCENE_ANYWHERE, 60, 16, 0);
        write_all(&scene);
        await_sights(&scene, watchers, 3, 60);
        if (seed % 2 == 0) /* the servers of two of them die, and they go for good */
            kill_server(&scene, 1, SIM_CRASH_RESET);
        for (unsigned i = 0; i < 3; i++)
            watcher_leave(&watchers[i]);
        if (!scene_run(&scene, nothing_left, &scene, 1000000000))
            fail_msg("seed %llu: %u queries are left in the map; %s", (unsigned long long)seed,
                     scene_queries(&scene), scene.verdict.text);
        for (unsigned i = 0; i < 3; i++)
            watcher_fini(&watchers[i]);
        scene_stop(&scene);
    }
}

static void a_region_that_is_destroyed_ends_its_queries_at_every_server(void **state)
{
    (void)state;
    for (uint64_t seed = seed_first(); seed < seed_first() + seed_count(6); seed++) {
        struct scene scene;
        struct scene_options options = {
            .seed = seed, .servers = 3, .copies = 1, .buckets = 4, .ids = 4};
        struct watcher watchers[3];
        scene_start(&scene, &options);
        for (unsigned i = 0; i < 3; i++) {
            watcher_start(&watchers[i], &scene, i, i == 1 ? SCENE_GROUPS : SCENE_AVERAGES, NULL);
            watcher_await(&watchers[i]);
        }
        scene_write(&scene, SCENE_ANYWHERE, 60, 16, 0);
        write_all(&scene);
        scene_run(&scene, NULL, NULL, LATE_US);
        scene_destroy_region(&scene);
        scene_run(&scene, NULL, NULL, LATE_US);
        for (unsigned i = 0; i < 3; i++) {
            assert_int_equal(watcher_told(&watchers[i], VUG_REGION_DESTROYED), 1);
            assert_true(watchers[i].failed);
            watcher_leave(&watchers[i]);
        }
        if (!scene_run(&scene, no_queries, &scene, 60000000))
            fail_msg("seed %llu: %u queries are left in the map", (unsigned long long)seed,
                     scene_queries(&scene));
        for (unsigned i = 0; i < 3; i++)
            watcher_fini(&watchers[i]);
        scene_stop(&scene);
    }
}

/* One copy has missed something, as without memory: the query ends for everybody, in so many words,
 * before that copy can be asked. */
static void a_query_that_failed_on_one_server_ends_at_every_server(void **state)
{
    (void)state;
    for (unsigned at = 0; at < 3; at++) {
        struct scene scene;
        struct scene_options options = {
            .seed = at + 1, .servers = 3, .copies = 1, .buckets = 4, .ids = 4};
        struct watcher watchers[3];
        scene_start(&scene, &options);
        for (unsigned i = 0; i < 3; i++) {
            struct vug_subscription_options way = {.name = "shared"};
            watcher_start(&watchers[i], &scene, i, SCENE_AVERAGES, &way);
            watcher_await(&watchers[i]);
        }
        scene_write(&scene, SCENE_ANYWHERE, 40, 8, 0);
        write_all(&scene);
        scene_run(&scene, NULL, NULL, LATE_US); /* what it has missed is not to be looked for */
        cq_instance_fail(scene.grid.servers[at].server->instances);
        if (!scene_run(&scene, nothing_left, &scene, 60000000))
            fail_msg("server %u: %u queries are left in the map; %s", at + 1, scene_queries(&scene),
                     scene.verdict.text);
        for (unsigned i = 0; i < 3; i++) {
            assert_true(watchers[i].failed);
            assert_int_equal(watcher_told(&watchers[i], VUG_STATUS_ERROR) +
                                 watcher_told(&watchers[i], VUG_CLOSED),
                             1);
            watcher_fini(&watchers[i]);
        }
        scene_stop(&scene);
    }
}

/* ---- Contents that are lost ---- */

static void play_loss(uint64_t seed)
{
    struct scene scene;
    struct scene_options options = {.seed = seed,
                                    .servers = 4,
                                    .copies = 1,
                                    .buckets = 6,
                                    .ids = 6,
                                    .key_is_id = seed % 2 == 0};
    struct watcher watchers[2];
    bool lost[6] = {0};
    scene_start(&scene, &options);
    scene_write(&scene, SCENE_ANYWHERE, 80, 16, 0);
    for (unsigned i = 0; i < 2; i++) {
        watcher_start(&watchers[i], &scene, SCENE_ANYWHERE, i == 0 ? SCENE_AVERAGES : SCENE_GROUPS,
                      NULL);
        watcher_await(&watchers[i]);
    }
    write_all(&scene);
    scene_run(&scene, NULL, NULL, LATE_US);
    unsigned first = scene_primary(&scene, (uint32_t)(seed % 6)),
             second = scene_copy(&scene, (uint32_t)(seed % 6));
    for (uint32_t b = 0; b < 6; b++) {
        unsigned primary = scene_primary(&scene, b), copy = scene_copy(&scene, b);
        lost[b] = (primary == first || primary == second) && (copy == first || copy == second);
    }
    kill_server(&scene, first, SIM_CRASH_RESET);
    kill_server(&scene, second, SIM_CRASH_RESET);
    scene_write(&scene, SCENE_ANYWHERE, 40, 8, 5000);
    write_all(&scene);
    scene_settle(&scene);
    scene_run(&scene, NULL, NULL, 4 * LATE_US);
    for (unsigned i = 0; i < 2; i++) {
        for (uint32_t b = 0; b < 6; b++) {
            unsigned told = 0;
            for (size_t t = 0; t < watchers[i].told_count; t++)
                told +=
                    watchers[i].told[t].code == VUG_DATA_LOSS && watchers[i].told[t].bucket == b;
            if (told != lost[b])
                fail_msg(
                    "seed %llu: watcher %u was told %u times that bucket %u lost its contents, "
                    "which it did %u times",
                    (unsigned long long)seed, i, told, b, lost[b]);
        }
        for (size_t t = 0; t < watchers[i].told_count; t++)
            if (watchers[i].told[t].code != VUG_DATA_LOSS)
                fail_msg("seed %llu: watcher %u was told %s of bucket %u, %llu to %llu",
                         (unsigned long long)seed, i, vug_status_text(watchers[i].told[t].code),
                         watchers[i].told[t].bucket,
                         (unsigned long long)watchers[i].told[t].from_seq,
                         (unsigned long long)watchers[i].told[t].to_seq);
        if (watchers[i].failed)
            fail_msg("seed %llu: watcher %u ended: %s", (unsigned long long)seed, i,
                     watchers[i].why);
        watcher_check_order(&watchers[i]);
        watcher_fini(&watchers[i]);
    }
    scene_stop(&scene);
}

static void lost_contents_are_told_exactly_to_everybody(void **state)
{
    (void)state;
    for (uint64_t seed = seed_first(); seed < seed_first() + seed_count(30); seed++)
        play_loss(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(servers_that_die_at_any_moment_change_no_row),
        cmocka_unit_test(behind_each_event_a_resume_gives_the_others_bit_for_bit),
        cmocka_unit_test(buckets_that_move_change_no_row),
        cmocka_unit_test(a_batch_that_is_repeated_on_another_server_gives_no_output),
        cmocka_unit_test(what_is_not_kept_any_more_is_told_exactly),
        cmocka_unit_test(a_snapshot_and_its_tail_miss_nothing_while_others_write),
        cmocka_unit_test(subscribers_of_all_kinds_see_everything_once_among_faults),
        cmocka_unit_test(a_query_ends_everywhere_with_its_last_subscriber),
        cmocka_unit_test(a_region_that_is_destroyed_ends_its_queries_at_every_server),
        cmocka_unit_test(a_query_that_failed_on_one_server_ends_at_every_server),
        cmocka_unit_test(lost_contents_are_told_exactly_to_everybody),
    };
    cmocka_set_test_filter(getenv("VUG_TEST"));
    return cmocka_run_group_tests_name("queries", tests, NULL, NULL);
}
