#include "locator/ack_wait.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/mem.h"

struct ack_wait {
    struct request *request;
    uint64_t epoch;
    uint64_t deadline_us;
    uint32_t number;
    struct buf body;
    char done[512];
    struct ack_wait *next;
};

static const struct cluster_member *missing(const struct locator *locator, uint64_t epoch)
{
    for (uint32_t i = 0; i < locator->map->member_count; i++) {
        const struct cluster_member *server = &locator->map->members[i];
        if (server->role == CLUSTER_SERVER && server->state != CLUSTER_DOWN &&
            !locator_member(locator, server->incarnation)->gone &&
            locator_member(locator, server->incarnation)->acknowledged < epoch)
            return server;
    }
    return NULL;
}

static void wait_free(struct ack_wait *wait)
{
    buf_fini(&wait->body);
    mem_free(wait);
}

static void time_out(struct ack_wait *wait, const struct cluster_member *server)
{
    request_fail(wait->request, ADMIN_REASON_TIMEOUT,
                 "%s (epoch %" PRIu64
                 " of the cluster map), but server %.*s has not acknowledged it within %u s: it is "
                 "stopped, cut off or overloaded, and answers from the older map until then. See "
                 "`vug members`.",
                 wait->done, wait->epoch, SLICE_FMT(server->name), LOCATOR_ACK_MS / 1000);
}

void ack_wait_reply(struct request *request, uint64_t epoch, uint32_t number,
                    const ProtobufCMessage *body, const char *done)
{
    struct locator *locator = request->locator;
    if (missing(locator, epoch) == NULL) {
        request_reply(request, number, body);
        return;
    }
    struct ack_wait *wait = mem_zalloc(sizeof(*wait));
    size_t len = protobuf_c_message_get_packed_size(body);
    uint8_t *out = wait == NULL ? NULL : buf_reserve(&wait->body, len);
    if (out == NULL) {
        mem_free(wait);
        request_fail(request, ADMIN_REASON_MEMORY,
                     "%s, but the locator has not enough memory to wait until every "
                     "server has it.",
                     done);
        return;
    }
    wait->body.len = protobuf_c_message_pack(body, out);
    wait->request = request;
    wait->epoch = epoch;
    wait->number = number;
    wait->deadline_us = loop_now_us(locator->loop) + LOCATOR_ACK_MS * UINT64_C(1000);
    snprintf(wait->done, sizeof(wait->done), "%s", done);
    wait->next = locator->ack_waits;
    locator->ack_waits = wait;
}

void ack_wait_look(struct locator *locator)
{
    uint64_t now_us = loop_now_us(locator->loop);
    for (struct ack_wait **at = &locator->ack_waits; *at != NULL;) {
        struct ack_wait *wait = *at;
        const struct cluster_member *server = missing(locator, wait->epoch);
        if (server != NULL && now_us < wait->deadline_us) {
            at = &wait->next;
            continue;
        }
        *at = wait->next;
        if (server == NULL)
            request_reply_packed(wait->request, wait->number, buf_slice(&wait->body));
        else
            time_out(wait, server);
        wait_free(wait);
    }
}

void ack_wait_free_all(struct locator *locator)
{
    while (locator->ack_waits != NULL) {
        struct ack_wait *wait = locator->ack_waits;
        locator->ack_waits = wait->next;
        wait_free(wait);
    }
}
