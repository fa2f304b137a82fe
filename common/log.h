/* The log: one event, one line, for people first: time, level, part, sentence, then the fields.
 *
 *   2026-11-22T09:14:03.512Z INFO  membership member joined: server2  code=VG1201
 *
 * A struct log is passed down like everything else. Control characters in the sentence are escaped
 * here, so a name from the wire cannot forge a line. Every WARN and ERROR has a code. */
#ifndef VUG_COMMON_LOG_H
#define VUG_COMMON_LOG_H

#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

struct log;

/* Where lines go; called with the finished line, without its line end; from any thread, one call at
 * a time. */
typedef void log_sink_fn(void *arg, enum log_level level, const char *line);

/* The default sink writes to stderr. `wall_ms` gives the time of a line; NULL asks the system's
 * clock. */
struct log *log_new(enum log_level min, log_sink_fn *sink, void *arg,
                    uint64_t (*wall_ms)(void *arg));
void log_free(struct log *log);

/* `code` is NULL for DEBUG and INFO without one. A NULL log swallows the line. */
void log_line(struct log *log, enum log_level level, const char *part, const char *code,
              const char *format, ...) __attribute__((format(printf, 5, 6)));

/* Lets a burst through and then counts: returns true if the line may be written and adds "(N more
 * in 10 s)" itself through `suppressed`. One struct log_limit for each kind of line, kept by its
 * owner; its loop's thread only. */
struct log_limit {
    uint64_t window_start_us;
    uint32_t written;
    uint32_t suppressed;
};
int log_limit_allows(struct log_limit *limit, uint64_t now_us, uint32_t *suppressed);

#endif
