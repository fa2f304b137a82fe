#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/error.h"

static void every_error_has_its_own_text(void **state)
{
    static const enum error all[] = {
#define X(name, text) name,
        ERROR_LIST(X)
#undef X
    };
    size_t count = sizeof all / sizeof *all;

    (void)state;
    assert_string_equal(error_text(OK), "no error");
    assert_string_equal(error_text(ERROR_MEMORY), "out of memory");
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(error_text(all[i]), error_text(all[j]));
    }
    assert_string_equal(error_text((enum error)1000), "unknown error");
}

static void a_broken_invariant_aborts_and_says_where(void **state)
{
    char text[4096] = "";
    int ends[2], status;
    size_t len = 0;
    ssize_t part;
    pid_t child;

    (void)state;
    assert_int_equal(pipe(ends), 0);
    child = fork();
    if (child == 0) {
        const struct rlimit none = {0, 0};

        setrlimit(RLIMIT_CORE, &none);
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], 2);
        INVARIANT(1 + 1 == 3);
        _exit(0);
    }
    close(ends[1]);
    while ((part = read(ends[0], text + len, sizeof text - 1 - len)) > 0)
        len += (size_t)part;
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_non_null(strstr(text, "INVARIANT broken: 1 + 1 == 3 ("));
    assert_non_null(strstr(text, "error.c:"));
}

static void an_invariant_that_holds_is_silent(void **state)
{
    (void)state;
    PRE(1 == 1);
    POST(2 == 2);
    INVARIANT(3 == 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_error_has_its_own_text),
        cmocka_unit_test(a_broken_invariant_aborts_and_says_where),
        cmocka_unit_test(an_invariant_that_holds_is_silent),
    };

    return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
