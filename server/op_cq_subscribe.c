#include "common/mem.h"
#include "protocol/admin_reason.h"
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

static void failure_of_attach(enum error error, struct failure *failure)
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
                    "This server has its limit of subscriptions (%u) or of subscriptions on one "
                    "connection (%u). End some that are no longer needed.",
                    LIMIT_SUBSCRIPTIONS, LIMIT_SUBSCRIPTIONS_PER_CONNECTION);
    else
        failure_of_error(failure, error);
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
    if ((*region)->type == CLUSTER_LOCAL) {
        failure_set(failure, FAILURE_INVALID_REQUEST,
                    "The region %s is LOCAL: each server has contents of its own there, and a "
                    "continuous query covers those of all servers. Use a region of another type.",
                    (*region)->name);
        query_plan_unref(*plan);
        return false;
    }
    return true;
}

/* Attaches a subscription to the instance, which was reserved, and answers through the slot when
 * it is ready. Takes the slot and the instance's reference. */
static void subscribe(struct worker *worker, struct session_slot *slot,
                      const Pb__CqSubscribeRequest *request, struct cq_instance *instance,
                      struct query_plan *plan, bool created)
{
    struct subscription_options options = {
        .instance = instance, .request = request, .plan = plan, .created = created};
    struct session *session = session_slot_session(slot);
    struct subscription *subscription = NULL;
    struct failure failure;
    enum error error = ERROR_INVALID;
    if (session == NULL) {
        session_slot_drop(slot);
    } else {
        if (choose_encoding(request, instance->plan, &options.encoding, &failure))
            error = subscription_new(worker, session, &options, &subscription, &failure);
        if (error == OK) {
            subscription_start(subscription, slot);
        } else {
            if (error != ERROR_INVALID)
                failure_of_attach(error, &failure);
            session_slot_fail(slot, &failure);
        }
    }
    registry_attached(worker->server, instance);
    if (error != OK && created)
        registry_release(worker->server, instance);
    cq_instance_unref(instance);
}

/* ---- A new instance: asked for at a locator ---- */

struct pending {
    struct worker *worker;
    struct session_slot *slot;
    struct query_plan *plan; /* a reference */
    struct buf body;         /* of the request */
    struct cq_wait wait;
    uint64_t id, epoch;
    bool created;
    struct loop_timer deadline;
};

static void pending_free(struct pending *pending)
{
    loop_timer_fini(&pending->deadline);
    query_plan_unref(pending->plan);
    buf_fini(&pending->body);
    mem_free(pending);
}

static void pending_fail(struct pending *pending, const struct failure *failure)
{
    session_slot_fail(pending->slot, failure);
    pending_free(pending);
}

/* The instance is there: the request is read again, since what it pointed to is gone. */
static void pending_subscribe(struct pending *pending, struct cq_instance *instance)
{
    struct arena arena;
    struct failure failure;
    ProtobufCMessage *message;
    arena_init(&arena, LIMIT_ARENA_BYTES);
    enum error error = message_unpack(&pb__cq_subscribe_request__descriptor, &arena,
                                      buf_slice(&pending->body), &message);
    if (error == OK) {
        subscribe(pending->worker, pending->slot, (const Pb__CqSubscribeRequest *)message, instance,
                  pending->plan, pending->created);
        pending_free(pending);
    } else {
        registry_attached(pending->worker->server, instance);
        registry_release(pending->worker->server, instance);
        cq_instance_unref(instance);
        failure_of_error(&failure, error);
        pending_fail(pending, &failure);
    }
    arena_fini(&arena);
}

static void pending_attach(struct pending *pending)
{
    struct cq_instance *instance;
    struct failure failure;
    enum error error = registry_attach_id(pending->worker->server, pending->id, pending->epoch,
                                          pending->created, &pending->wait, &instance);
    if (error == OK) {
        pending_subscribe(pending, instance);
    } else if (error != ERROR_BUSY) {
        failure_set(&failure, FAILURE_SERVER_ERROR,
                    "The query ended before it began: its region was destroyed, or this server "
                    "could not take it (see its log). Subscribe again.");
        pending_fail(pending, &failure);
    }
}

static void on_map(void *arg)
{
    pending_attach(arg);
}

static void on_deadline(void *arg)
{
    struct pending *pending = arg;
    struct failure failure;
    if (!registry_forget_wait(pending->worker->server, &pending->wait))
        return; /* the map has come at this moment */
    failure_set(&failure, FAILURE_SERVER_ERROR,
                "The query is in the cluster map, but this server did not get that map within "
                "10 s. Subscribe again.");
    pending_fail(pending, &failure);
}

static void failure_of_locator(const struct failure *from, struct failure *failure)
{
    const char *text;
    int status = admin_reason_exit_status(from->text, &text);
    if (status == admin_reason_row(ADMIN_REASON_UNREACHABLE).exit_status)
        failure_set(failure, FAILURE_SERVER_ERROR,
                    "A new continuous query needs a locator, and none is connected to this "
                    "server. Queries that run go on; start the locator and subscribe again.");
    else if (strncmp(from->text, "EXISTS: ", 8) == 0)
        failure_set(failure, FAILURE_INVALID_REQUEST, "%s", text);
    else
        failure_set(failure, from->code, "%s", text);
}

static void on_added(void *arg, const struct failure *why, uint32_t number, struct slice body)
{
    struct pending *pending = arg;
    struct arena arena;
    struct failure failure;
    ProtobufCMessage *message;
    arena_init(&arena, LIMIT_STATEMENT_BYTES);
    if (why != NULL) {
        failure_of_locator(why, &failure);
        pending_fail(pending, &failure);
    } else if (number != 1071 ||
               message_unpack(&pb__query_added__descriptor, &arena, body, &message) != OK) {
        failure_of_error(&failure, ERROR_MALFORMED);
        pending_fail(pending, &failure);
    } else {
        const Pb__QueryAdded *added = (const Pb__QueryAdded *)message;
        pending->id = added->id;
        pending->epoch = added->epoch;
        pending->created = added->created;
        loop_timer_set(&pending->deadline, LIMIT_SUBSCRIBE_US);
        pending_attach(pending);
    }
    arena_fini(&arena);
}

/* The packed QueryAdd; ERROR_MEMORY. */
static enum error pack_add(struct worker *worker, const Pb__CqSubscribeRequest *request,
                           const struct query_plan *plan, const struct region *region,
                           struct buf *out)
{
    struct buf parameters, ddl;
    struct query_plan *again = NULL;
    Pb__QueryParameters list = PB__QUERY_PARAMETERS__INIT;
    Pb__QueryAdd add = PB__QUERY_ADD__INIT;
    buf_init(&parameters);
    buf_init(&ddl);
    list.n_parameter = request->n_parameters;
    list.parameter = request->parameters;
    uint8_t *at = buf_reserve(&parameters, protobuf_c_message_get_packed_size(&list.base) + 1);
    if (at != NULL)
        parameters.len = protobuf_c_message_pack(&list.base, at);
    struct cluster_query query = {.text = message_slice(request->sql),
                                  .parameters = buf_slice(&parameters),
                                  .numeric_mode = (uint32_t)request->numeric_mode};
    enum error error = at == NULL ? ERROR_MEMORY : OK;
    if (error == OK)
        error = registry_plan(worker->catalog, &query, &again, &ddl);
    query_plan_unref(again);
    if (error == OK && ddl.failed)
        error = ERROR_MEMORY;
    add.name = request->name;
    add.text = request->sql;
    add.parameters = message_bytes(buf_slice(&parameters));
    add.numeric_mode = (uint32_t)request->numeric_mode;
    add.start = (uint32_t)request->start;
    add.region_id = region->id;
    add.ddl = message_bytes(buf_slice(&ddl));
    add.shared = !query_plan_has_state(plan);
    size_t len = protobuf_c_message_get_packed_size(&add.base);
    at = error == OK ? buf_reserve(out, len + 1) : NULL;
    if (at != NULL)
        out->len = protobuf_c_message_pack(&add.base, at);
    buf_fini(&ddl);
    buf_fini(&parameters);
    return error == OK && at == NULL ? ERROR_MEMORY : error;
}

static enum error ask_for(struct session *session, const Pb__CqSubscribeRequest *request,
                          struct slice body, struct query_plan *plan, struct region *region)
{
    struct worker *worker = op_worker(session);
    struct failure failure;
    struct buf add;
    struct pending *pending = mem_zalloc(sizeof *pending);
    if (pending == NULL)
        return ERROR_MEMORY;
    buf_init(&add);
    buf_init(&pending->body);
    buf_append_slice(&pending->body, body);
    pending->worker = pending->wait.worker = worker;
    pending->wait.on_map = (struct loop_task){.on_run = on_map, .arg = pending};
    pending->plan = query_plan_ref(plan);
    enum error error = pending->body.failed ? ERROR_MEMORY : OK;
    if (error == OK)
        error = loop_timer_init(&pending->deadline, worker->loop, on_deadline, pending);
    if (error == OK)
        error = pack_add(worker, request, plan, region, &add);
    if (error == OK && (pending->slot = session_slot_new(session)) == NULL)
        error = ERROR_MEMORY;
    if (error == OK) {
        error =
            server_ask_locator(worker->server, worker, 1070, buf_slice(&add), on_added, pending);
        if (error != OK) { /* the slot answers, in its place */
            failure_of_error(&failure, error);
            pending_fail(pending, &failure);
            pending = NULL;
            error = OK;
        }
    }
    if (error != OK)
        pending_free(pending);
    buf_fini(&add);
    return error;
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
    enum error error = message_unpack(&pb__cq_subscribe_request__descriptor, session_arena(session),
                                      body, &message);
    if (error != OK)
        return error;
    const Pb__CqSubscribeRequest *request = (const Pb__CqSubscribeRequest *)message;
    struct registry_request wanted = {.name = message_slice(request->name),
                                      .plan_id = message_slice(request->plan_id)};
    if (!check_request(request, &failure) ||
        !make_plan(session, request, &plan, &wanted.region, &failure))
        return session_fail(session, &failure);
    wanted.plan = plan;
    if (request->resume_token.len > 0 && !read_token(request, plan, &wanted, &failure)) {
        query_plan_unref(plan);
        return session_fail(session, &failure);
    }
    registry_trim(worker->server);
    error = registry_attach(worker->server, &wanted, &instance);
    if (error == ERROR_NOT_FOUND && plan != NULL) {
        error = ask_for(session, request, body, plan, wanted.region);
    } else if (error == OK) {
        struct session_slot *slot = session_slot_new(session);
        if (slot != NULL) {
            subscribe(worker, slot, request, instance, plan, false);
        } else {
            error = ERROR_MEMORY;
            registry_attached(worker->server, instance);
            cq_instance_unref(instance);
        }
    } else {
        failure_of_attach(error, &failure);
        error = session_fail(session, &failure);
    }
    query_plan_unref(plan);
    return error;
}
