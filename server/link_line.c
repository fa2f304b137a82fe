/* One line of the link: the connection to one locator. */
#include "server/link_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/limits.h"
#include "common/mem.h"

enum {
    BACKOFF_MAX_MS = 500,
    CONNECT_MS = 1000,
    WELCOME_MS = 5000,        /* a locator that probes the holder of a name takes its time */
    LOCATOR_SILENT_MS = 2000, /* without any beacon: the connection is given up */
};

/* ---- Losing the connection ---- */

/* Half fixed, half random, so that the servers of a restarted locator do not come all at once. */
static uint64_t backoff_us(struct link_line *line)
{
    uint32_t chance;
    loop_random(line->link->loop, &chance, sizeof(chance));
    uint64_t half_us = line->backoff_ms * UINT64_C(500);
    line->backoff_ms =
        line->backoff_ms * 2 < BACKOFF_MAX_MS ? line->backoff_ms * 2 : BACKOFF_MAX_MS;
    return half_us + chance % (half_us + 1);
}

static void tell_loss(struct link_line *line, bool was_up)
{
    const struct link *link = line->link;
    uint32_t up = 0;
    for (uint32_t i = 0; i < link->line_count; i++)
        up += link->lines[i].state == LINE_UP;
    line->logged_loss = true;
    log_line(link->log, LOG_WARN, "link", "VG1301",
             "%s %s; goes on serving and tries to reach it again (connected to %u of %u locators)",
             was_up ? "lost the" : "cannot reach", link->trouble, up, link->line_count);
}

/* The connection is gone already; tries again after a while. */
static void lost(struct link_line *line, const char *why)
{
    struct link *link = line->link;
    bool was_up = line->state == LINE_UP;
    const struct net_address *locator = line_locator(line);
    line->confirmed = false;
    line->asked_epoch = 0;
    line->conn = NULL;
    line->state = LINE_WAITING;
    loop_timer_clear(&line->beacon);
    loop_timer_clear(&line->step);
    snprintf(link->trouble, sizeof(link->trouble), "locator %s[%u]: %s", locator->host,
             locator->port, why);
    if (link->joined && !line->logged_loss && !link->leaving)
        tell_loss(line, was_up);
    uint64_t delay_us = backoff_us(line);
    if (link->joined)
        loop_timer_set(&line->step, delay_us);
    else
        link_try_next(link, line, delay_us);
    if (was_up)
        line_fail_all_calls(line, "the connection to the locator broke before it answered; the "
                                  "change may or may not have "
                                  "been made. Look with `vug status` before trying again.");
}

static void drop(struct link_line *line, const char *why)
{
    net_conn_abort(line->conn);
    lost(line, why);
}

void line_close(struct link_line *line)
{
    if (line->conn != NULL)
        net_conn_abort(line->conn);
    line->conn = NULL;
    line->state = LINE_GIVEN_UP;
    loop_timer_clear(&line->step);
    loop_timer_clear(&line->beacon);
}

/* ---- Messages of the locator ---- */

static enum error take_map(struct link_line *line, const Pb__PeerMapPush *push)
{
    struct link *link = line->link;
    if (push->epoch <= link->epoch) {
        /* Again, late, or of another locator: what we have stands. */
        link_acknowledge(link, link->acknowledged);
        return OK;
    }
    if (push->map.len == 0) {
        Pb__PeerMapFetch fetch = PB__PEER_MAP_FETCH__INIT;
        fetch.epoch = push->epoch;
        return PEER_SEND(line->conn, MAP_FETCH, map_fetch, &fetch);
    }
    struct cluster_map *map;
    enum error error = cluster_map_unpack(slice_of(push->map.data, push->map.len), &map);
    if (error != OK)
        return error;
    if (map->epoch != push->epoch ||
        memcmp(map->cluster_id, link->cluster_id, CLUSTER_ID_BYTES) != 0) {
        cluster_map_unref(map);
        return ERROR_MALFORMED;
    }
    bool is_first = !link->joined;
    link->epoch = map->epoch;
    link->joined = true;
    loop_timer_clear(&link->patience);
    link->events.on_map(link->arg, map);
    cluster_map_unref(map);
    if (is_first)
        link_start_all(link);
    return OK;
}

/* Without memory for it the locator asks again. */
static void give_map(struct link_line *line)
{
    const struct link *link = line->link;
    struct cluster_map *map = link->events.map == NULL ? NULL : link->events.map(link->arg);
    struct buf packed;
    buf_init(&packed);
    if (map != NULL && cluster_map_pack(map, &packed) == OK) {
        Pb__PeerMapPush push = PB__PEER_MAP_PUSH__INIT;
        push.epoch = map->epoch;
        push.map = (ProtobufCBinaryData){.data = packed.data, .len = packed.len};
        (void)PEER_SEND(line->conn, MAP_PUSH, map_push, &push);
    }
    buf_fini(&packed);
}

static const struct {
    Pb__PeerWelcome__Refusal refusal;
    enum error error;
} refusals[] = {
    {PB__PEER_WELCOME__REFUSAL__OTHER_CLUSTER, ERROR_CONFLICT},
    {PB__PEER_WELCOME__REFUSAL__NAME_TAKEN, ERROR_EXISTS},
    {PB__PEER_WELCOME__REFUSAL__UNAUTHORIZED, ERROR_UNAUTHORIZED},
    {PB__PEER_WELCOME__REFUSAL__VERSION, ERROR_UNSUPPORTED},
    {PB__PEER_WELCOME__REFUSAL__SECOND_SERVER, ERROR_UNSUPPORTED},
    {PB__PEER_WELCOME__REFUSAL__MALFORMED, ERROR_INVALID},
};

/* A server that has joined ends only when its name belongs to another process; any other refusal
 * comes from a locator that is not, or not yet, of its cluster. One that leaves has no business
 * with a locator that names it no more. */
static void refused(struct link_line *line, const Pb__PeerWelcome *welcome)
{
    struct link *link = line->link;
    enum error why = ERROR_BUSY;
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
        if (refusals[i].refusal == welcome->refusal)
            why = refusals[i].error;
    if (link->leaving && why == ERROR_EXISTS) {
        line_close(line);
        return;
    }
    if (why != ERROR_BUSY && (!link->joined || why == ERROR_EXISTS)) {
        link_give_up(link, why, welcome->text);
        return;
    }
    if (link->joined && why != ERROR_BUSY && !line->logged_refusal) {
        line->logged_refusal = true;
        log_line(link->log, LOG_ERROR, "link", "VG1302",
                 "locator %s[%u] does not know this server: %s", line_locator(line)->host,
                 line_locator(line)->port, welcome->text);
    }
    drop(line, welcome->text);
}

static void other_cluster(struct link_line *line, const Pb__PeerWelcome *welcome)
{
    char text[512];
    snprintf(text, sizeof(text),
             "locator %s[%u] (%s) belongs to another cluster than the one that this server has "
             "joined: its map was lost or replaced. Restore the locator's data directory, or start "
             "the locator with --adopt, which takes the map that its servers hold; or restart this "
             "server, which then begins empty.",
             line_locator(line)->host, line_locator(line)->port, welcome->name);
    if (!line->logged_refusal) {
        line->logged_refusal = true;
        log_line(line->link->log, LOG_ERROR, "link", "VG1303", "%s", text);
    }
    drop(line, text);
}

static enum error on_welcome(struct link_line *line, const Pb__PeerWelcome *welcome)
{
    struct link *link = line->link;
    if (welcome->refusal != PB__PEER_WELCOME__REFUSAL__ACCEPTED) {
        refused(line, welcome);
        return OK;
    }
    if (welcome->cluster_id.len != CLUSTER_ID_BYTES)
        return ERROR_MALFORMED;
    if (link->has_cluster_id &&
        memcmp(welcome->cluster_id.data, link->cluster_id, CLUSTER_ID_BYTES) != 0) {
        other_cluster(line, welcome);
        return OK;
    }
    memcpy(link->cluster_id, welcome->cluster_id.data, CLUSTER_ID_BYTES);
    link->has_cluster_id = true;
    line->state = LINE_UP;
    line->backoff_ms = LINE_BACKOFF_MIN_MS;
    line->logged_loss = line->logged_refusal = false;
    loop_timer_clear(&line->step);
    log_line(link->log, LOG_INFO, "link", NULL, "connected to locator %s at %s[%u]", welcome->name,
             line_locator(line)->host, line_locator(line)->port);
    line_send_beacon(line);
    return OK;
}

/* The locator names this server to clients once it has heard a beacon behind the acknowledgement of
 * its own newest map. */
static void take_beacon(struct link_line *line, const Pb__PeerBeacon *beacon)
{
    struct link *link = line->link;
    if (beacon->number > line->beacon_received)
        line->beacon_received = beacon->number;
    if (line->confirmed || line->asked_epoch == 0 || beacon->epoch != line->asked_epoch ||
        beacon->received < line->asked_number)
        return;
    line->confirmed = true;
    if (link->events.on_confirmed != NULL)
        link->events.on_confirmed(link->arg);
}

/* One message. After it the connection may be gone. */
static enum error on_message(struct link_line *line, const Pb__PeerMessage *message)
{
    struct link *link = line->link;
    if (line->state == LINE_GREETING)
        return message->kind_case == PB__PEER_MESSAGE__KIND_WELCOME
                   ? on_welcome(line, message->welcome)
                   : ERROR_MALFORMED;
    switch (message->kind_case) {
    case PB__PEER_MESSAGE__KIND_MAP_PUSH:
        return take_map(line, message->map_push);
    case PB__PEER_MESSAGE__KIND_MAP_FETCH:
        give_map(line);
        return OK;
    case PB__PEER_MESSAGE__KIND_BEACON:
        take_beacon(line, message->beacon);
        return OK;
    case PB__PEER_MESSAGE__KIND_ANSWER:
        line_take_answer(line, message->answer);
        return OK;
    case PB__PEER_MESSAGE__KIND_CALL:
        line_take_call(line, message->call);
        return OK;
    case PB__PEER_MESSAGE__KIND_SEAL:
        line_take_seal(line, message->seal);
        return OK;
    case PB__PEER_MESSAGE__KIND_PLACE:
        line_take_place(line, message->place);
        return OK;
    case PB__PEER_MESSAGE__KIND_STOP:
        link->events.on_stop(link->arg);
        return OK;
    default:
        return OK; /* of a newer locator */
    }
}

static size_t on_data(void *arg, const uint8_t *data, size_t len)
{
    struct link_line *line = arg;
    struct link *link = line->link;
    struct net_conn *conn = line->conn;
    struct slice rest = slice_of(data, len);
    line->heard_us = loop_now_us(link->loop);
    for (;;) {
        struct slice frame;
        Pb__PeerMessage *message;
        enum error error = peer_next_frame(&rest, LIMIT_PEER_MESSAGE_BYTES, &frame);
        if (error == OK && frame.data == NULL)
            return len - rest.len;
        arena_reset(&link->arena);
        if (error == OK)
            error = peer_unpack(frame, &link->arena, &message);
        if (error == OK)
            error = on_message(line, message);
        if (line->conn != conn)
            return len;
        if (error != OK) {
            drop(line, error_text(error));
            return len;
        }
    }
}

/* ---- Connecting ---- */

static void on_eof(void *arg, struct slice rest)
{
    (void)rest;
    struct link_line *line = arg;
    drop(line, error_text(ERROR_CLOSED));
}

static void on_close(void *arg, enum error why)
{
    lost(arg, error_text(why));
}

static void on_connect(void *arg)
{
    struct link_line *line = arg;
    struct link *link = line->link;
    Pb__PeerHello hello = PB__PEER_HELLO__INIT;
    if (link->has_cluster_id)
        hello.cluster_id = (ProtobufCBinaryData){.len = CLUSTER_ID_BYTES, .data = link->cluster_id};
    hello.name = (char *)(uintptr_t)link->options.name;
    hello.incarnation = link->options.incarnation;
    hello.role = CLUSTER_SERVER;
    hello.host = (char *)(uintptr_t)link->options.host;
    hello.port = link->options.port;
    hello.http_port = link->options.http_port;
    hello.groups = link->groups;
    hello.n_groups = link->group_count;
    hello.version = (char *)(uintptr_t)VUG_VERSION;
    hello.epoch = link->acknowledged;
    hello.link = PB__PEER_HELLO__LINK__CONTROL;
    hello.leaving = link->leaving;

    static const uint8_t first = PEER_FIRST_BYTE;
    line->state = LINE_GREETING;
    line->serial++;
    enum error error = net_conn_write(line->conn, &first, 1);
    if (error == OK)
        error = PEER_SEND(line->conn, HELLO, hello, &hello);
    if (error != OK) {
        drop(line, error_text(error));
        return;
    }
    loop_timer_set(&line->step, WELCOME_MS * UINT64_C(1000));
}

static void on_drain(void *arg)
{
    (void)arg; /* what did not fit was refused or comes again with the next beacon */
}

static const struct net_conn_events conn_events = {
    .on_data = on_data,
    .on_eof = on_eof,
    .on_drain = on_drain,
    .on_close = on_close,
    .on_connect = on_connect,
};

static void on_step(void *arg)
{
    struct link_line *line = arg;
    struct link *link = line->link;
    if (line->state != LINE_WAITING && line->state != LINE_IDLE) {
        drop(line, "it did not answer the greeting in time");
        return;
    }
    const struct net_address *locator = line_locator(line);
    line->state = LINE_CONNECTING;
    enum error error = net_connect(link->net, locator->host, locator->port,
                                   CONNECT_MS * UINT64_C(1000), &conn_events, line, &line->conn);
    if (error != OK)
        lost(line, error_text(error));
}

void line_start(struct link_line *line)
{
    PRE(line->state == LINE_IDLE || line->state == LINE_WAITING);
    line->state = LINE_WAITING;
    loop_timer_set(&line->step, 0);
}

/* ---- While up ---- */

/* In the arena, which a message of the locator may be using. */
static enum error add_regions(struct link *link, const struct link_load *load,
                              Pb__PeerBeacon *beacon)
{
    size_t count = load->regions == NULL ? 0 : load->region_count;
    Pb__PeerRegionLoad *regions = arena_alloc(&link->arena, (count + 1) * sizeof(*regions));
    beacon->region = arena_alloc(&link->arena, (count + 1) * sizeof(*beacon->region));
    if (regions == NULL || beacon->region == NULL)
        return ERROR_MEMORY;
    for (size_t i = 0; i < count; i++) {
        pb__peer_region_load__init(&regions[i]);
        regions[i].region_id = load->regions[i].region_id;
        regions[i].entries = load->regions[i].entries;
        regions[i].bytes = load->regions[i].bytes;
        beacon->region[i] = &regions[i];
    }
    beacon->n_region = count;
    return OK;
}

void line_send_beacon(struct link_line *line)
{
    struct link *link = line->link;
    struct link_load load = {0};
    link->events.load(link->arg, &load);
    Pb__PeerBeacon beacon = PB__PEER_BEACON__INIT;
    beacon.number = ++line->beacon_number;
    beacon.received = line->beacon_received;
    beacon.epoch = link->acknowledged;
    beacon.entries = load.entries;
    beacon.bytes = load.bytes;
    beacon.clients = load.clients;
    beacon.primaries = load.primaries;
    beacon.buckets = load.buckets;
    beacon.uptime_s = load.uptime_s;
    beacon.linked = (uint64_t *)(uintptr_t)load.linked;
    beacon.n_linked = load.linked_count;
    beacon.moving = load.moving;
    beacon.loop_stall_us = load.loop_stall_us;
    beacon.follows_another = link_first(link) != line;
    beacon.wants_answer = link->acknowledged > 0 && !line->confirmed;
    if (beacon.wants_answer && line->asked_epoch != link->acknowledged) {
        line->asked_epoch = link->acknowledged;
        line->asked_number = beacon.number;
    }
    /* A beacon that finds no memory is one that got lost; the next comes soon. */
    if (net_conn_unsent(line->conn) <= LINK_UNSENT_BYTES_MAX &&
        add_regions(link, &load, &beacon) == OK)
        (void)PEER_SEND(line->conn, BEACON, beacon, &beacon);
    loop_timer_set(&line->beacon, PEER_BEACON_MS * UINT64_C(1000));
}

static void on_beacon(void *arg)
{
    struct link_line *line = arg;
    uint64_t now_us = loop_now_us(line->link->loop);
    if (now_us - line->heard_us > LOCATOR_SILENT_MS * UINT64_C(1000)) {
        drop(line, "it has been silent for 2 s");
        return;
    }
    arena_reset(&line->link->arena);
    line_send_beacon(line);
    line_fail_late_calls(line, now_us);
}

/* ---- Life ---- */

enum error line_init(struct link_line *line, struct link *link, uint32_t index)
{
    *line = (struct link_line){.link = link, .index = index, .backoff_ms = LINE_BACKOFF_MIN_MS};
    enum error error = loop_timer_init(&line->step, link->loop, on_step, line);
    return error == OK ? loop_timer_init(&line->beacon, link->loop, on_beacon, line) : error;
}

void line_fini(struct link_line *line)
{
    /* What says that the server leaves has to arrive: a reset could overtake it. */
    if (line->conn != NULL && line->link->leaving && line->state == LINE_UP)
        net_conn_finish(line->conn);
    else if (line->conn != NULL)
        net_conn_abort(line->conn);
    line->conn = NULL;
    line->state = LINE_GIVEN_UP;
    line_fail_all_calls(line, "this server is shutting down.");
    loop_timer_fini(&line->step);
    loop_timer_fini(&line->beacon);
}
