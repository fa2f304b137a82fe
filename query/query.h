/* Continuous queries as a pure library: text in, plan out; rows in, results out.
 *
 * Nothing here knows of threads, buckets, rings or the network, and nothing depends on anything but
 * its inputs: all copies of a bucket compute the same results from the same rows.
 *
 *   text --query_parse()--> statement --query_plan_new()--> plan (immutable, shared)
 *
 *   region change --query_admit()--> row --query_state_apply()--> results      (plans with state)
 *                                     \------------------------> the result   (plans without)
 *
 * A row between the two steps can be packed into bytes: the group of a row may live in another
 * bucket than the row itself (query_row_group()), and then the packed row travels there inside that
 * bucket's record. */
#ifndef VUG_QUERY_QUERY_H
#define VUG_QUERY_QUERY_H

#include "common/arena.h"
#include "common/buf.h"
#include "common/error.h"
#include "common/limits.h"
#include "protocol/value.h"
#include "query/value.h"

/* ---- What is wrong with a statement ---- */

struct query_error {
    uint32_t line, column; /* from 1; 0 if the error has no place */
    char message[1024]; /* sentence; then, if it has a place, the line of the statement and a caret
                           under it */
};

/* ---- Tables ---- */

struct query_column {
    const char *name;
    struct query_type type;
    bool not_null;
    bool proctime; /* `proc AS PROCTIME()`: arrival, usable in ORDER BY alone */
};

struct query_option {
    const char *name, *value; /* of WITH (...) */
};

/* What CREATE TABLE says. Packed for the cluster map with query_table_pack(). */
struct query_table {
    const char *name;
    const char *region; /* without its leading slash */
    struct query_column *columns;
    uint32_t column_count;
    struct query_option *options;
    uint32_t option_count;
};

/* How the planner asks for names. `table` returns NULL if there is none; `name_each` visits every
 * table and region, for "did you mean". */
struct query_catalog {
    const struct query_table *(*table)(void *arg, struct slice name);
    bool (*region)(void *arg, struct slice name);
    void (*name_each)(void *arg, void (*visit)(void *visit_arg, const char *name), void *visit_arg);
    void *arg;
};

/* Deep copy on the heap; NULL without memory. */
struct query_table *query_table_copy(const struct query_table *table);
void query_table_free(struct query_table *table);
/* The CREATE TABLE statement that makes this table again: what the cluster map stores, and DESCRIBE
 * shows from it. */
void query_table_ddl(const struct query_table *table, struct buf *ddl);

/* ---- Statements ---- */

enum query_statement_kind {
    QUERY_SELECT,
    QUERY_CREATE_TABLE,
    QUERY_DROP_TABLE,
    QUERY_SHOW_TABLES,
    QUERY_DESCRIBE,
    QUERY_EXPLAIN, /* of a SELECT */
};

struct query_select; /* syntax tree; query/ast.h */

struct query_statement {
    enum query_statement_kind kind;
    struct query_table table; /* CREATE TABLE */
    struct slice name;        /* DROP, DESCRIBE */
    bool if_exists, if_not_exists;
    struct query_select *select; /* SELECT, EXPLAIN */
};

/* Parses one statement (a final semicolon is allowed). Everything in `statement` lives in `arena`.
 * ERROR_INVALID fills `error`; ERROR_LIMIT (too long, too deep) fills it too; ERROR_MEMORY. */
enum error query_parse(struct slice text, struct arena *arena, struct query_statement *statement,
                       struct query_error *error);

/* Splits a script at its semicolons, outside of strings, quoted names and comments: *rest is what
 * follows the first statement. False at the end. */
bool query_script_next(struct slice *rest, struct slice *statement);

/* ---- Plans ---- */

enum query_numeric_mode { QUERY_EXACT, QUERY_FLINK };

struct query_parameter {
    struct slice name;
    struct query_value value;
};

struct query_plan;

/* Makes the plan of a SELECT. `text` is the statement's text, for errors. A name that is no column
 * is looked up among the parameters, then in the table's option `param.NAME`; an unknown one is an
 * error that names the nearest column or the ways to supply it. The plan keeps nothing of its
 * arguments. ERROR_INVALID, ERROR_NOT_FOUND (table or region), ERROR_LIMIT, ERROR_MEMORY. */
enum error query_plan_new(struct slice text, const struct query_select *select,
                          const struct query_catalog *catalog,
                          const struct query_parameter *parameters, uint32_t parameter_count,
                          enum query_numeric_mode mode, struct query_plan **plan,
                          struct query_error *error);
struct query_plan *query_plan_ref(struct query_plan *plan);
void query_plan_unref(struct query_plan *plan); /* any thread */

const char *query_plan_region(const struct query_plan *plan);
uint32_t query_plan_column_count(const struct query_plan *plan);
const char *query_plan_column_name(const struct query_plan *plan, uint32_t column);
/* VARIANT for a field or the key of a schema-less region: its values keep the kinds that the
 * documents give them. */
struct query_type query_plan_column_type(const struct query_plan *plan, uint32_t column);
/* Columns by which an upsert replaces an earlier row (PARTITION BY or GROUP BY columns that are
 * selected); their number is 0 if the plan has no such key. */
uint32_t query_plan_key_columns(const struct query_plan *plan, uint32_t columns[LIMIT_COLUMNS]);
bool query_plan_is_append_only(const struct query_plan *plan);
bool query_plan_has_state(const struct query_plan *plan);
/* 16 bytes that are equal for plans that mean the same: spacing, case of keywords, table alias and
 * column aliases of the text do not count, parameters and numeric mode do. */
void query_plan_fingerprint(const struct query_plan *plan, uint8_t fingerprint[16]);
/* What EXPLAIN shows: operators from the source down, rewrites ("no ORDER BY: arrival order,
 * extension"), changelog. */
void query_plan_explain(const struct query_plan *plan, struct buf *text);

/* ---- Evaluation ---- */

enum query_kind { /* Flink's RowKind numbers; and ours from 8 */
                  QUERY_INSERT = 0,
                  QUERY_UPDATE_BEFORE = 1,
                  QUERY_UPDATE_AFTER = 2,
                  QUERY_DELETE = 3,
                  QUERY_LATE = 8,
                  QUERY_ROW_ERROR = 9,
};

/* One region change as the engine sees it. A table without PRIMARY KEY is a stream: creates and
 * updates are rows, a removal is none. `value` NULL: removal. */
struct query_input {
    const struct value *key;
    const struct value *value;
    uint64_t time_ms; /* record time */
};

struct query_row {
    struct query_value *values;
    uint32_t count;
    /* The caller's mark of an admitted row (the sequence number of its record). A group keeps the
     * mark of the row that changed its result last, and query_state_each() gives it back. Not
     * packed. */
    uint64_t mark;
};

/* Reads the columns that the plan needs, evaluates WHERE and what the next step needs, into `arena`
 * (the row's strings may point into the input). *admitted says whether there is a row. For a plan
 * without state the row is the result itself. ERROR_INVALID: the row does not fit the declared
 * types or an expression failed; `error` says why (a sentence, no place): an ERROR event, never a
 * failed put. ERROR_MEMORY. What a value that is no JSON document shows: query/extract.h. */
enum error query_admit(const struct query_plan *plan, const struct query_input *input,
                       struct arena *arena, bool *admitted, struct query_row *row,
                       struct query_error *error);

/* The value by which the row's group is placed: the only group column as a region key would carry
 * it (a STRING column gives a string value, BIGINT a long, ...), or, with several or none, a string
 * made of all. NULL group columns give the empty string. So for PARTITION BY id and a region whose
 * key is the id, group and row are in the same bucket. In `arena`. */
enum error query_row_group(const struct query_plan *plan, const struct query_row *row,
                           struct arena *arena, struct value *group);

void query_row_pack(const struct query_row *row, struct buf *packed);
/* Strings of the row point into `packed`. ERROR_MALFORMED, ERROR_MEMORY. */
enum error query_row_unpack(struct slice packed, struct arena *arena, struct query_row *row);

/* Results leave through this, in order; the values are valid during the call. What it returns ends
 * query_state_apply() and is its result; the operator state has moved on all the same. */
typedef enum error query_result_fn(void *arg, enum query_kind kind, const struct query_row *row);

/* Operator state of one plan in one bucket. Not thread-safe. */
struct query_state;
enum error query_state_new(struct query_plan *plan,
                           struct query_state **state); /* holds a reference to the plan */
void query_state_free(struct query_state *state);
/* Frees some of its groups, after which it can only be freed; false when none is left. */
bool query_state_free_some(struct query_state *state, uint32_t groups);

/* Applies one admitted row. Either the state has taken the row and its results were given, or
 * nothing changed: ERROR_MEMORY, ERROR_LIMIT (groups), ERROR_MALFORMED (not a row of this plan);
 * ERROR_INVALID (HAVING or a result expression failed: `error` says why; the state HAS taken the
 * row). */
enum error query_state_apply(struct query_state *state, const struct query_row *row,
                             struct arena *arena, query_result_fn *on_result, void *arg,
                             struct query_error *error);

/* The current results, kind QUERY_INSERT, in the order in which their groups began: for OVER the
 * latest row of each partition, for GROUP BY each group (that passes HAVING). */
enum error query_state_each(struct query_state *state, struct arena *arena,
                            query_result_fn *on_result, void *arg);
/* The same a few groups at a time while rows go on being applied: a group that changes after it was
 * given is given again, and of one that comes twice the later counts; one that has no result any
 * more is given as QUERY_DELETE, without values. */
struct query_state_walk;
struct query_state_walk *query_state_walk_new(struct query_state *state); /* or NULL */
void query_state_walk_free(struct query_state_walk *walk);                /* NULL is allowed */
bool query_state_walk_is_of(const struct query_state_walk *walk, const struct query_state *state);
/* Gives up to `groups` of them; the arena is reset for each. */
enum error query_state_walk_each(struct query_state_walk *walk, uint32_t groups,
                                 struct arena *arena, query_result_fn *on_result, void *arg);
/* Not more than so many are left. */
bool query_state_walk_is_near(const struct query_state_walk *walk, uint32_t groups);
/* Which one is being given: numbers of the order in which they began. */
uint32_t query_state_walk_group(const struct query_state_walk *walk);

uint64_t query_state_group_count(const struct query_state *state);
uint64_t query_state_bytes(const struct query_state *state); /* about */
/* Equal for equal states, whatever machine: copies compare it. */
uint64_t query_state_hash(const struct query_state *state);

/* All of a state as bytes, groups in the order in which they began: a state that is made from them
 * goes on exactly as this one does. out->failed without memory. */
void query_state_pack(const struct query_state *state, struct buf *out);

/* The same ahead of the moment, a few groups at a time, while rows go on being applied. A group
 * that changes after it was packed is packed again, and of one that comes twice the later counts:
 * so the bytes are those of the state at query_state_packing_end(). */
struct query_state_packing;
struct query_state_packing *query_state_packing_new(struct query_state *state); /* or NULL */
bool query_state_packing_is_of(const struct query_state_packing *packing,
                               const struct query_state *state);
/* Packs up to `groups` of them. True when not more than so many are left. */
bool query_state_packing_step(struct query_state_packing *packing, uint32_t groups);
/* Packs what is left, and appends all to `out`; out->failed without memory. */
void query_state_packing_end(struct query_state_packing *packing, struct buf *out);
void query_state_packing_free(struct query_state_packing *packing); /* NULL is allowed */

/* Takes a packed state of the same plan from the front of *rest. ERROR_MALFORMED, ERROR_MEMORY,
 * ERROR_LIMIT (groups): *rest is as it was, and there is no state. */
enum error query_state_unpack(struct query_plan *plan, struct slice *rest,
                              struct query_state **state);

#endif
