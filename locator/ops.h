/* The operations of a locator: one row each, one op_*.c each.
 *
 * Administration may come from a client's session or as a member's call in a client's name; both
 * become a struct request. GetServer comes from sessions alone, CREATE and DROP TABLE from members
 * alone. */
#ifndef VUG_LOCATOR_OPS_H
#define VUG_LOCATOR_OPS_H

#include "locator/locator_impl.h"

/* For session_host.operations; ends with number 0. */
extern const struct operation locator_operations[];

/* A member's call. */
void ops_call(struct locator *locator, struct peer *peer, const Pb__PeerCall *call);

/* Ends the request, now or later. `body` is well formed and lives as long as the call, like what is
 * put into `arena`. */
typedef void op_fn(struct request *request, const ProtobufCMessage *body, struct arena *arena);
op_fn locator_op_region_create, locator_op_region_destroy, locator_op_region_clear,
    locator_op_cluster_status, locator_op_rebalance, locator_op_member_stop,
    locator_op_member_forget, locator_op_events, locator_op_sql_execute;

/* Of a session; see protocol/session.h. */
enum error locator_op_get_server(struct session *session, struct slice body);
/* Clients that wait for a server: something moved (an acknowledgement, a beacon, time). */
void locator_get_server_look(struct locator *locator);
/* At the end of the locator, before its sessions. */
void locator_get_server_drop_all(struct locator *locator);

#endif
