/* RegionClear: every server that holds primaries of the region empties them; answered with the sum
 * when all have. */
#include "common/mem.h"
#include "locator/ops.h"
#include "locator/peer_link.h"
#include "locator/regions.h"
#include "protocol/message.h"

struct region_clear {
    struct request *request;
    uint32_t pending;
    uint64_t entries;
    bool failed;
    struct failure failure; /* the first one */
};

static void fail_first(struct region_clear *clear, const struct failure *failure)
{
    if (!clear->failed)
        clear->failure = *failure;
    clear->failed = true;
}

static void finish_one(struct region_clear *clear)
{
    if (--clear->pending > 0)
        return;
    if (clear->failed) {
        request_fail_with(clear->request, &clear->failure);
    } else {
        Pb__RegionClearResponse response = PB__REGION_CLEAR_RESPONSE__INIT;
        response.entries = clear->entries;
        request_reply(clear->request, 1031, &response.base);
    }
    mem_free(clear);
}

static void on_answer(void *arg, const struct failure *failure, uint32_t number, struct slice body)
{
    struct region_clear *clear = arg;
    struct arena arena;
    ProtobufCMessage *message = NULL;
    arena_init(&arena, PEER_HELLO_BYTES_MAX);
    if (failure != NULL) {
        fail_first(clear, failure);
    } else if (number != 1031 || message_unpack(&pb__region_clear_response__descriptor, &arena,
                                                body, &message) != OK) {
        struct failure odd;
        request_failure(&odd, ADMIN_REASON_UNSUPPORTED,
                        "a server answered something else than was asked; is it of "
                        "another version?");
        fail_first(clear, &odd);
    } else {
        clear->entries += ((const Pb__RegionClearResponse *)message)->entries;
    }
    arena_fini(&arena);
    finish_one(clear);
}

static bool holds_primaries(const struct cluster_region *region, uint32_t member)
{
    for (uint32_t i = 0; region->buckets != NULL && i < region->bucket_count; i++)
        if (region->buckets[i].primary == member)
            return true;
    return false;
}

static void ask(struct region_clear *clear, const struct cluster_member *server, struct slice body)
{
    struct member *member = locator_member(clear->request->locator, server->incarnation);
    struct failure failure;
    clear->pending++;
    if (member->peer == NULL) {
        request_failure(
            &failure, ADMIN_REASON_UNREACHABLE,
            "server %.*s holds buckets of the region and is not connected. See `vug members`.",
            SLICE_FMT(server->name));
    } else if (peer_call(member->peer, 1030, body, on_answer, clear) != OK) {
        request_failure(&failure, ADMIN_REASON_BUSY, "server %.*s does not keep up; try again.",
                        SLICE_FMT(server->name));
    } else {
        return;
    }
    fail_first(clear, &failure);
    clear->pending--;
}

void locator_op_region_clear(struct request *request, const ProtobufCMessage *body,
                             struct arena *arena)
{
    const Pb__RegionClearRequest *message = (const Pb__RegionClearRequest *)body;
    struct cluster_map *map = request->locator->map;
    struct slice name = region_name(message_slice(message->name));
    const struct cluster_region *region = cluster_map_region(map, name);
    size_t len = protobuf_c_message_get_packed_size(body);
    uint8_t *packed = arena_alloc(arena, len + 1);
    struct region_clear *clear = packed == NULL ? NULL : mem_zalloc(sizeof(*clear));
    if (region == NULL) {
        struct failure failure;
        mem_free(clear);
        region_fail_unknown(map, name, &failure);
        request_fail_with(request, &failure);
        return;
    }
    if (clear == NULL) {
        request_fail(request, ADMIN_REASON_MEMORY,
                     "the locator has not enough memory; nothing was changed.");
        return;
    }
    protobuf_c_message_pack(body, packed);
    clear->request = request;
    clear->pending = 1; /* until everybody was asked */
    for (uint32_t i = 0; i < map->member_count; i++)
        if (holds_primaries(region, i))
            ask(clear, &map->members[i], slice_of(packed, len));
    finish_one(clear);
}
