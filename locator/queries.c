#include "locator/queries.h"

#include "common/mem.h"
#include "locator/peer_link.h"
#include "protocol/message.h"

struct attachment {
    uint64_t query, incarnation;
    uint64_t reported_us;
};

struct query_seen {
    uint64_t id;
    uint64_t seen_us; /* somebody was attached, or nothing was known yet */
    bool dropping;
};

struct queries {
    struct attachment *attachments;
    uint32_t attachment_count, attachment_cap;
    struct query_seen *seen;
    uint32_t seen_count, seen_cap;
};

static struct queries *queries_of(struct locator *locator)
{
    if (locator->queries == NULL)
        locator->queries = mem_zalloc(sizeof(*locator->queries));
    return locator->queries;
}

void queries_free(struct locator *locator)
{
    if (locator->queries == NULL)
        return;
    mem_free(locator->queries->attachments);
    mem_free(locator->queries->seen);
    mem_free(locator->queries);
    locator->queries = NULL;
}

static void fail_without_memory(struct request *request)
{
    request_fail(request, ADMIN_REASON_MEMORY,
                 "the locator has not enough memory; nothing was changed.");
}

static void fail_busy(struct request *request)
{
    request_fail(request, ADMIN_REASON_BUSY,
                 "too many changes of the cluster map wait; try again.");
}

/* ---- Who is attached ---- */

static bool is_attached_elsewhere(const struct locator *locator, uint64_t query,
                                  uint64_t incarnation)
{
    const struct queries *queries = locator->queries;
    uint64_t now_us = loop_now_us(locator->loop);
    for (uint32_t i = 0; queries != NULL && i < queries->attachment_count; i++) {
        const struct attachment *attachment = &queries->attachments[i];
        if (attachment->query == query && attachment->incarnation != incarnation &&
            now_us - attachment->reported_us < QUERY_FORGET_US)
            return true;
    }
    return false;
}

static struct query_seen *find_seen(struct queries *queries, uint64_t id)
{
    for (uint32_t i = 0; i < queries->seen_count; i++)
        if (queries->seen[i].id == id)
            return &queries->seen[i];
    return NULL;
}

/* Takes away what this server told before, and what is too old to count. */
static void forget_reports(struct queries *queries, uint64_t incarnation, uint64_t now_us)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < queries->attachment_count; i++) {
        const struct attachment *attachment = &queries->attachments[i];
        if (attachment->incarnation != incarnation &&
            now_us - attachment->reported_us < QUERY_FORGET_US)
            queries->attachments[kept++] = *attachment;
    }
    queries->attachment_count = kept;
}

static enum error keep_report(struct queries *queries, uint64_t incarnation, uint64_t now_us,
                              const Pb__QueryAttached *report)
{
    size_t wanted = queries->attachment_count + report->n_id;
    if (wanted > queries->attachment_cap) {
        struct attachment *bigger =
            mem_realloc(queries->attachments, wanted * 2 * sizeof(*queries->attachments));
        if (bigger == NULL)
            return ERROR_MEMORY;
        queries->attachments = bigger;
        queries->attachment_cap = (uint32_t)wanted * 2;
    }
    forget_reports(queries, incarnation, now_us);
    for (size_t i = 0; i < report->n_id; i++)
        queries->attachments[queries->attachment_count++] =
            (struct attachment){report->id[i], incarnation, now_us};
    return OK;
}

/* One row for each query of the map, and none for another; `seen_us` moves on while somebody is
 * attached. */
static enum error look_at_all(struct queries *queries, const struct cluster_map *map,
                              uint64_t now_us)
{
    if (map->query_count > queries->seen_cap) {
        struct query_seen *bigger =
            mem_realloc(queries->seen, map->query_count * 2 * sizeof(*queries->seen));
        if (bigger == NULL)
            return ERROR_MEMORY;
        queries->seen = bigger;
        queries->seen_cap = map->query_count * 2;
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < queries->seen_count; i++)
        if (cluster_map_query(map, queries->seen[i].id) != NULL)
            queries->seen[kept++] = queries->seen[i];
    queries->seen_count = kept;
    for (uint32_t i = 0; i < map->query_count; i++)
        if (find_seen(queries, map->queries[i].id) == NULL)
            queries->seen[queries->seen_count++] =
                (struct query_seen){.id = map->queries[i].id, .seen_us = now_us};
    for (uint32_t i = 0; i < queries->attachment_count; i++) {
        struct query_seen *seen = find_seen(queries, queries->attachments[i].query);
        if (seen != NULL && seen->seen_us < queries->attachments[i].reported_us)
            seen->seen_us = queries->attachments[i].reported_us;
    }
    return OK;
}

/* ---- Dropping ---- */

struct query_drop {
    struct change change;
    struct request *request; /* NULL: the retention has passed */
    struct locator *locator;
    uint64_t id, incarnation;
    bool failed, kept;
};

static enum change_verdict apply_drop(struct change *change, struct cluster_map *map,
                                      struct failure *failure)
{
    struct query_drop *drop = (struct query_drop *)change;
    (void)failure;
    drop->kept = !drop->failed && is_attached_elsewhere(drop->locator, drop->id, drop->incarnation);
    if (drop->kept || cluster_map_query(map, drop->id) == NULL)
        return CHANGE_UNCHANGED;
    enum error error = cluster_map_remove_query(map, drop->id);
    INVARIANT(error == OK);
    return CHANGE_STORE;
}

static void done_drop(struct locator *locator, struct change *change, const struct failure *failure)
{
    struct query_drop *drop = (struct query_drop *)change;
    struct query_seen *seen =
        locator->queries == NULL ? NULL : find_seen(locator->queries, drop->id);
    if (seen != NULL)
        seen->dropping = false;
    if (drop->request != NULL && failure != NULL) {
        request_fail_with(drop->request, failure);
    } else if (drop->request != NULL) {
        Pb__QueryDropped answer = PB__QUERY_DROPPED__INIT;
        answer.dropped = !drop->kept;
        request_reply(drop->request, QUERY_DROP + 1, &answer.base);
    }
    mem_free(drop);
}

static enum error submit_drop(struct locator *locator, struct request *request, uint64_t id,
                              uint64_t incarnation, bool failed)
{
    struct query_drop *drop = mem_zalloc(sizeof(*drop));
    if (drop == NULL)
        return ERROR_MEMORY;
    drop->change.apply = apply_drop;
    drop->change.done = done_drop;
    drop->request = request;
    drop->locator = locator;
    drop->id = id;
    drop->incarnation = incarnation;
    drop->failed = failed;
    enum error error = changes_submit(&locator->changes, &drop->change);
    if (error != OK)
        mem_free(drop);
    return error;
}

/* Who has not told may have subscribers: it may be cut off from this locator alone. */
static bool have_all_told(const struct locator *locator, uint64_t now_us)
{
    for (const struct member *member = locator->members; member != NULL; member = member->next)
        if (!member->gone &&
            (member->queries_told_us == 0 || now_us - member->queries_told_us >= QUERY_FORGET_US))
            return false;
    return true;
}

static void drop_forgotten(struct locator *locator, uint64_t now_us)
{
    struct queries *queries = locator->queries;
    if (!have_all_told(locator, now_us))
        return;
    for (uint32_t i = 0; i < queries->seen_count; i++) {
        struct query_seen *seen = &queries->seen[i];
        if (!seen->dropping && now_us - seen->seen_us > LIMIT_RING_RETENTION_MS * UINT64_C(1000))
            seen->dropping = submit_drop(locator, NULL, seen->id, 0, false) == OK;
    }
}

static void on_drop(struct request *request, const Pb__QueryDrop *drop, uint64_t incarnation)
{
    enum error error = submit_drop(request->locator, request, drop->id, incarnation, drop->failed);
    if (error == ERROR_MEMORY)
        fail_without_memory(request);
    else if (error != OK)
        fail_busy(request);
}

static void on_attached(struct request *request, const Pb__QueryAttached *report,
                        uint64_t incarnation)
{
    struct locator *locator = request->locator;
    struct queries *queries = queries_of(locator);
    uint64_t now_us = loop_now_us(locator->loop);
    if (report->n_id > LIMIT_INSTANCES) {
        request_fail(request, ADMIN_REASON_INVALID, "a cluster has at most %u continuous queries.",
                     LIMIT_INSTANCES);
        return;
    }
    if (queries == NULL || keep_report(queries, incarnation, now_us, report) != OK ||
        look_at_all(queries, locator->map, now_us) != OK) {
        fail_without_memory(request);
        return;
    }
    struct member *member = locator_member(locator, incarnation);
    if (member != NULL)
        member->queries_told_us = now_us;
    drop_forgotten(locator, now_us);
    Pb__QueryAttachedAnswer answer = PB__QUERY_ATTACHED_ANSWER__INIT;
    request_reply(request, QUERY_ATTACHED + 1, &answer.base);
}

/* ---- Adding ---- */

struct query_add {
    struct change change;
    struct request *request;
    struct buf texts; /* what `query` points into */
    struct cluster_query query;
    bool shared, created;
    uint64_t id;
};

static void query_add_free(struct query_add *add)
{
    buf_fini(&add->texts);
    mem_free(add);
}

static bool means_the_same(const struct cluster_query *a, const struct cluster_query *b)
{
    return slice_equal(a->text, b->text) && slice_equal(a->parameters, b->parameters) &&
           a->numeric_mode == b->numeric_mode && a->region_id == b->region_id;
}

static const struct cluster_query *find_shared(const struct query_add *add,
                                               const struct cluster_map *map)
{
    for (uint32_t i = 0; i < map->query_count; i++) {
        const struct cluster_query *query = &map->queries[i];
        if (add->query.name.len > 0
                ? slice_equal(query->name, add->query.name) &&
                      slice_equal(query->owner, add->query.owner)
                : add->shared && query->name.len == 0 && means_the_same(query, &add->query))
            return query;
    }
    return NULL;
}

static enum change_verdict apply_add(struct change *change, struct cluster_map *map,
                                     struct failure *failure)
{
    struct query_add *add = (struct query_add *)change;
    const struct cluster_query *there = find_shared(add, map);
    add->created = false;
    if (there != NULL && means_the_same(there, &add->query)) {
        add->id = there->id;
        return CHANGE_UNCHANGED;
    }
    if (there != NULL) {
        request_failure(failure, ADMIN_REASON_EXISTS,
                        "The name or token belongs to another query than the one given. Use "
                        "another name, or the same text and parameters.");
        return CHANGE_REFUSED;
    }
    if (cluster_map_region_by_id(map, add->query.region_id) == NULL) {
        request_failure(failure, ADMIN_REASON_NOT_FOUND,
                        "the region of the query was destroyed in between.");
        return CHANGE_REFUSED;
    }
    enum error error = cluster_map_add_query(map, &add->query, &add->id);
    add->created = error == OK;
    if (error == OK)
        return CHANGE_STORE;
    if (error == ERROR_LIMIT)
        request_failure(failure, ADMIN_REASON_BUSY,
                        "This cluster has its limit of continuous queries (%u). End some that are "
                        "no longer needed.",
                        LIMIT_INSTANCES);
    else if (error == ERROR_INVALID)
        request_failure(failure, ADMIN_REASON_INVALID,
                        "the name of a continuous query is 1 to %u printable characters, without "
                        "a slash at either end.",
                        LIMIT_NAME_BYTES);
    else
        request_failure(failure, ADMIN_REASON_MEMORY,
                        "the locator has not enough memory; nothing was changed.");
    return CHANGE_REFUSED;
}

static void done_add(struct locator *locator, struct change *change, const struct failure *failure)
{
    struct query_add *add = (struct query_add *)change;
    if (failure != NULL) {
        request_fail_with(add->request, failure);
    } else {
        Pb__QueryAdded answer = PB__QUERY_ADDED__INIT;
        answer.id = add->id;
        answer.epoch = locator->map->epoch;
        answer.created = add->created;
        request_reply(add->request, QUERY_ADD + 1, &answer.base);
    }
    query_add_free(add);
}

/* Copies one text behind the others; it is found again once all are there. */
static struct slice kept(struct query_add *add, ProtobufCBinaryData text)
{
    buf_append(&add->texts, text.data, text.len);
    return slice_of(NULL, text.len);
}

static void place(struct slice *text, const uint8_t **at)
{
    text->data = *at;
    *at += text->len;
}

static void on_add(struct request *request, const Pb__QueryAdd *from)
{
    if (from->ddl.len > LIMIT_STATEMENT_BYTES || from->text.len > LIMIT_STATEMENT_BYTES ||
        from->owner.len > LIMIT_NAME_BYTES) {
        request_fail(request, ADMIN_REASON_INVALID, "a statement has at most %u bytes.",
                     LIMIT_STATEMENT_BYTES);
        return;
    }
    struct query_add *add = mem_zalloc(sizeof(*add));
    if (add == NULL) {
        fail_without_memory(request);
        return;
    }
    buf_init(&add->texts);
    add->change.apply = apply_add;
    add->change.done = done_add;
    add->request = request;
    add->shared = from->shared;
    add->query = (struct cluster_query){.name = kept(add, from->name),
                                        .text = kept(add, from->text),
                                        .parameters = kept(add, from->parameters),
                                        .owner = kept(add, from->owner),
                                        .ddl = kept(add, from->ddl),
                                        .numeric_mode = from->numeric_mode,
                                        .start = from->start,
                                        .region_id = from->region_id};
    const uint8_t *at = add->texts.data;
    place(&add->query.name, &at);
    place(&add->query.text, &at);
    place(&add->query.parameters, &at);
    place(&add->query.owner, &at);
    place(&add->query.ddl, &at);
    if (add->texts.failed) {
        fail_without_memory(request);
        query_add_free(add);
    } else if (changes_submit(&request->locator->changes, &add->change) != OK) {
        fail_busy(request);
        query_add_free(add);
    }
}

bool queries_call(struct locator *locator, struct peer *peer, const Pb__PeerCall *call)
{
    const ProtobufCMessageDescriptor *descriptor =
        call->number == QUERY_ADD        ? &pb__query_add__descriptor
        : call->number == QUERY_DROP     ? &pb__query_drop__descriptor
        : call->number == QUERY_ATTACHED ? &pb__query_attached__descriptor
                                         : NULL;
    if (descriptor == NULL)
        return false;
    struct request *request = request_of_peer(locator, peer, call->id);
    ProtobufCMessage *body = NULL;
    if (request == NULL)
        return true; /* the server's deadline answers */
    enum error error = message_unpack(descriptor, &locator->arena,
                                      slice_of(call->body.data, call->body.len), &body);
    if (error != OK)
        request_fail(request, error == ERROR_MEMORY ? ADMIN_REASON_MEMORY : ADMIN_REASON_INVALID,
                     "the request cannot be read: %s.", error_text(error));
    else if (call->number == QUERY_ADD)
        on_add(request, (const Pb__QueryAdd *)body);
    else if (call->number == QUERY_DROP)
        on_drop(request, (const Pb__QueryDrop *)body, peer->incarnation);
    else
        on_attached(request, (const Pb__QueryAttached *)body, peer->incarnation);
    return true;
}
