/* Shared by replica*.c alone. Everything here wants the bucket's lock. */
#ifndef VUG_SERVER_REPLICA_IMPL_H
#define VUG_SERVER_REPLICA_IMPL_H

#include "common/plant.h"
#include "server/image.h"
#include "server/replica_wire.h"
#include "server/server.h"

static inline uint64_t replica_now_us(const struct bucket *bucket)
{
    return loop_clock_us(bucket->region->server->loop);
}

static inline bool replica_leads(const struct replica *replica)
{
    return replica->role == REPLICA_PRIMARY && replica->led != 0;
}

/* It is in the send set: what it has not acknowledged is not committed (R1). */
static inline bool replica_copy_counts(const struct replica_copy *copy)
{
    return copy->state != COPY_OFFERED;
}

static inline struct wire_bucket replica_wire_bucket(const struct bucket *bucket)
{
    return (struct wire_bucket){bucket->region->id, bucket->id, bucket->generation};
}

/* replica.c */
struct replica_copy *replica_find_copy(const struct replica *replica, const struct peer *peer);
/* Belongs to no bucket's list yet. NULL without memory. */
struct replica_copy *replica_copy_new(struct bucket *bucket, struct peer *peer);
/* Takes it off the list and frees it. */
void replica_retire_locked(struct bucket *bucket, struct replica_copy *copy);
/* Nothing is left of the contents; the bucket holds no copy. */
void replica_drop_locked(struct bucket *bucket);
/* Nothing is granted for this bucket, to anyone of the set, until the map has moved. */
void replica_except_all_locked(struct bucket *bucket);

/* replica_send.c */
void replica_commit_locked(struct bucket *bucket);
void replica_committed_locked(struct bucket *bucket, uint64_t committed);
void replica_mark_locked(struct replica_copy *copy);
/* The backlog ends where the bucket does: else it begins anew there. */
void replica_backlog_align_locked(struct bucket *bucket);
void replica_backlog_trim_locked(struct bucket *bucket);
void replica_backlog_free_locked(struct bucket *bucket);
/* What is sent next is the record behind `seq`. */
void replica_rewind_locked(struct replica_copy *copy, uint64_t seq);
/* The position has to be asked for anew. */
void replica_forget_position_locked(struct replica_copy *copy);
/* Counts the bytes behind acked_seq anew, for the bound of the link too. */
void replica_recount_locked(struct replica_copy *copy);

/* replica_step.c: whatever time or an event makes due. */
void replica_step_locked(struct bucket *bucket, uint64_t now_us);

#endif
