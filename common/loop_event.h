/* What net_event.c and http_event.c need from the real loop beyond common/loop.h. Nobody else
 * includes this. */
#ifndef VUG_COMMON_LOOP_EVENT_H
#define VUG_COMMON_LOOP_EVENT_H

#include "common/loop.h"

/* Like loop_defer(), but after everything that was deferred: what the tasks of a turn write leaves
 * in that turn. */
void loop_event_defer_last(struct loop *loop, struct loop_task *task);

/* For a loop that runs no more: whatever is queued is never run. Their owners may be gone, so the
 * tasks themselves are not looked at. */
void loop_event_forget_tasks(struct loop *loop);

#endif
