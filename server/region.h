/* Regions and the catalog: what the cluster map means to this server.
 *
 * A catalog is immutable and counted: each worker has its own reference, and a newer one is given
 * to it through its mailbox, so finding a region takes no lock. A region lives in every catalog
 * from its creation until it is destroyed. */
#ifndef VUG_SERVER_REGION_H
#define VUG_SERVER_REGION_H

#include "common/log.h"
#include "protocol/cluster_map.h"
#include "protocol/failure.h"
#include "query/query.h"
#include "server/bucket.h"

struct server;

struct region {
    _Atomic uint32_t refs;
    struct server *server; /* NULL in tests of single buckets */
    enum cluster_region_type type;
    uint32_t id; /* never reused */
    char *name;  /* without its slash */
    bool is_partitioned;
    enum value_type key_constraint, value_constraint; /* VALUE_NOT_SET: any */
    _Atomic bool destroyed;
    uint64_t hash_seed;
    uint32_t bucket_count;
    struct bucket *buckets;
    pthread_mutex_t instances_lock;   /* a leaf: guards the list of registry.c */
    _Atomic uint64_t query_ids_below; /* every query with a lower id is known here, or over */
    struct cq_instance *instances;    /* the continuous queries of this region, by next_of_region */
};

struct region *region_ref(struct region *region);
void region_unref(struct region *region);

static inline struct bucket *region_bucket(struct region *region, const struct value *key)
{
    return &region->buckets[value_bucket(key, region->bucket_count)];
}

struct catalog {
    _Atomic uint32_t refs;
    struct cluster_map *map; /* a reference */
    struct region **regions; /* sorted by name; references */
    uint32_t region_count;
    struct query_table **tables; /* sorted by name */
    uint32_t table_count;
    struct query_catalog query; /* for the planner; its `arg` is this catalog */
};

/* The catalog of a newer map. Regions that `old` has (same id) are carried over with all they hold;
 * region_adopt() then looks after their buckets. `old` may be NULL. ERROR_MEMORY; ERROR_MALFORMED
 * if a stored table does not parse. */
enum error catalog_new(struct catalog *old, struct cluster_map *map, struct server *server,
                       uint64_t hash_seed, struct log *log, struct catalog **catalog);
struct catalog *catalog_ref(struct catalog *catalog);
void catalog_unref(struct catalog *catalog);

/* What the map says of a bucket, with incarnations; `in_sync` is where they lie. A bucket of a
 * LOCAL region has no place. ERROR_LIMIT: more copies than this server keeps account of. */
struct region_place {
    struct replica_place place;
    uint64_t in_sync[REPLICA_COPIES_MAX];
};
enum error region_bucket_place(const struct cluster_map *map, const struct cluster_region *region,
                               uint32_t bucket, struct region_place *place);

/* Main loop, after peers_adopt() and before workers get the catalog: every bucket takes what the
 * map says of it. One that cannot for want of memory answers no reads until it could, which
 * replica_tick_locked() tries. */
void region_adopt(struct region *region, const struct cluster_map *map);
/* The same for one such bucket, under the main loop's map. Bucket's lock held. */
void region_adopt_again_locked(struct bucket *bucket);
/* Main loop: the newest map does not have the region. Its buckets lose their places. */
void region_destroy(struct region *region);

/* Borrowed; NULL if there is none. */
struct region *catalog_region_by_id(const struct catalog *catalog, uint32_t id);

/* By plain name; borrowed; NULL if there is none. */
struct region *catalog_region(const struct catalog *catalog, struct slice name);

/* By a reference as requests carry it ("R", "/R", "R/"): Geode's rules and texts. NULL fills
 * `failure`. */
struct region *catalog_resolve(const struct catalog *catalog, struct slice reference,
                               struct failure *failure);

#endif
