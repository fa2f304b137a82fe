/* A load for one server: one thread, so many connections, each with a pipeline of fixed depth;
 * every reply is checked.
 *
 *   load --protocol vug-get --port 40404 --pid PID     prints one line of JSON
 *   load --probe --seconds 0.3                         the share of time that the machine keeps
 * from us
 *
 * Exit status: 0, 1 for a wrong reply or a lost connection (the line has "wrong"), 2 for wrong
 * usage. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/drive.h"

struct settings {
    struct drive_options drive;
    struct exchange_options exchange;
    uint64_t value_bytes_max;
    bool probes;
};

enum { EXIT_USAGE = 2 };

static void usage(const char *complaint, const char *what)
{
    fprintf(stderr,
            "load: %s%s\n"
            "  --protocol NAME         one of:",
            complaint, what);
    for (unsigned i = 0; exchange_name(i) != NULL; i++)
        fprintf(stderr, " %s", exchange_name(i));
    fprintf(
        stderr,
        "\n  --port N                of 127.0.0.1\n"
        "  --pid N                 whose CPU time counts; may be given several times\n"
        "  --connections N [50]    --depth N [1]    --keys N [1000000]    --value-bytes N [100]\n"
        "  --value-bytes-max N     lengths are random from value-bytes to this; of writes alone\n"
        "  --region NAME [bench]   Vug's region\n"
        "  --seconds S [1]         measured, after --warmup S [0.3]\n"
        "  --requests N            exactly so many instead\n"
        "  --sequential            keys in order, to fill a store\n"
        "  --subscribers N [0]     of one founding query; with vug-reading and --requests\n"
        "  --seed N [1]\n"
        "  --probe                 measures how much CPU time others take from this core\n");
    exit(EXIT_USAGE);
}

static double number(const char *option, const char *text, double from, double to)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end != '\0' || !(value >= from && value <= to))
        usage("not a fitting number for --", option);
    return value;
}

enum option_id {
    OPTION_PROTOCOL = 1,
    OPTION_PORT,
    OPTION_PID,
    OPTION_CONNECTIONS,
    OPTION_DEPTH,
    OPTION_KEYS,
    OPTION_VALUE_BYTES,
    OPTION_VALUE_BYTES_MAX,
    OPTION_REGION,
    OPTION_SECONDS,
    OPTION_WARMUP,
    OPTION_REQUESTS,
    OPTION_SEQUENTIAL,
    OPTION_SUBSCRIBERS,
    OPTION_SEED,
    OPTION_PROBE,
};

static const struct option option_rows[] = {
    {"protocol", required_argument, NULL, OPTION_PROTOCOL},
    {"port", required_argument, NULL, OPTION_PORT},
    {"pid", required_argument, NULL, OPTION_PID},
    {"connections", required_argument, NULL, OPTION_CONNECTIONS},
    {"depth", required_argument, NULL, OPTION_DEPTH},
    {"keys", required_argument, NULL, OPTION_KEYS},
    {"value-bytes", required_argument, NULL, OPTION_VALUE_BYTES},
    {"value-bytes-max", required_argument, NULL, OPTION_VALUE_BYTES_MAX},
    {"region", required_argument, NULL, OPTION_REGION},
    {"seconds", required_argument, NULL, OPTION_SECONDS},
    {"warmup", required_argument, NULL, OPTION_WARMUP},
    {"requests", required_argument, NULL, OPTION_REQUESTS},
    {"sequential", no_argument, NULL, OPTION_SEQUENTIAL},
    {"subscribers", required_argument, NULL, OPTION_SUBSCRIBERS},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"probe", no_argument, NULL, OPTION_PROBE},
    {NULL, 0, NULL, 0},
};

static void set_option(struct settings *settings, enum option_id id, const char *name,
                       const char *text)
{
    struct drive_options *drive = &settings->drive;

    switch (id) {
    case OPTION_PROTOCOL:
        settings->exchange.protocol = text;
        break;
    case OPTION_PORT:
        drive->port = (uint16_t)number(name, text, 1, 65535);
        break;
    case OPTION_PID:
        if (drive->pid_count == DRIVE_PIDS_MAX)
            usage("too many of --", name);
        drive->pids[drive->pid_count++] = (pid_t)number(name, text, 1, 1 << 30);
        break;
    case OPTION_CONNECTIONS:
        drive->connections = (uint32_t)number(name, text, 1, 10000);
        break;
    case OPTION_DEPTH:
        drive->depth = (uint32_t)number(name, text, 1, 1024);
        break;
    case OPTION_KEYS:
        drive->keys = (uint64_t)number(name, text, 1, EXCHANGE_KEYS_MAX);
        break;
    case OPTION_VALUE_BYTES:
        settings->exchange.value_bytes =
            (size_t)number(name, text, EXCHANGE_KEY_BYTES, EXCHANGE_VALUE_BYTES_MAX);
        break;
    case OPTION_VALUE_BYTES_MAX:
        settings->value_bytes_max =
            (uint64_t)number(name, text, EXCHANGE_KEY_BYTES, EXCHANGE_VALUE_BYTES_MAX);
        break;
    case OPTION_REGION:
        if (strlen(text) > 200)
            usage("too long a name for --", name);
        settings->exchange.region = text;
        break;
    case OPTION_SECONDS:
        drive->seconds = number(name, text, 0.01, 3600);
        break;
    case OPTION_WARMUP:
        drive->warmup_s = number(name, text, 0, 3600);
        break;
    case OPTION_REQUESTS:
        drive->requests = (uint64_t)number(name, text, 1, 1e12);
        break;
    case OPTION_SEQUENTIAL:
        drive->sequential = true;
        break;
    case OPTION_SUBSCRIBERS:
        drive->subscribers = (uint32_t)number(name, text, 0, 1000);
        break;
    case OPTION_SEED:
        drive->seed = (uint64_t)number(name, text, 0, 1e15);
        break;
    case OPTION_PROBE:
        settings->probes = true;
        break;
    }
}

/* One exchange for each length that a value may have. */
static void make_exchanges(struct settings *settings)
{
    size_t shortest = settings->exchange.value_bytes;
    size_t longest = settings->value_bytes_max > shortest ? settings->value_bytes_max : shortest;
    uint32_t count = (uint32_t)(longest - shortest + 1);
    struct exchange *exchanges = calloc(count, sizeof *exchanges);

    if (exchanges == NULL)
        abort();
    settings->exchange.depth = settings->drive.depth;
    for (uint32_t i = 0; i < count; i++) {
        settings->exchange.value_bytes = shortest + i;
        if (!exchange_init(&exchanges[i], &settings->exchange))
            usage("there is no protocol ", settings->exchange.protocol);
    }
    if (count > 1 && exchanges->reply_key != EXCHANGE_NOWHERE)
        usage("values of random length can be written, not read: ", settings->exchange.protocol);
    settings->drive.exchanges = exchanges;
    settings->drive.exchange_count = count;
}

static void check(struct settings *settings)
{
    struct drive_options *drive = &settings->drive;

    if (settings->exchange.protocol == NULL || drive->port == 0)
        usage("--protocol and --port are needed", "");
    make_exchanges(settings);
    /* A write batch says how many operations it has, so the last one is whole, too. */
    drive->requests = (drive->requests + drive->depth - 1) / drive->depth * drive->depth;
    if (drive->subscribers > 0 &&
        (drive->exchanges->temperature == EXCHANGE_NOWHERE || drive->requests == 0))
        usage("--subscribers needs --protocol vug-reading and --requests", "");
    if (drive->exchanges->temperature != EXCHANGE_NOWHERE && drive->keys < drive->connections)
        usage("fewer sensors than connections", "");
}

static void report(const struct settings *settings, const struct drive_result *result)
{
    const struct histogram *latency = &result->latency_ns;

    printf("{\"protocol\": \"%s\", \"connections\": %u, \"depth\": %u, \"requests\": %llu, "
           "\"seconds\": %.6f, \"server_cpu_s\": %.6f, \"p50_us\": %.1f, \"p99_us\": %.1f, "
           "\"p999_us\": %.1f, \"max_us\": %.1f, \"events\": %llu, \"batches\": %llu",
           settings->exchange.protocol, settings->drive.connections, settings->drive.depth,
           (unsigned long long)result->requests, result->seconds, result->server_cpu_s,
           histogram_quantile(latency, 0.5) / 1e3, histogram_quantile(latency, 0.99) / 1e3,
           histogram_quantile(latency, 0.999) / 1e3, (double)latency->max / 1e3,
           (unsigned long long)result->events, (unsigned long long)result->batches);
    if (result->wrong[0] != '\0') {
        printf(", \"wrong\": \"");
        for (const char *at = result->wrong; *at != '\0'; at++)
            putchar(*at == '"' || *at == '\\' || *at < ' ' ? '?' : *at);
        putchar('"');
    }
    printf("}\n");
}

int main(int argc, char **argv)
{
    struct settings settings = {
        .drive = {.connections = 50,
                  .depth = 1,
                  .keys = 1000000,
                  .warmup_s = 0.3,
                  .seconds = 1,
                  .seed = 1},
        .exchange = {.region = "bench", .value_bytes = 100},
    };
    struct drive_result *result = calloc(1, sizeof *result);
    int id, index = 0;
    bool good;

    if (result == NULL)
        abort();
    while ((id = getopt_long(argc, argv, "", option_rows, &index)) > 0) {
        if (id == '?')
            usage("see below", "");
        set_option(&settings, (enum option_id)id, option_rows[index].name, optarg);
    }
    if (optind < argc)
        usage("what is ", argv[optind]);
    if (settings.probes) {
        printf("{\"lost\": %.4f}\n", drive_probe(settings.drive.seconds));
        return 0;
    }
    check(&settings);
    good = drive(&settings.drive, result);
    report(&settings, result);
    return good ? 0 : 1;
}
