/* A server in memory: one worker on a fake network, regions and tables from a cluster map that the
 * test writes, and clients that speak the protocol. There is no link to a locator and no listener.
 */
#ifndef VUG_TESTS_LIB_SERVER_FIXTURE_H
#define VUG_TESTS_LIB_SERVER_FIXTURE_H

#include "protocol/message.h"
#include "server/server.h"
#include "server/subscription.h"
#include "tests/lib/fake_net.h"

struct server_fixture {
    struct fake_net *net;
    struct server server;
    struct cluster_map *map; /* sealed, the newest */
    struct worker *worker;
    bool leads_nothing;   /* the test says which buckets the server leads */
    bool no_locator;      /* new queries are refused */
    bool keeps_queries;   /* others are attached to every query */
    uint32_t attachments; /* that the server told last */
    void (*on_map)(void *arg, struct cluster_map *map); /* before its queries begin; or NULL */
    void *on_map_arg;
};

/* Takes a sealed map that another fixture made. */
void server_fixture_adopt(struct server_fixture *fixture, struct cluster_map *map);

void server_fixture_init(struct server_fixture *fixture);
void server_fixture_fini(struct server_fixture *fixture);

/* Adds or removes a region, and gives the worker the new catalog. Removing marks it destroyed and
 * wakes its subscribers, as a newer map does. */
struct region *server_fixture_region(struct server_fixture *fixture,
                                     const struct cluster_region *region);
void server_fixture_remove_region(struct server_fixture *fixture, const char *name);
/* From its DDL. */
void server_fixture_table(struct server_fixture *fixture, const char *name, const char *region,
                          const char *ddl);

/* A region of this name, type PARTITION. */
struct region *server_fixture_partition(struct server_fixture *fixture, const char *name,
                                        uint32_t bucket_count);

/* The number of instances of continuous queries. */
uint32_t server_fixture_instances(struct server_fixture *fixture);

/* The plan of a SELECT over the newest catalog; a reference. */
struct query_plan *server_fixture_plan(struct server_fixture *fixture, const char *sql);

/* ---- Clients ---- */

struct fixture_client {
    struct server_fixture *fixture;
    struct fake_conn *conn;
    size_t read;        /* of what was sent to it */
    struct arena arena; /* of messages that it has received; until the client goes */
};

/* Connected, versions exchanged. */
void fixture_client_init(struct fixture_client *client, struct server_fixture *fixture);
/* Cuts the connection if it is open. */
void fixture_client_fini(struct fixture_client *client);

/* Sends a request, and a turn follows. */
void fixture_client_send(struct fixture_client *client, uint32_t number,
                         const ProtobufCMessage *body);
/* The next message that has arrived: its member number, 0 if there is none; *body lives until the
 * client goes. */
uint32_t fixture_client_receive(struct fixture_client *client, ProtobufCMessage **body);
/* Sends, and receives what must be the answer with this number. */
ProtobufCMessage *fixture_client_ask(struct fixture_client *client, uint32_t number,
                                     const ProtobufCMessage *body, uint32_t answer);
/* Sends, and receives the failure that must be the answer. */
const Pb__Error *fixture_client_fail(struct fixture_client *client, uint32_t number,
                                     const ProtobufCMessage *body);

/* Puts a document under a string key with a plain put. */
void fixture_client_put(struct fixture_client *client, const char *region, const char *key,
                        const char *json);

Pb__EncodedValue fixture_string(const char *text);
Pb__EncodedValue fixture_json(const char *text);
Pb__EncodedValue fixture_int(int32_t number);
Pb__EncodedValue fixture_null(void);

#endif
