/* A newcomer is put into the map. */
#ifndef VUG_LOCATOR_JOIN_H
#define VUG_LOCATOR_JOIN_H

#include "locator/locator_impl.h"

struct join;

/* Proposes the peer as a member; nobody has its name. Ends with membership_link() or peer_refuse(),
 * or, if the peer has gone, with a member whose link is not there. ERROR_MEMORY, ERROR_BUSY. */
enum error join_submit(struct peer *peer);
void join_forget_peer(struct join *join);

#endif
