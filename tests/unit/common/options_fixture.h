/* What the tests of the options share: two tables of rows and a reader of command lines. */
#ifndef VUG_TESTS_UNIT_COMMON_OPTIONS_FIXTURE_H
#define VUG_TESTS_UNIT_COMMON_OPTIONS_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/options.h"
#include "tests/lib/mem_fault.h"

struct settings {
    const char *name;
    int64_t server_port;
    bool insecure;
    uint64_t lease_ms;
    uint64_t ring_bytes;
    struct option_list groups;
    struct option_list params;
    const char *config;
};

static const struct option_row rows[] = {
    {"name", 0, OPTION_STRING, 0, 0, NULL, "NAME", "name of the member",
     offsetof(struct settings, name)},
    {"server-port", 'p', OPTION_INT, 0, 65535, "40404", "PORT", "port for clients",
     offsetof(struct settings, server_port)},
    {"insecure", 0, OPTION_BOOL, 0, 0, NULL, NULL, "binds anywhere",
     offsetof(struct settings, insecure)},
    {"lease", 0, OPTION_DURATION, 10, 60000, "2s", NULL, "lease",
     offsetof(struct settings, lease_ms)},
    {"ring", 0, OPTION_SIZE, 1024, 1 << 30, "1MiB", NULL, "ring",
     offsetof(struct settings, ring_bytes)},
    {"groups", 0, OPTION_LIST, 0, 0, "default", "G,..", "groups",
     offsetof(struct settings, groups)},
    {"param", 0, OPTION_REPEATED, 0, 0, NULL, "NAME=VALUE", "parameter",
     offsetof(struct settings, params)},
    {"config", 0, OPTION_STRING, 0, 0, NULL, "FILE", "options file",
     offsetof(struct settings, config)},
};
enum { ROWS = sizeof rows / sizeof *rows };

struct global {
    const char *output;
};

static const struct option_row global_rows[] = {
    {"output", 'o', OPTION_STRING, 0, 0, "table", "FORMAT", "form of the output",
     offsetof(struct global, output)},
};

struct reading {
    struct settings settings;
    struct global global;
    struct option_table tables[2];
    struct options *options;
    struct buf why;
    enum error error;
};

/* Reads a command line that is given with spaces, `env` likewise. */
static inline void read_line(struct reading *reading, const char *line, const char *env)
{
    static char words[2][512];
    static char *split[2][32];
    const char *texts[2] = {line, env};
    int counts[2] = {0, 0};

    for (int i = 0; i < 2; i++) {
        char *save = NULL;

        snprintf(words[i], sizeof words[i], "%s", texts[i]);
        for (char *word = strtok_r(words[i], " ", &save); word != NULL;
             word = strtok_r(NULL, " ", &save))
            split[i][counts[i]++] = word;
        split[i][counts[i]] = NULL;
    }
    *reading = (struct reading){0};
    buf_init(&reading->why);
    reading->tables[0] = (struct option_table){rows, ROWS, &reading->settings};
    reading->tables[1] = (struct option_table){global_rows, 1, &reading->global};
    reading->error = options_read(reading->tables, 2, counts[0], split[0], split[1], &reading->why,
                                  &reading->options);
}

static inline void end_reading(struct reading *reading)
{
    options_free(reading->options);
    buf_fini(&reading->why);
}

static inline void expect_sentence(const char *line, const char *env, const char *sentence)
{
    struct reading reading;
    char text[512];

    read_line(&reading, line, env);
    snprintf(text, sizeof text, "%.*s", (int)reading.why.len, (const char *)reading.why.data);
    assert_string_equal(text, sentence);
    assert_int_not_equal(reading.error, OK);
    assert_null(reading.options);
    end_reading(&reading);
}

#endif
