/* Where the cluster map lives: one value with an epoch, changed by compare-and-swap alone.
 *
 * Any locator may propose a change; the store decides. Nothing else of a locator's is durable. One
 * request at a time for each handle: a caller waits for on_done() before it asks again. Everything
 * belongs to one loop; callbacks never come from inside the call that asked.
 *
 *   map_store_file.c    one locator: a file in its data directory, written on a thread of its own
 *   map_store_memory.c  the simulation: a struct map_memory that outlives its locators, with faults
 * on demand */
#ifndef VUG_LOCATOR_MAP_STORE_H
#define VUG_LOCATOR_MAP_STORE_H

#include "common/error.h"
#include "common/limits.h"
#include "common/loop.h"
#include "common/slice.h"

/* What went wrong, for people: what happened, why, what to do. */
struct map_problem {
    enum error error;
    char text[1024];
};

void map_problem_set(struct map_problem *problem, enum error error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* On success `problem` is NULL. `epoch` is 0 when nothing was ever stored; `bytes` are valid during
 * the call. */
typedef void map_store_loaded_fn(void *arg, const struct map_problem *problem, uint64_t epoch,
                                 struct slice bytes);
typedef void map_store_stored_fn(void *arg, const struct map_problem *problem);

struct map_store;

struct map_store_ops {
    enum error (*load)(struct map_store *store, map_store_loaded_fn *on_loaded, void *arg);
    enum error (*store)(struct map_store *store, uint64_t expected_epoch, uint64_t epoch,
                        struct slice bytes, map_store_stored_fn *on_stored, void *arg);
    void (*free)(struct map_store *store);
};

struct map_store {
    const struct map_store_ops *ops;
    bool is_shared; /* other locators may change it: whoever uses it looks now and then */
};

/* Reads the newest map. ERROR_MEMORY at once; everything else through the callback. */
static inline enum error map_store_load(struct map_store *store, map_store_loaded_fn *on_loaded,
                                        void *arg)
{
    return store->ops->load(store, on_loaded, arg);
}

/* Stores `bytes` as `epoch` if the newest stored epoch is `expected_epoch` (0: none), else
 * ERROR_CONFLICT through the callback: load again. Copies `bytes`. On any failure the old map stays
 * in force. ERROR_MEMORY at once. */
static inline enum error map_store_store(struct map_store *store, uint64_t expected_epoch,
                                         uint64_t epoch, struct slice bytes,
                                         map_store_stored_fn *on_stored, void *arg)
{
    return store->ops->store(store, expected_epoch, epoch, bytes, on_stored, arg);
}

/* No callback comes after it; a request under way may still take effect. What is left of the handle
 * goes away with the next turn of its loop. */
static inline void map_store_free(struct map_store *store)
{
    if (store != NULL)
        store->ops->free(store);
}

/* ---- The file ---- */

/* Opens and locks the directory at once: ERROR_LOCKED (another process has it), ERROR_IO (not
 * writable), ERROR_MEMORY fill `problem`; the command line's exit status is 73 then. */
enum error map_store_file_new(struct loop *loop, const char *directory, struct map_store **store,
                              struct map_problem *problem);

/* The same over other system calls; for tests. */
struct map_file_ops;
enum error map_store_file_new_with(struct loop *loop, const char *directory,
                                   const struct map_file_ops *ops, void *ops_arg,
                                   struct map_store **store, struct map_problem *problem);

/* ---- Memory ---- */

/* The disk of a simulation; several handles may share it, and it outlives them. */
struct map_memory {
    uint64_t epoch;
    uint8_t *bytes;
    size_t len;
    uint64_t delay_us;    /* from a request to its answer */
    enum error fail_with; /* the next fail_count requests fail with this and change nothing */
    uint32_t fail_count;
    uint64_t loads, stores; /* answered with success */
};

void map_memory_init(struct map_memory *memory);
void map_memory_fini(struct map_memory *memory);
enum error map_store_memory_new(struct loop *loop, struct map_memory *memory,
                                struct map_store **store);

#endif
