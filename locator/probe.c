#include "locator/probe.h"

#include <string.h>

#include "common/mem.h"
#include "protocol/cluster_map.h"
#include "protocol/peer.h"

enum {
    CONNECT_MS = 1000,
    ANSWER_MS = 2000,
    NAME_BYTES = 256,
    WELCOME_BYTES_MAX = 16384,
};

struct probe {
    struct loop *loop;
    struct net_conn *conn;
    struct loop_timer deadline;
    uint64_t incarnation;
    uint8_t cluster_id[CLUSTER_ID_BYTES];
    char name[NAME_BYTES];
    probe_fn *on_result;
    void *arg;
};

static void end(struct probe *probe, bool gone, const char *why)
{
    probe_fn *on_result = probe->on_result;
    void *arg = probe->arg;
    probe_free(probe);
    on_result(arg, gone, why);
}

static void on_deadline(void *arg)
{
    end(arg, false, "it does not answer");
}

static void on_connect(void *arg)
{
    struct probe *probe = arg;
    static const uint8_t first = PEER_FIRST_BYTE;
    Pb__PeerHello hello = PB__PEER_HELLO__INIT;
    hello.cluster_id = (ProtobufCBinaryData){.len = CLUSTER_ID_BYTES, .data = probe->cluster_id};
    hello.name = probe->name;
    hello.role = CLUSTER_LOCATOR;
    hello.version = (char *)(uintptr_t)VUG_VERSION;
    if (net_conn_write(probe->conn, &first, 1) != OK ||
        PEER_SEND(probe->conn, HELLO, hello, &hello) != OK)
        end(probe, false, "there was not enough memory to ask it");
}

static size_t on_data(void *arg, const uint8_t *data, size_t len)
{
    struct probe *probe = arg;
    struct slice rest = slice_of(data, len);
    struct slice frame;
    enum error error = peer_next_frame(&rest, WELCOME_BYTES_MAX, &frame);
    if (error == OK && frame.data == NULL)
        return 0;
    struct arena arena;
    Pb__PeerMessage *message = NULL;
    arena_init(&arena, 4 * (size_t)WELCOME_BYTES_MAX);
    if (error == OK)
        error = peer_unpack(frame, &arena, &message);
    bool answered = error == OK && message->kind_case == PB__PEER_MESSAGE__KIND_WELCOME &&
                    message->welcome->incarnation != 0;
    bool same = answered && message->welcome->incarnation == probe->incarnation;
    arena_fini(&arena);
    if (!answered)
        end(probe, false, "something answers at its address, but does not say what it is");
    else if (same)
        end(probe, false, "it is alive");
    else
        end(probe, true, "another process answers at its address");
    return len;
}

static void on_eof(void *arg, struct slice rest)
{
    (void)rest;
    end(arg, false, "something at its address accepts connections and closes them");
}

static void on_close(void *arg, enum error why)
{
    struct probe *probe = arg;
    probe->conn = NULL;
    if (why == ERROR_REFUSED)
        end(probe, true, "its host refuses connections to its port");
    else
        end(probe, false, error_text(why));
}

static void on_drain(void *arg)
{
    (void)arg; /* a hello is all that is ever sent */
}

static const struct net_conn_events conn_events = {
    .on_data = on_data,
    .on_eof = on_eof,
    .on_drain = on_drain,
    .on_close = on_close,
    .on_connect = on_connect,
};

enum error probe_new(struct loop *loop, struct net *net, const struct probe_target *target,
                     probe_fn *on_result, void *arg, struct probe **out)
{
    struct probe *probe = mem_zalloc(sizeof(*probe));
    if (probe == NULL)
        return ERROR_MEMORY;
    probe->loop = loop;
    probe->incarnation = target->incarnation;
    memcpy(probe->cluster_id, target->cluster_id, CLUSTER_ID_BYTES);
    strncpy(probe->name, target->name, sizeof(probe->name) - 1);
    probe->on_result = on_result;
    probe->arg = arg;
    enum error error = loop_timer_init(&probe->deadline, loop, on_deadline, probe);
    if (error == OK)
        error = net_connect(net, target->host, target->port, CONNECT_MS * UINT64_C(1000),
                            &conn_events, probe, &probe->conn);
    if (error != OK) {
        probe->conn = NULL;
        probe_free(probe);
        return error;
    }
    loop_timer_set(&probe->deadline, ANSWER_MS * UINT64_C(1000));
    *out = probe;
    return OK;
}

void probe_free(struct probe *probe)
{
    if (probe->conn != NULL)
        net_conn_abort(probe->conn);
    loop_timer_fini(&probe->deadline);
    mem_free(probe);
}
