/* libvug: the C client of a Vug cluster.
 *
 * Everything here is asynchronous and runs on one loop (common/loop.h, common/net.h), so the same
 * code serves the command line, the tests under a simulated network, and programs with a loop of
 * their own. client/sync.h is the thin blocking side.
 *
 *   vug_client        requests and replies, many in flight, in order
 *   vug_writer        writes that happen exactly once, also when connections break
 *   vug_subscription  results of a continuous query, nothing twice and nothing missing, also when
 * connections break
 *
 * All three find a server in the same way (struct vug_target) and end with their _free(), after
 * which no callback comes. A callback may end its own object. Nothing here keeps a pointer into its
 * arguments unless it says so. */
#ifndef VUG_CLIENT_VUG_H
#define VUG_CLIENT_VUG_H

#include "common/buf.h"
#include "common/error.h"
#include "common/limits.h"
#include "common/net.h"
#include "common/slice.h"
#include "common/text.h"
#include "protocol/value.h"

/* ---- Where the cluster is ---- */

#define VUG_LOCATOR_PORT 10334
#define VUG_SERVER_PORT  40404
#define VUG_LOCATORS_MAX 16

struct vug_target {
    struct text_host_port
        locators[VUG_LOCATORS_MAX]; /* asked in this order, until one names a server */
    uint32_t locator_count;
    bool straight; /* no locator: `server` it is */
    struct text_host_port server;
    uint32_t timeout_ms; /* of one attempt to connect and of each request; 0: VUG_TIMEOUT_MS */
};
#define VUG_TIMEOUT_MS 10000u

/* Reads a list "H[P],H:P,..." of locators into the target. ERROR_INVALID; ERROR_LIMIT beyond
 * VUG_LOCATORS_MAX. */
enum error vug_target_locators(struct vug_target *target, const char *list);

/* ---- What went wrong ---- */

struct vug_error {
    enum error error;
    uint32_t code; /* Geode's, if the answer was an ErrorResponse; otherwise 0 */
    char text[2048];
};

void vug_error_set(struct vug_error *error, enum error kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* From the content of an ErrorResponse. */
void vug_error_of_response(struct vug_error *error, struct slice body);

/* ---- Requests ---- */

/* Members of Message.messageType: Geode's, then ours. */
enum vug_message {
    VUG_ERROR_RESPONSE = 1,
    VUG_PUT = 2,
    VUG_GET = 4,
    VUG_PUT_ALL = 6,
    VUG_GET_ALL = 8,
    VUG_REMOVE = 10,
    VUG_GET_SERVER = 12,
    VUG_REGION_NAMES = 14,
    VUG_SIZE = 16,
    VUG_HANDSHAKE = 22,
    VUG_KEY_SET = 28,
    VUG_DISCONNECT = 30,
    VUG_CLEAR = 32,
    VUG_PUT_IF_ABSENT = 34,
    VUG_SUBSCRIBE = 1001,
    VUG_EVENT_BATCH = 1003, /* pushed */
    VUG_CQ_ACK = 1004,      /* has no reply */
    VUG_UNSUBSCRIBE = 1005,
    VUG_CQ_STATUS = 1007, /* pushed */
    VUG_CQ_LIST = 1010,
    VUG_SQL_EXECUTE = 1012,
    VUG_WRITE_BATCH = 1016,
    VUG_REGION_CREATE = 1020,
    VUG_REGION_DESTROY = 1022,
    VUG_CLUSTER_STATUS = 1024,
    VUG_REBALANCE = 1026,
    VUG_MEMBER_STOP = 1028,
    VUG_REGION_CLEAR = 1030,
    VUG_MEMBER_FORGET = 1032,
    VUG_EVENTS = 1034,
};
/* The answer to message N is message N + 1. */

/* Contents of requests, appended to `body`. */
void vug_key_request(struct buf *body, const char *region, const struct value *key);
void vug_entry_request(struct buf *body, const char *region, const struct value *key,
                       const struct value *value);
void vug_region_request(struct buf *body, const char *region);
/* PutAll: vug_region_request(), then one of these for each entry; GetAll likewise with keys. */
void vug_put_all_entry(struct buf *body, const struct value *key, const struct value *value);
void vug_get_all_key(struct buf *body, const struct value *key);
struct vug_parameter {
    const char *name;
    struct value value;
};
void vug_sql_request(struct buf *body, struct slice statement,
                     const struct vug_parameter *parameters, uint32_t parameter_count);

/* Contents of replies. They point into `body`. ERROR_MALFORMED. */
enum error vug_value_reply(struct slice body, struct value *value); /* Get, PutIfAbsent */
enum error vug_size_reply(struct slice body, uint64_t *size);
/* Walks what repeats: start with *walk = body; false at its end. A malformed rest ends it too. */
bool vug_next_key(struct slice *walk, struct value *key);                        /* KeySet */
bool vug_next_region(struct slice *walk, struct slice *region);                  /* RegionNames */
bool vug_next_entry(struct slice *walk, struct value *key, struct value *value); /* GetAll */
/* Failures of GetAll (field 2) and PutAll (field 1). */
bool vug_next_failure(struct slice *walk, uint32_t field, struct value *key,
                      struct vug_error *error);

struct vug_sql_reply { /* columns, types and rows are walked in the body */
    uint32_t column_count, row_count;
    struct slice message;
};
enum error vug_sql_reply(struct slice body, struct vug_sql_reply *reply);
bool vug_sql_next_column(struct slice *walk, struct slice *name);
bool vug_sql_next_type(struct slice *walk, struct slice *type);
bool vug_sql_next_row(struct slice *walk, struct slice *row);
bool vug_sql_next_value(struct slice *row, struct value *value);

/* ---- A client ---- */

struct vug_client;

/* Called once for each request, in the order of the requests. `error` is NULL when the request was
 * answered with its response, whose content is `body`, valid during the call. */
typedef void vug_reply_fn(void *arg, const struct vug_error *error, struct slice body);

enum vug_client_role {
    VUG_TO_SERVER,
    VUG_TO_LOCATOR, /* administration: stays with the locator; with a `straight` target goes to the
                       server, which forwards */
};

enum error vug_client_new(struct loop *loop, struct net *net, const struct vug_target *target,
                          enum vug_client_role role, struct vug_client **client);
void vug_client_free(struct vug_client *client);

/* Sends a request; connects first if there is no connection. A request whose connection is lost
 * before the answer fails with ERROR_CLOSED or ERROR_RESET: whether it was carried out is not
 * known. Past the deadline of the oldest request the connection is given up: ERROR_TIMEOUT.
 * Returned, and then there is no callback: ERROR_MEMORY; ERROR_LIMIT with LIMIT_REQUESTS_IN_SERVICE
 * unanswered. */
enum error vug_client_call(struct vug_client *client, uint32_t number, struct slice body,
                           vug_reply_fn *on_reply, void *arg);
/* The server (or locator) of the present connection; false without one. */
bool vug_client_peer(const struct vug_client *client, struct text_host_port *peer);

/* ---- A writer ---- */

/* Writes with WriteBatch: each operation has the writer's id and a number, and is repeated, on any
 * server, until it is answered. */
struct vug_writer;

struct vug_writer_options {
    const char *region;
    uint32_t window;      /* operations unanswered; 0: the most, LIMIT_WRITER_WINDOW */
    uint32_t batch_ops;   /* 0: 256 */
    uint32_t batch_bytes; /* 0: 64 KiB; an operation that is larger travels alone */
    uint64_t give_up_ms;  /* an operation that is unanswered that long ends the writer; 0: 10
                             minutes, which is also the most */
};

struct vug_writer_events {
    /* One operation was answered, in the order of the operations. `error` NULL: it is applied,
     * exactly once. Otherwise the batch that held it was refused (an unknown region, a value that
     * the region does not take): nothing of it may be relied upon. */
    void (*on_done)(void *arg, uint64_t tag, const struct vug_error *error);
    /* There is room again after an ERROR_BUSY. NULL allowed. */
    void (*on_room)(void *arg);
    /* There is a connection to a server. NULL allowed; otherwise nothing is sent there before
     * vug_writer_proceed(), so that one can look first which server it is. */
    void (*on_connected)(void *arg, const struct text_host_port *server);
    /* It broke. While something is unanswered the writer looks for a server again. NULL allowed. */
    void (*on_disconnected)(void *arg, const struct text_host_port *server,
                            const struct vug_error *why);
    /* The writer has given up: what was unanswered was reported to on_done() with this error; it
     * takes nothing more. */
    void (*on_failed)(void *arg, const struct vug_error *error);
};

enum error vug_writer_new(struct loop *loop, struct net *net, const struct vug_target *target,
                          const struct vug_writer_options *options,
                          const struct vug_writer_events *events, void *arg,
                          struct vug_writer **writer);
void vug_writer_free(struct vug_writer *writer); /* what is unanswered stays in doubt */

/* Takes one operation; value NULL removes. `tag` comes back with on_done(). What is written in one
 * turn of the loop travels together. ERROR_BUSY: the window is full, on_room() follows.
 * ERROR_MEMORY. ERROR_SHUTDOWN after on_failed(). */
enum error vug_writer_put(struct vug_writer *writer, const struct value *key,
                          const struct value *value, uint64_t tag);
/* The answer to on_connected(), from inside it or later. Without effect when that connection is
 * lost. */
void vug_writer_proceed(struct vug_writer *writer);
uint32_t vug_writer_unanswered(const struct vug_writer *writer);
uint64_t vug_writer_reconnects(const struct vug_writer *writer);

/* ---- A subscription ---- */

enum vug_start {
    VUG_START_SNAPSHOT,
    VUG_START_LATEST,
    VUG_START_EARLIEST_RETAINED,
    VUG_START_TIMESTAMP
};
enum vug_encoding {
    VUG_ENCODING_DEFAULT,
    VUG_ENCODING_CHANGELOG,
    VUG_ENCODING_UPSERT,
    VUG_ENCODING_APPEND,
    VUG_ENCODING_GEODE
};
enum vug_kind {
    VUG_INSERT = 0,
    VUG_UPDATE_BEFORE = 1,
    VUG_UPDATE_AFTER = 2,
    VUG_DELETE = 3,
    VUG_LATE = 8,
    VUG_ROW_ERROR = 9
};
enum vug_phase { VUG_TAIL, VUG_SNAPSHOT, VUG_SNAPSHOT_END, VUG_REPLAY };
enum vug_status_code {
    VUG_CONNECTED = 1,
    VUG_BUCKET_MOVED,
    VUG_GAP,
    VUG_RESNAPSHOT,
    VUG_DATA_LOSS,
    VUG_SLOW,
    VUG_CLOSED,
    VUG_REGION_DESTROYED,
    VUG_STATUS_ERROR,
    /* Made here, never sent by a server. */
    VUG_SUBSCRIBED = 100,
    VUG_SNAPSHOT_ENDED,
    VUG_RECONNECTING,
};

/* "+I", "-U", "+U", "-D", "LATE", "ERROR"; "?" for another number. */
const char *vug_kind_text(enum vug_kind kind);
/* "SUBSCRIBED", "GAP", ...: as in the command line's output. */
const char *vug_status_text(enum vug_status_code code);

struct vug_subscription_options {
    const char *name; /* NULL: none */
    struct slice sql; /* this or plan_id */
    struct slice plan_id;
    const struct vug_parameter *parameters;
    uint32_t parameter_count;
    enum vug_start start;
    int64_t start_timestamp_ms;
    enum vug_encoding encoding;
    uint32_t slow_policy, sample_ms;
    uint32_t max_batch_events, max_batch_delay_us;
    uint64_t credit_events, credit_bytes; /* 0: the defaults of common/limits.h */
    const uint32_t *buckets;              /* restrict to these; none: all */
    uint32_t bucket_count;
    uint32_t numeric_mode;
    bool late_rows, progress, token_every_batch;
    struct slice resume; /* what vug_subscription_token() gave; empty: start anew */
    uint64_t give_up_ms; /* without a connection for that long it fails; 0: 10 minutes */
};

struct vug_event {
    enum vug_kind kind;
    enum vug_phase phase;
    uint32_t bucket, generation, sub;
    uint64_t seq;
    const struct value *values; /* VALUE_NULL for NULL */
    uint32_t value_count;
    struct value key; /* VALUE_NOT_SET if absent */
    int64_t event_time_ms, ingest_time_ms;
    struct slice error; /* ERROR and LATE: why */
};

struct vug_status {
    enum vug_status_code code;
    uint32_t bucket;
    uint64_t from_seq, to_seq;
    struct slice detail;
};

struct vug_subscription;

struct vug_subscription_events {
    /* One result, in order; valid during the call. When the call returns the event counts as
     * processed. */
    void (*on_event)(void *arg, const struct vug_event *event);
    /* A batch has been given out: the moment to flush. NULL allowed. */
    void (*on_batch_end)(void *arg, int64_t watermark_ms, uint64_t conflated);
    /* SUBSCRIBED comes first, and again after each RECONNECTING. */
    void (*on_status)(void *arg, const struct vug_status *status);
    /* It has ended: refused, or no server for too long. No further callbacks; free it. */
    void (*on_failed)(void *arg, const struct vug_error *error);
};

/* Copies the options. */
enum error vug_subscription_new(struct loop *loop, struct net *net, const struct vug_target *target,
                                const struct vug_subscription_options *options,
                                const struct vug_subscription_events *events, void *arg,
                                struct vug_subscription **subscription);
void vug_subscription_free(struct vug_subscription *subscription);

/* Known from the first SUBSCRIBED on. */
uint32_t vug_subscription_column_count(const struct vug_subscription *subscription);
const char *vug_subscription_column(const struct vug_subscription *subscription, uint32_t column);
const char *vug_subscription_type(const struct vug_subscription *subscription, uint32_t column);
const char *vug_subscription_warning(const struct vug_subscription *subscription);

/* Text that resumes exactly behind the last event processed: the server's last token in base64url
 * and, if events were processed since, a full stop and their positions. Empty before the first
 * SUBSCRIBED. Appended to `text`. */
void vug_subscription_token(const struct vug_subscription *subscription, struct buf *text);

#endif
