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
    pthread_mutex_t instances_lock; /* a leaf: guards the list of registry.c */
    struct cq_instance *instances;  /* the continuous queries of this region, by next_of_region */
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

/* The catalog of a newer map. Regions that `old` has (same id, same generations) are carried over
 * with all they hold. `old` may be NULL. ERROR_MEMORY; ERROR_MALFORMED if a stored table does not
 * parse. */
enum error catalog_new(struct catalog *old, struct cluster_map *map, struct server *server,
                       uint64_t hash_seed,
                       struct log *log, struct catalog **catalog);
struct catalog *catalog_ref(struct catalog *catalog);
void catalog_unref(struct catalog *catalog);

/* By plain name; borrowed; NULL if there is none. */
struct region *catalog_region(const struct catalog *catalog, struct slice name);

/* By a reference as requests carry it ("R", "/R", "R/"): Geode's rules and texts. NULL fills
 * `failure`. */
struct region *catalog_resolve(const struct catalog *catalog, struct slice reference,
                               struct failure *failure);

#endif
