/* The first byte of a connection tells its protocol; then the version exchange. */
#include "protocol/session_impl.h"

#include <stdio.h>

#include "protocol/codec.h"

enum {
    SESSION_MODE_CLIENT = 10, /* also the length of the version message */
    SESSION_MODE_PEER = 86,
    SESSION_HTTP_TEXT_BYTES = 512,
};

/* ---- Strangers ---- */

enum session_foreign {
    SESSION_FOREIGN_TLS,
    SESSION_FOREIGN_HTTP,
    SESSION_FOREIGN_CLASSIC,
    SESSION_FOREIGN_PEER,
    SESSION_FOREIGN_UNKNOWN,
    SESSION_TOO_MANY,
};

/* What a person reads in the log: what happened and, unless it is normal, what to do. */
static const struct {
    enum log_level level;
    const char *code, *what, *advice;
} session_foreign_rows[SESSION_FOREIGN_KINDS] = {
    [SESSION_FOREIGN_TLS] =
        {LOG_WARN, "VG1311", "speaks TLS, but this port is plain",
         "connect without TLS, or start this member with --tls-cert and --tls-key"},
    [SESSION_FOREIGN_HTTP] = {LOG_WARN, "VG1312",
                              "speaks HTTP, but this port serves clients of the Geode protocol",
                              "ask the HTTP port of this member, which its start-up names"},
    [SESSION_FOREIGN_CLASSIC] = {LOG_WARN, "VG1313",
                                 "speaks Geode's classic client protocol, which is not supported",
                                 "use a client of the protobuf protocol"},
    /* A locator looks in this way whether a server can be reached. */
    [SESSION_FOREIGN_PEER] = {LOG_INFO, "VG1314", "looked whether this member answers", NULL},
    [SESSION_FOREIGN_UNKNOWN] = {LOG_WARN, "VG1315", "speaks a protocol that is not known here",
                                 "check the port that it connects to"},
    [SESSION_TOO_MANY] = {LOG_WARN, "VG1316", "was refused, because all connections are taken",
                          "close connections that are not used, or raise --max-connections"},
};

static void session_log_foreign(struct session *session, enum session_foreign kind)
{
    struct session_host *host = session->host;
    struct net_address peer = net_conn_peer(session->conn);
    const char *advice = session_foreign_rows[kind].advice;
    uint32_t suppressed = 0;
    char more[48] = "";

    if (!log_limit_allows(&host->foreign_limits[kind], loop_now_us(host->loop), &suppressed))
        return;
    if (suppressed > 0)
        snprintf(more, sizeof more, " (%u more like it were not logged)", suppressed);
    log_line(host->log, session_foreign_rows[kind].level, "session",
             session_foreign_rows[kind].code, "%s:%u %s%s%s%s", peer.host, peer.port,
             session_foreign_rows[kind].what, advice == NULL ? "" : ": ",
             advice == NULL ? "" : advice, more);
}

/* Says one thing and ends. Without memory it says nothing. */
static void session_turn_away(struct session *session, enum session_foreign kind,
                              struct slice answer)
{
    session_log_foreign(session, kind);
    (void)net_conn_write(session->conn, answer.data, answer.len);
    session_close(session);
}

static void session_turn_http_away(struct session *session)
{
    char body[SESSION_HTTP_TEXT_BYTES / 2], answer[SESSION_HTTP_TEXT_BYTES];
    uint16_t port = session->host->http_port;
    int len;

    if (port != 0)
        len = snprintf(body, sizeof body,
                       "This port serves clients of the Geode protocol and does not speak HTTP.\n"
                       "HTTP is on port %u of this member.\n",
                       port);
    else
        len = snprintf(body, sizeof body,
                       "This port serves clients of the Geode protocol and does not speak HTTP.\n"
                       "This member has no HTTP port: --http-port gives it one.\n");
    INVARIANT(len > 0 && (size_t)len < sizeof body);
    len = snprintf(answer, sizeof answer,
                   "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
                   "Content-Length: %d\r\nConnection: close\r\n\r\n%s",
                   len, body);
    INVARIANT(len > 0 && (size_t)len < sizeof answer);
    session_turn_away(session, SESSION_FOREIGN_HTTP, slice_of(answer, (size_t)len));
}

static void session_turn_unknown_away(struct session *session)
{
    static const char text[] = "unknown protocol version";

    session_turn_away(session, SESSION_FOREIGN_UNKNOWN,
                      session->host->role == SESSION_LOCATOR ? slice_text(text)
                                                             : slice_of(NULL, 0));
}

enum session_word { SESSION_WORD_NONE, SESSION_WORD_PART, SESSION_WORD_WHOLE };

/* Does it start with a method of HTTP and a space? */
static enum session_word session_http_word(struct slice data)
{
    static const char *const methods[] = {"GET ",     "HEAD ",    "POST ",  "PUT ",  "DELETE ",
                                          "OPTIONS ", "CONNECT ", "TRACE ", "PATCH "};
    enum session_word best = SESSION_WORD_NONE;

    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        struct slice method = slice_text(methods[i]);
        size_t len = data.len < method.len ? data.len : method.len;

        if (memcmp(data.data, method.data, len) != 0)
            continue;
        if (len == method.len)
            return SESSION_WORD_WHOLE;
        best = SESSION_WORD_PART;
    }
    return best;
}

/* ---- First byte ---- */

/* The connection speaks our protocol, if there is room for it. */
static void session_begin(struct session *session)
{
    struct session_host *host = session->host;
    uint32_t before = atomic_fetch_add_explicit(host->connection_count, 1, memory_order_relaxed);

    if (host->connections_max != 0 && before >= host->connections_max) {
        atomic_fetch_sub_explicit(host->connection_count, 1, memory_order_relaxed);
        session_turn_away(session, SESSION_TOO_MANY, slice_of(NULL, 0));
        return;
    }
    session->is_counted = true;
    session->state = SESSION_VERSION;
    session_count(&host->counters.connections, 1);
    session_count(&host->counters.connection_starts, 1);
}

static void session_hand_to_peer(struct session *session, struct slice data)
{
    struct session_host *host = session->host;
    struct net_conn *conn = session->conn;

    if (host->on_peer == NULL) {
        session_turn_away(session, SESSION_FOREIGN_PEER, slice_of(NULL, 0));
        return;
    }
    session->is_ending = true;
    session->conn = NULL;
    host->on_peer(host->owner, conn, data);
}

size_t session_first_byte(struct session *session, struct slice data)
{
    /* An alert that a TLS library shows as "protocol version". */
    static const uint8_t tls_alert[] = {0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x46};
    static const uint8_t is_locator[] = {0x43}; /* what a classic client understands */

    switch (data.data[0]) {
    case SESSION_MODE_CLIENT:
        session_begin(session);
        return 0; /* the byte is also the length of what follows */
    case SESSION_MODE_PEER:
        session_hand_to_peer(session, data);
        return 0;
    case 0x16:
        session_turn_away(session, SESSION_FOREIGN_TLS, slice_of(tls_alert, sizeof tls_alert));
        return 0;
    case 100 ... 107:
        session_turn_away(session, SESSION_FOREIGN_CLASSIC,
                          session->host->role == SESSION_LOCATOR
                              ? slice_of(is_locator, sizeof is_locator)
                              : slice_of(NULL, 0));
        return 0;
    default:
        break;
    }
    switch (session_http_word(data)) {
    case SESSION_WORD_WHOLE:
        session_turn_http_away(session);
        break;
    case SESSION_WORD_PART:
        break; /* more will tell */
    case SESSION_WORD_NONE:
        session_turn_unknown_away(session);
        break;
    }
    return 0;
}

void session_first_byte_cut(struct session *session, struct slice rest)
{
    if (rest.len > 0)
        session_turn_unknown_away(session); /* the start of a method, and never more */
    else
        session_close(session);
}

/* ---- Version ---- */

/* Answers and goes on, or closes. */
static void session_answer_version(struct session *session, struct slice message)
{
    static const uint8_t accepted[] = {0x06, 0x08, 0x01, 0x10, 0x01, 0x18, 0x01};
    static const uint8_t refused[] = {0x04, 0x08, 0x01, 0x10, 0x01};
    struct session_counters *counters = &session->host->counters;
    size_t len = message.len;
    int32_t major = 0, minor = 0;
    bool is_accepted;

    while (message.len > 0) {
        struct codec_field field;

        if (codec_next_field(&message, &field) != OK) {
            session_close(session);
            return;
        }
        if (field.wire_type == 5 && field.number == 1)
            major = (int32_t)(uint32_t)field.integer;
        else if (field.wire_type == 5 && field.number == 2)
            minor = (int32_t)(uint32_t)field.integer;
    }
    /* A signed comparison, as in the reference: minor -1 is accepted. */
    is_accepted = major == 1 && minor != 0 && minor <= 1;
    counters->messages_received++;
    counters->bytes_received += len;
    if (net_conn_write(session->conn, is_accepted ? accepted : refused,
                       is_accepted ? sizeof accepted : sizeof refused) != OK) {
        session_lose(session);
        return;
    }
    counters->messages_sent++;
    counters->bytes_sent += is_accepted ? sizeof accepted - 1 : sizeof refused - 1;
    session->last_message_us = loop_now_us(session->host->loop);
    if (!is_accepted)
        session_close(session);
    session->state =
        session->host->requires_authentication ? SESSION_AUTHENTICATION : SESSION_READY;
}

size_t session_version(struct session *session, struct slice data)
{
    if (data.len < 1 + LIMIT_VERSION_BYTES)
        return 0;
    session_answer_version(session, slice_of(data.data + 1, LIMIT_VERSION_BYTES));
    return 1 + LIMIT_VERSION_BYTES;
}

void session_version_cut(struct session *session, struct slice rest)
{
    session_answer_version(session, slice_of(rest.data + 1, rest.len - 1));
    if (session->conn != NULL)
        session_close(session);
}
