#include "client/conn.h"
#include "client/cq_message.h"
#include "client/position.h"
#include "client/route.h"
#include "client/wire.h"
#include "common/mem.h"

/* One continuous query, followed over connections that break.
 *
 *   route -> subscribe (start, or token and positions) -> SUBSCRIBED -> batches -> events,
 * acknowledgements with credit ^ |
 *     +-------------- connection lost: RECONNECTING, a pause -------------+
 *
 * After a reconnect the server continues behind token and positions; what it should send again all
 * the same is at or below the floor and is dropped (vug_positions_is_repeat()). */

#define GIVE_UP_MS   (10u * 60 * 1000)
#define RETRY_MIN_US (50u * 1000)
#define RETRY_MAX_US (1000u * 1000)

struct vug_subscription {
    struct loop *loop;
    struct vug_route route;
    struct vug_conn *conn;
    struct vug_subscription_events events;
    void *arg;
    struct buf request; /* fields of CqSubscribeRequest that are the same each time */
    struct buf start;   /* the fields that say where to begin, the first time */
    bool resumes;       /* positions.token says where */
    uint64_t credit_events_max, credit_bytes_max;
    uint64_t give_up_ms;
    uint64_t began_us, timeout_us; /* of the first connection */

    uint64_t id; /* of the present connection */
    bool subscribed;
    struct vug_positions positions;
    bool token_unacknowledged;
    uint64_t used_events, used_bytes; /* processed and not yet given back as credit */
    char **columns, **types;
    uint32_t column_count;
    char *warning;

    struct loop_timer retry, give_up;
    uint64_t retry_us;
    bool waits; /* without a subscription; give_up runs */
    bool failed, ended;
    unsigned in_calls;
    struct value values[LIMIT_COLUMNS]; /* of the event that is given out */
};

static void free_texts(char **texts, uint32_t count)
{
    for (uint32_t i = 0; texts != NULL && i < count; i++)
        mem_free(texts[i]);
    mem_free(texts);
}

static void release(struct vug_subscription *subscription)
{
    buf_fini(&subscription->request);
    buf_fini(&subscription->start);
    vug_positions_fini(&subscription->positions);
    free_texts(subscription->columns, subscription->column_count);
    free_texts(subscription->types, subscription->column_count);
    mem_free(subscription->warning);
    mem_free(subscription);
}

static void leave(struct vug_subscription *subscription)
{
    subscription->in_calls--;
    if (subscription->in_calls == 0 && subscription->ended)
        release(subscription);
}

static bool is_over(const struct vug_subscription *subscription)
{
    return subscription->ended || subscription->failed;
}

static void fail(struct vug_subscription *subscription, const struct vug_error *error)
{
    if (is_over(subscription))
        return;
    subscription->in_calls++;
    subscription->failed = true;
    vug_route_stop(&subscription->route);
    if (subscription->conn != NULL)
        vug_conn_close(subscription->conn);
    subscription->conn = NULL;
    loop_timer_clear(&subscription->retry);
    loop_timer_clear(&subscription->give_up);
    subscription->events.on_failed(subscription->arg, error);
    leave(subscription);
}

static void fail_kind(struct vug_subscription *subscription, enum error kind)
{
    struct vug_error error;
    vug_error_set(&error, kind, "%s", error_text(kind));
    fail(subscription, &error);
}

static void tell_status(struct vug_subscription *subscription, enum vug_status_code code,
                        struct slice detail)
{
    struct vug_status status = {.code = code, .detail = detail};
    subscription->events.on_status(subscription->arg, &status);
}

/* ---- Credit ---- */

/* CqAck: 1 subscription_id, 2 token, 3 credit_events, 4 credit_bytes. Given back when a quarter is
 * used, so that the server never runs dry while we keep up, and at the end of a snapshot, whose
 * token releases retention. */
static void give_credit(struct vug_subscription *subscription)
{
    bool due = subscription->used_events * 4 >= subscription->credit_events_max ||
               subscription->used_bytes * 4 >= subscription->credit_bytes_max ||
               subscription->token_unacknowledged;
    if (!due || subscription->conn == NULL)
        return;
    struct buf body;
    buf_init(&body);
    vug_wire_uint(&body, 1, subscription->id);
    if (subscription->token_unacknowledged)
        vug_wire_bytes(&body, 2, buf_slice(&subscription->positions.token));
    vug_wire_uint(&body, 3, subscription->used_events);
    vug_wire_uint(&body, 4, subscription->used_bytes);
    /* Without memory the next batch tries again; nothing is lost. */
    if (!body.failed && vug_conn_tell(subscription->conn, VUG_CQ_ACK, buf_slice(&body)) == OK) {
        subscription->used_events = 0;
        subscription->used_bytes = 0;
        subscription->token_unacknowledged = false;
    }
    buf_fini(&body);
}

/* ---- Events ---- */

static enum error take_event(struct vug_subscription *subscription, struct slice content,
                             enum vug_phase phase)
{
    struct vug_event event;
    enum error error = cq_message_event(content, subscription->values, &event);
    if (error != OK)
        return error;
    event.phase = phase;
    error = vug_positions_reserve(&subscription->positions, event.bucket);
    if (error != OK)
        return error;
    subscription->used_events++;
    subscription->used_bytes += content.len;
    if (vug_positions_is_repeat(&subscription->positions, event.bucket, event.generation, event.seq,
                                event.sub))
        return OK;
    /* Before the call, so that a token taken inside of it counts this event as processed. */
    vug_positions_processed(&subscription->positions, event.bucket, event.generation, event.seq,
                            event.sub);
    subscription->events.on_event(subscription->arg, &event);
    return OK;
}

static void take_batch(struct vug_subscription *subscription, struct slice body)
{
    struct cq_message_batch batch;
    struct slice walk = body, content = {0};
    enum error error = cq_message_batch(body, &batch);
    if (error == OK && batch.id != subscription->id)
        return; /* what was under way of a subscription that has ended */
    while (error == OK && !is_over(subscription) && vug_wire_next(&walk, 4, &content))
        error = take_event(subscription, content, batch.phase);
    if (is_over(subscription))
        return;
    if (error != OK) {
        fail_kind(subscription, error);
        return;
    }
    if (batch.token.len > 0 &&
        vug_positions_take_token(&subscription->positions, batch.token) == OK)
        subscription->token_unacknowledged = true;
    if (batch.phase == VUG_SNAPSHOT_END)
        tell_status(subscription, VUG_SNAPSHOT_ENDED, (struct slice){0});
    if (!is_over(subscription) && subscription->events.on_batch_end != NULL)
        subscription->events.on_batch_end(subscription->arg, batch.watermark_ms, batch.conflated);
    if (!is_over(subscription))
        give_credit(subscription);
}

static void take_status(struct vug_subscription *subscription, struct slice body)
{
    struct cq_message_status message;
    enum error error_kind = cq_message_status(body, &message);
    if (error_kind != OK) {
        fail_kind(subscription, error_kind);
        return;
    }
    if (message.id != subscription->id)
        return;
    struct vug_status status = message.status;
    if (status.code == VUG_GAP || status.code == VUG_RESNAPSHOT || status.code == VUG_DATA_LOSS)
        vug_positions_drop_floor(&subscription->positions, status.bucket);
    if (message.token.len > 0 &&
        vug_positions_take_token(&subscription->positions, message.token) == OK)
        subscription->token_unacknowledged = true;
    subscription->events.on_status(subscription->arg, &status);
    bool is_end = status.code == VUG_CLOSED || status.code == VUG_REGION_DESTROYED ||
                  status.code == VUG_STATUS_ERROR;
    if (is_end && !is_over(subscription)) {
        struct vug_error error;
        enum error kind = status.code == VUG_REGION_DESTROYED ? ERROR_NOT_FOUND : ERROR_CLOSED;
        if (status.detail.len > 0)
            vug_error_set(&error, kind, "the server ended the subscription: %.*s",
                          SLICE_FMT(status.detail));
        else
            vug_error_set(&error, kind, "the server ended the subscription: %s",
                          status.code == VUG_REGION_DESTROYED ? "the region was destroyed"
                                                              : "closed");
        fail(subscription, &error);
    }
}

static void on_push(void *arg, uint32_t number, struct slice body)
{
    struct vug_subscription *subscription = arg;
    subscription->in_calls++;
    if (number == VUG_EVENT_BATCH)
        take_batch(subscription, body);
    else
        take_status(subscription, body);
    leave(subscription);
}

/* ---- Subscribing ---- */

static void wait_and_retry(struct vug_subscription *subscription, const struct vug_error *error)
{
    uint32_t random = 0;
    if (!subscription->waits) {
        subscription->waits = true;
        loop_timer_set(&subscription->give_up, subscription->give_up_ms * 1000);
    }
    loop_random(subscription->loop, &random, sizeof random);
    uint64_t half = subscription->retry_us / 2;
    loop_timer_set(&subscription->retry, half + random % (half + 1));
    subscription->retry_us =
        subscription->retry_us * 2 > RETRY_MAX_US ? RETRY_MAX_US : subscription->retry_us * 2;
    subscription->route.error = *error;
}

/* Nobody waits ten minutes for the first connection, only for what has begun: but a connection that
 * stood and broke is tried again for the time of one request. */
static void retry_or_fail(struct vug_subscription *subscription, const struct vug_error *error)
{
    bool hopeless = error->error == ERROR_UNAUTHORIZED || error->error == ERROR_UNSUPPORTED ||
                    error->error == ERROR_MEMORY;
    bool broke = error->error == ERROR_RESET || error->error == ERROR_CLOSED;
    bool in_time =
        loop_now_us(subscription->loop) - subscription->began_us < subscription->timeout_us;
    if (hopeless || (subscription->columns == NULL && !(broke && in_time)))
        fail(subscription, error);
    else
        wait_and_retry(subscription, error);
}

static void on_conn_closed(void *arg, const struct vug_error *error)
{
    struct vug_subscription *subscription = arg;
    subscription->conn = NULL;
    subscription->in_calls++;
    bool was_subscribed = subscription->subscribed;
    subscription->subscribed = false;
    retry_or_fail(subscription, error);
    if (was_subscribed)
        tell_status(subscription, VUG_RECONNECTING, slice_text(error->text));
    leave(subscription);
}

/* Takes the texts of one repeated field; what was known before stays if there is no memory. */
static enum error read_texts(struct slice body, uint32_t field, uint32_t count, char ***texts)
{
    char **made = mem_array(count == 0 ? 1 : count, sizeof *made);
    if (made == NULL)
        return ERROR_MEMORY;
    struct slice text = {0};
    for (uint32_t i = 0; i < count; i++) {
        bool found = vug_wire_next(&body, field, &text);
        made[i] = mem_strndup(found ? (const char *)text.data : "", found ? text.len : 0);
        if (made[i] == NULL) {
            free_texts(made, count);
            return ERROR_MEMORY;
        }
    }
    *texts = made;
    return OK;
}

/* CqSubscribeResponse: 1 subscription_id, 2 column, 3 type, 6 token, 8 warning. */
static enum error read_response(struct vug_subscription *subscription, struct slice body)
{
    struct slice walk = body, token = {0}, warning = {0};
    uint32_t count = 0;
    subscription->id = 0;
    while (walk.len > 0) {
        struct codec_field field;
        enum error error = codec_next_field(&walk, &field);
        if (error != OK)
            return error;
        if (field.number == 1 && field.wire_type == 0)
            subscription->id = field.integer;
        else if (field.number == 2 && field.wire_type == 2)
            count++;
        else if (field.number == 6 && field.wire_type == 2)
            token = field.bytes;
        else if (field.number == 8 && field.wire_type == 2)
            warning = field.bytes;
    }
    if (count > LIMIT_COLUMNS)
        return ERROR_LIMIT;
    if (subscription->columns == NULL) { /* the same on every connection */
        enum error error = read_texts(body, 2, count, &subscription->columns);
        if (error != OK)
            return error;
        subscription->column_count = count;
        error = read_texts(body, 3, count, &subscription->types);
        if (error != OK)
            return error;
        subscription->warning = mem_strndup((const char *)warning.data, warning.len);
        if (subscription->warning == NULL)
            return ERROR_MEMORY;
    }
    if (!subscription->resumes) {
        enum error error = vug_positions_take_token(&subscription->positions, token);
        if (error != OK)
            return error;
        subscription->resumes = token.len > 0;
    }
    return OK;
}

/* The server has not joined yet, or some bucket of the query has no leader. */
static bool is_for_now(const struct vug_error *error)
{
    return error != NULL && (error->error == ERROR_NO_SERVER || error->error == ERROR_TIMEOUT ||
                             error->error == ERROR_BUSY);
}

static void on_subscribed(void *arg, const struct vug_error *error, struct slice body)
{
    struct vug_subscription *subscription = arg;
    if (error != NULL && error->code == 0)
        return; /* the connection is lost, which on_conn_closed() hears */
    if (is_for_now(error) && subscription->columns != NULL) { /* it has begun: another attempt */
        vug_conn_close(subscription->conn);
        subscription->conn = NULL;
        wait_and_retry(subscription, error);
        return;
    }
    subscription->in_calls++;
    if (error != NULL) {
        fail(subscription, error);
        goto out;
    }
    enum error problem = read_response(subscription, body);
    if (problem != OK) {
        fail_kind(subscription, problem);
        goto out;
    }
    subscription->subscribed = true;
    subscription->waits = false;
    subscription->retry_us = RETRY_MIN_US;
    loop_timer_clear(&subscription->give_up);
    tell_status(subscription, VUG_SUBSCRIBED, (struct slice){0});
out:
    leave(subscription);
}

static void on_route_ready(void *arg, struct vug_conn *conn)
{
    static const struct vug_conn_events events = {.on_push = on_push, .on_closed = on_conn_closed};
    struct vug_subscription *subscription = arg;
    struct buf body;
    buf_init(&body);
    vug_conn_adopt(conn, &events, subscription);
    subscription->conn = conn;
    subscription->used_events = 0; /* a new connection begins with full credit */
    subscription->used_bytes = 0;
    subscription->token_unacknowledged = false;
    buf_append_slice(&body, buf_slice(&subscription->request));
    if (subscription->resumes) {
        vug_wire_bytes(&body, 8, buf_slice(&subscription->positions.token));
        vug_positions_encode(&subscription->positions, 22, &body);
        vug_positions_set_floor(&subscription->positions);
    } else {
        buf_append_slice(&body, buf_slice(&subscription->start));
    }
    enum error error = body.failed ? ERROR_MEMORY
                                   : vug_conn_send(conn, VUG_SUBSCRIBE, buf_slice(&body),
                                                   on_subscribed, subscription);
    buf_fini(&body);
    if (error != OK && error != ERROR_CLOSED)
        fail_kind(subscription, error);
}

static void on_route_failed(void *arg, const struct vug_error *error)
{
    struct vug_subscription *subscription = arg;
    struct vug_error why = *error;
    retry_or_fail(subscription, &why);
}

static void on_retry(void *arg)
{
    struct vug_subscription *subscription = arg;
    if (!subscription->route.running && subscription->conn == NULL)
        vug_route_start(&subscription->route);
}

static void on_give_up(void *arg)
{
    struct vug_subscription *subscription = arg;
    struct vug_error error;
    vug_error_set(&error, ERROR_TIMEOUT, "no server for %llu s; last: %.1500s",
                  (unsigned long long)(subscription->give_up_ms / 1000),
                  subscription->route.error.text);
    fail(subscription, &error);
}

static void encode_options(struct vug_subscription *subscription,
                           const struct vug_subscription_options *options)
{
    struct buf *request = &subscription->request;
    vug_wire_text(request, 1, options->name);
    vug_wire_bytes(request, 2, options->sql);
    vug_wire_bytes(request, 4, options->plan_id);
    for (uint32_t i = 0; i < options->parameter_count; i++)
        vug_wire_named_value(request, 5, options->parameters[i].name,
                             &options->parameters[i].value);
    vug_wire_uint(request, 11, options->encoding);
    vug_wire_uint(request, 12, options->slow_policy);
    vug_wire_uint(request, 13, options->sample_ms);
    vug_wire_uint(request, 14, options->max_batch_events);
    vug_wire_uint(request, 15, options->max_batch_delay_us);
    vug_wire_uint(request, 16, options->credit_events);
    vug_wire_uint(request, 17, options->credit_bytes);
    for (uint32_t i = 0; i < options->bucket_count; i++) {
        uint8_t field[12]; /* 0 is a bucket too, so it is written */
        uint8_t *end = codec_put_varint(codec_put_varint(field, 18u << 3), options->buckets[i]);
        buf_append(request, field, (size_t)(end - field));
    }
    vug_wire_uint(request, 19, options->numeric_mode);
    vug_wire_uint(request, 20, options->late_rows);
    vug_wire_uint(request, 21, options->progress);
    vug_wire_uint(request, 23, options->token_every_batch);
    vug_wire_uint(&subscription->start, 9, options->start);
    vug_wire_sint(&subscription->start, 10, options->start_timestamp_ms);
}

static enum error init_timers(struct vug_subscription *subscription)
{
    enum error error =
        loop_timer_init(&subscription->retry, subscription->loop, on_retry, subscription);
    if (error == OK)
        error =
            loop_timer_init(&subscription->give_up, subscription->loop, on_give_up, subscription);
    return error;
}

enum error vug_subscription_new(struct loop *loop, struct net *net, const struct vug_target *target,
                                const struct vug_subscription_options *options,
                                const struct vug_subscription_events *events, void *arg,
                                struct vug_subscription **out)
{
    static const struct vug_route_events route_events = {.on_ready = on_route_ready,
                                                         .on_failed = on_route_failed};
    struct vug_subscription *subscription = mem_zalloc(sizeof *subscription);
    if (subscription == NULL)
        return ERROR_MEMORY;
    subscription->loop = loop;
    subscription->events = *events;
    subscription->arg = arg;
    subscription->retry_us = RETRY_MIN_US;
    subscription->began_us = loop_now_us(loop);
    subscription->timeout_us =
        (target->timeout_ms == 0 ? VUG_TIMEOUT_MS : target->timeout_ms) * 1000ull;
    subscription->give_up_ms = options->give_up_ms == 0 ? GIVE_UP_MS : options->give_up_ms;
    subscription->credit_events_max =
        options->credit_events == 0 ? LIMIT_CREDIT_EVENTS_DEFAULT : options->credit_events;
    subscription->credit_bytes_max =
        options->credit_bytes == 0 ? LIMIT_CREDIT_BYTES_DEFAULT : options->credit_bytes;
    buf_init(&subscription->request);
    buf_init(&subscription->start);
    vug_positions_init(&subscription->positions);
    encode_options(subscription, options);
    enum error error =
        subscription->request.failed || subscription->start.failed ? ERROR_MEMORY : OK;
    if (error == OK && options->resume.len > 0) {
        error = vug_positions_parse(&subscription->positions, options->resume);
        subscription->resumes = true;
    }
    if (error == OK)
        error = vug_route_init(&subscription->route, loop, net, target, VUG_TO_SERVER,
                               &route_events, subscription);
    if (error != OK)
        goto err_after_options;
    error = init_timers(subscription);
    if (error != OK)
        goto err_after_route;
    vug_route_start(&subscription->route);
    *out = subscription;
    return OK;

err_after_route:
    loop_timer_fini(&subscription->give_up);
    loop_timer_fini(&subscription->retry);
    vug_route_fini(&subscription->route);
err_after_options:
    release(subscription);
    return error;
}

void vug_subscription_free(struct vug_subscription *subscription)
{
    subscription->ended = true;
    vug_route_fini(&subscription->route);
    if (subscription->conn != NULL)
        vug_conn_close(subscription->conn);
    subscription->conn = NULL;
    loop_timer_fini(&subscription->retry);
    loop_timer_fini(&subscription->give_up);
    if (subscription->in_calls == 0)
        release(subscription);
}

uint32_t vug_subscription_column_count(const struct vug_subscription *subscription)
{
    return subscription->column_count;
}

const char *vug_subscription_column(const struct vug_subscription *subscription, uint32_t column)
{
    PRE(column < subscription->column_count);
    return subscription->columns[column];
}

const char *vug_subscription_type(const struct vug_subscription *subscription, uint32_t column)
{
    PRE(column < subscription->column_count);
    return subscription->types[column];
}

const char *vug_subscription_warning(const struct vug_subscription *subscription)
{
    return subscription->warning == NULL ? "" : subscription->warning;
}

void vug_subscription_token(const struct vug_subscription *subscription, struct buf *text)
{
    if (subscription->positions.token.len > 0)
        vug_positions_text(&subscription->positions, text);
}
