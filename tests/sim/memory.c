/* Memory that ends: every allocation that a put, a get or a subscription makes, anywhere in the
 * cluster, fails once. Whatever happens, an acknowledged write is there, an unacknowledged one is
 * there as a whole or not at all, the next request works, and nothing leaks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/lib/mem_fault.h"
#include "tests/sim/sim_cluster.h"

#define PATIENCE_US 30000000
#define COUNT_QUERY "SELECT id, AVG(temperature) OVER (PARTITION BY id) FROM my_region"

enum outcome { PENDING, ANSWERED, FAILED };

struct sent {
    enum outcome outcome;
    struct buf reply;
};

static void on_reply(void *arg, const struct vug_error *error, struct slice body)
{
    struct sent *call = arg;
    call->outcome = error == NULL ? ANSWERED : FAILED;
    if (error == NULL)
        buf_append_slice(&call->reply, body);
    if (call->reply.failed)
        call->outcome = FAILED; /* it was this test's own allocation */
}

static bool is_over(void *arg)
{
    return ((const struct sent *)arg)->outcome != PENDING;
}

/* One request; allocation `fail_at` from here on fails (0: none). */
static enum outcome request(struct sim_cluster *cluster, uint32_t number, const struct buf *body,
                            uint64_t fail_at, struct buf *reply)
{
    struct vug_client *client;
    struct sent call = {PENDING, {0}};
    struct sim_process *process = &cluster->client_process;
    buf_init(&call.reply);
    mem_fault_fail_at(fail_at);
    enum error error = vug_client_new(process->loops[0], process->nets[0], &cluster->target,
                                      VUG_TO_SERVER, &client);
    if (error == OK) {
        error = vug_client_call(client, number, buf_slice(body), on_reply, &call);
        if (error == OK)
            assert_true(sim_run_until(cluster->sim, is_over, &call, PATIENCE_US));
        vug_client_free(client);
    }
    mem_fault_fail_at(0);
    if (error != OK) {
        assert_int_equal(error, ERROR_MEMORY);
        call.outcome = FAILED;
    }
    if (reply != NULL)
        buf_append_slice(reply, buf_slice(&call.reply));
    buf_fini(&call.reply);
    return call.outcome;
}

static void put_body(struct buf *body, const char *document)
{
    struct value key = {.type = VALUE_STRING, .bytes = slice_text("k")};
    struct value value = {.type = VALUE_JSON, .bytes = slice_text(document)};
    buf_init(body);
    vug_entry_request(body, "my_region", &key, &value);
}

/* The value now: 0 if absent, else its temperature. Retried, because a failure may have cost a link
 * that comes back. */
static int value_now(struct sim_cluster *cluster)
{
    struct value key = {.type = VALUE_STRING, .bytes = slice_text("k")}, value;
    struct buf body, reply;
    enum outcome outcome = FAILED;
    buf_init(&body);
    buf_init(&reply);
    vug_key_request(&body, "my_region", &key);
    for (int i = 0; i < 50 && outcome != ANSWERED; i++) {
        buf_clear(&reply);
        outcome = request(cluster, VUG_GET, &body, 0, &reply);
        if (outcome != ANSWERED)
            sim_run_until(cluster->sim, NULL, NULL, 200000);
    }
    assert_int_equal(outcome, ANSWERED);
    assert_int_equal(vug_value_reply(buf_slice(&reply), &value), OK);
    int temperature = 0;
    if (value.type == VALUE_JSON) {
        char text[64] = "";
        snprintf(text, sizeof text, "%.*s", SLICE_FMT(value.bytes));
        assert_int_equal(sscanf(text, "{\"id\":\"s\",\"temperature\":%d}", &temperature), 1);
    } else {
        assert_int_equal(value.type, VALUE_NULL);
    }
    buf_fini(&reply);
    buf_fini(&body);
    return temperature;
}

struct fixture {
    struct sim *sim;
    struct sim_cluster cluster;
};

static void start(struct fixture *fixture)
{
    memset(fixture, 0, sizeof *fixture);
    fixture->sim = sim_new(5);
    sim_cluster_start(&fixture->cluster, fixture->sim, "a");
    sim_create_region(&fixture->cluster, "my_region", "PARTITION");
}

static void stop(struct fixture *fixture)
{
    sim_cluster_stop(&fixture->cluster);
    sim_free(fixture->sim);
}

static void a_put_without_memory_is_whole_or_nothing(void **state)
{
    (void)state;
    unsigned failures = 0;
    bool reached_end = false;
    int64_t live = -1;
    for (uint64_t n = 1; !reached_end; n++) {
        struct fixture fixture;
        struct buf body;
        start(&fixture);
        put_body(&body, "{\"id\":\"s\",\"temperature\":7}");
        enum outcome outcome = request(&fixture.cluster, VUG_PUT, &body, n, NULL);
        reached_end = outcome == ANSWERED && n > 400;
        int value = value_now(&fixture.cluster);
        if (outcome == ANSWERED)
            assert_int_equal(value, 7);
        else
            assert_true(value == 0 || value == 7);
        failures += outcome != ANSWERED;
        buf_fini(&body);
        stop(&fixture);
        if (live < 0)
            live = (int64_t)mem_fault_live();
        assert_int_equal(mem_fault_live(), live);
    }
    assert_true(failures > 5);
}

static void a_get_without_memory_is_answered_or_fails_and_the_next_one_works(void **state)
{
    (void)state;
    unsigned failures = 0;
    struct fixture fixture;
    struct buf body, key_body, reply;
    struct value key = {.type = VALUE_STRING, .bytes = slice_text("k")}, value;
    start(&fixture);
    put_body(&body, "{\"id\":\"s\",\"temperature\":9}");
    assert_int_equal(request(&fixture.cluster, VUG_PUT, &body, 0, NULL), ANSWERED);
    buf_init(&key_body);
    vug_key_request(&key_body, "my_region", &key);
    for (uint64_t n = 1; n < 250; n++) {
        buf_init(&reply);
        if (request(&fixture.cluster, VUG_GET, &key_body, n, &reply) == ANSWERED) {
            assert_int_equal(vug_value_reply(buf_slice(&reply), &value), OK);
            assert_int_equal(value.type, VALUE_JSON);
        } else {
            failures++;
        }
        buf_fini(&reply);
        assert_int_equal(value_now(&fixture.cluster), 9);
    }
    assert_true(failures > 5);
    buf_fini(&key_body);
    buf_fini(&body);
    stop(&fixture);
}

/* ---- Subscribing ---- */

struct watcher {
    unsigned subscribed, failures, results, trouble;
    double last;
};

static void on_event(void *arg, const struct vug_event *event)
{
    struct watcher *watcher = arg;
    if (event->kind == VUG_INSERT && event->value_count == 2 &&
        event->values[1].type == VALUE_DOUBLE) {
        watcher->results++;
        watcher->last = event->values[1].float64;
    }
}

static void on_status(void *arg, const struct vug_status *status)
{
    struct watcher *watcher = arg;
    watcher->subscribed += status->code == VUG_SUBSCRIBED;
    watcher->trouble +=
        status->code == VUG_GAP || status->code == VUG_STATUS_ERROR || status->code == VUG_CLOSED;
}

static void on_failed(void *arg, const struct vug_error *error)
{
    (void)error;
    ((struct watcher *)arg)->failures++;
}

static bool has_result(void *arg)
{
    const struct watcher *watcher = arg;
    return watcher->failures + watcher->trouble > 0 || (watcher->results > 0 && watcher->last == 5);
}

/* The results after a failure anywhere on the way: the right one, or an error that is told; never
 * silence, never a wrong one. */
static void a_subscription_without_memory_gives_the_result_or_says_that_it_failed(void **state)
{
    (void)state;
    unsigned failures = 0, results = 0;
    static const struct vug_subscription_events events = {
        .on_event = on_event, .on_status = on_status, .on_failed = on_failed};
    for (uint64_t n = 1; n < 700; n += n < 300 ? 1 : 7) {
        struct fixture fixture;
        struct buf body;
        struct watcher watcher = {0};
        struct vug_subscription *subscription = NULL;
        struct vug_subscription_options options = {.sql = slice_text(COUNT_QUERY)};
        start(&fixture);
        struct sim_process *process = &fixture.cluster.client_process;
        put_body(&body, "{\"id\":\"s\",\"temperature\":4}");
        assert_int_equal(request(&fixture.cluster, VUG_PUT, &body, 0, NULL), ANSWERED);
        buf_fini(&body);
        mem_fault_fail_at(n);
        enum error error =
            vug_subscription_new(process->loops[0], process->nets[0], &fixture.cluster.target,
                                 &options, &events, &watcher, &subscription);
        if (error == OK)
            sim_run_until(fixture.sim, NULL, NULL, 1000000);
        /* The failure may also hit the put; it is repeated until it is answered, which can add rows
         * of the same reading, so the average is checked by its bounds: 4, then (4 + 6) / 2 = 5. */
        mem_fault_fail_at(0);
        put_body(&body, "{\"id\":\"s\",\"temperature\":6}");
        enum outcome outcome = FAILED;
        for (int i = 0; i < 50 && outcome != ANSWERED; i++) {
            outcome = request(&fixture.cluster, VUG_PUT, &body, 0, NULL);
            if (outcome != ANSWERED)
                sim_run_until(fixture.sim, NULL, NULL, 200000);
        }
        assert_int_equal(outcome, ANSWERED);
        buf_fini(&body);
        if (error != OK) {
            assert_int_equal(error, ERROR_MEMORY);
            failures++;
        } else {
            if (!sim_run_until(fixture.sim, has_result, &watcher, PATIENCE_US))
                fail_msg("allocation %llu: silence after %u results, the last %g",
                         (unsigned long long)n, watcher.results, watcher.last);
            failures += watcher.failures + watcher.trouble > 0;
            results += watcher.last == 5;
            vug_subscription_free(subscription);
        }
        stop(&fixture);
    }
    assert_true(failures > 5);
    assert_true(results > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_put_without_memory_is_whole_or_nothing),
        cmocka_unit_test(a_get_without_memory_is_answered_or_fails_and_the_next_one_works),
        cmocka_unit_test(a_subscription_without_memory_gives_the_result_or_says_that_it_failed),
    };
    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
