/* The cluster map: who the members are, which regions there are, and which members hold which
 * bucket.
 *
 * One value, changed as a whole: a stored epoch never changes, the next one is a changed copy. In
 * memory a map is sealed, that is immutable, counted, and shared between threads; only the author
 * of the next epoch has one that is still open.
 *
 *   cluster_map_edit(old) --> open --add, remove, set--> cluster_map_seal() --> sealed -->
 * cluster_map_pack() --> stored, sent
 *
 * Every rule of the format is checked in one place, when a map is sealed or unpacked, so that
 * nobody else has to. */
#ifndef VUG_PROTOCOL_CLUSTER_MAP_H
#define VUG_PROTOCOL_CLUSTER_MAP_H

#include <stdatomic.h>

#include "common/arena.h"
#include "common/buf.h"
#include "common/error.h"
#include "common/slice.h"
#include "protocol/value.h"

enum { CLUSTER_ID_BYTES = 16 };

/* Copies of one bucket, REPLICATE regions included. */
#define CLUSTER_COPIES_MAX 16u

/* No member: a bucket without a primary, a name that was not found. */
#define CLUSTER_NONE UINT32_MAX

enum cluster_role { CLUSTER_SERVER = 1, CLUSTER_LOCATOR = 2 };

enum cluster_state {
    CLUSTER_UP = 0,
    CLUSTER_LEAVING = 1, /* hands its buckets over; gets no new ones */
    CLUSTER_DOWN = 2, /* dead, and kept because a bucket has no other in-sync copy than its own */
};

struct cluster_member {
    struct slice name;
    uint64_t incarnation; /* random, made at start-up: a member that comes back is another one */
    struct slice host;
    uint16_t port, http_port;
    enum cluster_role role;
    enum cluster_state state;
    const struct slice *groups;
    uint32_t group_count;
};

enum cluster_region_type {
    CLUSTER_PARTITION = 1,
    CLUSTER_PARTITION_REDUNDANT = 2,
    CLUSTER_REPLICATE = 3,
    CLUSTER_LOCAL = 4, /* each server its own; no buckets in the map */
};

struct cluster_bucket {
    uint32_t generation;  /* from 1; + 1 when the contents were lost and it starts empty */
    uint32_t term;        /* + 1 at each change of primary */
    uint32_t set_version; /* + 1 at each change of primary or in-sync set */
    uint32_t primary;     /* index of a member, one of in_sync; CLUSTER_NONE */
    uint32_t in_sync_count;
    const uint32_t *in_sync; /* indices of members, rising */
};

struct cluster_region {
    uint32_t id;       /* never used again */
    struct slice name; /* without a leading slash */
    enum cluster_region_type type;
    uint32_t redundant_copies;
    uint32_t bucket_count;
    enum value_type key_constraint, value_constraint; /* VALUE_NOT_SET: any */
    struct cluster_bucket *buckets;                   /* NULL for LOCAL */
};

struct cluster_table {
    struct slice name, ddl, region;
};

/* An instance of a continuous query. */
struct cluster_query {
    uint64_t id;
    struct slice name; /* empty: none */
    struct slice text;
    struct slice parameters; /* repeated Parameter, encoded */
    uint32_t numeric_mode, start;
    int64_t start_timestamp_ms;
    struct slice owner;
    bool is_oql;
    uint32_t region_id;
    struct slice ddl; /* of its table as it was when the query began */
};

/* Everything may be read; everything is changed by the functions below alone. A zero byte follows
 * every text. */
struct cluster_map {
    _Atomic uint32_t refs;
    bool is_sealed;
    struct arena arena; /* holds all that follows */

    uint8_t cluster_id[CLUSTER_ID_BYTES];
    uint64_t epoch;
    uint32_t next_region_id;
    uint64_t next_query_id;
    struct cluster_member *members;
    uint32_t member_count;
    struct cluster_region *regions; /* by rising id */
    uint32_t region_count;
    struct cluster_table *tables;
    uint32_t table_count;
    struct cluster_query *queries; /* by rising id */
    uint32_t query_count;

    uint32_t *member_order, *region_order, *table_order; /* by name; of a sealed map */
};

/* ---- Life ---- */

/* An open map of epoch 1 without anything in it. ERROR_MEMORY. */
enum error cluster_map_new(const uint8_t cluster_id[CLUSTER_ID_BYTES], struct cluster_map **map);

/* An open copy with the next epoch. ERROR_MEMORY. */
enum error cluster_map_edit(const struct cluster_map *base, struct cluster_map **copy);

/* Checks the map and closes it for changes. ERROR_INVALID when a rule is broken (the author's
 * mistake), ERROR_MEMORY; the map stays open then. */
enum error cluster_map_seal(struct cluster_map *map);

/* Any thread. */
struct cluster_map *cluster_map_ref(struct cluster_map *map);
void cluster_map_unref(
    struct cluster_map *map); /* NULL is allowed; an open map has one reference */

/* ---- On the wire and on disk ---- */

/* Appends the packed form of a sealed map. ERROR_MEMORY, ERROR_LIMIT above LIMIT_MAP_BYTES. */
enum error cluster_map_pack(const struct cluster_map *map, struct buf *out);

/* A sealed map, nothing of which points into `packed`. ERROR_DAMAGED when it is no map or breaks a
 * rule, ERROR_MEMORY. */
enum error cluster_map_unpack(struct slice packed, struct cluster_map **map);

/* ---- Changes, of an open map; what they are given is copied ---- */

/* ERROR_EXISTS: the name is taken. ERROR_LIMIT: too many. ERROR_INVALID: a bad name. ERROR_MEMORY.
 */
enum error cluster_map_add_member(struct cluster_map *map, const struct cluster_member *member,
                                  uint32_t *index);
void cluster_map_set_member_state(struct cluster_map *map, uint32_t index,
                                  enum cluster_state state);
/* ERROR_BUSY while a bucket names it. The members behind it move up by one, in the buckets too. */
enum error cluster_map_remove_member(struct cluster_map *map, uint32_t index);

/* Takes name, type, copies, bucket count and constraints from `region`; the buckets start with
 * generation 1, term 0 and no copies. The id is told. Errors as cluster_map_add_member(). */
enum error cluster_map_add_region(struct cluster_map *map, const struct cluster_region *region,
                                  uint32_t *id);
enum error cluster_map_remove_region(struct cluster_map *map, uint32_t id); /* ERROR_NOT_FOUND */

/* Replaces a bucket as a whole. The caller counts terms and versions. */
enum error cluster_map_set_bucket(struct cluster_map *map, uint32_t region_id, uint32_t bucket,
                                  const struct cluster_bucket *value);

enum error cluster_map_add_table(struct cluster_map *map, const struct cluster_table *table);
enum error cluster_map_remove_table(struct cluster_map *map, struct slice name);
enum error cluster_map_add_query(struct cluster_map *map, const struct cluster_query *query,
                                 uint64_t *id);
enum error cluster_map_remove_query(struct cluster_map *map, uint64_t id);

/* ---- Questions; NULL or CLUSTER_NONE when there is none. By name: of a sealed map in log n, of an
 * open one in n ---- */

const struct cluster_region *cluster_map_region(const struct cluster_map *map, struct slice name);
const struct cluster_region *cluster_map_region_by_id(const struct cluster_map *map, uint32_t id);
uint32_t cluster_map_member(const struct cluster_map *map, struct slice name);
uint32_t cluster_map_member_by_incarnation(const struct cluster_map *map, uint64_t incarnation);
const struct cluster_table *cluster_map_table(const struct cluster_map *map, struct slice name);
const struct cluster_query *cluster_map_query(const struct cluster_map *map, uint64_t id);

bool cluster_bucket_has(const struct cluster_bucket *bucket, uint32_t member);

/* How many copies a bucket of the region should have: REPLICATE wants one on each server that is
 * up. */
uint32_t cluster_map_wanted_copies(const struct cluster_map *map,
                                   const struct cluster_region *region);

/* How many copies of a bucket serve. `serves` tells it of each member of the map. */
uint32_t cluster_map_serving_copies(const struct cluster_bucket *bucket, const bool *serves);

/* Buckets of a region with fewer serving copies than wanted, or whose primary does not serve;
 * *lost, if asked for, counts those with none. `serves` as above. */
uint32_t cluster_map_degraded(const struct cluster_map *map, const struct cluster_region *region,
                              const bool *serves, uint32_t *lost);

const char *cluster_region_type_word(enum cluster_region_type type); /* "PARTITION_REDUNDANT" */
bool cluster_region_type_of_word(struct slice word, enum cluster_region_type *type);
const char *cluster_role_word(enum cluster_role role); /* "server", "locator" */
const char *cluster_state_word(enum cluster_state state);

#endif
