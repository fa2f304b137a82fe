/* Conflation: of a run of events of one bucket, the net change of each result key, for a subscriber
 * that would rather have the newest than all (continuous queries, case C40).
 *
 *   +I ... +U        +I new        -U/+U ...        -U first old, +U last new; nothing if they are
 * equal +I ... -D        nothing       -U/+U ... -D     -D first old        -D ... +I    -U old, +U
 * new
 *
 * A net event has the identity of the event that it stands for, so identities still rise, and a
 * position still says what was seen. */
#ifndef VUG_SERVER_CONFLATE_H
#define VUG_SERVER_CONFLATE_H

#include "common/arena.h"
#include "server/ring.h"

/* `events` are consecutive events of a ring (encoded CqEvents whose kind comes first); `keys` are
 * the key columns. *net is an array in the arena, in order of position; its slices point into the
 * arena or into the events. Errors of rows and late rows pass unchanged. ERROR_MEMORY;
 * ERROR_MALFORMED if an event cannot be read. */
enum error conflate(const struct ring_event *events, uint32_t count, const uint32_t *keys,
                    uint32_t key_count, struct arena *arena, struct ring_event **net,
                    uint32_t *net_count);

#endif
