/* The blocking side of libvug, for programs without a loop: a loop of its own, and one request at a
 * time. */
#ifndef VUG_CLIENT_SYNC_H
#define VUG_CLIENT_SYNC_H

#include "client/vug.h"

struct vug_sync;

struct vug_reply {
    struct vug_error error; /* error.error is OK when there is an answer */
    struct buf body;
};
void vug_reply_init(struct vug_reply *reply);
void vug_reply_fini(struct vug_reply *reply);

enum error vug_sync_new(const struct vug_target *target, enum vug_client_role role,
                        struct vug_sync **sync);
void vug_sync_free(struct vug_sync *sync);

/* Sends and waits for the answer, at most for the target's timeout for each step on the way.
 * Returns reply->error.error. */
enum error vug_sync_call(struct vug_sync *sync, uint32_t number, const struct buf *body,
                         struct vug_reply *reply);
/* For so long a call is made again while nobody listens or the locator knows no server: they may be
 * starting. 0 at first. */
void vug_sync_be_patient(struct vug_sync *sync, uint32_t patience_ms);
bool vug_sync_peer(const struct vug_sync *sync, struct text_host_port *peer);

#endif
