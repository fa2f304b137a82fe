/* A subscription over connections that break: what it asks for, what it gives out, what it gives
 * back. */
#include "tests/unit/client/peer.h"

#include "tests/lib/mem_fault.h"

struct scene {
    struct world world;
    struct peer peer;
    struct vug_subscription *subscription;
    uint64_t seqs[64]; /* of the events given out */
    unsigned count;
    unsigned free_at; /* ends the subscription inside of the nth event */
    unsigned statuses[128];
    unsigned subscribed_count;
    bool subscribed, failed;
    struct vug_error error;
    struct buf token; /* at the end inside of an event */
};

static void on_event(void *arg, const struct vug_event *event)
{
    struct scene *scene = arg;
    assert_int_equal(event->value_count, 1);
    assert_int_equal(event->values[0].type, VALUE_DOUBLE);
    assert_true(event->values[0].float64 == (double)event->seq);
    scene->seqs[scene->count++] = event->seq;
    if (scene->count == scene->free_at) {
        vug_subscription_token(scene->subscription, &scene->token);
        vug_subscription_free(scene->subscription);
        scene->subscription = NULL;
    }
}

static void on_status(void *arg, const struct vug_status *status)
{
    struct scene *scene = arg;
    scene->statuses[status->code]++;
    scene->subscribed = scene->subscribed || status->code == VUG_SUBSCRIBED;
}

static void on_failed(void *arg, const struct vug_error *error)
{
    struct scene *scene = arg;
    scene->failed = true;
    scene->error = *error;
}

static const struct vug_subscription_events events = {
    .on_event = on_event, .on_status = on_status, .on_failed = on_failed};

/* CqSubscribeResponse: id 5, one column, token "t0". */
static void accept_subscription(struct peer *peer, uint32_t number, struct slice body)
{
    struct buf reply;
    (void)body;
    if (number != VUG_SUBSCRIBE)
        return;
    buf_init(&reply);
    vug_wire_uint(&reply, 1, 5);
    vug_wire_text(&reply, 2, "AVG(t)");
    vug_wire_text(&reply, 3, "DOUBLE");
    vug_wire_text(&reply, 6, "t0");
    peer_frame(peer, VUG_SUBSCRIBE + 1, buf_slice(&reply));
    buf_fini(&reply);
}

/* Pushes events of bucket 3 with these seqs; each value is its seq. */
static void push(struct peer *peer, uint64_t from, uint64_t to, const char *token)
{
    struct buf batch;
    buf_init(&batch);
    vug_wire_uint(&batch, 1, 5);
    for (uint64_t seq = from; seq <= to; seq++) {
        struct buf event;
        struct value value = {.type = VALUE_DOUBLE, .float64 = (double)seq};
        buf_init(&event);
        vug_wire_uint(&event, 1, 3);
        vug_wire_uint(&event, 2, seq);
        vug_wire_value(&event, 5, &value);
        vug_wire_bytes(&batch, 4, buf_slice(&event));
        buf_fini(&event);
    }
    vug_wire_text(&batch, 5, token);
    peer_frame(peer, VUG_EVENT_BATCH, buf_slice(&batch));
    buf_fini(&batch);
}

static void begin(struct scene *scene, const struct vug_subscription_options *options)
{
    memset(scene, 0, sizeof *scene);
    buf_init(&scene->token);
    world_begin(&scene->world, 11);
    peer_begin(&scene->peer, &scene->world, "server", VUG_SERVER_PORT);
    scene->peer.on_request = accept_subscription;
    struct vug_target target = target_straight(sim_node_host(scene->peer.node));
    assert_int_equal(vug_subscription_new(scene->world.loop, scene->world.net, &target, options,
                                          &events, scene, &scene->subscription),
                     OK);
}

static void finish(struct scene *scene)
{
    if (scene->subscription != NULL)
        vug_subscription_free(scene->subscription);
    buf_fini(&scene->token);
    peer_end(&scene->peer);
    world_end(&scene->world);
    free(scene);
}

/* What the nth subscribe request said: its token, its one position, whether it named a start. */
struct asked {
    struct slice token;
    uint64_t bucket, generation, seq, sub;
    unsigned positions;
    bool start;
};

static struct asked asked(const struct scene *scene, unsigned nth)
{
    struct asked result = {0};
    for (unsigned i = 0; i < scene->peer.request_count; i++) {
        if (scene->peer.requests[i].number != VUG_SUBSCRIBE || nth-- != 1)
            continue;
        struct slice rest = buf_slice(&scene->peer.requests[i].body);
        struct codec_field field, part;
        while (rest.len > 0 && codec_next_field(&rest, &field) == OK) {
            if (field.number == 8)
                result.token = field.bytes;
            result.start = result.start || field.number == 9;
            result.positions += field.number == 22;
            while (field.number == 22 && field.bytes.len > 0 &&
                   codec_next_field(&field.bytes, &part) == OK) {
                if (part.number == 1)
                    result.bucket = part.integer;
                else if (part.number == 2)
                    result.generation = part.integer;
                else if (part.number == 3)
                    result.seq = part.integer;
            }
        }
    }
    return result;
}

static const struct vug_subscription_options plain = {
    .sql = {(const uint8_t *)"SELECT AVG(t) FROM r", 20}, .start = VUG_START_LATEST};

static void assert_seqs(const struct scene *scene, uint64_t from, uint64_t to)
{
    assert_int_equal(scene->count, to - from + 1);
    for (unsigned i = 0; i < scene->count; i++)
        assert_int_equal(scene->seqs[i], from + i);
}

static void begins_where_it_was_told_to(void **state)
{
    (void)state;
    struct scene *scene = calloc(1, sizeof *scene);
    begin(scene, &plain);
    assert_true(world_wait(&scene->world, &scene->subscribed, 5000));
    assert_true(asked(scene, 1).start);
    assert_int_equal(asked(scene, 1).token.len, 0);
    assert_int_equal(vug_subscription_column_count(scene->subscription), 1);
    assert_string_equal(vug_subscription_column(scene->subscription, 0), "AVG(t)");
    assert_string_equal(vug_subscription_type(scene->subscription, 0), "DOUBLE");
    push(&scene->peer, 1, 3, NULL);
    world_pass(&scene->world, 100);
    assert_seqs(scene, 1, 3);
    finish(scene);
}

static void resumes_behind_the_last_event_and_drops_repeats(void **state)
{
    (void)state;
    struct scene *scene = calloc(1, sizeof *scene);
    begin(scene, &plain);
    assert_true(world_wait(&scene->world, &scene->subscribed, 5000));
    push(&scene->peer, 1, 2, "t1");
    push(&scene->peer, 3, 5, NULL);
    world_pass(&scene->world, 100);
    peer_drop(&scene->peer);
    world_pass(&scene->world, 5000);
    assert_int_equal(scene->statuses[VUG_RECONNECTING], 1);
    assert_int_equal(scene->statuses[VUG_SUBSCRIBED], 2);
    struct asked second = asked(scene, 2);
    assert_false(second.start);
    assert_true(slice_equal(second.token, slice_text("t1")));
    assert_int_equal(second.positions, 1);
    assert_int_equal(second.bucket, 3);
    assert_int_equal(second.generation, 1);
    assert_int_equal(second.seq, 5);
    push(&scene->peer, 4, 7, NULL); /* a server that sends 4 and 5 once more */
    world_pass(&scene->world, 100);
    assert_seqs(scene, 1, 7);
    finish(scene);
}

static void a_token_that_covers_everything_needs_no_positions(void **state)
{
    (void)state;
    struct scene *scene = calloc(1, sizeof *scene);
    begin(scene, &plain);
    assert_true(world_wait(&scene->world, &scene->subscribed, 5000));
    push(&scene->peer, 1, 4, "t4");
    world_pass(&scene->world, 100);
    peer_drop(&scene->peer);
    world_pass(&scene->world, 5000);
    assert_true(slice_equal(asked(scene, 2).token, slice_text("t4")));
    assert_int_equal(asked(scene, 2).positions, 0);
    finish(scene);
}

static void ending_inside_of_a_batch_gives_a_token_of_exactly_there(void **state)
{
    (void)state;
    struct scene *first = calloc(1, sizeof *first), *second = calloc(1, sizeof *second);
    begin(first, &plain);
    first->free_at = 2;
    assert_true(world_wait(&first->world, &first->subscribed, 5000));
    push(&first->peer, 1, 4, "t4");
    world_pass(&first->world, 100);
    assert_seqs(first, 1, 2);
    assert_null(first->subscription);
    struct vug_subscription_options options = plain;
    options.resume = buf_slice(&first->token);
    begin(second, &options);
    assert_true(world_wait(&second->world, &second->subscribed, 5000));
    struct asked request = asked(second, 1);
    assert_true(slice_equal(request.token, slice_text("t0")));
    assert_int_equal(request.positions, 1);
    assert_int_equal(request.seq, 2);
    finish(second);
    finish(first);
}

static void a_gap_lets_lower_numbers_in_again(void **state)
{
    (void)state;
    struct scene *scene = calloc(1, sizeof *scene);
    struct buf status;
    begin(scene, &plain);
    assert_true(world_wait(&scene->world, &scene->subscribed, 5000));
    push(&scene->peer, 8, 9, NULL);
    world_pass(&scene->world, 100);
    peer_drop(&scene->peer);
    world_pass(&scene->world, 5000);
    buf_init(&status);
    vug_wire_uint(&status, 1, 5);
    vug_wire_uint(&status, 2, VUG_GAP);
    vug_wire_uint(&status, 3, 3);
    peer_frame(&scene->peer, VUG_CQ_STATUS, buf_slice(&status));
    push(&scene->peer, 7, 7, NULL); /* the snapshot's row, which changed last at 7 */
    world_pass(&scene->world, 100);
    assert_int_equal(scene->statuses[VUG_GAP], 1);
    assert_int_equal(scene->count, 3);
    assert_int_equal(scene->seqs[2], 7);
    buf_fini(&status);
    finish(scene);
}

static void credit_is_given_back_as_events_are_processed(void **state)
{
    (void)state;
    struct scene *scene = calloc(1, sizeof *scene);
    struct vug_subscription_options options = plain;
    options.credit_events = 8;
    begin(scene, &options);
    assert_true(world_wait(&scene->world, &scene->subscribed, 5000));
    uint64_t given = 0;
    for (uint64_t seq = 1; seq <= 40; seq += 4) {
        push(&scene->peer, seq, seq + 3, NULL);
        world_pass(&scene->world, 50);
    }
    for (unsigned i = 0; i < scene->peer.request_count; i++) {
        struct slice rest = buf_slice(&scene->peer.requests[i].body);
        struct codec_field field;
        while (scene->peer.requests[i].number == VUG_CQ_ACK && rest.len > 0 &&
               codec_next_field(&rest, &field) == OK)
            given += field.number == 3 ? field.integer : 0;
    }
    assert_int_equal(scene->count, 40);
    assert_int_equal(given, 40);
    finish(scene);
}

static void a_refusal_ends_it_with_the_servers_text(void **state)
{
    (void)state;
    struct scene *scene = calloc(1, sizeof *scene);
    begin(scene, &plain);
    scene->peer.on_request = NULL;
    world_pass(&scene->world, 100);
    peer_error(&scene->peer, 50, "there is no column tmp");
    assert_true(world_wait(&scene->world, &scene->failed, 5000));
    assert_int_equal(scene->error.code, 50);
    assert_string_equal(scene->error.text, "there is no column tmp");
    finish(scene);
}

static void runs_out_of_memory_without_a_leak(void **state)
{
    (void)state;
    bool done = false;
    for (unsigned n = 1; !done; n++) {
        struct scene *scene = calloc(1, sizeof *scene);
        begin(scene, &plain);
        long live = mem_fault_live();
        struct vug_subscription *other = NULL;
        struct vug_target target = target_straight("10.0.0.99");
        mem_fault_fail_at(n);
        enum error error = vug_subscription_new(scene->world.loop, scene->world.net, &target,
                                                &plain, &events, scene, &other);
        mem_fault_fail_at(0);
        done = error == OK;
        assert_true(done || error == ERROR_MEMORY);
        if (done)
            vug_subscription_free(other);
        assert_int_equal(mem_fault_live(), live);
        finish(scene);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(begins_where_it_was_told_to),
        cmocka_unit_test(resumes_behind_the_last_event_and_drops_repeats),
        cmocka_unit_test(a_token_that_covers_everything_needs_no_positions),
        cmocka_unit_test(ending_inside_of_a_batch_gives_a_token_of_exactly_there),
        cmocka_unit_test(a_gap_lets_lower_numbers_in_again),
        cmocka_unit_test(credit_is_given_back_as_events_are_processed),
        cmocka_unit_test(a_refusal_ends_it_with_the_servers_text),
        cmocka_unit_test(runs_out_of_memory_without_a_leak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
