/* What the demo counts: acknowledged writes and pushed results for each key, and the identity of
 * every result. */
#ifndef VUG_CLI_DEMO_TALLY_H
#define VUG_CLI_DEMO_TALLY_H

#include "client/vug.h"

struct tally_key {
    struct slice id;       /* its own copy */
    uint64_t acknowledged; /* writes that the query admits */
    uint64_t results;      /* different events */
    bool has_average;      /* of the last result */
    double average;
};

struct tally_identity {
    uint64_t seq;
    uint32_t bucket, generation, sub;
    bool used;
};

struct tally {
    struct tally_key *keys; /* in the order in which they came */
    uint32_t key_count, key_cap;
    uint32_t *slots; /* hash table of index + 1 */
    uint32_t slot_count;
    struct tally_identity *identities; /* hash table */
    size_t identity_count, identity_cap;
    uint64_t results, repeated; /* pushed events, and those of them that had been there before */
};

void tally_init(struct tally *tally);
void tally_fini(struct tally *tally);

/* The key of this id, made if it is new. ERROR_MEMORY. The pointer is valid until the next new key.
 */
enum error tally_find(struct tally *tally, struct slice id, struct tally_key **key);
/* A result of `id`; `average` NULL: it was NULL. A repeated identity is counted and changes nothing
 * else. */
enum error tally_result(struct tally *tally, const struct vug_event *event, struct slice id,
                        const double *average);

uint64_t tally_lost(const struct tally *tally);       /* acknowledged, but no result */
uint64_t tally_duplicated(const struct tally *tally); /* repeated identities, and results beyond the
                                                         acknowledged writes */

#endif
