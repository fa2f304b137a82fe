/* Who is a member: joining, coming back, and what is seen of those that are.
 *
 * A server that connects is
 *   - taken back, with everything, if the map holds its incarnation;
 *   - taken in, if nobody has its name;
 *   - taken in when the holder of its name is out of the map, if that one is provably gone: its
 * link is closed or silent, and either the newcomer listens at its address, or its host refuses
 *     connections there, or another process answers there;
 *   - refused otherwise, with what to do. */
#ifndef VUG_LOCATOR_MEMBERSHIP_H
#define VUG_LOCATOR_MEMBERSHIP_H

#include "locator/locator_impl.h"
#include "locator/member_change.h"
#include "locator/probe.h"

/* The peer has said who it is (peer->name and so on are set). Ends with peer_welcome(),
 * peer_refuse() or peer_drop(), now or later. */
void membership_hello(struct peer *peer, const Pb__PeerHello *hello);
void membership_peer_gone(struct locator *locator, struct peer *peer, const char *why);

void membership_acknowledged(struct locator *locator, struct member *member, uint64_t epoch);
/* It said that it ends on purpose. */
void membership_leaves(struct locator *locator, struct member *member);
/* Connections that the member reports. */
void membership_take_load(struct member *member, uint32_t clients, uint64_t now_us);

/* Before a map is stored: everything that this locator needs to keep about its servers.
 * ERROR_MEMORY. */
enum error membership_prepare(struct locator *locator, const struct cluster_map *map);
/* After: forgets what is in the map in force no more. */
void membership_prune(struct locator *locator);
void membership_free_all(struct locator *locator);

/* Strikes servers that are silent and hold nothing, misses those that do, places what waits. */
void membership_tick(struct locator *locator, uint64_t now_us);

/* Whether clients may be sent there: link up, a young beacon, the map of `epoch` or a newer one. */
bool membership_serves(const struct locator *locator, const struct member *member, uint64_t epoch);
/* Whether its buckets are served: the same, with the map in force, of one that leaves and has not
 * handed them over, too. */
bool membership_answers(const struct locator *locator, const struct member *member);

/* What this locator sees of the servers, for changes of the map; valid as long as the locator. */
struct member_eyes membership_eyes(const struct locator *locator);
bool membership_is_linked(const struct locator *locator, uint64_t incarnation);

/* An event about a member. */
void membership_tell(struct locator *locator, struct slice name, const char *kind,
                     const char *text);

/* Newcomers that waited for a name that is free now. */
void membership_decide_waiting(struct locator *locator);

/* The peer's incarnation is in the map in force: it becomes the link of that member. */
void membership_link(struct peer *peer);

/* Asks whether a server of the map is provably gone. */
enum error membership_probe(struct locator *locator, const struct cluster_member *server,
                            probe_fn *on_result, void *arg, struct probe **probe);

#endif
