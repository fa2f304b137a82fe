/* An ordered multiset of values of one kind: what MIN and MAX need when rows leave again. A
 * balanced tree (AVL) with a count in each node: every operation is O(log n) in the number of
 * distinct values, and taking a value out needs no memory. */
#ifndef VUG_QUERY_MULTISET_H
#define VUG_QUERY_MULTISET_H

#include "query/value.h"

struct multiset_node;

struct multiset {
    struct multiset_node *root;
    size_t bytes; /* on the heap */
};

void multiset_init(struct multiset *set);
void multiset_fini(struct multiset *set);

/* Keeps a copy, strings too. ERROR_MEMORY leaves the set as it was. */
enum error multiset_add(struct multiset *set, const struct query_value *value);
/* Takes out one that is in the set. */
void multiset_remove(struct multiset *set, const struct query_value *value);

/* The first or last in the total order of query_value_compare_total(); NULL if the set is empty.
 * Valid until the set changes. */
const struct query_value *multiset_min(const struct multiset *set);
const struct query_value *multiset_max(const struct multiset *set);

/* Equal for equal contents, whatever way they came. */
uint64_t multiset_hash(const struct multiset *set, uint64_t seed);

/* The values in their order, each with its count. */
void multiset_pack(const struct multiset *set, struct buf *out);
/* Into a new set. ERROR_MALFORMED (another kind of value, wrong order), ERROR_MEMORY: it is empty.
 */
enum error multiset_unpack(struct slice *rest, enum query_type_kind kind, struct multiset *set);

#endif
