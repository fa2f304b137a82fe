/* What the tests of subscriptions share: a server with one table, writers, and subscribers that
 * keep what they were pushed. */
#ifndef VUG_TESTS_UNIT_SERVER_SUBSCRIBER_H
#define VUG_TESTS_UNIT_SERVER_SUBSCRIBER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "tests/lib/mem_fault.h"
#include "tests/lib/server_fixture.h"

#define TABLE                                                                                      \
    "CREATE TABLE Readings (id STRING, temperature DOUBLE) WITH "                                  \
    "('connector'='geode-region','region'='my_region')"
#define AVERAGE  "SELECT id, AVG(temperature) OVER (PARTITION BY id) FROM Readings"
#define GROUPING "SELECT id, AVG(temperature) FROM Readings GROUP BY id"
#define FILTER   "SELECT id, temperature FROM Readings WHERE temperature > 20"

enum { EVENTS_MAX = 20000, STATUSES_MAX = 512, BATCHES_MAX = 20000 };

struct event {
    uint32_t bucket, generation;
    struct ring_position position;
    Pb__Kind kind;
    Pb__CqEventBatch__Phase phase;
    char id[16];
    uint32_t id_number; /* of id s<number> */
    double number;
    uint32_t batch; /* which brought it */
};

struct subscriber {
    struct fixture_client client;
    uint64_t id;
    const Pb__CqSubscribeResponse *response;
    struct slice token; /* the last */
    struct event *events;
    uint32_t event_count;
    struct slice *tokens;   /* of each batch; NULL data if it had none */
    uint32_t *token_events; /* events up to and with that batch */
    uint32_t batch_count, snapshot_ends, empty_batches;
    const Pb__CqStatus *statuses[STATUSES_MAX];
    uint32_t status_count;
    uint64_t encoded_bytes;
};

struct stage {
    struct server_fixture fixture;
    struct region *region;
    struct fixture_client writer;
    long live_before;
};

static inline void stage_begin(struct stage *stage, uint32_t bucket_count)
{
    stage->live_before = mem_fault_live();
    server_fixture_init(&stage->fixture);
    stage->region = server_fixture_partition(&stage->fixture, "my_region", bucket_count);
    server_fixture_table(&stage->fixture, "Readings", "my_region", TABLE);
    fixture_client_init(&stage->writer, &stage->fixture);
}

static inline void stage_end(struct stage *stage)
{
    fixture_client_fini(&stage->writer);
    server_fixture_fini(&stage->fixture);
    assert_int_equal(mem_fault_live(), stage->live_before);
}

/* A reading of id s<id> under `key`, or under its id. */
static inline void stage_put(struct stage *stage, const char *key, uint32_t id, double temperature)
{
    char own_key[16], json[80];
    ProtobufCMessage *answer;
    snprintf(own_key, sizeof own_key, "s%u", id);
    snprintf(json, sizeof json, "{\"id\":\"s%u\",\"temperature\":%g}", id, temperature);
    fixture_client_put(&stage->writer, "my_region", key == NULL ? own_key : key, json);
    assert_int_equal(fixture_client_receive(&stage->writer, &answer), 3);
}

static inline void subscriber_keep(struct subscriber *subscriber, const Pb__CqEventBatch *batch)
{
    assert_int_equal(batch->subscription_id, subscriber->id);
    assert_in_range(subscriber->batch_count, 0, BATCHES_MAX - 1);
    for (size_t i = 0; i < batch->n_event; i++) {
        const Pb__CqEvent *from = batch->event[i];
        assert_in_range(subscriber->event_count, 0, EVENTS_MAX - 1);
        struct event *event = &subscriber->events[subscriber->event_count++];
        *event = (struct event){.bucket = from->bucket,
                                .generation = from->generation == 0 ? 1 : from->generation,
                                .position = {from->seq, from->sub},
                                .kind = from->kind,
                                .phase = batch->phase,
                                .batch = subscriber->batch_count};
        if (from->n_value == 2) {
            snprintf(event->id, sizeof event->id, "%.*s",
                     SLICE_FMT(message_slice(from->value[0]->string_result)));
            assert_int_equal(sscanf(event->id, "s%u", &event->id_number), 1);
            event->number = from->value[1]->double_result;
        }
        subscriber->encoded_bytes += protobuf_c_message_get_packed_size(&from->base);
    }
    if (batch->phase == PB__CQ_EVENT_BATCH__PHASE__SNAPSHOT_END)
        subscriber->snapshot_ends++;
    else if (batch->n_event == 0)
        subscriber->empty_batches++;
    if (batch->token.len > 0)
        subscriber->token = message_slice(batch->token);
    subscriber->tokens[subscriber->batch_count] = message_slice(batch->token);
    subscriber->token_events[subscriber->batch_count++] = subscriber->event_count;
}

/* Takes in what has arrived; the number of the first message that is no push, or 0. */
static inline uint32_t subscriber_read(struct subscriber *subscriber, ProtobufCMessage **message)
{
    uint32_t number;
    while ((number = fixture_client_receive(&subscriber->client, message)) != 0) {
        if (number == 1003) {
            subscriber_keep(subscriber, (const Pb__CqEventBatch *)*message);
        } else if (number == 1007) {
            assert_in_range(subscriber->status_count, 0, STATUSES_MAX - 1);
            subscriber->statuses[subscriber->status_count++] = (const Pb__CqStatus *)*message;
        } else {
            return number;
        }
    }
    return 0;
}

static inline void subscriber_turn(struct subscriber *subscriber)
{
    ProtobufCMessage *message;
    fake_net_turn(subscriber->client.fixture->net);
    fake_net_advance(subscriber->client.fixture->net, 0); /* what waited for the end of the turn */
    assert_int_equal(subscriber_read(subscriber, &message), 0);
}

static inline void subscriber_init(struct subscriber *subscriber, struct stage *stage)
{
    memset(subscriber, 0, sizeof *subscriber);
    fixture_client_init(&subscriber->client, &stage->fixture);
    subscriber->events = test_calloc(EVENTS_MAX, sizeof *subscriber->events);
    subscriber->tokens = test_calloc(BATCHES_MAX, sizeof *subscriber->tokens);
    subscriber->token_events = test_calloc(BATCHES_MAX, sizeof *subscriber->token_events);
}

static inline void subscriber_fini(struct subscriber *subscriber)
{
    fixture_client_fini(&subscriber->client);
    test_free(subscriber->events);
    test_free(subscriber->tokens);
    test_free(subscriber->token_events);
}

static inline Pb__CqSubscribeRequest subscribe_request(const char *sql)
{
    Pb__CqSubscribeRequest request = PB__CQ_SUBSCRIBE_REQUEST__INIT;
    if (sql != NULL)
        request.sql = message_bytes(slice_text(sql));
    return request;
}

static inline void subscriber_subscribe(struct subscriber *subscriber,
                                        const Pb__CqSubscribeRequest *request)
{
    ProtobufCMessage *message;
    fixture_client_send(&subscriber->client, 1001, &request->base);
    uint32_t number = subscriber_read(subscriber, &message);
    if (number == 1)
        fail_msg("%.*s", SLICE_FMT(message_slice(((Pb__ErrorResponse *)message)->error->message)));
    assert_int_equal(number, 1002);
    subscriber->response = (const Pb__CqSubscribeResponse *)message;
    subscriber->id = subscriber->response->subscription_id;
    subscriber->token = message_slice(subscriber->response->token);
    subscriber_turn(subscriber);
}

static inline void subscriber_begin(struct subscriber *subscriber, struct stage *stage,
                                    const char *sql)
{
    Pb__CqSubscribeRequest request = subscribe_request(sql);
    subscriber_init(subscriber, stage);
    subscriber_subscribe(subscriber, &request);
}

static inline void subscriber_ack(struct subscriber *subscriber, uint64_t events, uint64_t bytes)
{
    Pb__CqAck ack = PB__CQ_ACK__INIT;
    ack.subscription_id = subscriber->id;
    ack.credit_events = events;
    ack.credit_bytes = bytes;
    fixture_client_send(&subscriber->client, 1004, &ack.base);
    subscriber_turn(subscriber);
}

static inline bool same_event(const struct event *a, const struct event *b)
{
    return a->bucket == b->bucket && a->generation == b->generation &&
           a->position.seq == b->position.seq && a->position.sub == b->position.sub &&
           a->kind == b->kind && strcmp(a->id, b->id) == 0 && a->number == b->number;
}

#endif
