#include "locator/peer_link.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "common/mem.h"
#include "locator/adopt.h"
#include "locator/departure.h"
#include "locator/failover.h"
#include "locator/membership.h"
#include "locator/ops.h"
#include "locator/placer.h"
#include "locator/probe.h"
#include "locator/proposals.h"
#include "protocol/message.h"

/* ---- End ---- */

static void fail_call(struct peer_call *call, enum admin_reason reason, const char *text)
{
    struct failure failure;
    request_failure(&failure, reason, "%s", text);
    call->on_answer(call->arg, &failure, 0, slice_of(NULL, 0));
    mem_free(call);
}

static void unlink_peer(struct peer *peer)
{
    struct peer **at = &peer->locator->peers;
    while (*at != peer)
        at = &(*at)->next;
    *at = peer->next;
    peer->locator->peer_count--;
}

static void free_hello(struct peer *peer)
{
    mem_free(peer->name);
    mem_free(peer->host);
    mem_free(peer->version);
    for (size_t i = 0; i < peer->group_count; i++)
        mem_free(peer->groups[i]);
    mem_free(peer->groups);
}

/* The connection is gone already. Calls are failed last: their callbacks may look at the locator's
 * lists. */
static void peer_free(struct peer *peer, const char *why)
{
    struct locator *locator = peer->locator;
    struct peer_call *calls = peer->calls;
    unlink_peer(peer);
    if (peer->probe != NULL)
        probe_free(peer->probe);
    membership_peer_gone(locator, peer, why);
    request_forget_peer(locator, peer);
    free_hello(peer);
    mem_free(peer);
    while (calls != NULL) {
        struct peer_call *call = calls;
        calls = call->next;
        fail_call(call, ADMIN_REASON_UNREACHABLE,
                  "the connection to the server broke before it answered.");
    }
}

void peer_drop(struct peer *peer, const char *why)
{
    net_conn_abort(peer->conn);
    peer_free(peer, why);
}

void peer_refuse(struct peer *peer, int refusal, const char *format, ...)
{
    struct locator *locator = peer->locator;
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (refusal != PB__PEER_WELCOME__REFUSAL__NOT_READY)
        log_line(locator->log, LOG_WARN, "membership", "VG1220", "refused server %s: %s",
                 peer->name == NULL ? "?" : peer->name, text);
    Pb__PeerWelcome welcome = PB__PEER_WELCOME__INIT;
    welcome.refusal = (Pb__PeerWelcome__Refusal)refusal;
    welcome.text = text;
    welcome.name = (char *)(uintptr_t)locator->options.name;
    welcome.incarnation = locator->incarnation;
    welcome.role = CLUSTER_LOCATOR;
    welcome.version = (char *)(uintptr_t)VUG_VERSION;
    (void)PEER_SEND(peer->conn, WELCOME, welcome, &welcome);
    net_conn_finish(peer->conn);
    peer_free(peer, "refused");
}

/* ---- Sending ---- */

static bool lags(const struct peer *peer)
{
    return net_conn_unsent(peer->conn) > LOCATOR_UNSENT_MAX;
}

void peer_push_map(struct peer *peer)
{
    struct locator *locator = peer->locator;
    if (peer->state != PEER_LINKED || peer->pushed_epoch == locator->map->epoch || lags(peer))
        return;
    /* It has the map of another locator already, and does not ask for this one's. */
    if (peer->pushed_epoch != 0 && peer->member->acknowledged >= locator->map->epoch) {
        peer->pushed_epoch = locator->map->epoch;
        return;
    }
    Pb__PeerMapPush push = PB__PEER_MAP_PUSH__INIT;
    push.epoch = locator->map->epoch;
    push.map = message_bytes(buf_slice(&locator->packed));
    /* Without memory the next tick tries again. */
    if (PEER_SEND(peer->conn, MAP_PUSH, map_push, &push) == OK)
        peer->pushed_epoch = locator->map->epoch;
}

static void send_beacon(struct peer *peer)
{
    if (lags(peer))
        return;
    Pb__PeerBeacon beacon = PB__PEER_BEACON__INIT;
    beacon.number = ++peer->beacon_number;
    beacon.received = peer->beacon_received;
    beacon.epoch = peer->locator->map->epoch;
    (void)PEER_SEND(peer->conn, BEACON, beacon, &beacon);
}

void peer_welcome(struct peer *peer, struct member *member)
{
    struct locator *locator = peer->locator;
    peer->state = PEER_LINKED;
    peer->member = member;
    Pb__PeerWelcome welcome = PB__PEER_WELCOME__INIT;
    welcome.cluster_id = (ProtobufCBinaryData){.len = 16, .data = locator->map->cluster_id};
    welcome.epoch = locator->map->epoch;
    welcome.name = (char *)(uintptr_t)locator->options.name;
    welcome.incarnation = locator->incarnation;
    welcome.role = CLUSTER_LOCATOR;
    welcome.version = (char *)(uintptr_t)VUG_VERSION;
    if (PEER_SEND(peer->conn, WELCOME, welcome, &welcome) != OK) {
        peer_drop(peer, "there was not enough memory to welcome it");
        return;
    }
    peer_push_map(peer);
    send_beacon(peer);
}

void peer_answer(struct peer *peer, uint64_t call_id, const struct failure *failure,
                 uint32_t number, struct slice body)
{
    Pb__PeerAnswer answer = PB__PEER_ANSWER__INIT;
    answer.id = call_id;
    if (failure != NULL) {
        answer.code = failure->code;
        answer.text = (char *)(uintptr_t)failure->text;
    } else {
        answer.number = number;
        answer.body = message_bytes(body);
    }
    /* Without memory for it the caller's deadline answers. */
    (void)PEER_SEND(peer->conn, ANSWER, answer, &answer);
}

enum error peer_call(struct peer *peer, uint32_t number, struct slice body,
                     peer_answer_fn *on_answer, void *arg)
{
    if (lags(peer))
        return ERROR_BUSY;
    struct peer_call *call = mem_zalloc(sizeof(*call));
    if (call == NULL)
        return ERROR_MEMORY;
    Pb__PeerCall message = PB__PEER_CALL__INIT;
    message.id = call->id = ++peer->locator->next_call_id;
    message.number = number;
    message.body = message_bytes(body);
    enum error error = PEER_SEND(peer->conn, CALL, call, &message);
    if (error != OK) {
        mem_free(call);
        return error;
    }
    call->deadline_us = loop_now_us(peer->locator->loop) + LOCATOR_CALL_MS * UINT64_C(1000);
    call->on_answer = on_answer;
    call->arg = arg;
    call->next = peer->calls;
    peer->calls = call;
    return OK;
}

enum error peer_ask_to_stop(struct peer *peer)
{
    Pb__PeerStop stop = PB__PEER_STOP__INIT;
    return PEER_SEND(peer->conn, STOP, stop, &stop);
}

/* ---- Receiving ---- */

static enum error copy_text(const char *text, char **copy)
{
    *copy = mem_strndup(text, strlen(text));
    return *copy == NULL ? ERROR_MEMORY : OK;
}

static enum error copy_hello(struct peer *peer, const Pb__PeerHello *hello)
{
    enum error error = copy_text(hello->name, &peer->name);
    if (error == OK)
        error = copy_text(hello->host, &peer->host);
    if (error == OK)
        error = copy_text(hello->version, &peer->version);
    peer->groups = mem_array(hello->n_groups, sizeof(*peer->groups));
    if (peer->groups == NULL)
        return ERROR_MEMORY;
    for (; error == OK && peer->group_count < hello->n_groups; peer->group_count += error == OK)
        error = copy_text(hello->groups[peer->group_count], &peer->groups[peer->group_count]);
    peer->port = (uint16_t)hello->port;
    peer->http_port = (uint16_t)hello->http_port;
    peer->incarnation = hello->incarnation;
    peer->epoch = hello->epoch;
    peer->leaving = hello->leaving;
    return error;
}

static enum error on_hello(struct peer *peer, const Pb__PeerHello *hello)
{
    if (peer->state != PEER_GREETING)
        return ERROR_MALFORMED;
    enum error error = copy_hello(peer, hello);
    if (error != OK)
        return error;
    peer->state = PEER_DECIDING;
    if (peer->locator->adopt != NULL)
        adopt_hello(peer, hello);
    else
        membership_hello(peer, hello);
    return OK;
}

static enum error take_region_loads(struct member *member, const Pb__PeerBeacon *beacon)
{
    if (beacon->n_region > LIMIT_REGIONS)
        return ERROR_MALFORMED;
    if (beacon->n_region != member->region_count) {
        struct peer_region_load *regions = mem_array(beacon->n_region, sizeof(*regions));
        if (regions == NULL)
            return ERROR_MEMORY;
        mem_free(member->regions);
        member->regions = regions;
        member->region_count = (uint32_t)beacon->n_region;
    }
    for (uint32_t i = 0; i < member->region_count; i++)
        member->regions[i] = (struct peer_region_load){.region_id = beacon->region[i]->region_id,
                                                       .entries = beacon->region[i]->entries,
                                                       .bytes = beacon->region[i]->bytes};
    return OK;
}

static enum error take_links(struct member *member, const Pb__PeerBeacon *beacon)
{
    if (beacon->n_linked > LIMIT_MEMBERS)
        return ERROR_MALFORMED;
    if (beacon->n_linked > 0) {
        uint64_t *linked = mem_realloc(member->linked, beacon->n_linked * sizeof(*member->linked));
        if (linked == NULL)
            return ERROR_MEMORY;
        memcpy(linked, beacon->linked, beacon->n_linked * sizeof(*linked));
        member->linked = linked;
    }
    member->linked_count = (uint32_t)beacon->n_linked;
    return OK;
}

static void on_report(struct peer *peer, const Pb__PeerReport *report)
{
    struct departure_notice notice = {.noticed_by = peer->name,
                                      .evidence = report->evidence,
                                      .silent_ms = report->silent_ms,
                                      .gone = report->gone};
    if (report->incarnation == peer->incarnation ||
        (!report->gone && report->silent_ms < PEER_FRESH_MS))
        return;
    /* Without memory the reporter says so again. */
    (void)departure_notice(peer->locator, report->incarnation, &notice);
}

static enum error on_beacon(struct peer *peer, const Pb__PeerBeacon *beacon)
{
    struct locator *locator = peer->locator;
    struct member *member = peer->member;
    uint64_t now_us = loop_now_us(locator->loop);
    if (beacon->number <= peer->beacon_received)
        return OK;
    peer->beacon_received = beacon->number;
    member->heard_us = now_us;
    member->beaconed = true;
    member->entries = beacon->entries;
    member->bytes = beacon->bytes;
    member->primaries = beacon->primaries;
    member->buckets = beacon->buckets;
    member->uptime_s = beacon->uptime_s;
    member->follows_another = beacon->follows_another;
    membership_take_load(member, beacon->clients, now_us);
    enum error error = take_region_loads(member, beacon);
    if (error == OK)
        error = take_links(member, beacon);
    if (error == OK)
        membership_acknowledged(locator, member, beacon->epoch);
    if (error == OK && beacon->wants_answer)
        send_beacon(peer);
    if (error == OK && locator->departures != NULL)
        departure_drive(locator); /* the last link to one that is gone may be gone too */
    return error;
}

static void on_answer(struct peer *peer, const Pb__PeerAnswer *answer)
{
    struct peer_call **at = &peer->calls;
    while (*at != NULL && (*at)->id != answer->id)
        at = &(*at)->next;
    struct peer_call *call = *at;
    if (call == NULL)
        return; /* after its deadline */
    *at = call->next;
    struct failure failure;
    if (answer->code != 0)
        failure_set(&failure, answer->code, "%s", answer->text);
    call->on_answer(call->arg, answer->code != 0 ? &failure : NULL, answer->number,
                    slice_of(answer->body.data, answer->body.len));
    mem_free(call);
}

/* After it the peer may be gone. */
static enum error on_message(struct peer *peer, const Pb__PeerMessage *message)
{
    if (message->kind_case == PB__PEER_MESSAGE__KIND_HELLO)
        return on_hello(peer, message->hello);
    if (peer->state == PEER_ADOPTED)
        return adopt_message(peer, message);
    if (peer->state != PEER_LINKED)
        return ERROR_MALFORMED;
    switch (message->kind_case) {
    case PB__PEER_MESSAGE__KIND_BEACON:
        return on_beacon(peer, message->beacon);
    case PB__PEER_MESSAGE__KIND_MAP_ACK:
        membership_acknowledged(peer->locator, peer->member, message->map_ack->epoch);
        return OK;
    case PB__PEER_MESSAGE__KIND_MAP_FETCH:
        peer->pushed_epoch = 0;
        peer_push_map(peer);
        return OK;
    case PB__PEER_MESSAGE__KIND_CALL:
        ops_call(peer->locator, peer, message->call);
        return OK;
    case PB__PEER_MESSAGE__KIND_ANSWER:
        on_answer(peer, message->answer);
        return OK;
    case PB__PEER_MESSAGE__KIND_PROPOSE:
        proposals_take(peer->locator->proposals, peer->incarnation, message->propose);
        return OK;
    case PB__PEER_MESSAGE__KIND_REPORT:
        on_report(peer, message->report);
        return OK;
    case PB__PEER_MESSAGE__KIND_SEALED:
        failover_sealed(peer->locator, peer->incarnation, message->sealed);
        return OK;
    case PB__PEER_MESSAGE__KIND_LEAVE:
        membership_leaves(peer->locator, peer->member);
        return OK;
    default:
        return OK; /* of a newer version */
    }
}

static bool is_there(const struct locator *locator, const struct peer *peer)
{
    const struct peer *at = locator->peers;
    while (at != NULL && at != peer)
        at = at->next;
    return at != NULL;
}

static size_t on_data(void *arg, const uint8_t *data, size_t len)
{
    struct peer *peer = arg;
    struct locator *locator = peer->locator;
    struct slice rest = slice_of(data, len);
    peer->heard_us = loop_now_us(locator->loop);
    if (peer->state == PEER_GREETING && rest.len > 0 && rest.data[0] == PEER_FIRST_BYTE &&
        !peer->greeted) {
        rest = slice_of(rest.data + 1, rest.len - 1);
        peer->greeted = true;
    }
    for (;;) {
        struct slice frame;
        Pb__PeerMessage *message;
        size_t max = peer->state == PEER_GREETING ? PEER_HELLO_BYTES_MAX : LIMIT_PEER_MESSAGE_BYTES;
        enum error error = peer_next_frame(&rest, max, &frame);
        if (error == OK && frame.data == NULL)
            return len - rest.len;
        arena_reset(&locator->arena);
        if (error == OK)
            error = peer_unpack(frame, &locator->arena, &message);
        if (error == OK)
            error = on_message(peer, message);
        if (!is_there(locator, peer))
            return len;
        if (error != OK) {
            peer_drop(peer, error_text(error));
            return len;
        }
    }
}

static void on_eof(void *arg, struct slice rest)
{
    (void)rest;
    peer_drop(arg, error_text(ERROR_CLOSED));
}

static void on_drain(void *arg)
{
    peer_push_map(arg);
}

static void on_close(void *arg, enum error why)
{
    peer_free(arg, error_text(why));
}

static const struct net_conn_events conn_events = {
    .on_data = on_data,
    .on_eof = on_eof,
    .on_drain = on_drain,
    .on_close = on_close,
};

void peer_accept(void *owner, struct net_conn *conn, struct slice data)
{
    (void)data; /* given again, to on_data() */
    struct locator *locator = owner;
    struct peer *peer = locator->peer_count < LOCATOR_PEERS_MAX ? mem_zalloc(sizeof(*peer)) : NULL;
    if (peer == NULL) {
        net_conn_abort(conn);
        return;
    }
    peer->locator = locator;
    peer->conn = conn;
    peer->heard_us = loop_now_us(locator->loop);
    peer->next = locator->peers;
    locator->peers = peer;
    locator->peer_count++;
    net_conn_hand_over(conn, &conn_events, peer);
    net_conn_pause(conn);
    net_conn_resume(conn);
}

/* ---- Time ---- */

static void fail_late_calls(struct peer *peer, uint64_t now_us)
{
    struct peer_call **at = &peer->calls;
    while (*at != NULL && (*at)->deadline_us > now_us)
        at = &(*at)->next;
    /* The newest stand first, so everything from here on is late. */
    struct peer_call *late = *at;
    *at = NULL;
    while (late != NULL) {
        struct peer_call *call = late;
        late = call->next;
        fail_call(call, ADMIN_REASON_TIMEOUT,
                  "the server did not answer in time; it may still do what was asked.");
    }
}

void peer_tick(struct peer *peer, uint64_t now_us)
{
    uint64_t silent_us = now_us - peer->heard_us;
    if (peer->state == PEER_GREETING && silent_us > PEER_HELLO_MS * UINT64_C(1000)) {
        peer_drop(peer, "it did not say who it is");
        return;
    }
    if (peer->state != PEER_LINKED)
        return;
    if (silent_us > PEER_SILENT_MS * UINT64_C(1000)) {
        peer_drop(peer, "it has been silent for 5 s");
        return;
    }
    peer_push_map(peer);
    send_beacon(peer);
    fail_late_calls(peer, now_us);
}
