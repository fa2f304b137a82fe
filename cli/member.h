/* What `vug locator` and `vug server` have in common: options, the banner, HTTP, signals, the exit
 * status. */
#ifndef VUG_CLI_MEMBER_H
#define VUG_CLI_MEMBER_H

#include "cli/cli.h"
#include "common/http.h"
#include "common/log.h"

struct member_options {
    const char *name, *bind_address, *hostname_for_clients, *data_dir;
    int64_t port, http_port, connections_max;
    const char *http_bind_address;
    bool allow_insecure;
    const char *security_file, *log_level;
    bool tls_require_client_cert;
};

/* The rows of these options in a struct whose member `common` they are. */
#define MEMBER_ROWS(into, default_name, port_name, default_port, default_http_port)                \
    {.name = "name",                                                                               \
     .kind = OPTION_STRING,                                                                        \
     .default_text = default_name,                                                                 \
     .value_name = "NAME",                                                                         \
     .help = "of this member; no two of a cluster may share one",                                  \
     .offset = offsetof(into, common.name)},                                                       \
        {.name = "bind-address",                                                                   \
         .kind = OPTION_STRING,                                                                    \
         .default_text = "127.0.0.1",                                                              \
         .value_name = "ADDRESS",                                                                  \
         .help = "where to listen",                                                                \
         .offset = offsetof(into, common.bind_address)},                                           \
        {.name = port_name,                                                                        \
         .kind = OPTION_INT,                                                                       \
         .min = 0,                                                                                 \
         .max = 65535,                                                                             \
         .default_text = default_port,                                                             \
         .value_name = "PORT",                                                                     \
         .help = "0 takes a free one, and the banner says which",                                  \
         .offset = offsetof(into, common.port)},                                                   \
        {.name = "hostname-for-clients",                                                           \
         .kind = OPTION_STRING,                                                                    \
         .value_name = "HOST",                                                                     \
         .help = "how others reach this member; its bind address if left out",                     \
         .offset = offsetof(into, common.hostname_for_clients)},                                   \
        {.name = "http-port",                                                                      \
         .kind = OPTION_INT,                                                                       \
         .min = 0,                                                                                 \
         .max = 65535,                                                                             \
         .default_text = default_http_port,                                                        \
         .value_name = "PORT",                                                                     \
         .help = "for /health and /metrics; if left out and taken, a free one",                    \
         .offset = offsetof(into, common.http_port)},                                              \
        {.name = "http-bind-address",                                                              \
         .kind = OPTION_STRING,                                                                    \
         .default_text = "127.0.0.1",                                                              \
         .value_name = "ADDRESS",                                                                  \
         .help = "where HTTP listens",                                                             \
         .offset = offsetof(into, common.http_bind_address)},                                      \
        {.name = "data-dir",                                                                       \
         .kind = OPTION_STRING,                                                                    \
         .value_name = "DIRECTORY",                                                                \
         .help = "what this member keeps on disk",                                                 \
         .offset = offsetof(into, common.data_dir)},                                               \
        {.name = "max-connections",                                                                \
         .kind = OPTION_INT,                                                                       \
         .min = 0,                                                                                 \
         .max = INT32_MAX,                                                                         \
         .default_text = "800",                                                                    \
         .value_name = "N",                                                                        \
         .help = "connections of clients at the same time; fewer than 16 are raised to 16",        \
         .offset = offsetof(into, common.connections_max)},                                        \
        {.name = "allow-insecure",                                                                 \
         .kind = OPTION_BOOL,                                                                      \
         .help = "listen beyond loopback without users and TLS",                                   \
         .offset = offsetof(into, common.allow_insecure)},                                         \
        {.name = "security-file",                                                                  \
         .kind = OPTION_STRING,                                                                    \
         .value_name = "FILE",                                                                     \
         .help = "comes with a later version: users and roles",                                    \
         .offset = offsetof(into, common.security_file)},                                          \
        {.name = "tls-require-client-cert",                                                        \
         .kind = OPTION_BOOL,                                                                      \
         .default_text = "true",                                                                   \
         .help = "comes with a later version: TLS",                                                \
         .offset = offsetof(into, common.tls_require_client_cert)},                                \
    {                                                                                              \
        .name = "log-level", .kind = OPTION_STRING, .default_text = "info", .value_name = "LEVEL", \
        .help = "debug, info, warn or error", .offset = offsetof(into, common.log_level)           \
    }

struct member {
    struct cli *cli;
    const struct member_options *options;
    const char *role; /* "locator" or "server" */
    struct loop *loop;
    struct net *net;
    struct log *log;
    struct http *http;
    uint64_t started_us;
    bool ready;
    enum exit_status status;      /* of the process, once the loop has stopped */
    void (*on_signal)(void *arg); /* SIGTERM, SIGINT, `vug stop`: to end in good order */
    void *arg;
    bool ending;
    struct loop_timer patience; /* for an end in good order */
    struct log_limit accept_limit;
};

/* Checks the options, makes loop, net and log, takes signals. On EXIT_OK member_fini() follows. */
enum exit_status member_init(struct member *member, struct cli *cli,
                             const struct member_options *options, const char *role,
                             void (*on_signal)(void *arg), void *arg);
void member_fini(struct member *member);

/* Opens the HTTP port. The routes outlive the member. */
enum exit_status member_serve_http(struct member *member, const struct http_route *routes,
                                   size_t count, void *arg);
/* How many files, and so connections, the system allows this process. */
uint64_t member_file_limit(void);
/* --max-connections; Geode's, which raises what is too low. */
uint32_t member_connections_max(const struct member_options *options);
uint16_t member_http_port(const struct member *member);

/* One line of the banner: a port and its purpose. */
void member_tell_port(struct member *member, const char *name, const struct net_address *address,
                      const char *purpose);
/* The HTTP port's line and "ready in N ms". */
void member_tell_ready(struct member *member);

/* Asks for an end in good order, once; the second time, or after 10 s, it ends at once. */
void member_end(struct member *member);
/* Stops the loop. */
void member_stop(struct member *member, enum exit_status status);

/* "127.0.0.1", "::1", "localhost" and the like. */
bool member_is_loopback(const char *host);

#endif
