/* What a server pushes, read in place: events, their batches, statuses. Everything points into the
 * message. */
#ifndef VUG_CLIENT_CQ_MESSAGE_H
#define VUG_CLIENT_CQ_MESSAGE_H

#include "client/vug.h"

struct cq_message_batch { /* of CqEventBatch, but for its events, which are walked as field 4 */
    uint64_t id, conflated;
    enum vug_phase phase;
    struct slice token;
    int64_t watermark_ms;
};

struct cq_message_status { /* of CqStatus */
    uint64_t id;
    struct slice token;
    struct vug_status status;
};

/* One CqEvent; its values go into `values`. ERROR_MALFORMED, ERROR_LIMIT (more than LIMIT_COLUMNS).
 */
enum error cq_message_event(struct slice content, struct value values[LIMIT_COLUMNS],
                            struct vug_event *event);
enum error cq_message_batch(struct slice body, struct cq_message_batch *batch);
enum error cq_message_status(struct slice body, struct cq_message_status *message);

#endif
