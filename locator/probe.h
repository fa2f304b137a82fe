/* Asks an address who listens there, to learn whether a member is provably gone.
 *
 * Gone are those whose host refuses the connection, and those at whose address another incarnation
 * answers. Silence proves nothing: a stopped process or a cut cable may come back and go on
 * acknowledging. */
#ifndef VUG_LOCATOR_PROBE_H
#define VUG_LOCATOR_PROBE_H

#include "common/log.h"
#include "common/net.h"

struct probe;

struct probe_target {
    const char *host;
    uint16_t port;
    uint64_t incarnation;      /* of the member that may be gone */
    const uint8_t *cluster_id; /* 16 bytes */
    const char *name;          /* of who asks */
};

/* `why` is a clause: "its host refuses connections", "it does not answer". The probe is gone when
 * the callback returns. */
typedef void probe_fn(void *arg, bool gone, const char *why);

/* The answer follows within 2 s, never from inside this call. Copies nothing of `target` beyond the
 * call but what it needs. */
enum error probe_new(struct loop *loop, struct net *net, const struct probe_target *target,
                     probe_fn *on_result, void *arg, struct probe **probe);
void probe_free(struct probe *probe); /* no answer any more */

#endif
