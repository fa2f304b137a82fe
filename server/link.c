#include "server/link_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/limits.h"
#include "common/mem.h"

enum {
    BACKOFF_MIN_MS = 50,
    BACKOFF_MAX_MS = 500,
    CONNECT_MS = 1000,
    WELCOME_MS = 5000,        /* a locator that probes the holder of a name takes its time */
    LOCATOR_SILENT_MS = 2000, /* without any beacon: the connection is given up */
};

static const struct net_address *locator_of(const struct link *link)
{
    return &link->options.locators[link->locator];
}

static void send_beacon(struct link *link);

/* ---- Losing the connection ---- */

static void give_up(struct link *link, enum error why, const char *text)
{
    link->state = LINK_GIVEN_UP;
    loop_timer_clear(&link->step);
    loop_timer_clear(&link->beacon);
    loop_timer_clear(&link->patience);
    link->events.on_refused(link->arg, why, text);
}

/* Half fixed, half random, so that the servers of a restarted locator do not come all at once. */
static uint64_t backoff_us(struct link *link)
{
    uint32_t chance;
    loop_random(link->loop, &chance, sizeof(chance));
    uint64_t half_us = link->backoff_ms * UINT64_C(500);
    link->backoff_ms =
        link->backoff_ms * 2 < BACKOFF_MAX_MS ? link->backoff_ms * 2 : BACKOFF_MAX_MS;
    return half_us + chance % (half_us + 1);
}

/* The connection is gone already; tries the next locator after a while. */
static void lost(struct link *link, const char *why)
{
    bool was_up = link->state == LINK_UP;
    const struct net_address *locator = locator_of(link);
    link->confirmed = false;
    link->asked_epoch = 0;
    snprintf(link->trouble, sizeof(link->trouble), "locator %s[%u]: %s", locator->host,
             locator->port, why);
    if (link->joined && !link->logged_loss && !link->leaving) {
        link->logged_loss = true;
        log_line(link->log, LOG_WARN, "link", "VG1301",
                 "lost the %s; goes on serving and tries to reach a locator again", link->trouble);
    }
    link->conn = NULL;
    link->state = LINK_WAITING;
    link->locator = (link->locator + 1) % link->options.locator_count;
    loop_timer_clear(&link->beacon);
    loop_timer_clear(&link->step);
    if (link->leaving)
        link->state = LINK_GIVEN_UP;
    else
        loop_timer_set(&link->step, backoff_us(link));
    if (was_up)
        link_fail_all_calls(link, "the connection to the locator broke before it answered; the "
                                  "change may or may not have "
                                  "been made. Look with `vug status` before trying again.");
}

static void drop(struct link *link, const char *why)
{
    net_conn_abort(link->conn);
    lost(link, why);
}

/* ---- Messages of the locator ---- */

static enum error take_map(struct link *link, const Pb__PeerMapPush *push)
{
    if (push->epoch <= link->epoch) {
        /* Again, or late: what we have stands. */
        link_acknowledge(link, link->acknowledged);
        return OK;
    }
    if (push->map.len == 0) {
        Pb__PeerMapFetch fetch = PB__PEER_MAP_FETCH__INIT;
        fetch.epoch = push->epoch;
        return PEER_SEND(link->conn, MAP_FETCH, map_fetch, &fetch);
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
    link->epoch = map->epoch;
    link->joined = true;
    loop_timer_clear(&link->patience);
    link->events.on_map(link->arg, map);
    cluster_map_unref(map);
    return OK;
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
 * comes from a locator that is not, or not yet, of its cluster, and the next one may be. */
static void refused(struct link *link, const Pb__PeerWelcome *welcome)
{
    enum error why = ERROR_BUSY;
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
        if (refusals[i].refusal == welcome->refusal)
            why = refusals[i].error;
    if (why != ERROR_BUSY && (!link->joined || why == ERROR_EXISTS)) {
        net_conn_abort(link->conn);
        link->conn = NULL;
        give_up(link, why, welcome->text);
        return;
    }
    if (link->joined && why != ERROR_BUSY && !link->logged_refusal) {
        link->logged_refusal = true;
        log_line(link->log, LOG_ERROR, "link", "VG1302",
                 "locator %s[%u] does not know this server: %s", locator_of(link)->host,
                 locator_of(link)->port, welcome->text);
    }
    drop(link, welcome->text);
}

static void other_cluster(struct link *link, const Pb__PeerWelcome *welcome)
{
    char text[512];
    snprintf(text, sizeof(text),
             "locator %s[%u] (%s) belongs to another cluster than the one that this server has "
             "joined: its map was "
             "lost or replaced. Restore the locator's data directory, or restart this server, "
             "which then begins empty.",
             locator_of(link)->host, locator_of(link)->port, welcome->name);
    if (!link->logged_refusal) {
        link->logged_refusal = true;
        log_line(link->log, LOG_ERROR, "link", "VG1303", "%s", text);
    }
    drop(link, text);
}

static enum error on_welcome(struct link *link, const Pb__PeerWelcome *welcome)
{
    if (welcome->refusal != PB__PEER_WELCOME__REFUSAL__ACCEPTED) {
        refused(link, welcome);
        return OK;
    }
    if (welcome->cluster_id.len != CLUSTER_ID_BYTES)
        return ERROR_MALFORMED;
    if (link->has_cluster_id &&
        memcmp(welcome->cluster_id.data, link->cluster_id, CLUSTER_ID_BYTES) != 0) {
        other_cluster(link, welcome);
        return OK;
    }
    memcpy(link->cluster_id, welcome->cluster_id.data, CLUSTER_ID_BYTES);
    link->has_cluster_id = true;
    link->state = LINK_UP;
    link->backoff_ms = BACKOFF_MIN_MS;
    link->logged_loss = link->logged_refusal = false;
    loop_timer_clear(&link->step);
    log_line(link->log, LOG_INFO, "link", NULL, "connected to locator %s at %s[%u]", welcome->name,
             locator_of(link)->host, locator_of(link)->port);
    send_beacon(link);
    return OK;
}

/* The locator names this server to clients once it has heard a beacon behind the acknowledgement of
 * its own newest map. */
static void take_beacon(struct link *link, const Pb__PeerBeacon *beacon)
{
    if (beacon->number > link->beacon_received)
        link->beacon_received = beacon->number;
    if (link->confirmed || link->asked_epoch == 0 || beacon->epoch != link->asked_epoch ||
        beacon->received < link->asked_number)
        return;
    link->confirmed = true;
    if (link->events.on_confirmed != NULL)
        link->events.on_confirmed(link->arg);
}

/* One message. After it the connection may be gone. */
static enum error on_message(struct link *link, const Pb__PeerMessage *message)
{
    if (link->state == LINK_GREETING)
        return message->kind_case == PB__PEER_MESSAGE__KIND_WELCOME
                   ? on_welcome(link, message->welcome)
                   : ERROR_MALFORMED;
    switch (message->kind_case) {
    case PB__PEER_MESSAGE__KIND_MAP_PUSH:
        return take_map(link, message->map_push);
    case PB__PEER_MESSAGE__KIND_BEACON:
        take_beacon(link, message->beacon);
        return OK;
    case PB__PEER_MESSAGE__KIND_ANSWER:
        link_take_answer(link, message->answer);
        return OK;
    case PB__PEER_MESSAGE__KIND_CALL:
        if (link->events.on_call != NULL) {
            link->events.on_call(link->arg, message->call->id, message->call->number,
                                 slice_of(message->call->body.data, message->call->body.len));
        } else {
            struct failure failure;
            failure_set(&failure, FAILURE_UNSUPPORTED_OPERATION,
                        "UNSUPPORTED: this server cannot do that.");
            link_answer(link, message->call->id, &failure, 0, slice_of(NULL, 0));
        }
        return OK;
    case PB__PEER_MESSAGE__KIND_SEAL:
        link_take_seal(link, message->seal);
        return OK;
    case PB__PEER_MESSAGE__KIND_PLACE:
        link_take_place(link, message->place);
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
    struct link *link = arg;
    struct net_conn *conn = link->conn;
    struct slice rest = slice_of(data, len);
    link->heard_us = loop_now_us(link->loop);
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
            error = on_message(link, message);
        if (link->conn != conn)
            return len;
        if (error != OK) {
            drop(link, error_text(error));
            return len;
        }
    }
}

/* ---- Connecting ---- */

static void on_eof(void *arg, struct slice rest)
{
    (void)rest;
    struct link *link = arg;
    drop(link, error_text(ERROR_CLOSED));
}

static void on_close(void *arg, enum error why)
{
    lost(arg, error_text(why));
}

static void on_connect(void *arg)
{
    struct link *link = arg;
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

    static const uint8_t first = PEER_FIRST_BYTE;
    link->state = LINK_GREETING;
    enum error error = net_conn_write(link->conn, &first, 1);
    if (error == OK)
        error = PEER_SEND(link->conn, HELLO, hello, &hello);
    if (error != OK) {
        drop(link, error_text(error));
        return;
    }
    loop_timer_set(&link->step, WELCOME_MS * UINT64_C(1000));
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
    struct link *link = arg;
    if (link->state != LINK_WAITING) {
        drop(link, "it did not answer the greeting in time");
        return;
    }
    const struct net_address *locator = locator_of(link);
    link->state = LINK_CONNECTING;
    enum error error = net_connect(link->net, locator->host, locator->port,
                                   CONNECT_MS * UINT64_C(1000), &conn_events, link, &link->conn);
    if (error != OK)
        lost(link, error_text(error));
}

static void on_patience(void *arg)
{
    struct link *link = arg;
    char text[1024];
    snprintf(text, sizeof(text),
             "No locator took this server in within %u ms; the last attempt: %s. Start a locator, "
             "or name it with "
             "--locators=HOST[PORT]; --locator-wait-time says how long to wait.",
             link->options.wait_ms, link->trouble[0] == '\0' ? "none has answered" : link->trouble);
    if (link->conn != NULL)
        net_conn_abort(link->conn);
    link->conn = NULL;
    give_up(link, ERROR_TIMEOUT, text);
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

static void send_beacon(struct link *link)
{
    struct link_load load = {0};
    link->events.load(link->arg, &load);
    Pb__PeerBeacon beacon = PB__PEER_BEACON__INIT;
    beacon.number = ++link->beacon_number;
    beacon.received = link->beacon_received;
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
    beacon.wants_answer = link->acknowledged > 0 && !link->confirmed;
    if (beacon.wants_answer && link->asked_epoch != link->acknowledged) {
        link->asked_epoch = link->acknowledged;
        link->asked_number = beacon.number;
    }
    /* A beacon that finds no memory is one that got lost; the next comes soon. */
    if (net_conn_unsent(link->conn) <= LINK_UNSENT_BYTES_MAX &&
        add_regions(link, &load, &beacon) == OK)
        (void)PEER_SEND(link->conn, BEACON, beacon, &beacon);
    loop_timer_set(&link->beacon, PEER_BEACON_MS * UINT64_C(1000));
}

static void on_beacon(void *arg)
{
    struct link *link = arg;
    uint64_t now_us = loop_now_us(link->loop);
    if (now_us - link->heard_us > LOCATOR_SILENT_MS * UINT64_C(1000)) {
        drop(link, "it has been silent for 2 s");
        return;
    }
    arena_reset(&link->arena);
    send_beacon(link);
    link_fail_late_calls(link, now_us);
}

void link_acknowledge(struct link *link, uint64_t epoch)
{
    PRE(loop_is_current(link->loop));
    if (epoch > link->epoch)
        link->epoch = epoch; /* of a peer's map */
    if (epoch > link->acknowledged)
        link->acknowledged = epoch;
    if (link->state != LINK_UP || link->acknowledged == 0)
        return;
    Pb__PeerMapAck ack = PB__PEER_MAP_ACK__INIT;
    ack.epoch = link->acknowledged;
    /* Without memory for it the next beacon says the same. */
    (void)PEER_SEND(link->conn, MAP_ACK, map_ack, &ack);
    if (!link->confirmed)
        send_beacon(link);
}

void link_leave(struct link *link)
{
    PRE(loop_is_current(link->loop));
    link->leaving = true;
    if (link->state == LINK_UP) {
        Pb__PeerLeave leave = PB__PEER_LEAVE__INIT;
        /* Without memory for it the locator finds out as if the process had died. */
        (void)PEER_SEND(link->conn, LEAVE, leave, &leave);
        return;
    }
    if (link->conn != NULL)
        net_conn_abort(link->conn);
    link->conn = NULL;
    link->state = LINK_GIVEN_UP;
    loop_timer_clear(&link->step);
    loop_timer_clear(&link->patience);
}

bool link_is_up(const struct link *link)
{
    return link->state == LINK_UP;
}

/* ---- Life ---- */

static char *copy_text(const char *text)
{
    return mem_strndup(text == NULL ? "" : text, text == NULL ? 0 : strlen(text));
}

/* "a, b" becomes {"a", "b"}. */
static enum error split_groups(struct link *link)
{
    size_t count = 1;
    for (const char *at = link->options.groups; *at != '\0'; at++)
        count += *at == ',';
    link->group_text = copy_text(link->options.groups);
    link->groups = mem_array(count, sizeof(*link->groups));
    if (link->group_text == NULL || link->groups == NULL)
        return ERROR_MEMORY;
    char *next = link->group_text;
    while (next != NULL) {
        char *group = next;
        next = strchr(next, ',');
        if (next != NULL)
            *next++ = '\0';
        while (*group == ' ')
            group++;
        size_t len = strlen(group);
        while (len > 0 && group[len - 1] == ' ')
            group[--len] = '\0';
        if (len > 0)
            link->groups[link->group_count++] = group;
    }
    return OK;
}

static enum error copy_options(struct link *link, const struct link_options *options)
{
    struct net_address *locators = mem_array(options->locator_count, sizeof(*locators));
    if (locators != NULL)
        memcpy(locators, options->locators, options->locator_count * sizeof(*locators));
    link->options = *options;
    link->options.locators = locators;
    link->options.name = copy_text(options->name);
    link->options.host = copy_text(options->host);
    link->options.groups = copy_text(options->groups);
    if (locators == NULL || link->options.name == NULL || link->options.host == NULL ||
        link->options.groups == NULL)
        return ERROR_MEMORY;
    return split_groups(link);
}

enum error link_new(struct loop *loop, struct net *net, struct log *log,
                    const struct link_options *options, const struct link_events *events, void *arg,
                    struct link **out)
{
    PRE(loop_is_current(loop) && options->locator_count > 0);
    struct link *link = mem_zalloc(sizeof(*link));
    if (link == NULL)
        return ERROR_MEMORY;
    link->loop = loop;
    link->net = net;
    link->log = log;
    link->events = *events;
    link->arg = arg;
    link->backoff_ms = BACKOFF_MIN_MS;
    arena_init(&link->arena, 2 * (size_t)LIMIT_PEER_MESSAGE_BYTES);
    enum error error = copy_options(link, options);
    if (error == OK)
        error = loop_timer_init(&link->step, loop, on_step, link);
    if (error == OK)
        error = loop_timer_init(&link->beacon, loop, on_beacon, link);
    if (error == OK)
        error = loop_timer_init(&link->patience, loop, on_patience, link);
    if (error != OK) {
        link_free(link);
        return error;
    }
    loop_timer_set(&link->step, 0);
    loop_timer_set(&link->patience, options->wait_ms * UINT64_C(1000));
    *out = link;
    return OK;
}

void link_free(struct link *link)
{
    /* What says that the server leaves has to arrive: a reset could overtake it. */
    if (link->conn != NULL && link->leaving && link->state == LINK_UP)
        net_conn_finish(link->conn);
    else if (link->conn != NULL)
        net_conn_abort(link->conn);
    link->conn = NULL;
    link->state = LINK_GIVEN_UP;
    link_fail_all_calls(link, "this server is shutting down.");
    loop_timer_fini(&link->step);
    loop_timer_fini(&link->beacon);
    loop_timer_fini(&link->patience);
    arena_fini(&link->arena);
    mem_free((void *)(uintptr_t)link->options.locators);
    mem_free((void *)(uintptr_t)link->options.name);
    mem_free((void *)(uintptr_t)link->options.host);
    mem_free((void *)(uintptr_t)link->options.groups);
    mem_free(link->groups);
    mem_free(link->group_text);
    mem_free(link);
}
