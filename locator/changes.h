/* Changes of the cluster map: one at a time, each a compare-and-swap.
 *
 *   submit --> queue --> apply() on a copy --> packed --> store --> the copy is in force --> done()
 *                             ^                             |
 *                             +------ load again <----------+ somebody else changed it
 *
 * A change is a decision made from the map as it is when its turn comes, not from the map that its
 * author saw: apply() looks again. Nothing is shown, pushed or answered before the store has it;
 * what fails leaves the map in force as it was. */
#ifndef VUG_LOCATOR_CHANGES_H
#define VUG_LOCATOR_CHANGES_H

#include "common/buf.h"
#include "locator/map_store.h"
#include "protocol/cluster_map.h"
#include "protocol/failure.h"

struct locator;
struct change;

enum change_verdict {
    CHANGE_STORE,     /* the copy is to be stored */
    CHANGE_UNCHANGED, /* it is so already: success with the epoch in force */
    CHANGE_REFUSED,   /* `failure` says why */
};

/* Embedded first in what its author needs; the author's memory until done(). */
struct change {
    /* Changes the open copy. May be called again, with another copy. What is changed when it
     * refuses is thrown away. */
    enum change_verdict (*apply)(struct change *change, struct cluster_map *map,
                                 struct failure *failure);
    /* Once, never from inside changes_submit(): `failure` NULL means that the map is stored and in
     * force. Frees the change. */
    void (*done)(struct locator *locator, struct change *change, const struct failure *failure);
    struct change *next;
    uint32_t attempts;
};

struct changes {
    struct locator *locator;
    struct change *first, **end;
    uint32_t count;
    struct change *under_way; /* at the store */
    struct cluster_map *proposed;
    struct buf packed;
    struct loop_timer pump;  /* fires in the next turn */
    bool reload, loading;    /* the store is to be read, is being read */
    bool has_loaded;         /* since the last change: the next change goes first */
    uint64_t refreshed_us;   /* when it last was, for changes_reload() */
    uint64_t stored, failed; /* since the start */
};

/* ERROR_MEMORY. */
enum error changes_init(struct changes *changes, struct locator *locator);
/* done() of what waits is called with a failure. After the map store was told to forget the request
 * under way. */
void changes_fini(struct changes *changes);

/* Somebody has seen a newer map than the one in force: another locator made it. It is read, and put
 * in force, before the next change; not twice before it, so that a store that is slower than the
 * reasons to read it holds no change up. */
void changes_reload(struct changes *changes);

/* Takes the change. ERROR_BUSY when too many wait: the change stays the caller's. */
enum error changes_submit(struct changes *changes, struct change *change);

#endif
