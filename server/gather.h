/* An operation over several buckets whose answers come later: starts a call for each, not too many
 * at a time, takes their results in the order in which they were added, and ends when all are in.
 *
 *   gather_new() -> gather_add() ... -> gather_run() -> on_part() ... -> on_end(): reply,
 * gather_free()
 *
 * Of one worker's loop. */
#ifndef VUG_SERVER_GATHER_H
#define VUG_SERVER_GATHER_H

#include "common/arena.h"
#include "server/call.h"

struct gather;
struct session_slot;

struct gather_part {
    struct gather_part *next;
    struct gather *gather;
    struct call_options options; /* key and value are the gather's */
    struct writer_mark mark;
    bool is_done, is_refused; /* refused: there was no call */
    struct call_result result;
};

struct gather {
    struct worker *worker;
    struct region *region;     /* a reference */
    struct session_slot *slot; /* the operation's own affair; NULL if it has none */
    void *arg;
    struct buf reply; /* at the operation's disposal, as is `total` */
    uint64_t total;
    bool failed;            /* on_part() sets it: nothing further is started or given to it */
    struct failure failure; /* ... because of this */

    struct arena arena;
    struct gather_part *first, *next_start, *next_take, **end;
    uint32_t window, untaken, in_flight; /* started and not taken; of these: not answered */
    /* Parts in order, each with its result, which is freed afterwards. */
    void (*on_part)(struct gather *gather, struct gather_part *part);
    void (*on_end)(struct gather *gather); /* once; frees it */
    /* NULL, or told at once of a part that failed, while earlier ones may still be on their way. */
    void (*on_error)(struct gather *gather, struct gather_part *part);
};

/* `window`: calls whose results are on their way, or wait for earlier ones. NULL without memory. */
struct gather *gather_new(struct worker *worker, struct region *region, uint32_t window,
                          void (*on_part)(struct gather *gather, struct gather_part *part),
                          void (*on_end)(struct gather *gather));
/* Key, value and mark are copied. ERROR_MEMORY. */
enum error gather_add(struct gather *gather, const struct call_options *options);
/* A part that is known already: *content is for what it adds to the reply. ERROR_MEMORY. */
enum error gather_add_known(struct gather *gather, struct buf **content);
/* The same call for every bucket of the region. ERROR_MEMORY. */
enum error gather_add_buckets(struct gather *gather, enum call_kind kind);
/* Starts. on_end() comes from inside if there is nothing to wait for. */
void gather_run(struct gather *gather);
void gather_free(struct gather *gather);

/* What on_part() does with a part that failed: the first failure is the gather's. */
void gather_fail(struct gather *gather, const struct call_result *result);

#endif
