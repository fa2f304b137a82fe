/* Faults that the simulation can plant to show that its checks find them. In the product every
 * PLANTED() is the constant false; only the simulation's own build (VUG_PLANTS) can switch one on.
 * Each names the rule that it leaves out. */
#ifndef VUG_COMMON_PLANT_H
#define VUG_COMMON_PLANT_H

#include <stdbool.h>

enum plant {
    PLANT_NONE,
    PLANT_NO_WAIT_FOR_PROPOSED,   /* R1: a joining server does not count for `committed` */
    PLANT_ANSWER_EARLY,           /* R2: answers leave before acknowledgement */
    PLANT_READ_IGNORES_REMOVAL,   /* R2: a read of an absent key waits for nothing */
    PLANT_REPEAT_EARLY,           /* R2: a repeat is answered before its original is committed */
    PLANT_ANSWER_WITHOUT_SILENT,  /* R3: a silent copy is not waited for before the map says so */
    PLANT_CLOCK_BEFORE_READ,      /* R4: leases are judged by the clock of the loop's turn */
    PLANT_COPY_READS_UNCOMMITTED, /* R5: a copy reads above `committed` */
    PLANT_REMOVE_WITHOUT_WAIT,    /* R6: a REPLICATE copy is removed while promises run */
    PLANT_NO_SEAL,                /* 5.2: a copy that has sealed takes older terms all the same */
    PLANT_SEAL_WITHOUT_PROMISE,   /* 5.2: it seals while its promise to the primary runs */
    PLANT_LEASE_OLD_MAP,          /* 4: a lease is used under an older map than its granter's */
    PLANT_GRANT_SEALED,           /* 4: who has sealed a bucket goes on granting for it */
    PLANT_ONE_LEASE,              /* R5: a copy reads with the primary's lease alone */
    PLANT_PROPOSE_UNCHECKED,      /* 6: proposed before it has all that was answered */
    PLANT_IMAGE_OLD_MAP,          /* 6: an image is installed under an older map */
    PLANT_NO_JOINER_LEASE,        /* R4, R5: read without the lease of a joining server */
    PLANT_SWAP_WITHOUT_WAIT,      /* R6: a failover leaves a reading copy out without waiting */
    PLANT_SEALED_TERM_STUCK,      /* R3: a sealed term is never taken over */
    PLANT_SUFFIX_SERVED,          /* 5.4: what lies above `committed` is served at once */
    PLANT_NO_SET_VERSION,         /* 1: proposals are not compared with the set version */
    PLANT_TOKEN_GENERATION,       /* 7: a resume ignores the generation */
    PLANT_RETRY_DISORDER,         /* R7: unanswered calls are sent again out of order */
    PLANT_RESULT_DROPPED,         /* R7: a stored result is dropped too early */
    PLANT_IMAGE_WITHOUT_WRITERS,  /* 6 */
    PLANT_IMAGE_WITHOUT_RING,     /* 6 */
    PLANT_IMAGE_WITHOUT_REMOVALS, /* 6: uncommitted removals are missing from an image's words */
    PLANT_REGION_ID_REUSED,       /* 1 */
    PLANT_WALL_CLOCK,             /* 5.4: record times are taken from the wall clock */
    PLANT_SEEDED_ORDER,           /* 7: a snapshot comes in the order of a seeded table */
    PLANT_TICK_LOCAL,             /* 7: what belongs into the record is decided by each copy */
    PLANT_COUNT,
};

#ifdef VUG_PLANTS
bool plant_is(enum plant plant);
#define PLANTED(plant) plant_is(plant)
#else
#define PLANTED(plant) false
#endif

#endif
