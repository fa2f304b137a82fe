/* The operations of a server: one row each in ops.c, one file each (op_*.c).
 *
 * To add one: write op_name.c after the pattern of op_put.c, declare it here, give it a row in
 * ops.c. */
#ifndef VUG_SERVER_OPS_H
#define VUG_SERVER_OPS_H

#include "protocol/codec.h"
#include "protocol/message.h"
#include "server/gather.h"
#include "server/server.h"

extern const struct operation server_operations[];

enum error op_put(struct session *session, struct slice body);
enum error op_get(struct session *session, struct slice body);
enum error op_remove(struct session *session, struct slice body);
enum error op_put_if_absent(struct session *session, struct slice body);
enum error op_put_all(struct session *session, struct slice body);
enum error op_get_all(struct session *session, struct slice body);
enum error op_get_size(struct session *session, struct slice body);
enum error op_key_set(struct session *session, struct slice body);
enum error op_get_region_names(struct session *session, struct slice body);
enum error op_clear(struct session *session, struct slice body);
enum error op_write_batch(struct session *session, struct slice body);
enum error op_cq_subscribe(struct session *session, struct slice body);
enum error op_cq_ack(struct session *session, struct slice body);
enum error op_cq_unsubscribe(struct session *session, struct slice body);
enum error op_cq_list(struct session *session, struct slice body);
enum error op_sql_execute(struct session *session, struct slice body);
enum error op_region_clear(struct session *session, struct slice body);
enum error op_region_create(struct session *session, struct slice body);
enum error op_region_destroy(struct session *session, struct slice body);
enum error op_cluster_status(struct session *session, struct slice body);
enum error op_rebalance(struct session *session, struct slice body);
enum error op_member_stop(struct session *session, struct slice body);
enum error op_member_forget(struct session *session, struct slice body);
enum error op_events(struct session *session, struct slice body);

/* ---- What operations share (op.c) ---- */

static inline struct worker *op_worker(struct session *session)
{
    return session_owner(session);
}

/* The region that a request names, or NULL after filling `failure`. */
struct region *op_region(struct session *session, struct slice reference, struct failure *failure);

/* A key or value as it came: known, not a custom one, JSON well-formed (then cut behind its closing
 * brace), within limits. False fills `failure` with the text that Geode gives. */
bool op_check_other_value(struct value *value, struct failure *failure);
static inline bool op_check_value(struct value *value, struct failure *failure)
{
    bool is_plain = value->type != VALUE_NOT_SET && value->type < VALUE_JSON;
    return is_plain || op_check_other_value(value, failure);
}

/* The key's class satisfies the region's constraint. Likewise the value. */
bool op_check_key_constraint(const struct region *region, const struct value *key,
                             struct failure *failure);
bool op_check_value_constraint(const struct region *region, const struct value *value,
                               struct failure *failure);

/* Stored forms, in the session's arena. NULL data without memory. */
struct slice op_stored(struct session *session, const struct value *value);
/* The key's bucket, stored form and hash. ERROR_MEMORY. */
enum error op_locate(struct session *session, struct region *region, const struct value *key,
                     struct bucket **bucket, struct bucket_key *stored);

/* Answers with an empty member. */
enum error op_reply_empty(struct session *session, uint32_t number);

/* ---- Answers that come later (op_call.c) ---- */

/* GET, PUT, PUT_IF_ABSENT, REMOVE as a call whose result is the reply. */
enum error op_call(struct session *session, enum call_kind kind, struct bucket *bucket,
                   const struct bucket_key *key, struct slice value);
/* What a call that failed is told as. */
void op_failure_of_call(const struct call_result *result, struct failure *failure);
/* A gather with a slot of the session. NULL without memory. */
struct gather *op_gather(struct session *session, struct region *region, uint32_t window,
                         void (*on_part)(struct gather *gather, struct gather_part *part),
                         void (*on_end)(struct gather *gather));
/* Runs it, or answers with the error that there was in building it. */
enum error op_gather_run(struct gather *gather, enum error error);
/* Ends it: with its failure, or `reply` as the member's content. */
void op_gather_reply(struct gather *gather, uint32_t number);
enum { OP_WINDOW_KEYS = 512, OP_WINDOW_BUCKETS = 8 }; /* calls of one operation at a time */

/* The failure of one key or entry in PutAll and GetAll, with its text as clients know it. */
void op_failure_of_put(enum error error, struct failure *failure);

/* The failure for a statement that was refused: with its line and column, if it has a place, and
 * the caret line. */
void op_query_failure(enum error error, const struct query_error *why, struct failure *failure);

/* The parameters of a statement, in the session's arena. False fills `failure`. */
bool op_parameters(struct session *session, Pb__Parameter *const *from, size_t count,
                   struct query_parameter **parameters, struct failure *failure);
/* The same without a session; ERROR_INVALID fills `failure`. */
enum error op_parameters_of(struct arena *arena, Pb__Parameter *const *from, size_t count,
                            struct query_parameter **parameters, struct failure *failure);
/* Parses and plans a SELECT for the session's catalog. On failure fills `failure` with line, column
 * and caret. */
enum error op_plan(struct session *session, struct slice sql,
                   const struct query_parameter *parameters, uint32_t count,
                   enum query_numeric_mode mode, struct query_plan **plan, struct failure *failure);
/* op_select.c: runs a one-shot SELECT in steps and answers SqlExecute. Takes the plan's reference.
 */
enum error op_select(struct session *session, struct query_plan *plan, struct region *region);

/* Counts and clears every bucket (op_clear.c). ERROR_MEMORY. */
enum error op_clear_add(struct gather *gather);

/* Appends KeyedError{1 key, 2 Error{1 code, 2 message}} as field `field` of a reply. */
void op_add_keyed_error(struct buf *reply, uint32_t field, const struct value *key,
                        const struct failure *failure);

/* Forwards an administration request to a locator; the answer comes later. */
enum error op_forward(struct session *session, uint32_t number, struct slice body);

#endif
