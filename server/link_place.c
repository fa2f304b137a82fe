/* What this server and the locators tell each other of single buckets: proposals, reports of lost
 * servers, seals, orders. */
#include "common/limits.h"
#include "server/link_impl.h"
#include "server/peers.h"
#include "server/replica.h"

enum { PLACES_MAX = 1024 }; /* in one message */

/* ---- To the locators ---- */

static void propose_on(struct link_line *line, const struct proposal *proposals, uint32_t count)
{
    while (count > 0 && net_conn_unsent(line->conn) <= LINK_UNSENT_BYTES_MAX) {
        uint32_t some = count < PLACES_MAX ? count : PLACES_MAX;
        Pb__PeerPropose propose = PB__PEER_PROPOSE__INIT;
        /* Not the link's own arena, which may hold the message that led here. */
        struct arena arena;
        arena_init(&arena, LIMIT_PEER_MESSAGE_BYTES);
        Pb__PeerBucketPlace *places = arena_alloc(&arena, some * sizeof(*places));
        propose.place = arena_alloc(&arena, some * sizeof(*propose.place));
        propose.n_place = some;
        for (uint32_t i = 0; places != NULL && propose.place != NULL && i < some; i++) {
            const struct proposal *from = &proposals[i];
            pb__peer_bucket_place__init(&places[i]);
            places[i].region_id = from->region_id;
            places[i].bucket = from->bucket;
            places[i].generation = from->generation;
            places[i].set_version = from->set_version;
            places[i].term = from->term;
            places[i].primary = from->primary;
            places[i].in_sync = (uint64_t *)(uintptr_t)from->in_sync;
            places[i].n_in_sync = from->in_sync_count;
            propose.place[i] = &places[i];
        }
        if (places != NULL && propose.place != NULL)
            (void)PEER_SEND(line->conn, PROPOSE, propose, &propose);
        arena_fini(&arena);
        proposals += some;
        count -= some;
    }
}

void link_propose(struct link *link, const struct proposal *proposals, uint32_t count)
{
    PRE(loop_is_current(link->loop));
    for (uint32_t i = 0; i < link->line_count; i++)
        if (link->lines[i].state == LINE_UP)
            propose_on(&link->lines[i], proposals, count);
}

void link_report(struct link *link, uint64_t incarnation, bool gone, uint32_t silent_ms,
                 const char *evidence)
{
    PRE(loop_is_current(link->loop));
    Pb__PeerReport report = PB__PEER_REPORT__INIT;
    report.incarnation = incarnation;
    report.gone = gone;
    report.silent_ms = silent_ms;
    report.evidence = (char *)(uintptr_t)evidence;
    for (uint32_t i = 0; i < link->line_count; i++)
        if (link->lines[i].state == LINE_UP)
            (void)PEER_SEND(link->lines[i].conn, REPORT, report, &report);
}

void link_fetch_map(struct link *link, uint64_t epoch)
{
    PRE(loop_is_current(link->loop));
    Pb__PeerMapFetch fetch = PB__PEER_MAP_FETCH__INIT;
    fetch.epoch = epoch;
    for (uint32_t i = 0; i < link->line_count && epoch > link->epoch; i++)
        if (link->lines[i].state == LINE_UP)
            (void)PEER_SEND(link->lines[i].conn, MAP_FETCH, map_fetch, &fetch);
}

/* ---- From a locator ---- */

static const Pb__PeerSealedBucket__Verdict verdicts[] = {
    [SEAL_DONE] = PB__PEER_SEALED_BUCKET__VERDICT__SEALED,
    [SEAL_PROMISED] = PB__PEER_SEALED_BUCKET__VERDICT__PROMISED,
    [SEAL_REFUSED] = PB__PEER_SEALED_BUCKET__VERDICT__REFUSED,
};

static enum error seal_one(struct link *link, const Pb__PeerSeal *from, size_t index,
                           Pb__PeerSealedBucket **out)
{
    const Pb__PeerBucketPlace *place = from->place[index];
    struct link_seal seal = {.deposed = from->deposed,
                             .gone = from->gone,
                             .region_id = place->region_id,
                             .bucket = place->bucket,
                             .generation = place->generation,
                             .set_version = place->set_version,
                             .term = place->term};
    struct seal_answer answer = {.verdict = SEAL_REFUSED};
    /* Room for the answer first: a seal that nobody hears of helps nobody. */
    Pb__PeerSealedBucket *sealed = arena_alloc(&link->arena, sizeof(*sealed));
    uint64_t *promised = arena_alloc(&link->arena, sizeof(answer.promised));
    if (sealed == NULL || promised == NULL)
        return ERROR_MEMORY;
    if (link->events.on_seal != NULL)
        link->events.on_seal(link->arg, &seal, &answer);
    pb__peer_sealed_bucket__init(sealed);
    sealed->region_id = place->region_id;
    sealed->bucket = place->bucket;
    sealed->verdict = verdicts[answer.verdict];
    sealed->wait_ms = answer.wait_ms;
    sealed->current = answer.current;
    sealed->last_seq = answer.last_seq;
    memcpy(promised, answer.promised, answer.promised_count * sizeof(*promised));
    sealed->promised = promised;
    sealed->n_promised = answer.promised_count;
    *out = sealed;
    return OK;
}

void line_take_seal(struct link_line *line, const Pb__PeerSeal *seal)
{
    for (size_t done = 0; done < seal->n_place;) {
        size_t some = seal->n_place - done < PLACES_MAX ? seal->n_place - done : PLACES_MAX;
        Pb__PeerSealed sealed = PB__PEER_SEALED__INIT;
        sealed.attempt = seal->attempt;
        sealed.bucket = arena_alloc(&line->link->arena, some * sizeof(*sealed.bucket));
        if (sealed.bucket == NULL)
            return;
        for (size_t i = 0; i < some; i++) {
            if (seal_one(line->link, seal, done + i, &sealed.bucket[i]) != OK)
                return;
            sealed.n_bucket++;
        }
        if (PEER_SEND(line->conn, SEALED, sealed, &sealed) != OK)
            return;
        done += some;
    }
}

void line_take_place(struct link_line *line, const Pb__PeerPlace *place)
{
    struct link *link = line->link;
    /* Of one locator at a time, so that two who plan apart do not undo each other's work. */
    bool follows = link_first(link) == line && link->events.on_place != NULL;
    for (size_t i = 0; i < place->n_order && follows; i++) {
        const Pb__PeerPlace__Order *order = place->order[i];
        struct link_place from = {.region_id = order->region_id,
                                  .bucket = order->bucket,
                                  .generation = order->generation,
                                  .action = (uint32_t)order->action,
                                  .member = order->member};
        link->events.on_place(link->arg, &from);
    }
}
