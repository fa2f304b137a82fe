#include "common/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/limits.h"
#include "common/mem.h"
#include "common/text.h"

struct log {
    enum log_level min;
    log_sink_fn *sink;
    void *arg;
    uint64_t (*wall_ms)(void *arg);
    pthread_mutex_t mutex; /* one sink call at a time */
};

static const char *const level_names[] = {
    [LOG_DEBUG] = "DEBUG", [LOG_INFO] = "INFO", [LOG_WARN] = "WARN", [LOG_ERROR] = "ERROR"};

static void log_to_stderr(void *arg, enum log_level level, const char *line)
{
    (void)arg;
    (void)level;
    fprintf(stderr, "%s\n", line);
}

static uint64_t log_system_wall_ms(void *arg)
{
    struct timespec now;

    (void)arg;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

struct log *log_new(enum log_level min, log_sink_fn *sink, void *arg, uint64_t (*wall_ms)(void *))
{
    struct log *log = mem_zalloc(sizeof *log);

    if (log == NULL)
        return NULL;
    log->min = min;
    log->sink = sink != NULL ? sink : log_to_stderr;
    log->arg = arg;
    log->wall_ms = wall_ms != NULL ? wall_ms : log_system_wall_ms;
    pthread_mutex_init(&log->mutex, NULL);
    return log;
}

void log_free(struct log *log)
{
    if (log == NULL)
        return;
    pthread_mutex_destroy(&log->mutex);
    mem_free(log);
}

/* Appends `text` with everything that could start a new line or drive a terminal written as an
 * escape: control characters (C0, DEL, C1) and bytes that are not UTF-8. Stops where `end` is
 * reached, never inside a character. */
static char *log_escape(char *out, const char *end, const char *text)
{
    size_t left = strlen(text);

    while (left > 0) {
        uint8_t byte = (uint8_t)*text;
        size_t len = text_utf8_len((const uint8_t *)text, left);
        bool plain = len > 1 || (len == 1 && byte >= 0x20 && byte != 0x7f);

        if (len == 2 && byte == 0xc2 && (uint8_t)text[1] < 0xa0)
            plain = false;
        if (plain) {
            if ((size_t)(end - out) < len)
                return out;
            memcpy(out, text, len);
            out += len;
        } else {
            len = len == 0 ? 1 : len;
            for (size_t i = 0; i < len; i++) {
                if (end - out < 5)
                    return out;
                if (text[i] == '\n')
                    out += snprintf(out, 3, "\\n");
                else
                    out += snprintf(out, 5, "\\x%02x", (uint8_t)text[i]);
            }
        }
        text += len;
        left -= len;
    }
    return out;
}

void log_line(struct log *log, enum log_level level, const char *part, const char *code,
              const char *format, ...)
{
    static const char cut[] = " (cut)";
    char sentence[LIMIT_LOG_LINE_BYTES / 2];
    char line[LIMIT_LOG_LINE_BYTES];
    struct tm parts;
    va_list args;
    time_t seconds;
    uint64_t wall_ms;
    char *out = line;
    /* Room that the escaped sentence leaves for what follows it. */
    const char *end = line + sizeof line - 64;
    int len;

    if (log == NULL || level < log->min)
        return;
    va_start(args, format);
    len = vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);

    wall_ms = log->wall_ms(log->arg);
    seconds = (time_t)(wall_ms / 1000);
    gmtime_r(&seconds, &parts);
    out += strftime(out, 64, "%Y-%m-%dT%H:%M:%S", &parts);
    out += snprintf(out, 96, ".%03uZ %-5s %.64s ", (unsigned)(wall_ms % 1000), level_names[level],
                    part);
    out = log_escape(out, end, sentence);
    if (len < 0 || (size_t)len >= sizeof sentence) {
        memcpy(out, cut, sizeof cut - 1);
        out += sizeof cut - 1;
    }
    if (code != NULL)
        out += snprintf(out, 32, "  code=%.16s", code);
    *out = '\0';

    pthread_mutex_lock(&log->mutex);
    log->sink(log->arg, level, line);
    pthread_mutex_unlock(&log->mutex);
}

int log_limit_allows(struct log_limit *limit, uint64_t now_us, uint32_t *suppressed)
{
    bool first = limit->written == 0 && limit->suppressed == 0;

    *suppressed = 0;
    if (first || now_us - limit->window_start_us >= LIMIT_LOG_WINDOW_MS * UINT64_C(1000)) {
        *suppressed = limit->suppressed;
        limit->window_start_us = now_us;
        limit->written = 0;
        limit->suppressed = 0;
    }
    if (limit->written < LIMIT_LOG_LINES) {
        limit->written++;
        return 1;
    }
    limit->suppressed++;
    return 0;
}
