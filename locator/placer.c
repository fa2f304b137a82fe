#include "locator/placer.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/mem.h"
#include "locator/membership.h"
#include "locator/peer_link.h"
#include "locator/placement.h"
#include "protocol/message.h"

struct totals {
    uint32_t buckets, primaries;
    uint64_t bytes;
};

struct placer {
    struct placement_list list;
    uint32_t asked;  /* of them are of the rebalance */
    uint32_t healed; /* moves done since there was nothing to do */
    uint64_t began_us;
    struct totals totals; /* of the rebalance that runs */
    struct request *waiters[PLACER_WAITERS_MAX];
    uint32_t waiter_count;
};

/* ---- Sending ---- */

struct batch {
    Pb__PeerPlace__Order *orders;
    Pb__PeerPlace__Order **pointers;
    struct placement_move **moves;
    size_t count;
};

static void batch_fini(struct batch *batch)
{
    mem_free(batch->orders);
    mem_free(batch->pointers);
    mem_free(batch->moves);
}

static bool batch_init(struct batch *batch, size_t max)
{
    *batch = (struct batch){.orders = mem_array(max, sizeof(*batch->orders)),
                            .pointers = mem_array(max, sizeof(*batch->pointers)),
                            .moves = mem_array(max, sizeof(*batch->moves))};
    if (batch->orders != NULL && batch->pointers != NULL && batch->moves != NULL)
        return true;
    batch_fini(batch);
    return false;
}

/* Another move of the same bucket stands before it in the list and is not done. */
static bool is_behind(const struct placement_list *list, uint32_t at)
{
    const struct placement_move *move = &list->moves[at];
    for (uint32_t i = at; i > 0; i--) {
        const struct placement_move *before = &list->moves[i - 1];
        if (before->region_id != move->region_id)
            return false; /* moves of a bucket stand together */
        if (before->bucket == move->bucket)
            return true;
    }
    return false;
}

static void add_order(struct batch *batch, struct placement_move *move,
                      const struct placement_order *order)
{
    Pb__PeerPlace__Order *message = &batch->orders[batch->count];
    pb__peer_place__order__init(message);
    message->region_id = move->region_id;
    message->bucket = move->bucket;
    message->generation = move->generation;
    message->action = (Pb__PeerPlace__Action)order->action;
    message->member = order->member;
    batch->pointers[batch->count] = message;
    batch->moves[batch->count++] = move;
}

/* Up to so many moves of buckets that this server leads; those that are due are told to it. */
static void send_to(struct locator *locator, struct peer *peer, struct batch *batch,
                    uint64_t now_us)
{
    struct placement_list *list = &locator->placer->list;
    uint32_t active = 0;
    batch->count = 0;
    for (uint32_t i = 0; i < list->count && active < PLACER_BUCKETS_MAX; i++) {
        struct placement_move *move = &list->moves[i];
        struct placement_order order;
        if (placement_next(locator->map, move, &order) != PLACEMENT_GOES_ON ||
            order.primary != peer->incarnation ||
            (move->kind == PLACEMENT_PRIMARY && is_behind(list, i)))
            continue;
        active++;
        if (move->begun_us == 0)
            move->begun_us = now_us;
        if (move->sent_action != order.action ||
            now_us - move->sent_us >= PLACER_AGAIN_MS * UINT64_C(1000)) {
            move->begun_us = move->sent_action != order.action ? now_us : move->begun_us;
            add_order(batch, move, &order);
            move->sent_action = order.action;
            move->sent_us = now_us;
        }
    }
    if (batch->count == 0)
        return;
    Pb__PeerPlace place = PB__PEER_PLACE__INIT;
    place.n_order = batch->count;
    place.order = batch->pointers;
    if (PEER_SEND(peer->conn, PLACE, place, &place) != OK)
        for (size_t i = 0; i < batch->count; i++)
            batch->moves[i]->sent_action = 0;
}

static void send(struct locator *locator)
{
    struct batch batch;
    if (locator->placer->list.count == 0 || !batch_init(&batch, PLACER_BUCKETS_MAX))
        return;
    for (struct peer *peer = locator->peers; peer != NULL; peer = peer->next)
        if (peer->state == PEER_LINKED)
            send_to(locator, peer, &batch, loop_now_us(locator->loop));
    batch_fini(&batch);
}

/* ---- What is done ---- */

static void reply(struct placer *placer, const struct totals *totals)
{
    Pb__RebalanceResponse response = PB__REBALANCE_RESPONSE__INIT;
    response.buckets_moved = totals->buckets;
    response.primaries_moved = totals->primaries;
    response.bytes_moved = totals->bytes;
    while (placer->waiter_count > 0)
        request_reply(placer->waiters[--placer->waiter_count], 1027, &response.base);
}

static void end_rebalance(struct locator *locator)
{
    struct placer *placer = locator->placer;
    char text[EVENT_TEXT_BYTES];
    snprintf(text, sizeof(text), "rebalanced: %u buckets and %u primaries moved",
             placer->totals.buckets, placer->totals.primaries);
    log_line(locator->log, LOG_INFO, "placement", "VG1241", "%s took_ms=%" PRIu64, text,
             (loop_now_us(locator->loop) - placer->began_us) / 1000);
    membership_tell(locator, slice_of(NULL, 0), "rebalanced", text);
    reply(placer, &placer->totals);
}

static void tell_healed(struct locator *locator)
{
    struct placer *placer = locator->placer;
    char text[EVENT_TEXT_BYTES];
    snprintf(text, sizeof(text), "%u copies of buckets were placed anew", placer->healed);
    placer->healed = 0;
    log_line(locator->log, LOG_INFO, "placement", "VG1240", "%s", text);
    membership_tell(locator, slice_of(NULL, 0), "restored", text);
}

static bool has_stalled(const struct placement_move *move, uint64_t now_us)
{
    return move->begun_us != 0 && now_us - move->begun_us > PLACER_PATIENCE_MS * UINT64_C(1000);
}

static uint64_t region_bytes(const struct locator *locator, uint32_t region_id)
{
    uint64_t bytes = 0;
    for (const struct member *member = locator->members; member != NULL; member = member->next)
        for (uint32_t i = 0; i < member->region_count; i++)
            bytes += member->regions[i].region_id == region_id ? member->regions[i].bytes : 0;
    const struct cluster_region *region = cluster_map_region_by_id(locator->map, region_id);
    return region == NULL ? 0 : bytes / region->bucket_count;
}

static void count_move(const struct locator *locator, const struct placement_move *move,
                       struct totals *totals)
{
    if (move->kind == PLACEMENT_PRIMARY) {
        totals->primaries++;
        return;
    }
    totals->buckets++;
    totals->bytes += region_bytes(locator, move->region_id);
}

/* Takes out what is done or cannot be any more; returns how many of the rebalance are left. */
static uint32_t sweep(struct locator *locator, uint64_t now_us)
{
    struct placer *placer = locator->placer;
    uint32_t kept = 0, asked = 0;
    for (uint32_t i = 0; i < placer->list.count; i++) {
        struct placement_move *move = &placer->list.moves[i];
        struct placement_order order;
        enum placement_state state = placement_next(locator->map, move, &order);
        /* The hand-over of a bucket that is still on its way to the new copy. */
        bool waits = state == PLACEMENT_VOID && move->kind == PLACEMENT_PRIMARY && kept > 0 &&
                     placer->list.moves[kept - 1].bucket == move->bucket &&
                     placer->list.moves[kept - 1].region_id == move->region_id;
        if ((state == PLACEMENT_GOES_ON || waits) && !has_stalled(move, now_us)) {
            asked += move->is_asked;
            placer->list.moves[kept++] = *move;
        } else if (state == PLACEMENT_DONE && move->is_asked) {
            count_move(locator, move, &placer->totals);
        } else if (state == PLACEMENT_DONE) {
            placer->healed++;
        }
    }
    placer->list.count = kept;
    return asked;
}

/* ---- Going on ---- */

bool placer_is_followed(const struct locator *locator)
{
    bool has_servers = false;
    for (const struct member *member = locator->members; member != NULL; member = member->next) {
        if (member->peer != NULL && !member->follows_another)
            return true;
        has_servers = has_servers || member->peer != NULL;
    }
    return !has_servers;
}

void placer_look(struct locator *locator)
{
    struct placer *placer = locator->placer;
    if (placer->asked == 0 && !placer_is_followed(locator)) {
        placer->list.count = placer->healed = 0;
        return;
    }
    struct member_eyes eyes = membership_eyes(locator);
    uint32_t asked = sweep(locator, loop_now_us(locator->loop));
    bool has_ended = placer->asked > 0 && asked == 0;
    placer->asked = asked;
    /* Without memory some moves are missing; the next tick adds them. */
    (void)placement_plan(locator->map, &eyes, &placer->list);
    send(locator);
    if (has_ended)
        end_rebalance(locator);
    if (placer->list.count == 0 && placer->healed > 0)
        tell_healed(locator);
}

void placer_tick(struct locator *locator, uint64_t now_us)
{
    (void)now_us;
    placer_look(locator);
}

static void dry_run(const struct locator *locator, struct request *request,
                    const struct placement_list *list)
{
    struct totals totals = {0};
    for (uint32_t i = 0; i < list->count; i++)
        count_move(locator, &list->moves[i], &totals);
    Pb__RebalanceResponse response = PB__REBALANCE_RESPONSE__INIT;
    response.buckets_moved = totals.buckets;
    response.primaries_moved = totals.primaries;
    response.bytes_moved = totals.bytes;
    request_reply(request, 1027, &response.base);
}

/* A bucket that is being moved already is left to that move. */
static bool has_move(const struct placement_list *list, const struct placement_move *move)
{
    for (uint32_t i = 0; i < list->count; i++)
        if (list->moves[i].region_id == move->region_id && list->moves[i].bucket == move->bucket)
            return true;
    return false;
}

static enum error take_moves(struct placer *placer, const struct placement_list *wanted)
{
    struct placement_list list = {0};
    enum error error = OK;
    for (uint32_t i = 0; i < placer->list.count && error == OK; i++)
        error = placement_add(&list, &placer->list.moves[i]);
    uint32_t asked = 0;
    for (uint32_t i = 0; i < wanted->count && error == OK; i++) {
        if (has_move(&placer->list, &wanted->moves[i]))
            continue;
        error = placement_add(&list, &wanted->moves[i]);
        asked++;
    }
    if (error != OK) {
        placement_fini(&list);
        return error;
    }
    placement_fini(&placer->list);
    placer->list = list;
    placer->asked = asked;
    return OK;
}

void placer_rebalance(struct locator *locator, struct request *request, bool is_dry_run)
{
    struct placer *placer = locator->placer;
    struct member_eyes eyes = membership_eyes(locator);
    struct placement_list wanted = {0};
    if (!is_dry_run && placer->waiter_count == PLACER_WAITERS_MAX) {
        request_fail(request, ADMIN_REASON_BUSY, "too many wait for the rebalance that runs.");
        return;
    }
    if (!is_dry_run && placer->asked > 0) {
        placer->waiters[placer->waiter_count++] = request;
        return;
    }
    enum error error = placement_balance(locator->map, &eyes, &wanted);
    if (error == OK && is_dry_run) {
        dry_run(locator, request, &wanted);
        placement_fini(&wanted);
        return;
    }
    if (error == OK)
        error = take_moves(placer, &wanted);
    placement_fini(&wanted);
    if (error != OK) {
        request_fail(request, ADMIN_REASON_MEMORY,
                     "the locator has not enough memory; nothing was moved.");
        return;
    }
    placer->totals = (struct totals){0};
    placer->began_us = loop_now_us(locator->loop);
    placer->waiters[placer->waiter_count++] = request;
    if (placer->asked == 0)
        end_rebalance(locator);
    else
        send(locator);
}

uint32_t placer_moves(const struct locator *locator, bool *rebalances)
{
    *rebalances = locator->placer->asked > 0;
    return locator->placer->list.count;
}

/* ---- Life ---- */

enum error placer_new(struct locator *locator, struct placer **placer)
{
    (void)locator;
    *placer = mem_zalloc(sizeof(**placer));
    return *placer == NULL ? ERROR_MEMORY : OK;
}

void placer_free(struct placer *placer)
{
    if (placer == NULL)
        return;
    placement_fini(&placer->list);
    mem_free(placer);
}
