/* A call: one operation on one bucket whose answer is not there at once, because the bucket has
 * copies that have to acknowledge (rule R2), because another server leads it (R7), or because
 * nobody does at the moment.
 *
 *   call_start() -> the bucket's FIFO
 *     -> executed here, done at `committed` >= wait_seq ----------.
 *     -> sent to the primary's server, whose answer ends it ------+-> on_result(), worker's loop
 *     (the primary changed, the link broke: again, in order)
 *
 * Calls of one bucket keep their order. Changes among them are an origin stream: numbered by this
 * server, applied at most once whoever leads, in the order of their numbers. A call that another
 * server sent is a call here, too, that is never sent on. */
#ifndef VUG_SERVER_CALL_H
#define VUG_SERVER_CALL_H

#include "protocol/failure.h"
#include "protocol/record.h"
#include "server/bucket.h"
#include "server/peers.h"

enum call_kind {
    CALL_GET = 1,
    CALL_PUT = 2,
    CALL_PUT_IF_ABSENT = 3,
    CALL_REMOVE = 4,
    CALL_WRITE_PUT = 5, /* of an idempotent writer */
    CALL_WRITE_REMOVE = 6,
    CALL_CLEAR = 7,
    CALL_COUNT = 8,   /* entries and bytes */
    CALL_KEYS = 9,    /* all keys: field 1 of KeySetResponse, repeated */
    CALL_ENTRIES = 10 /* all entries in order of arrival: packed pairs, for SELECT */
};
static inline bool call_changes(enum call_kind kind)
{
    return kind >= CALL_PUT && kind <= CALL_CLEAR;
}
/* Of an idempotent writer, which repeats what was not decided. */
static inline bool call_is_write(enum call_kind kind)
{
    return kind == CALL_WRITE_PUT || kind == CALL_WRITE_REMOVE;
}

enum call_state {
    CALL_QUEUED,  /* nobody has it */
    CALL_SENT,    /* the primary's server has it */
    CALL_APPLIED, /* executed here: waits for `committed` */
    CALL_DONE,
};

/* What became of it. `failure`, beside an error, is what clients are told of it. */
struct call_result {
    enum error error; /* OK, TIMEOUT, IN_DOUBT, NOT_FOUND, LIMIT, BUSY, MEMORY, CLOSED ... */
    enum record_result result;
    struct entry *entry; /* GET: found; PUT_IF_ABSENT: was there. Of the call; NULL: absent */
    uint64_t count, bytes;
    struct buf content;     /* KEYS, ENTRIES */
    struct entry **entries; /* of these, until they are written into `content`, without the lock */
    size_t entry_count;
    struct failure *failure; /* heap; NULL: none */
};

struct call {
    struct call *next, *prev; /* in its bucket's FIFO; NULL when it is done */
    struct call *next_mail;   /* in the mailbox of the peer that it is sent to */
    struct call *next_done;   /* in the mailbox of its worker */
    struct call *next_retry;  /* in its worker's list of what is tried again */
    struct peer *mailbox; /* a reference; whose mailbox it is in. Guarded by the bucket's lock */
    _Atomic uint32_t refs;
    enum call_kind kind;
    enum call_state state;
    struct bucket *bucket;
    struct region *region;                           /* a reference */
    struct worker *worker;                           /* on whose loop on_result() runs */
    void (*on_result)(struct call *call, void *arg); /* once; call->result may be taken from */
    void *arg;
    struct slice key, value; /* stored forms, of the call */
    uint64_t hash;
    struct writer_mark mark;
    uint64_t wait_seq;                                 /* APPLIED */
    uint64_t origin, counter, after, answered_through; /* of a change; counter 0: none given yet */
    uint32_t generation; /* in which its counter was given, or it was sent */
    bool is_attempted;   /* it may have happened: it was sent, or applied, once */
    bool was_attempted;  /* ... before the attempt that is on its way */
    bool is_tried; /* it was sent or applied, refused or not: its stream tells what became of it,
                    * because who refuses it may have applied it while it led */
    uint64_t deadline_us; /* then it ends with an error that names bucket and server */
    /* Of a call that another server sent: where the answer goes. */
    struct peer_conn *from; /* a reference */
    uint64_t remote_id;
    bool is_retried; /* it is in a worker's list of what is tried again */
    bool
        is_given_up; /* a write that its writer has to repeat, and no later one of it before that */
    bool is_refused; /* its answer is MOVED or DISORDER: ask again */
    bool is_disorder;
    bool is_deposed;  /* it was applied here, and whoever leads now may have it */
    uint64_t sent_to; /* incarnation, SENT */
    uint64_t sent_id; /* of this attempt: what an earlier one answers is not looked at */
    struct call_result result;
};

/* What the caller wants; key and value are copied. */
struct call_options {
    enum call_kind kind;
    struct bucket *bucket;
    struct slice key, value;
    uint64_t hash;
    const struct writer_mark *mark;
    struct worker *worker;
    void (*on_result)(struct call *call, void *arg);
    void *arg;
};

/* Starts one. on_result() comes once, on the worker's loop, never from inside this function.
 * ERROR_MEMORY, ERROR_BUSY (LIMIT_CALLS of a bucket wait already; or a write was given up, and
 * this one may be behind it): no call. */
enum error call_start(const struct call_options *options);
struct call *call_ref(struct call *call);
void call_unref(struct call *call);

void call_result_fini(struct call_result *result);
/* Takes the next pair off the content of an ENTRIES result; key and value are stored forms.
 * ERROR_MALFORMED. */
enum error call_next_entry(struct slice *rest, uint64_t *seq, struct slice *key,
                           struct slice *value);

/* What a worker keeps for calls: its mailbox, what is tried again, what peers sent under a newer
 * map. In worker_init(), and before the sessions of worker_fini() end. ERROR_MEMORY. */
enum error call_worker_init(struct worker *worker);
void call_worker_fini(struct worker *worker);

/* ---- From replica.c, with the bucket's lock ---- */
void call_on_commit_locked(struct bucket *bucket); /* `committed` moved */
void call_on_role_locked(struct bucket *bucket); /* the map, a lease or a bound moved: look again */
/* The generation is over: changes that were unanswered are in doubt. */
void call_on_generation_locked(struct bucket *bucket);
/* The region is destroyed: all end with "region not found". */
void call_on_destroyed(struct region *region);

/* ---- From the peers' links, on their loops ---- */
void call_fill(struct peer *peer, struct net_conn *conn); /* writes what is in peer->calls */
enum error call_on_request(struct peer_conn *from, struct slice content);
enum error call_on_answer(struct peer_conn *from, struct slice content);
void call_on_link(struct peer *peer, bool up); /* our REQUESTS link */

/* Every 50 ms for each bucket, with its lock: deadlines, leases that came back. Main loop. */
void call_tick_locked(struct bucket *bucket, uint64_t now_us);

/* The server ends: what waits ends with ERROR_CLOSED. */
void call_free_all(struct bucket *bucket);
/* The same for every bucket of the server's catalog: before its workers end. */
void call_free_server(struct server *server);

#endif
