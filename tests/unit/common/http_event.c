#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/http.h"
#include "tests/lib/mem_fault.h"

enum { DEADLINE_US = 20 * 1000000, POLL_US = 500 };

struct fixture {
    struct loop *loop;
    struct http *http;
    struct loop_timer poll;
    uint64_t deadline_us;
    bool timed_out;
    int fd;
    char answer[4096];
    size_t len;
    unsigned asked;
    long live_before;
};

static int say_health(void *arg, struct buf *body)
{
    struct fixture *fixture = arg;

    fixture->asked++;
    buf_append_text(body, "ok\n");
    return 200;
}

static int say_starting(void *arg, struct buf *body)
{
    (void)arg;
    buf_append_text(body, "starting\n");
    return 503;
}

static const struct http_route routes[] = {
    {"/health", "text/plain; charset=utf-8", say_health},
    {"/ready", "text/plain; charset=utf-8", say_starting},
};

static void on_poll(void *arg)
{
    struct fixture *fixture = arg;
    ssize_t len = recv(fixture->fd, fixture->answer + fixture->len,
                       sizeof fixture->answer - 1 - fixture->len, MSG_DONTWAIT);

    fixture->timed_out = loop_now_us(fixture->loop) >= fixture->deadline_us;
    if (len > 0)
        fixture->len += (size_t)len;
    if (len == 0 || fixture->timed_out)
        loop_event_stop(fixture->loop);
    else
        loop_timer_set(&fixture->poll, POLL_US);
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);

    fixture->live_before = mem_fault_live();
    assert_int_equal(loop_event_new(&fixture->loop), OK);
    assert_int_equal(loop_timer_init(&fixture->poll, fixture->loop, on_poll, fixture), OK);
    assert_int_equal(
        http_event_new(fixture->loop, "127.0.0.1", 0, routes, 2, fixture, &fixture->http), OK);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    http_event_free(fixture->http);
    loop_timer_fini(&fixture->poll);
    loop_event_free(fixture->loop);
    assert_int_equal(mem_fault_live(), fixture->live_before);
    free(fixture);
    return 0;
}

/* Sends a request and reads until the server closes. */
static void ask(struct fixture *fixture, const char *request)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(http_event_address(fixture->http).port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    fixture->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fixture->fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(send(fixture->fd, request, strlen(request), MSG_NOSIGNAL),
                     (ssize_t)strlen(request));
    fixture->len = 0;
    fixture->deadline_us = loop_now_us(fixture->loop) + DEADLINE_US;
    loop_timer_set(&fixture->poll, 0);
    loop_event_run(fixture->loop);
    assert_false(fixture->timed_out);
    fixture->answer[fixture->len] = '\0';
    close(fixture->fd);
}

static bool answer_has(const struct fixture *fixture, const char *text)
{
    return strstr(fixture->answer, text) != NULL;
}

static void a_route_is_answered_with_its_type(void **state)
{
    struct fixture *fixture = *state;

    ask(fixture, "GET /health?x=1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_true(answer_has(fixture, "HTTP/1.1 200 "));
    assert_true(answer_has(fixture, "Content-Type: text/plain; charset=utf-8\r\n"));
    assert_true(answer_has(fixture, "X-Content-Type-Options: nosniff\r\n"));
    assert_true(answer_has(fixture, "\r\n\r\nok\n"));
    assert_int_equal(fixture->asked, 1);
}

static void the_handler_decides_the_status(void **state)
{
    struct fixture *fixture = *state;

    ask(fixture, "GET /ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_true(answer_has(fixture, "HTTP/1.1 503 "));
    assert_true(answer_has(fixture, "starting\n"));
}

static void head_has_the_length_and_no_body(void **state)
{
    struct fixture *fixture = *state;

    ask(fixture, "HEAD /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_true(answer_has(fixture, "HTTP/1.1 200 "));
    assert_true(answer_has(fixture, "Content-Length: 3\r\n"));
    assert_string_equal(fixture->answer + fixture->len - 4, "\r\n\r\n");
}

static void an_unknown_path_is_told_what_there_is(void **state)
{
    struct fixture *fixture = *state;

    ask(fixture, "GET /helth HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_true(answer_has(fixture, "HTTP/1.1 404 "));
    assert_true(answer_has(fixture, "ask for /health or /ready\n"));
}

static void other_methods_bodies_and_large_headers_are_refused(void **state)
{
    struct fixture *fixture = *state;
    char large[12000];

    ask(fixture, "DELETE /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_false(answer_has(fixture, " 200 "));
    ask(fixture, "GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\n"
                 "hello");
    assert_false(answer_has(fixture, " 200 "));
    snprintf(large, sizeof large, "GET /health HTTP/1.1\r\nX: %9000s\r\n\r\n", "x");
    ask(fixture, large);
    assert_false(answer_has(fixture, " 200 "));
    assert_int_equal(fixture->asked, 0);
}

static void a_body_that_finds_no_memory_is_unavailable(void **state)
{
    struct fixture *fixture = *state;

    mem_fault_fail_at(1);
    ask(fixture, "GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    mem_fault_fail_at(0);
    assert_true(answer_has(fixture, "HTTP/1.1 503 "));
}

static void a_port_in_use_is_an_error(void **state)
{
    struct fixture *fixture = *state;
    struct http *second;

    assert_int_equal(http_event_new(fixture->loop, "127.0.0.1",
                                    http_event_address(fixture->http).port, routes, 2, fixture,
                                    &second),
                     ERROR_ADDRESS_IN_USE);
    mem_fault_fail_at(1);
    assert_int_equal(http_event_new(fixture->loop, "127.0.0.1", 0, routes, 2, fixture, &second),
                     ERROR_MEMORY);
    mem_fault_fail_at(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        T(a_route_is_answered_with_its_type),
        T(the_handler_decides_the_status),
        T(head_has_the_length_and_no_body),
        T(an_unknown_path_is_told_what_there_is),
        T(other_methods_bodies_and_large_headers_are_refused),
        T(a_body_that_finds_no_memory_is_unavailable),
        T(a_port_in_use_is_an_error),
#undef T
    };

    return cmocka_run_group_tests_name("http_event", tests, NULL, NULL);
}
