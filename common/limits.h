/* Every bound in one place: what a peer can make us hold, and for how long. Sizes in bytes unless
 * the name says otherwise. */
#ifndef VUG_COMMON_LIMITS_H
#define VUG_COMMON_LIMITS_H

#define LIMIT_MESSAGE_BYTES                 (128u * 1024 * 1024) /* one frame of a connection */
#define LIMIT_MESSAGE_BYTES_UNAUTHENTICATED 4096u                /* before authentication */
#define LIMIT_VERSION_BYTES                 10u   /* the version message is exactly this long */
#define LIMIT_REQUESTS_IN_SERVICE           1024u /* of one connection; then it is not read */
#define LIMIT_UNSENT_BYTES                  (1024u * 1024) /* replies; then nothing is executed */
#define LIMIT_PUSH_UNSENT_BYTES             (64u * 1024)   /* then no further events go out */
#define LIMIT_ARENA_BYTES                   (512u * 1024 * 1024) /* one request's decoded form */
#define LIMIT_CONNECTIONS                   800u                 /* Geode's max-connections */
#define LIMIT_IDLE_MS                       60000u /* Geode's maximum-time-between-pings */
#define LIMIT_JSON_DEPTH                    100u   /* nested arrays and objects in a document */
#define LIMIT_JSON_NAMES                                                                           \
    (1024u * 1024) /* fields of the objects that are open at one place of a document */
#define LIMIT_KEY_BYTES                    (1024u * 1024)
#define LIMIT_STATEMENT_BYTES              (64u * 1024) /* one SQL statement */
#define LIMIT_EXPRESSION_DEPTH             200u
#define LIMIT_PARAMETERS                   256u
#define LIMIT_COLUMNS                      512u
#define LIMIT_IN_LIST                      4096u
#define LIMIT_FRAME_ROWS                   10000u              /* ROWS n PRECEDING */
#define LIMIT_MEMBERS                      1024u               /* of one cluster */
#define LIMIT_GROUPS                       64u                 /* of one member */
#define LIMIT_MAP_BYTES                    (64u * 1024 * 1024) /* of the packed cluster map */
#define LIMIT_REGIONS                      4096u
#define LIMIT_TABLES                       4096u
#define LIMIT_NAME_BYTES                   255u   /* of a region, a table, a member, a query */
#define LIMIT_BUCKETS                      16384u /* of one region */
#define LIMIT_INSTANCES                    1024u  /* continuous queries of one server */
#define LIMIT_UNATTACHED_INSTANCES         32u    /* unnamed, left, kept for a resume */
#define LIMIT_UNATTACHED_NAMED             128u
#define LIMIT_YOUNG_MS                     60000u /* since it began: who both are about */
#define LIMIT_KEY_COLUMNS                  16u /* of a result, by which a subscription conflates */
#define LIMIT_CONFLATED_EVENTS             1024u  /* of one bucket at a time */
#define LIMIT_SUBSCRIPTIONS                10000u /* of one server */
#define LIMIT_SUBSCRIPTIONS_PER_CONNECTION 256u
#define LIMIT_SUBSCRIBE_US                 (10u * 1000 * 1000) /* for a query to begin everywhere */
#define LIMIT_FEED_BYTES                   (256u * 1024) /* on their way to one subscription */
#define LIMIT_FEEDS                        65536u        /* that one peer opens on a connection */
#define LIMIT_RING_BYTES                   (48u * 1024 * 1024) /* output rings of a server */
#define LIMIT_RING_RETENTION_MS            (10u * 60 * 1000)
#define LIMIT_ROWS_BYTES                   (32u * 1024 * 1024) /* waiting for other buckets */
#define LIMIT_CROWDED_TICKS                100u /* of 50 ms: changes wait for their owners */
#define LIMIT_FEED_ROWS_BYTES              (1024u * 1024)     /* of rows on their way to a server */
#define LIMIT_GROUPS_PER_BUCKET            (4u * 1024 * 1024) /* operator state of one query */
#define LIMIT_WRITER_WINDOW                1024u /* unanswered, of one idempotent writer */
#define LIMIT_WRITERS_PER_BUCKET           10000u
#define LIMIT_CALLS                        4096u  /* that wait in one bucket; held of one peer */
#define LIMIT_WRITE_CALL_MS                60000u /* of a writer that repeats by itself */
#define LIMIT_CALL_MS                      10000u /* then a call ends with an error */
#define LIMIT_WRITER_IDLE_MS               (15u * 60 * 1000) /* of the bucket's record times */
#define LIMIT_CREDIT_EVENTS_DEFAULT        65536u
#define LIMIT_CREDIT_BYTES_DEFAULT         (16u * 1024 * 1024)
#define LIMIT_PEER_MESSAGE_BYTES           (64u * 1024 * 1024)
#define LIMIT_BACKLOG_BYTES                (64u * 1024 * 1024) /* records kept, of a server */
#define LIMIT_SLICE_US                     200u /* work over many entries then gives way */
#define LIMIT_IMAGES_AT_ONCE               4u   /* being sent to one peer; others wait */
#define LIMIT_IMAGE_HEAD_BYTES             (1024u * 1024 * 1024) /* all but the entries */
#define LIMIT_IMAGE_OLD_BYTES              (64u * 1024 * 1024) /* replaced before they were sent */
#define LIMIT_PEER_FRAME_BYTES             (LIMIT_MESSAGE_BYTES + 1024u * 1024) /* one record */
#define LIMIT_PEER_MAIL_BYTES              (16u * 1024 * 1024) /* to one peer, not yet written */
#define LIMIT_PROPOSALS                    65536u /* between two turns of the main loop */
#define LIMIT_TICK_BUCKETS                 4096u  /* looked after in one tick of 50 ms */
#define LIMIT_HTTP_HEADER_BYTES            8192
#define LIMIT_HTTP_IDLE_MS                 10000
#define LIMIT_LOG_LINES                    5u /* of one kind, in LIMIT_LOG_WINDOW_MS */
#define LIMIT_LOG_WINDOW_MS                10000u
#define LIMIT_LOG_LINE_BYTES               4096u /* a longer line is cut and says so */

#endif
