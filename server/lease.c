/* Beacons, leases, promises.
 *
 *   A: beacon n at s ------> B: promises until r + 2.5 s, tells exceptions, answers n and its epoch
 *   A: lease until s + 2.0 s <------'
 *
 * s was read before the beacon left and r after it arrived, so the lease ends before the promise
 * as long as no clock runs 1.25 times as fast as the other. */
#include "common/plant.h"
#include "server/peers_impl.h"

bool peer_lease_holds(const struct peer *peer, uint64_t now_us)
{
    /* The epoch is written before the time: whoever sees the time sees its epoch, or a newer one.
     */
    uint64_t until_us = atomic_load_explicit(&peer->lease_until_us, memory_order_acquire);
    if (now_us >= until_us || atomic_load(&peer->server->leases_dropped))
        return false;
    return PLANTED(PLANT_LEASE_OLD_MAP) ||
           atomic_load(&peer->lease_epoch) <= atomic_load(&peer->server->adopted_epoch);
}

bool peer_promise_runs(const struct peer *peer, uint64_t now_us)
{
    return !atomic_load(&peer->gone) && now_us < atomic_load(&peer->promise_until_us);
}

/* The lock makes one decision of this and of what a beacon does at the same moment: either the
 * beacon's promise was there before, or its answer comes behind the exception. */
static bool except(struct peer *peer, const uint64_t *now_us, uint64_t *until_us)
{
    pthread_mutex_lock(&peer->lock);
    *until_us = atomic_load(&peer->gone) ? 0 : atomic_load(&peer->promise_until_us);
    bool allowed = now_us == NULL || *until_us <= *now_us;
    if (allowed)
        peer->exceptions_due = true;
    pthread_mutex_unlock(&peer->lock);
    return allowed;
}

uint64_t peer_except(struct peer *peer, struct bucket *bucket)
{
    (void)
        bucket; /* replica_write_exceptions() finds all that hold; it waits for the bucket's lock */
    uint64_t until_us;
    except(peer, NULL, &until_us);
    return until_us;
}

bool peer_except_if_free(struct peer *peer, struct bucket *bucket, uint64_t now_us)
{
    (void)bucket;
    uint64_t until_us;
    return except(peer, &now_us, &until_us);
}

/* A beacon certifies that requests are served. */
static bool workers_turn(struct server *server, uint64_t now_us)
{
    for (uint32_t i = 0; i < server->worker_count; i++)
        if (atomic_load(&server->workers[i].turned_us) + PEER_LOST_US <= now_us)
            return false;
    return true;
}

void lease_send_beacon(struct peer *peer, struct peer_conn *conn)
{
    struct peer_out *out = peer->out;
    uint64_t now_us = loop_clock_us(conn->worker->loop);
    if (!workers_turn(peer->server, now_us))
        return;
    Pb__PeerBeacon beacon = PB__PEER_BEACON__INIT;
    beacon.number = out->beacon_number + 1;
    beacon.received = out->beacon_answered;
    beacon.epoch = atomic_load(&peer->server->announced_epoch);
    beacon.wants_answer = true;
    /* Without memory for it, it is one that got lost; the next comes soon. */
    if (PEER_SEND(conn->conn, BEACON, beacon, &beacon) != OK)
        return;
    out->beacon_number = beacon.number;
    out->sent_us[beacon.number % PEER_BEACONS] = now_us;
}

void lease_on_answer(struct peer_conn *conn, const Pb__PeerBeacon *beacon)
{
    struct peer *peer = conn->peer;
    struct peer_out *out = peer->out;
    uint64_t received = beacon->received;
    if (received > out->beacon_number || received <= out->beacon_answered ||
        out->beacon_number - received >= PEER_BEACONS)
        return;
    out->beacon_answered = received;
    atomic_store(&peer->lease_epoch, beacon->epoch);
    atomic_store_explicit(&peer->lease_until_us,
                          out->sent_us[received % PEER_BEACONS] + PEER_LEASE_US,
                          memory_order_release);
}

enum error lease_on_beacon(struct peer_conn *conn, const Pb__PeerBeacon *beacon)
{
    struct peer *peer = conn->peer;
    uint64_t until_us = loop_clock_us(conn->worker->loop) + PEER_PROMISE_US;
    pthread_mutex_lock(&peer->lock);
    /* On a connection that was replaced an exception would be told to nobody. */
    bool counts =
        peer->in[peer_link_index(PEER_LINK_REPLICATION)] == conn && !atomic_load(&peer->gone);
    bool due = counts && peer->exceptions_due;
    if (counts) {
        atomic_store(&peer->promise_until_us, until_us);
        peer->exceptions_due = false;
    }
    pthread_mutex_unlock(&peer->lock);
    if (!counts)
        return ERROR_CLOSED;
    enum error error = due ? replica_write_exceptions(conn) : OK;
    if (error != OK)
        return error; /* the next connection begins with all of them */
    Pb__PeerBeacon answer = PB__PEER_BEACON__INIT;
    answer.number = answer.received = beacon->number;
    answer.epoch = atomic_load(&peer->server->announced_epoch);
    return PEER_SEND(conn->conn, BEACON, beacon, &answer);
}
