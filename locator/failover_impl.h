/* Shared by failover.c and failover_swap.c, for nobody else. */
#ifndef VUG_LOCATOR_FAILOVER_IMPL_H
#define VUG_LOCATOR_FAILOVER_IMPL_H

#include "locator/departure.h"
#include "locator/failover.h"

enum copy_state {
    COPY_UNASKED, /* or to be asked again, at ask_us */
    COPY_ASKED,
    COPY_PROMISED,
    COPY_REFUSED,
    COPY_SEALED,
};

struct attempt_copy {
    uint64_t incarnation;
    enum copy_state state;
    uint64_t ask_us; /* when it is due to be asked again; UINT64_MAX: never */
    uint64_t last_seq;
    uint16_t promised; /* copies (bits by index) that it still grants reading to */
};

enum attempt_bucket_state { BUCKET_SEALING, BUCKET_SWAPPING, BUCKET_ENDED };

struct attempt_bucket {
    uint32_t region_id, bucket, generation, set_version;
    uint32_t term; /* that is sealed for, and led under then */
    bool is_replicate;
    enum attempt_bucket_state state;
    uint64_t first_sealed_us; /* 0: none has */
    uint32_t copy_count;      /* all but the suspect */
    struct attempt_copy copies[BUCKET_COPIES_MAX];
};

struct failover_swap;

struct attempt {
    struct locator *locator;
    uint64_t id;
    uint64_t suspect;
    bool gone;
    uint64_t began_us;
    uint64_t ready_us;              /* since when a bucket waits for others; 0: none does */
    uint64_t retry_us;              /* no swap before that */
    struct attempt_bucket *buckets; /* by region and bucket */
    uint32_t count, open;           /* open: not ended */
    struct failover_swap *swap;
    struct attempt *next;
};

/* Whether the map may be changed now; if not, *due_us is lowered to when to look again. May have
 * copies that sealed asked again for the promises that they have left. */
bool attempt_bucket_is_ready(const struct locator *locator, struct attempt_bucket *bucket,
                             uint64_t now_us, uint64_t *due_us);

/* Submits one change for all that is ready. ERROR_MEMORY, ERROR_BUSY. */
enum error failover_swap_submit(struct attempt *attempt);
void failover_swap_forget(struct failover_swap *swap);

/* After a swap, stored or not: the attempt goes on with what is left, or is freed. */
void failover_swap_done(struct attempt *attempt, bool stored);

#endif
