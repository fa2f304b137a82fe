#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "common/limits.h"
#include "common/log.h"
#include "tests/lib/mem_fault.h"

struct sink {
    char line[LIMIT_LOG_LINE_BYTES];
    enum log_level level;
    unsigned lines;
    bool inside;
};

static void keep_line(void *arg, enum log_level level, const char *line)
{
    struct sink *sink = arg;

    assert_false(sink->inside);
    sink->inside = true;
    assert_true(strlen(line) < sizeof sink->line);
    strncpy(sink->line, line, sizeof sink->line - 1);
    sink->level = level;
    sink->lines++;
    sink->inside = false;
}

static uint64_t fixed_wall_ms(void *arg)
{
    (void)arg;
    return UINT64_C(1795338843512);
}

static void a_line_has_time_level_part_sentence_and_code(void **state)
{
    struct sink sink = {0};
    struct log *log = log_new(LOG_INFO, keep_line, &sink, fixed_wall_ms);

    (void)state;
    log_line(log, LOG_INFO, "membership", "VG1201", "member joined: %s", "server2");
    assert_string_equal(sink.line, "2026-11-22T09:14:03.512Z INFO  membership member joined: "
                                   "server2  code=VG1201");
    log_line(log, LOG_ERROR, "net", NULL, "gone");
    assert_string_equal(sink.line, "2026-11-22T09:14:03.512Z ERROR net gone");
    assert_int_equal(sink.level, LOG_ERROR);
    log_free(log);
}

static void lines_below_the_level_and_without_a_log_are_swallowed(void **state)
{
    struct sink sink = {0};
    struct log *log = log_new(LOG_WARN, keep_line, &sink, fixed_wall_ms);

    (void)state;
    log_line(log, LOG_INFO, "a", NULL, "quiet");
    log_line(NULL, LOG_ERROR, "a", NULL, "nobody");
    assert_int_equal(sink.lines, 0);
    log_line(log, LOG_WARN, "a", "VG1", "loud");
    assert_int_equal(sink.lines, 1);
    log_free(log);
}

static void control_characters_cannot_forge_a_line(void **state)
{
    struct sink sink = {0};
    struct log *log = log_new(LOG_DEBUG, keep_line, &sink, fixed_wall_ms);

    (void)state;
    log_line(log, LOG_INFO, "a", NULL, "name %s",
             "x\n2026 ERROR\r\t\x1b[31m\x7f\xc2\x9b\xff \xc3\xa9");
    assert_string_equal(sink.line + 33,
                        "name x\\n2026 ERROR\\x0d\\x09\\x1b[31m\\x7f\\xc2\\x9b\\xff \xc3\xa9");
    log_free(log);
}

static void a_long_sentence_is_cut_and_says_so(void **state)
{
    struct sink sink = {0};
    struct log *log = log_new(LOG_DEBUG, keep_line, &sink, fixed_wall_ms);
    char text[3 * LIMIT_LOG_LINE_BYTES];

    (void)state;
    for (int c = 0; c < 2; c++) {
        memset(text, c == 0 ? 'x' : '\n', sizeof text - 1);
        text[sizeof text - 1] = '\0';
        log_line(log, LOG_INFO, "a", "VG1", "%s", text);
        assert_non_null(strstr(sink.line, " (cut)  code=VG1"));
    }
    log_free(log);
}

static void *write_lines(void *arg)
{
    for (int i = 0; i < 1000; i++)
        log_line(arg, LOG_INFO, "thread", NULL, "line %d", i);
    return NULL;
}

static void threads_write_one_line_at_a_time(void **state)
{
    struct sink sink = {0};
    struct log *log = log_new(LOG_DEBUG, keep_line, &sink, NULL);
    pthread_t threads[4];

    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, log), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(sink.lines, 4000);
    log_free(log);
}

static void the_limit_lets_a_burst_through_and_then_counts(void **state)
{
    struct log_limit limit = {0};
    uint32_t suppressed;

    (void)state;
    for (unsigned i = 0; i < LIMIT_LOG_LINES; i++) {
        assert_true(log_limit_allows(&limit, 5, &suppressed));
        assert_int_equal(suppressed, 0);
    }
    for (int i = 0; i < 7; i++)
        assert_false(log_limit_allows(&limit, 6, &suppressed));
    assert_true(log_limit_allows(&limit, 5 + LIMIT_LOG_WINDOW_MS * UINT64_C(1000), &suppressed));
    assert_int_equal(suppressed, 7);
    assert_true(log_limit_allows(&limit, 6 + LIMIT_LOG_WINDOW_MS * UINT64_C(1000), &suppressed));
    assert_int_equal(suppressed, 0);
}

static void without_memory_there_is_no_log(void **state)
{
    (void)state;
    mem_fault_fail_at(1);
    assert_null(log_new(LOG_INFO, NULL, NULL, NULL));
    mem_fault_fail_at(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_has_time_level_part_sentence_and_code),
        cmocka_unit_test(lines_below_the_level_and_without_a_log_are_swallowed),
        cmocka_unit_test(control_characters_cannot_forge_a_line),
        cmocka_unit_test(a_long_sentence_is_cut_and_says_so),
        cmocka_unit_test(threads_write_one_line_at_a_time),
        cmocka_unit_test(the_limit_lets_a_burst_through_and_then_counts),
        cmocka_unit_test(without_memory_there_is_no_log),
    };

    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
