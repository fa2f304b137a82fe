/* What the files of calls share: call.c (the queue), call_execute.c (at the primary), call_end.c
 * (answers), call_remote.c (between servers). All with the bucket's lock, unless they say so. */
#ifndef VUG_SERVER_CALL_IMPL_H
#define VUG_SERVER_CALL_IMPL_H

#include "server/call.h"
#include "server/server.h"

#define CALL_RETRY_US 5000u /* what was refused is asked again */

/* ---- call.c ---- */

/* A call, not in any queue. ERROR_MEMORY. No lock. */
enum error call_new(const struct call_options *options, struct call **call);
/* Puts it at the end of its bucket's queue, which takes the reference, and has done what may be
 * done. ERROR_BUSY: the queue is full; the reference stays. */
enum error call_enqueue_locked(struct call *call);
/* Executes or sends what is QUEUED, in order, as far as that may be. */
void call_pump_locked(struct bucket *bucket);
/* The primary refused it, or will not answer: it and all behind it are to be done again. */
void call_requeue_locked(struct call *call);
/* Takes it out of the queue; the caller has its reference. */
void call_unlink_locked(struct call *call);

/* ---- call_execute.c ---- */

/* Does the call here, if that may be now: its state is APPLIED or DONE then (and it may have left
 * the queue). False: it has to wait. */
bool call_execute_locked(struct call *call);
/* Writes what was read of a whole bucket into the content of the result. The call's worker, before
 * on_result(); no lock. */
void call_encode(struct call *call);

/* ---- call_end.c ---- */

/* Its answer goes to its worker. Takes the queue's reference. */
void call_finish_locked(struct call *call);
/* The same with an error; an attempted change is in doubt then. `failure` (heap) is taken. */
void call_fail_locked(struct call *call, enum error error, struct failure *failure);
/* The same with a text that tells why nobody answers: which bucket, which server. */
void call_fail_unserved_locked(struct call *call);
/* The bucket lost its contents: whether the change was among them is not known. */
void call_fail_in_doubt_locked(struct call *call);
/* Of a peer's call: it shall look for the primary again. */
void call_refuse_locked(struct call *call);
/* The bucket's last copy is on a server that cannot be reached. */
bool call_is_hopeless_locked(struct bucket *bucket, uint64_t now_us);
/* This worker's loop: the bucket of the call is looked at again in CALL_RETRY_US. */
void call_retry_later_locked(struct worker *worker, struct call *call);

/* ---- call_remote.c ---- */

/* Writes the answer to a peer. on_result() of its calls; the loop of the connection. */
void call_answer_peer(struct call *call, void *arg);
/* What was held back of this connection may be looked at now; false if something still waits. */
struct call_held;
bool call_release_held(struct worker *worker);
void call_drop_held(struct worker *worker);
/* Puts it into the mailbox of the peer. */
void call_post_locked(struct call *call, struct peer *peer);
/* Takes it out again. */
void call_unpost_locked(struct call *call);

struct call_worker {
    _Atomic uint32_t given_up; /* writes whose failure is in the mailbox, and their batches do not
                                * know of it yet: no write is taken meanwhile */
    struct call *retries;
    struct loop_timer timer;
    struct call_held *held, **held_end; /* frames of newer maps, oldest first */
    uint32_t held_count;
    struct region *last_region; /* that a frame named; of the catalog of `last_epoch` */
    uint64_t last_epoch;
};

#endif
