#include "cli/member.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>

#define END_PATIENCE_US (10u * 1000 * 1000)
#define CONNECTIONS_MIN 16

bool member_is_loopback(const char *host)
{
    return strncmp(host, "127.", 4) == 0 || strcmp(host, "localhost") == 0 ||
           strcmp(host, "::1") == 0 || strcmp(host, "[::1]") == 0;
}

static enum exit_status check_security(struct cli *cli, const struct member_options *options)
{
    const char *later = options->security_file != NULL       ? "security-file"
                        : cli->globals.tls_cert != NULL      ? "tls-cert"
                        : cli->globals.tls_key != NULL       ? "tls-key"
                        : cli->globals.tls_ca != NULL        ? "tls-ca"
                        : cli->globals.user != NULL          ? "user"
                        : cli->globals.password_file != NULL ? "password-file"
                        : !options->tls_require_client_cert  ? "tls-require-client-cert"
                                                             : NULL;
    const char *beyond = !member_is_loopback(options->bind_address) ? options->bind_address
                         : !member_is_loopback(options->http_bind_address)
                             ? options->http_bind_address
                             : NULL;
    if (later != NULL)
        return cli_fail(cli, EXIT_CONFIG,
                        "leave it out: without users and TLS a member listens on loopback",
                        "--%s comes with a later version", later);
    if (beyond != NULL && !options->allow_insecure)
        return cli_fail(cli, EXIT_CONFIG,
                        "users (--security-file) and TLS (--tls-cert) come with a later version; "
                        "--allow-insecure "
                        "opens the port to everybody who reaches it",
                        "%s is beyond this machine, and without --security-file and --tls-cert "
                        "anybody there could "
                        "read and write; so it needs --allow-insecure",
                        beyond);
    return EXIT_OK;
}

static bool read_level(const char *word, enum log_level *level)
{
    static const char *const words[] = {"debug", "info", "warn", "error"};
    for (unsigned i = 0; i < 4; i++)
        if (strcmp(word, words[i]) == 0) {
            *level = (enum log_level)i;
            return true;
        }
    return false;
}

/* Each connection is a file. */
static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit); /* what there is has to do */
    }
}

uint64_t member_file_limit(void)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? (uint64_t)limit.rlim_cur : 0;
}

uint32_t member_connections_max(const struct member_options *options)
{
    return options->connections_max < CONNECTIONS_MIN ? CONNECTIONS_MIN
                                                      : (uint32_t)options->connections_max;
}

static void on_accept_failed(void *arg, enum error why)
{
    struct member *member = arg;
    uint32_t suppressed = 0;
    if (!log_limit_allows(&member->accept_limit, loop_now_us(member->loop), &suppressed))
        return;
    if (why == ERROR_LIMIT)
        log_line(member->log, LOG_WARN, "main", "VG1002",
                 "connections have to wait, because all %llu files that this process may open are "
                 "open: raise its open-file limit (`ulimit -n`, LimitNOFILE) or close connections "
                 "that are not used (happened %u times more)",
                 (unsigned long long)member_file_limit(), suppressed);
    else
        log_line(member->log, LOG_WARN, "main", "VG1003",
                 "connections have to wait, because the system is out of memory: give it more or "
                 "close connections that are not used (happened %u times more)",
                 suppressed);
}

/* At first, before a member has promised anything. */
static enum exit_status check_address(struct member *member, const char *option, const char *host)
{
    struct net_listener *listener = NULL;
    enum error error = net_listen(member->net, host, 0, NULL, NULL, &listener);
    if (error == OK)
        net_listener_close(listener);
    if (error == ERROR_NO_ADDRESS)
        return cli_fail(member->cli, EXIT_FAILED, "`ip address` lists those that it has",
                        "--%s: this host has no address %s", option, host);
    return EXIT_OK; /* anything else is told where it matters */
}

static void on_signal(void *arg)
{
    member_end(arg);
}

static void on_patience(void *arg)
{
    struct member *member = arg;
    log_line(member->log, LOG_WARN, "main", "VG1001",
             "ended after 10 s without waiting for what was still in service");
    member_stop(member, EXIT_OK);
}

enum exit_status member_init(struct member *member, struct cli *cli,
                             const struct member_options *options, const char *role,
                             void (*end)(void *arg), void *arg)
{
    enum log_level level = LOG_INFO;
    *member =
        (struct member){.cli = cli, .options = options, .role = role, .on_signal = end, .arg = arg};
    enum exit_status status = check_security(cli, options);
    if (status != EXIT_OK)
        return status;
    if (options->name[0] == '\0')
        return cli_fail(cli, EXIT_USAGE,
                        "leave --name out, or give one, for example --name server2",
                        "--name is empty, but a member needs a name");
    if (strlen(options->name) > LIMIT_NAME_BYTES)
        return cli_fail(cli, EXIT_CONFIG, NULL, "the name is longer than %u bytes",
                        LIMIT_NAME_BYTES);
    if (!read_level(options->log_level, &level))
        return cli_fail(cli, EXIT_CONFIG, "debug, info, warn or error",
                        "there is no log level \"%s\"", options->log_level);
    raise_file_limit();
    enum error error = loop_event_new(&member->loop);
    if (error != OK)
        goto err_after_nothing;
    member->started_us = loop_now_us(member->loop);
    error = net_event_new(
        member->loop,
        &(struct net_event_options){.on_accept_failed = on_accept_failed, .arg = member},
        &member->net);
    if (error != OK)
        goto err_after_loop;
    error = loop_timer_init(&member->patience, member->loop, on_patience, member);
    if (error != OK)
        goto err_after_net;
    member->log = log_new(level, NULL, NULL, NULL);
    error = member->log == NULL ? ERROR_MEMORY : OK;
    if (error == OK)
        error = loop_event_signal(member->loop, SIGTERM, on_signal, member);
    if (error == OK)
        error = loop_event_signal(member->loop, SIGINT, on_signal, member);
    if (error == OK)
        status = check_address(member, "bind-address", options->bind_address);
    if (error == OK && status == EXIT_OK)
        status = check_address(member, "http-bind-address", options->http_bind_address);
    if (error == OK && status == EXIT_OK)
        return EXIT_OK;
    if (member->log != NULL)
        log_free(member->log);
    loop_timer_fini(&member->patience);
err_after_net:
    net_event_free(member->net);
err_after_loop:
    loop_event_free(member->loop);
err_after_nothing:
    if (error == OK)
        return status;
    return error == ERROR_MEMORY
               ? cli_fail_memory(cli)
               : cli_fail(cli, EXIT_INTERNAL, NULL, "cannot start: %s", error_text(error));
}

void member_fini(struct member *member)
{
    if (member->http != NULL)
        http_event_free(member->http);
    loop_timer_fini(&member->patience);
    net_event_free(member->net);
    loop_event_free(member->loop);
    log_free(member->log);
}

enum exit_status member_serve_http(struct member *member, const struct http_route *routes,
                                   size_t count, void *arg)
{
    const struct member_options *options = member->options;
    enum error error =
        http_event_new(member->loop, options->http_bind_address, (uint16_t)options->http_port,
                       routes, count, arg, &member->http);
    /* Several members on one machine must not fail over a port that nobody asked for. */
    if (error == ERROR_ADDRESS_IN_USE &&
        options_source(member->cli->options, "http-port") == OPTION_DEFAULT)
        error = http_event_new(member->loop, options->http_bind_address, 0, routes, count, arg,
                               &member->http);
    if (error == OK)
        return EXIT_OK;
    member->http = NULL;
    return cli_fail(member->cli, error == ERROR_MEMORY ? EXIT_INTERNAL : EXIT_FAILED,
                    "--http-port 0 takes a free one", "cannot listen on %s:%lld for HTTP: %s",
                    options->http_bind_address, (long long)options->http_port, error_text(error));
}

uint16_t member_http_port(const struct member *member)
{
    return member->http == NULL ? 0 : http_event_address(member->http).port;
}

void member_tell_port(struct member *member, const char *name, const struct net_address *address,
                      const char *purpose)
{
    char place[96];
    bool v6 = strchr(address->host, ':') != NULL;
    snprintf(place, sizeof place, "%s%s%s:%u", v6 ? "[" : "", address->host, v6 ? "]" : "",
             (unsigned)address->port);
    cli_note(member->cli, "  %-8s %-22s %s", name, place, purpose);
}

void member_tell_ready(struct member *member)
{
    if (member->http != NULL) {
        struct net_address address = http_event_address(member->http);
        member_tell_port(member, "http", &address, "/health and /metrics");
    }
    member->ready = true;
    cli_note(member->cli, "ready in %llu ms",
             (unsigned long long)((loop_now_us(member->loop) - member->started_us) / 1000));
}

void member_end(struct member *member)
{
    if (member->ending) {
        member_stop(member, EXIT_OK);
        return;
    }
    member->ending = true;
    member->ready = false;
    loop_timer_set(&member->patience, END_PATIENCE_US);
    member->on_signal(member->arg);
}

void member_stop(struct member *member, enum exit_status status)
{
    member->status = status;
    loop_event_stop(member->loop);
}
