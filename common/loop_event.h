/* What net_event.c and http_event.c need from the real loop beyond common/loop.h. Nobody else
 * includes this. */
#ifndef VUG_COMMON_LOOP_EVENT_H
#define VUG_COMMON_LOOP_EVENT_H

#include "common/loop.h"

/* Like loop_defer(), but after everything that was deferred: what the tasks of a turn write leaves
 * in that turn. */
void loop_event_defer_last(struct loop *loop, struct loop_task *task);

/* Takes a deferred or posted task back; for an owner that goes while it waits. */
void loop_event_cancel(struct loop *loop, struct loop_task *task);

#endif
