/* Who is a member: joining, coming back, taking the place of the dead, being struck from the map.
 *
 * A server that connects is
 *   - taken back, with everything, if the map holds its incarnation;
 *   - taken in, if the cluster has no server;
 *   - taken in the place of the server of the map, whose buckets then start empty with the next
 * generation, if that one is provably gone: its link is closed, and either the newcomer listens at
 * its address, or its host refuses connections there, or another process answers there;
 *   - refused otherwise, with what to do. */
#ifndef VUG_LOCATOR_MEMBERSHIP_H
#define VUG_LOCATOR_MEMBERSHIP_H

#include "locator/locator_impl.h"
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

/* Strikes servers that are silent and hold nothing. */
void membership_tick(struct locator *locator, uint64_t now_us);

/* Whether clients may be sent there: link up, a young beacon, the map in force. */
bool membership_serves(const struct locator *locator, const struct member *member);

/* For join.c: the server that stands in a newcomer's way (of its name, or any); NULL if none. */
const struct cluster_member *membership_holder(const struct cluster_map *map, struct slice name);
/* The peer's incarnation is in the map in force: it becomes the link of that member. */
void membership_link(struct peer *peer);

/* Asks whether a server of the map is provably gone. */
enum error membership_probe(struct locator *locator, const struct cluster_member *server,
                            probe_fn *on_result, void *arg, struct probe **probe);

#endif
