#include "cli/demo_show.h"

#include <inttypes.h>

#define STATIONS_SHOWN 20u

static void append_average(struct buf *out, const struct tally_key *key)
{
    char text[TEXT_DOUBLE_BYTES];
    if (key->has_average)
        buf_printf(out, "%14.*s", (int)text_double(key->average, text), text);
    else
        buf_printf(out, "%14s", "null");
}

void demo_draw(struct cli *cli, const struct tally *tally, uint64_t acknowledged, unsigned *lines)
{
    struct buf *out = &cli->out;
    uint32_t shown = tally->key_count < STATIONS_SHOWN ? tally->key_count : STATIONS_SHOWN;
    if (*lines > 0)
        buf_printf(out, "\033[%uA", *lines);
    buf_printf(out, "\033[K%-12s %20s %10s\n", "STATION", "AVG(temperature)", "RESULTS");
    for (uint32_t i = 0; i < shown; i++) {
        const struct tally_key *key = &tally->keys[i];
        char text[TEXT_DOUBLE_BYTES];
        int len = key->has_average ? (int)text_double(key->average, text) : 0;
        buf_printf(out, "\033[K%-12.*s %20.*s %10" PRIu64 "\n", SLICE_FMT(key->id), len, text,
                   key->results);
    }
    buf_printf(out, "\033[K%" PRIu64 " readings written, %" PRIu64 " results\n", acknowledged,
               tally->results);
    *lines = shown + 2;
    cli_flush(cli);
}

void demo_print(struct cli *cli, const struct tally *tally)
{
    for (uint32_t i = 0; i < tally->key_count; i++) {
        const struct tally_key *key = &tally->keys[i];
        buf_printf(&cli->out, "%-12.*s", SLICE_FMT(key->id));
        append_average(&cli->out, key);
        buf_printf(&cli->out, "  %" PRIu64 " results\n", key->results);
    }
}

const char *demo_region_type(const struct demo_cluster *cluster)
{
    return cluster->server_count > 1 ? "PARTITION_REDUNDANT" : "PARTITION";
}

void demo_introduce(struct cli *cli, const struct demo_cluster *cluster, const char *path,
                    const char *query)
{
    cli_note(cli, "vug " VUG_VERSION "  demo cluster (in memory, gone when it ends)\n");
    struct buf servers;
    buf_init(&servers);
    for (uint32_t i = 0; i < cluster->server_count; i++)
        buf_printf(&servers, i == 0 ? "127.0.0.1:%u" : "  :%u",
                   (unsigned)cluster->servers[i].address.port);
    cli_note(cli, "  locator  %s:%u      servers  %.*s", cluster->locator_address.host,
             (unsigned)cluster->locator_address.port, SLICE_FMT(buf_slice(&servers)));
    buf_fini(&servers);
    cli_note(cli, "  metrics  http://%s:%u/metrics", cluster->http_address.host,
             (unsigned)cluster->http_address.port);
    cli_note(cli, "  region   my_region  %s, 113 buckets%s", demo_region_type(cluster),
             cluster->server_count > 1 ? ", 1 redundant copy" : "");
    cli_note(cli, "  readings %s", path);
    cli_note(cli, "  query    %s\n", query);
}

void demo_invite(struct cli *cli, const struct demo_cluster *cluster)
{
    cli_note(
        cli,
        "\nThe cluster stays until Ctrl-C. In another terminal:\n"
        "  vug --locator %s[%u] cq 'SELECT id, AVG(temperature) FROM SensorReadings GROUP BY id'\n"
        "  vug --locator %s[%u] put my_region EWR "
        "'{\"id\":\"EWR\",\"timestamp\":1,\"temperature\":40}'",
        cluster->locator_address.host, (unsigned)cluster->locator_address.port,
        cluster->locator_address.host, (unsigned)cluster->locator_address.port);
}
