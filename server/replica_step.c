/* What time or an event makes due at a primary: silent copies out (R3, R6), joining ones in,
 * a sealed term taken over, a hand-over. Everything is proposed, and proposed again until the set
 * version has moved: a proposal whose fate is unknown may still be taken. */
#include "common/mem.h"
#include "server/call.h"
#include "server/replica_impl.h"

struct set {
    uint64_t members[REPLICA_COPIES_MAX];
    uint32_t count;
};

static void propose(struct bucket *bucket, uint32_t term, uint64_t primary, const struct set *set)
{
    struct proposal proposal = {.region_id = bucket->region->id,
                                .bucket = bucket->id,
                                .generation = bucket->generation,
                                .set_version = bucket->replica.set_version,
                                .term = term,
                                .primary = primary,
                                .in_sync_count = set->count};
    memcpy(proposal.in_sync, set->members, set->count * sizeof *set->members);
    server_propose(bucket->region->server, &proposal);
}

static struct set set_of_map(const struct replica *replica)
{
    struct set set = {.count = replica->in_sync_count};
    memcpy(set.members, replica->in_sync, replica->in_sync_count * sizeof *replica->in_sync);
    return set;
}

/* Whether it is time, for the first time or again; then the clock starts anew. */
static bool is_due(uint64_t *last_us, uint64_t now_us)
{
    if (*last_us != 0 && now_us - *last_us < REPLICA_AGAIN_US)
        return false;
    *last_us = now_us;
    return true;
}

static uint64_t age(uint64_t now_us, uint64_t then_us)
{
    return now_us > then_us ? now_us - then_us : 0;
}

static bool is_gone(const struct replica_copy *copy)
{
    return atomic_load(&copy->peer->gone);
}

/* R3. */
static bool is_silent(const struct replica_copy *copy, uint64_t now_us)
{
    uint64_t quiet_us = age(now_us, atomic_load(&copy->peer->heard_us));
    if (!atomic_load(&copy->peer->replication_up) && quiet_us > PEER_LOST_US)
        return true;
    uint64_t waited_us = copy->waiting_since_us == 0 ? 0 : age(now_us, copy->waiting_since_us);
    return (waited_us > REPLICA_SILENT_US && quiet_us > REPLICA_SILENT_US) ||
           waited_us > REPLICA_STUCK_US;
}

static void begin_removal(struct bucket *bucket, struct replica_copy *copy)
{
    copy->removing = true;
    copy->proposed_us = 0;
    copy->removable_us = 0;
    if (bucket->region->type == CLUSTER_REPLICATE && !PLANTED(PLANT_REMOVE_WITHOUT_WAIT))
        copy->removable_us = peer_except(copy->peer, bucket);
}

static void retry_image(struct bucket *bucket, struct replica_copy *copy, uint64_t now_us)
{
    copy->image_done = copy->failed = false;
    copy->acked_seq = bucket->last_seq;
    replica_rewind_locked(copy, bucket->last_seq);
    copy->waiting_since_us = 0;
    copy->proposed_us = now_us;
    replica_recount_locked(copy);
}

static void lose_image(struct bucket *bucket, struct replica_copy *copy, uint64_t now_us)
{
    if (copy->image != NULL)
        image_end_locked(bucket, copy);
    copy->image = NULL;
    retry_image(bucket, copy, now_us);
}

static void begin_image(struct bucket *bucket, struct replica_copy *copy, uint64_t now_us)
{
    if (!atomic_load(&copy->peer->replication_up) || !is_due(&copy->proposed_us, now_us))
        return;
    replica_backlog_align_locked(bucket);
    copy->acked_seq = bucket->last_seq;
    replica_rewind_locked(copy, bucket->last_seq);
    replica_recount_locked(copy);
    if (image_begin_locked(bucket, copy) != OK)
        copy->image = NULL;
}

static void step_offered(struct bucket *bucket, struct replica_copy *copy, uint64_t now_us)
{
    if (is_gone(copy) || atomic_load(&copy->peer->out_of_map)) {
        replica_retire_locked(bucket, copy);
        return;
    }
    if (copy->failed || copy->unacked_bytes > LIMIT_BACKLOG_BYTES)
        lose_image(bucket, copy, now_us);
    if (copy->image == NULL && !copy->image_done)
        begin_image(bucket, copy, now_us);
}

/* It enters the send set: from now on nothing is answered without it (R1), nothing read without its
 * lease (R4). One at a time, and not while one is on its way out. */
static void enter_send_set(struct bucket *bucket, uint64_t now_us)
{
    struct replica *replica = &bucket->replica;
    struct replica_copy *next = NULL;
    for (uint32_t i = 0; i < replica->copy_count; i++) {
        struct replica_copy *copy = replica->copies[i];
        if (copy->state == COPY_JOINING || copy->removing)
            return;
        if (copy->state == COPY_OFFERED && copy->image_done && copy->position_known &&
            !copy->failed && bucket->last_seq - copy->acked_seq <= REPLICA_NEAR_RECORDS &&
            atomic_load(&copy->peer->replication_up))
            next = copy;
    }
    if (next == NULL || replica->handing_over || replica->in_sync_count >= REPLICA_COPIES_MAX)
        return;
    next->state = COPY_JOINING;
    next->proposed_us = 0;
    next->waiting_since_us = next->acked_seq < bucket->last_seq ? now_us : 0;
    replica_recount_locked(next);
    for (uint32_t i = 0; i < replica->copy_count; i++) {
        replica->copies[i]->announced = false;
        replica->copies[i]->proposed_us = 0;
    }
}

/* REPLICATE: every other copy knows that it needs the joining server's lease too. */
static bool all_announced(struct bucket *bucket, const struct replica_copy *joining,
                          uint64_t now_us)
{
    struct replica *replica = &bucket->replica;
    struct wire_announce said = {replica_wire_bucket(bucket), replica->set_version,
                                 joining->peer->incarnation};
    uint8_t content[WIRE_ANNOUNCE_MAX];
    bool all = true;
    if (bucket->region->type != CLUSTER_REPLICATE)
        return true;
    for (uint32_t i = 0; i < replica->copy_count; i++) {
        struct replica_copy *copy = replica->copies[i];
        if (copy->state != COPY_IN_SYNC || copy->announced)
            continue;
        all = false;
        size_t len = wire_put_announce(&said, content);
        /* One that is lost, for want of memory or with the link, is said again. */
        if (!copy->removing && is_due(&copy->proposed_us, now_us))
            (void)peer_send(copy->peer, PEER_LINK_REPLICATION, PEER_FRAME_ANNOUNCE,
                            slice_of(content, len));
    }
    return all;
}

static void step_joining(struct bucket *bucket, struct replica_copy *copy, uint64_t now_us)
{
    struct replica *replica = &bucket->replica;
    struct set set = set_of_map(replica);
    bool lost = copy->failed || is_gone(copy) || is_silent(copy, now_us);
    copy->failed |= lost;
    if (!lost) {
        uint64_t committed = atomic_load(&bucket->committed);
        bool has_all = copy->position_known && copy->acked_seq >= committed;
        if (!(has_all || PLANTED(PLANT_PROPOSE_UNCHECKED)) || !all_announced(bucket, copy, now_us))
            return;
        set.members[set.count++] = copy->peer->incarnation;
    }
    /* Lost, the unchanged set moves the set version on: then it counts no more. */
    if (is_due(&copy->proposed_us, now_us))
        propose(bucket, replica->led, replica->primary, &set);
}

/* All that may go now, in one proposal. R6: a REPLICATE copy goes when the last promise to it has
 * run out. */
static void propose_removals(struct bucket *bucket, uint64_t now_us)
{
    struct replica *replica = &bucket->replica;
    struct set set = {.count = 0};
    bool due = false;
    for (uint32_t i = 0; i < replica->in_sync_count; i++) {
        struct replica_copy *copy = NULL;
        for (uint32_t k = 0; k < replica->copy_count; k++)
            if (replica->copies[k]->peer->incarnation == replica->in_sync[i])
                copy = replica->copies[k];
        bool goes =
            copy != NULL && copy->removing && (is_gone(copy) || now_us >= copy->removable_us);
        if (goes)
            due |= is_due(&copy->proposed_us, now_us);
        else
            set.members[set.count++] = replica->in_sync[i];
    }
    if (due)
        propose(bucket, replica->led, replica->primary, &set);
}

static uint32_t highest_term(const struct replica *replica)
{
    uint32_t term = replica->led;
    for (uint32_t i = 0; i < replica->copy_count; i++)
        if (replica_copy_counts(replica->copies[i]) && replica->copies[i]->refused_term > term)
            term = replica->copies[i]->refused_term;
    return term;
}

/* A copy has sealed for an attempt that came to nothing: this primary takes that term itself. */
static void take_term_over(struct bucket *bucket, uint64_t now_us)
{
    struct replica *replica = &bucket->replica;
    struct set set = set_of_map(replica);
    uint32_t term = highest_term(replica);
    if (term > replica->led && !PLANTED(PLANT_SEALED_TERM_STUCK) &&
        is_due(&replica->proposed_us, now_us))
        propose(bucket, term, replica->primary, &set);
}

static bool can_take_over(const struct replica *replica)
{
    for (uint32_t i = 0; i < replica->copy_count; i++) {
        const struct replica_copy *copy = replica->copies[i];
        if (copy->peer->incarnation == replica->hand_over_to)
            return copy->state == COPY_IN_SYNC && !copy->removing && !copy->failed &&
                   !is_gone(copy);
    }
    return false;
}

static void step_hand_over(struct bucket *bucket, uint64_t now_us)
{
    struct replica *replica = &bucket->replica;
    struct set set = set_of_map(replica);
    bool given_up =
        !can_take_over(replica) || age(now_us, replica->handing_since_us) > REPLICA_HAND_OVER_US;
    if (given_up && replica->proposed_us == 0) {
        replica->handing_over = false;
        call_on_role_locked(bucket);
        return;
    }
    /* What was proposed may still be taken: nothing new is taken on before the set moves. */
    replica->hand_over_ends |= given_up;
    bool ready = atomic_load(&bucket->committed) == bucket->last_seq;
    if ((!replica->hand_over_ends && !ready) || !is_due(&replica->proposed_us, now_us))
        return;
    uint32_t term = highest_term(replica);
    if (replica->hand_over_ends)
        propose(bucket, term, replica->primary, &set);
    else
        propose(bucket, term + 1, replica->hand_over_to, &set);
}

void replica_step_locked(struct bucket *bucket, uint64_t now_us)
{
    struct replica *replica = &bucket->replica;
    if (!replica_leads(replica))
        return;
    for (uint32_t i = replica->copy_count; i > 0; i--) {
        struct replica_copy *copy = replica->copies[i - 1];
        if (copy->state == COPY_OFFERED)
            step_offered(bucket, copy, now_us);
        else if (copy->state == COPY_IN_SYNC && !copy->removing &&
                 (copy->failed || is_gone(copy) || is_silent(copy, now_us)))
            begin_removal(bucket, copy);
    }
    propose_removals(bucket, now_us);
    enter_send_set(bucket, now_us);
    for (uint32_t i = 0; i < replica->copy_count; i++)
        if (replica->copies[i]->state == COPY_JOINING)
            step_joining(bucket, replica->copies[i], now_us);
    if (replica->handing_over)
        step_hand_over(bucket, now_us);
    else
        take_term_over(bucket, now_us);
}

/* ---- Images ---- */

void replica_image_done_locked(struct bucket *bucket, struct replica_copy *copy, uint64_t seq)
{
    copy->image = NULL;
    copy->image_done = true;
    copy->position_known = true;
    copy->acked_seq = seq;
    replica_rewind_locked(copy, seq);
    replica_recount_locked(copy);
    replica_mark_locked(copy);
    replica_step_locked(bucket, replica_now_us(bucket));
}

void replica_image_failed_locked(struct bucket *bucket, struct replica_copy *copy)
{
    copy->image = NULL;
    retry_image(bucket, copy, replica_now_us(bucket));
}

/* ---- Orders of a locator ---- */

static void add(struct bucket *bucket, struct peer *peer)
{
    struct replica *replica = &bucket->replica;
    struct replica_copy *copy = NULL;
    if (replica->copy_count + 1 >= REPLICA_COPIES_MAX)
        return;
    if (replica->copy_count == replica->copy_cap) {
        struct replica_copy **grown =
            mem_realloc(replica->copies, (replica->copy_cap + 4) * sizeof(struct replica_copy *));
        if (grown == NULL)
            return; /* the order comes again */
        replica->copies = grown;
        replica->copy_cap += 4;
    }
    copy = replica_copy_new(bucket, peer);
    if (copy == NULL)
        return;
    replica_backlog_align_locked(bucket);
    copy->state = COPY_OFFERED;
    replica->copies[replica->copy_count++] = copy;
}

static void drop(struct bucket *bucket, struct replica_copy *copy)
{
    if (copy->state == COPY_OFFERED)
        replica_retire_locked(bucket, copy);
    else if (copy->state == COPY_JOINING)
        copy->failed = true;
    else if (!copy->removing)
        begin_removal(bucket, copy);
}

void replica_place(struct bucket *bucket, uint32_t generation, enum place_action action,
                   struct peer *peer)
{
    struct replica *replica = &bucket->replica;
    if (peer == NULL)
        return;
    bucket_lock(bucket);
    if (replica_leads(replica) && bucket->generation == generation) {
        struct replica_copy *copy = replica_find_copy(replica, peer);
        uint64_t now_us = replica_now_us(bucket);
        if (action == PLACE_ADD && copy == NULL) {
            add(bucket, peer);
        } else if (action == PLACE_DROP && copy != NULL) {
            drop(bucket, copy);
        } else if (action == PLACE_HAND_OVER && copy != NULL && !replica->handing_over) {
            replica->handing_over = true;
            replica->hand_over_to = peer->incarnation;
            replica->handing_since_us = now_us;
            replica->proposed_us = 0;
        }
        replica_step_locked(bucket, now_us);
    }
    bucket_unlock(bucket);
}

/* ---- Time ---- */

static void tick_copy(struct replica_copy *copy, uint64_t now_us)
{
    struct bucket *bucket = copy->bucket;
    if (copy->state == COPY_OFFERED && !copy->image_done)
        return;
    bool waits = copy->waiting_since_us != 0 &&
                 age(now_us, copy->waiting_since_us) > REPLICA_AGAIN_US &&
                 age(now_us, copy->probed_us) > REPLICA_AGAIN_US;
    bool unheard = copy->probe_sent && !copy->position_known &&
                   age(now_us, copy->probed_us) > REPLICA_AGAIN_US;
    if (waits || unheard)
        replica_forget_position_locked(copy);
    else if ((!copy->position_known && !copy->probe_sent) || copy->sent_seq < bucket->last_seq ||
             copy->told_committed < atomic_load(&bucket->committed))
        replica_mark_locked(copy);
}

void replica_tick_locked(struct bucket *bucket, uint64_t now_us)
{
    struct replica *replica = &bucket->replica;
    if (replica->is_stalled)
        region_adopt_again_locked(bucket);
    if (replica->copy_count > 0) {
        for (uint32_t i = 0; i < replica->copy_count; i++)
            tick_copy(replica->copies[i], now_us);
        replica_step_locked(bucket, now_us);
    }
    if (replica->backlog.oldest != NULL)
        replica_backlog_trim_locked(bucket);
}
