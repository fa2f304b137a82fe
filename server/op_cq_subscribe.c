#include <xxhash.h>

#include "server/ops.h"
#include "server/subscription.h"

/* What of the request this version does not do is refused in so many words. */
static bool check_request(const Pb__CqSubscribeRequest *request, struct failure *failure)
{
    const char *why = NULL;
    if (request->oql.len > 0)
        why = "Continuous queries in OQL come with a later version. Use sql.";
    else if ((request->sql.len > 0) == (request->plan_id.len > 0))
        why = "A subscription names a query by exactly one of sql and plan_id.";
    else if (request->start > PB__START__TIMESTAMP || request->encoding > PB__ENCODING__GEODE ||
             request->slow_policy > PB__SLOW_POLICY__DISCONNECT ||
             request->numeric_mode > PB__NUMERIC_MODE__FLINK)
        why = "The start, encoding, slow policy or numeric mode has a number that does not exist.";
    else if (request->start > PB__START__LATEST)
        why = "This version starts a subscription with SNAPSHOT or LATEST; EARLIEST_RETAINED and "
              "TIMESTAMP come later.";
    else if (request->encoding > PB__ENCODING__APPEND)
        why = "The encoding GEODE is for OQL. Use DEFAULT, CHANGELOG, UPSERT or APPEND.";
    else if (request->slow_policy == PB__SLOW_POLICY__SAMPLE)
        why = "The slow policy SAMPLE comes with a later version. Use CATCH_UP, CONFLATE or "
              "DISCONNECT.";
    else if (request->n_position > 0 && request->resume_token.len == 0)
        why = "Positions complete a resume token; send the last token with them.";
    else if (request->name.len > LIMIT_NAME_BYTES)
        why = "The name of a continuous query has at most 255 bytes.";
    if (why != NULL)
        failure_set(failure, FAILURE_INVALID_REQUEST, "%s", why);
    return why == NULL;
}

static bool choose_encoding(const Pb__CqSubscribeRequest *request, const struct query_plan *plan,
                            Pb__Encoding *encoding, struct failure *failure)
{
    uint32_t keys[LIMIT_COLUMNS];
    bool append_only = query_plan_is_append_only(plan);
    *encoding = request->encoding;
    if (*encoding == PB__ENCODING__DEFAULT)
        *encoding = append_only ? PB__ENCODING__APPEND : PB__ENCODING__CHANGELOG;
    if (*encoding == PB__ENCODING__APPEND && !append_only) {
        failure_set(failure, FAILURE_INVALID_REQUEST,
                    "The results of this query change later, so they cannot be sent with the "
                    "encoding APPEND. Use CHANGELOG or "
                    "UPSERT.");
        return false;
    }
    if (*encoding == PB__ENCODING__UPSERT && query_plan_key_columns(plan, keys) == 0) {
        failure_set(failure, FAILURE_INVALID_REQUEST,
                    "The encoding UPSERT needs a key: select the columns of PARTITION BY or GROUP "
                    "BY, or use CHANGELOG.");
        return false;
    }
    uint32_t key_count = query_plan_key_columns(plan, keys);
    if (request->slow_policy == PB__SLOW_POLICY__CONFLATE &&
        (key_count == 0 || key_count > LIMIT_KEY_COLUMNS)) {
        failure_set(failure, FAILURE_INVALID_REQUEST,
                    "The slow policy CONFLATE needs a key of 1 to %u columns: select the columns "
                    "of PARTITION BY or GROUP "
                    "BY, or use CATCH_UP.",
                    LIMIT_KEY_COLUMNS);
        return false;
    }
    return true;
}

static void failure_of_attach(enum error error, const Pb__CqSubscribeRequest *request,
                              struct failure *failure)
{
    if (error == ERROR_CONFLICT)
        failure_set(failure, FAILURE_INVALID_REQUEST,
                    "The name or token belongs to another query than the one given. Use another "
                    "name, or the same text and "
                    "parameters.");
    else if (error == ERROR_NOT_FOUND)
        failure_set(
            failure, FAILURE_INVALID_REQUEST,
            "There is no continuous query with this plan_id any more. Subscribe with its text.");
    else if (error == ERROR_LIMIT)
        failure_set(failure, FAILURE_SERVER_ERROR,
                    "This server has its limit of continuous queries (%u), of subscriptions (%u) "
                    "or of subscriptions on one "
                    "connection (%u). End some that are no longer needed.",
                    LIMIT_INSTANCES, LIMIT_SUBSCRIPTIONS, LIMIT_SUBSCRIPTIONS_PER_CONNECTION);
    else
        failure_of_error(failure, error);
    (void)request;
}

/* The plan of the request's text; NULL without an error when it names an instance by plan_id. */
static bool make_plan(struct session *session, const Pb__CqSubscribeRequest *request,
                      struct query_plan **plan, struct region **region, struct failure *failure)
{
    struct query_parameter *parameters;
    const struct catalog *catalog = op_worker(session)->catalog;
    *plan = NULL;
    *region = NULL;
    if (request->sql.len == 0)
        return true;
    if (catalog == NULL) {
        failure_of_error(failure, ERROR_NO_SERVER);
        return false;
    }
    if (!op_parameters(session, request->parameters, request->n_parameters, &parameters, failure))
        return false;
    if (op_plan(session, message_slice(request->sql), parameters, (uint32_t)request->n_parameters,
                request->numeric_mode == PB__NUMERIC_MODE__FLINK ? QUERY_FLINK : QUERY_EXACT, plan,
                failure) != OK)
        return false;
    *region = catalog_region(catalog, slice_text(query_plan_region(*plan)));
    if (*region == NULL) {
        failure_set(failure, FAILURE_SERVER_ERROR, FAILURE_REGION_NOT_FOUND,
                    SLICE_FMT(slice_text(query_plan_region(*plan))));
        query_plan_unref(*plan);
        return false;
    }
    return true;
}

static void on_build(void *arg)
{
    struct cq_instance *instance = arg;
    struct loop *loop = instance->builder->loop;
    if (cq_instance_build(instance, loop, LIMIT_SLICE_US) || atomic_load(&instance->failed)) {
        instance->builder = NULL;
        cq_instance_unref(instance);
        return;
    }
    loop_defer(loop, &instance->build_task);
}

/* Small regions are read at once, so that the first snapshot stands at the moment of the answer;
 * large ones in slices. */
static void start_building(struct worker *worker, struct cq_instance *instance)
{
    if (cq_instance_build(instance, worker->loop, LIMIT_SLICE_US * 10))
        return;
    instance->builder = worker;
    instance->build_task = (struct loop_task){.on_run = on_build, .arg = cq_instance_ref(instance)};
    loop_defer(worker->loop, &instance->build_task);
}

static enum error subscribe(struct session *session, const Pb__CqSubscribeRequest *request,
                            struct cq_instance *instance, struct query_plan *plan, bool created,
                            struct failure *failure)
{
    struct worker *worker = op_worker(session);
    struct subscription_options options = {
        .instance = instance, .request = request, .plan = plan, .created = created};
    struct subscription *subscription;
    if (!choose_encoding(request, instance->plan, &options.encoding, failure))
        return ERROR_INVALID;
    if (created) {
        enum error error = cq_instance_add(instance, loop_wall_ms(worker->loop));
        if (error != OK) {
            failure_of_attach(error, request, failure);
            return ERROR_INVALID;
        }
        start_building(worker, instance);
    }
    enum error error = subscription_new(worker, session, &options, &subscription, failure);
    if (error != OK) {
        if (error != ERROR_INVALID)
            failure_of_attach(error, request, failure);
        return ERROR_INVALID;
    }
    struct session_slot *slot = session_slot_new(session);
    if (slot == NULL) {
        subscription_end(subscription);
        return ERROR_MEMORY;
    }
    subscription_start(subscription, slot, created);
    return OK;
}

/* What a token is about: a region of that name in another cluster, or made anew, is another one. */
static uint64_t life_of(const struct catalog *catalog, const struct region *region)
{
    return XXH3_64bits_withSeed(catalog->map->cluster_id, sizeof catalog->map->cluster_id,
                                region->id);
}

/* Finds the instance that a resume token names; the token must be of the same query. */
static bool read_token(const Pb__CqSubscribeRequest *request, const struct query_plan *plan,
                       struct registry_request *wanted, struct failure *failure)
{
    struct token_head head;
    uint8_t fingerprint[16];
    const char *why = NULL;
    if (token_read_head(message_slice(request->resume_token), &head) != OK) {
        why = "The resume token is damaged. Subscribe without it for a new start.";
    } else if (plan != NULL) {
        query_plan_fingerprint(plan, fingerprint);
        if (memcmp(&head.plan, fingerprint, sizeof head.plan) != 0)
            why = "The resume token belongs to another query. Give the text and parameters that it "
                  "came from, or "
                  "subscribe without it for a new start.";
    }
    if (why != NULL) {
        failure_set(failure, FAILURE_INVALID_REQUEST, "%s", why);
        return false;
    }
    wanted->token_id = head.instance;
    return true;
}

/* CqSubscribeRequest: the answer leaves when the query has begun in every bucket, so a put that
 * follows it is seen. */
enum error op_cq_subscribe(struct session *session, struct slice body)
{
    ProtobufCMessage *message;
    struct worker *worker = op_worker(session);
    struct failure failure;
    struct query_plan *plan;
    struct cq_instance *instance;
    bool created;
    enum error error = message_unpack(&pb__cq_subscribe_request__descriptor, session_arena(session),
                                      body, &message);
    if (error != OK)
        return error;
    const Pb__CqSubscribeRequest *request = (const Pb__CqSubscribeRequest *)message;
    struct registry_request wanted = {
        .sql = message_slice(request->sql),
        .name = message_slice(request->name),
        .plan_id = message_slice(request->plan_id),
        .start = request->start == PB__START__LATEST ? CQ_START_LATEST : CQ_START_SNAPSHOT};
    if (!check_request(request, &failure) ||
        !make_plan(session, request, &plan, &wanted.region, &failure))
        return session_fail(session, &failure, SESSION_NO_WAIT);
    wanted.plan = plan;
    if (request->resume_token.len > 0 && !read_token(request, plan, &wanted, &failure)) {
        query_plan_unref(plan);
        return session_fail(session, &failure, SESSION_NO_WAIT);
    }
    uint64_t id;
    loop_random(worker->loop, &id, sizeof id);
    registry_trim(worker->server, loop_wall_ms(worker->loop));
    wanted.now_us = loop_now_us(worker->loop);
    if (plan != NULL)
        wanted.life = life_of(worker->catalog, wanted.region);
    error = registry_attach(worker->server, &wanted, id | 1, &instance, &created);
    if (error != OK) {
        query_plan_unref(plan);
        failure_of_attach(error, request, &failure);
        return session_fail(session, &failure, SESSION_NO_WAIT);
    }
    error = subscribe(session, request, instance, plan, created, &failure);
    registry_attached(instance);
    if (error != OK && created)
        registry_release(worker->server, instance, loop_wall_ms(worker->loop));
    cq_instance_unref(instance);
    query_plan_unref(plan);
    return error == ERROR_INVALID ? session_fail(session, &failure, SESSION_NO_WAIT) : error;
}
