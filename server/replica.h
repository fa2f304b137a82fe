/* A bucket's place in the cluster: whether this server leads it, holds a copy of it or nothing,
 * and, where it leads, what each other copy has.
 *
 *   NONE --map: in the first set--> COPY --map: primary--> PRIMARY --map: another--> COPY or NONE
 *     `--image installed--> COPY (joining; the map does not name it yet)
 *
 * The rules R1 to R7 of primary-backup replication with leases: a record is applied by the primary,
 * sent to every copy of the send set, and committed when all of them have acknowledged it; nothing
 * that depends on it is answered before. Guarded by the bucket's lock. */
#ifndef VUG_SERVER_REPLICA_H
#define VUG_SERVER_REPLICA_H

#include "protocol/record.h"
#include "server/peers.h"
#include "server/ring.h"

struct bucket;
struct image_out;
struct image_in;

enum replica_role { REPLICA_NONE, REPLICA_COPY, REPLICA_PRIMARY };

/* Another copy, as the primary sees it. */
enum copy_state {
    COPY_IN_SYNC, /* of the map's set */
    COPY_OFFERED, /* gets an image, then records; counts for nothing yet */
    COPY_JOINING, /* in the send set: counts for `committed` and for leases (R1, R4) */
};

/* Not counted for any other bound: a frame, a queue, a time. */
#define REPLICA_COPIES_MAX    16u /* of one bucket, the primary included */
#define REPLICA_FRAME_BYTES   (64u * 1024)
#define REPLICA_FRAME_RECORDS 256u
#define REPLICA_NEAR_RECORDS  1000u   /* a joining copy this near enters the send set */
#define REPLICA_AGAIN_US      500000u /* then a proposal or an announcement is sent again */
#define REPLICA_HELD_US       20000u  /* a copy that waits for its map is asked again */
#define REPLICA_SILENT_US     1000000u
#define REPLICA_STUCK_US      10000000u /* it gives signs of life, but acknowledges nothing */
#define REPLICA_HAND_OVER_US  5000000u

/* Made and freed under its bucket's lock, which whoever takes it out of a peer's mailbox holds. */
struct replica_copy {
    struct bucket *bucket;
    struct region *region; /* of the bucket; no reference, which would hold the region for ever */
    struct peer *peer;     /* a reference */
    enum copy_state state;
    bool position_known; /* acked_seq was told on this link; else the next frame is a probe */
    bool probe_sent;     /* ... which is on its way */
    bool removing;       /* proposed for removal: nothing is granted to it any more (R6) */
    bool announced;      /* REPLICATE: it knows that it needs the joining server's lease too */
    bool image_done;     /* OFFERED: its image is installed */
    bool failed;         /* it has no contents, or cannot take ours: has to go */
    uint64_t acked_seq;
    uint64_t sent_seq;
    size_t piece_sent; /* of the record behind it, which is too long for a frame */
    uint64_t told_committed;
    uint64_t unacked_bytes; /* of records behind acked_seq */
    uint64_t peer_bytes;    /* how many of them peer->unacked_bytes knows of */
    uint64_t probed_us;
    uint64_t held_until_us;      /* it fetches a map first; 0: it does not */
    uint64_t waiting_since_us;   /* something is unacknowledged since; 0: nothing is */
    uint64_t proposed_us;        /* its last proposal, announcement, or try of an image */
    uint64_t removable_us;       /* until when an earlier promise to it may be in use (R6) */
    uint32_t refused_term;       /* it has sealed for this term; 0: it has not */
    struct ring_hint hint;       /* at sent_seq */
    struct ring_hint acked_hint; /* at acked_seq */
    struct image_out *image;     /* while COPY_OFFERED and the image is not through */

    struct replica_copy *next_dirty; /* in the peer's mailbox; guarded by peer->lock */
    bool is_dirty;
};

/* Another copy whose lease a local read needs (R5). */
struct replica_reader {
    struct peer *peer; /* a reference */
    bool is_joining;
};

/* A peer has said that it grants nothing for this bucket: what it granted before ends at `cap_us`.
 * Holds until this server's map of the bucket is newer than the one it was said under. */
struct replica_exception {
    uint64_t incarnation;
    uint64_t cap_us;
    uint32_t set_version;
};

struct replica {
    enum replica_role role;
    uint32_t
        set_version;  /* of the map that this bucket has adopted; the bucket has term, generation */
    uint32_t led;     /* the term that this server leads; 0: none */
    uint32_t current; /* highest term accepted or sealed for; >= bucket->term */
    bool is_sealed;  /* current > bucket->term: it refuses records of lower terms, grants nothing */
    bool is_stalled; /* a newer map could not be adopted for want of memory: no reads */
    uint64_t sealed_us;
    uint64_t primary;                     /* incarnation that the map names; 0: none */
    struct peer *primary_peer;            /* a reference; NULL if it is this server, or unknown */
    bool in_set;                          /* the map's in-sync set has this server */
    uint64_t in_sync[REPLICA_COPIES_MAX]; /* the map's set: incarnations */
    uint32_t in_sync_count;
    uint64_t image_from;    /* COPY that the map does not name: whose image it is */
    struct image_in *image; /* arriving */
    bool handing_over;      /* takes no new operations; proposed with another primary */
    bool hand_over_ends; /* given up: the unchanged set is proposed until the set version moves */
    uint64_t hand_over_to;
    uint64_t handing_since_us;
    uint64_t proposed_us; /* last proposal about the bucket itself */

    struct replica_copy **copies; /* where this server leads */
    uint32_t copy_count, copy_cap;
    /* REPLICATE, at a copy: leases that a local read needs; the joining server included. */
    struct replica_reader *readers;
    uint32_t reader_count;
    bool readers_known; /* false: no memory for them, reads go to the primary */
    struct replica_exception exceptions[REPLICA_COPIES_MAX];
    uint32_t exception_count;
    struct buf piece;       /* arriving: a long record behind its length, as far as it is here */
    struct ring backlog;    /* packed records: what copies still need, and more within the budget */
    uint64_t counted_bytes; /* of it, in the server's budget */
    uint64_t heard_us;      /* when last_time_ms was taken: record times go on from there */
    bool led_by_others;     /* record times go on from base_ms at base_us */
    uint64_t base_ms, base_us;
};

/* What the map says of a bucket, with incarnations. */
struct replica_place {
    uint32_t generation, term, set_version;
    uint64_t primary;
    const uint64_t *in_sync;
    uint32_t in_sync_count;
};

void replica_init(struct replica *replica);
void replica_fini(struct bucket *bucket);

/* ---- The map (main loop, bucket's lock held) ---- */

/* Takes what a newer map says. May throw the contents away (another generation; no member of the
 * set any more), begin or end to lead. Calls call_on_role_locked() when anything moved.
 * ERROR_MEMORY: nothing changed; tried again. */
enum error replica_adopt_locked(struct bucket *bucket, const struct replica_place *place);
/* A LOCAL region: this server leads the bucket alone, always. */
void replica_lead_alone_locked(struct bucket *bucket);
/* The region is destroyed: the bucket has no place any more, and nothing of it lies in a mailbox.
 */
void replica_on_destroyed(struct bucket *bucket);

/* ---- Questions (bucket's lock held) ---- */

/* This server leads and takes changes (64 MiB bound of links not reached, no hand-over). */
bool replica_may_write_locked(const struct bucket *bucket);
/* R4, R5: it may answer a read now. `now_us` was read after the request (loop_clock_us()). */
bool replica_may_read_locked(const struct bucket *bucket, uint64_t now_us);
/* It leads and no other copy is in the send set. */
static inline bool replica_is_alone(const struct replica *replica)
{
    return replica->role == REPLICA_PRIMARY && replica->led != 0 && replica->copy_count == 0;
}
/* The primary's record time: not before the last record's, which goes on with the time elapsed
 * since; never this server's own wall clock where another one led before. */
uint64_t replica_record_time_locked(const struct bucket *bucket, uint64_t wall_ms, uint64_t now_us);

/* ---- Records ---- */

/* After bucket_append_locked() applied it: into the backlog, to the copies; commits if alone.
 * ERROR_MEMORY is not possible: replica_reserve_locked() went before. */
enum error replica_reserve_locked(struct bucket *bucket, const struct record *record);
void replica_send_locked(struct bucket *bucket, const struct record *record);

/* Peer's loop: writes a RECORDS frame of this copy's bucket, at most 64 KiB or 256 records; a
 * longer record goes in pieces of that size, between which beacons and other buckets pass. True if
 * more is left. Takes the bucket's lock. */
bool replica_fill(struct replica_copy *copy, struct net_conn *conn);
/* The same with the lock held: peers.c takes it first, because only under it a copy of a mailbox is
 * sure to be there still (peer_forget_copy() is called with it). */
bool replica_fill_locked(struct replica_copy *copy, struct net_conn *conn);

/* Frames of protocol/peer_frame.h, on the loop of their connection. ERROR_MALFORMED: the connection
 * is dropped. */
enum error replica_on_records(struct peer_conn *from,
                              struct slice content); /* appends from->acks */
enum error replica_on_acks(struct peer_conn *from, struct slice content);
enum error replica_on_exceptions(struct peer_conn *from, struct slice content);
enum error replica_on_announce(struct peer_conn *from, struct slice content);
enum error replica_on_announced(struct peer_conn *from, struct slice content);

/* Our REPLICATION link to the peer is up (positions are asked for anew), or broke. Its loop. */
void replica_on_link(struct peer *peer, bool up);
/* The peer was seen with a newer map: what waited for that goes on. Its loop. */
void replica_on_epoch(struct peer *peer);
/* The peer's own REPLICATION link to us came up: writes the exceptions that hold for it. */
enum error replica_write_exceptions(struct peer_conn *to); /* an error: not all; it is dropped */

/* ---- Locators' words (main loop; take the bucket's lock) ---- */

enum seal_verdict { SEAL_DONE, SEAL_PROMISED, SEAL_REFUSED };
struct seal_answer {
    enum seal_verdict verdict; /* PROMISED: ask again in `wait_ms` */
    uint32_t wait_ms;
    uint32_t current; /* highest term accepted or sealed */
    uint64_t last_seq;
    uint64_t promised[16]; /* other copies to which promises for this bucket still run (R6) */
    uint32_t promised_count;
};
/* `set_version` is the one that the locator starts from: a copy whose own map is older answers
 * PROMISED (ask again), one whose map is newer refuses. A seal under one map says nothing about
 * promises given under the next. */
void replica_seal(struct bucket *bucket, uint32_t generation, uint32_t set_version, uint32_t term,
                  struct seal_answer *answer);

enum place_action { PLACE_ADD = 1, PLACE_DROP = 2, PLACE_HAND_OVER = 3 };
/* Ignored unless this server leads the bucket in that generation. */
void replica_place(struct bucket *bucket, uint32_t generation, enum place_action action,
                   struct peer *peer);

/* Every 50 ms for each bucket, with its lock: silent copies out (R3), joining ones in, proposals
 * again, trims. */
void replica_tick_locked(struct bucket *bucket, uint64_t now_us);

/* The image of `copy` is through: its receiver acknowledged installing it at `seq`. Bucket's lock
 * held (image.c). */
void replica_image_done_locked(struct bucket *bucket, struct replica_copy *copy, uint64_t seq);
void replica_image_failed_locked(struct bucket *bucket, struct replica_copy *copy);

#endif
