#include "tests/sim/ledger.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim_impl.h"

#define QUERY "SELECT id, AVG(temperature) OVER (PARTITION BY id) FROM readings"

/* ---- Subscribers ---- */

static void on_event(void *arg, const struct vug_event *event)
{
    struct ledger_subscriber *subscriber = arg;
    if (event->kind != VUG_INSERT || event->value_count != 2 ||
        event->values[0].type != VALUE_STRING || event->values[1].type != VALUE_DOUBLE) {
        verdict_fail(subscriber->ledger->verdict, "a result that makes no sense");
        return;
    }
    if (subscriber->count == subscriber->cap) {
        subscriber->cap = subscriber->cap == 0 ? 64 : subscriber->cap * 2;
        subscriber->seen =
            sim_realloc(subscriber->seen, subscriber->cap * sizeof *subscriber->seen);
    }
    struct ledger_seen *seen = &subscriber->seen[subscriber->count++];
    *seen = (struct ledger_seen){.average = event->values[1].float64,
                                 .bucket = event->bucket,
                                 .generation = event->generation};
    snprintf(seen->id, sizeof seen->id, "%.*s", SLICE_FMT(event->values[0].bytes));
    sim_note(subscriber->ledger->grid->sim, "result", event->bucket, event->seq);
}

static void on_status(void *arg, const struct vug_status *status)
{
    struct ledger_subscriber *subscriber = arg;
    sim_note(subscriber->ledger->grid->sim, "status", status->code, status->bucket);
    subscriber->ready = subscriber->ready || status->code == VUG_SUBSCRIBED;
    subscriber->gaps += status->code == VUG_GAP;
    subscriber->is_snapshot_over =
        subscriber->is_snapshot_over || status->code == VUG_SNAPSHOT_ENDED;
    if (status->code == VUG_DATA_LOSS && status->bucket < LEDGER_BUCKETS_MAX)
        subscriber->told[status->bucket] = true;
    subscriber->reconnects += status->code == VUG_RECONNECTING;
    bool is_trouble = status->code == VUG_RESNAPSHOT && subscriber->ledger->losses == 0;
    if (is_trouble || status->code == VUG_STATUS_ERROR || status->code == VUG_CLOSED ||
        status->code == VUG_REGION_DESTROYED)
        verdict_fail(subscriber->ledger->verdict, "a subscriber was told %s: %.*s",
                     vug_status_text(status->code), SLICE_FMT(status->detail));
}

static void on_failed(void *arg, const struct vug_error *error)
{
    verdict_fail(((struct ledger_subscriber *)arg)->ledger->verdict, "a subscription ended: %s",
                 error->text);
}

static void subscribe(struct ledger *ledger, struct ledger_subscriber *subscriber, unsigned index)
{
    static const struct vug_subscription_events events = {
        .on_event = on_event, .on_status = on_status, .on_failed = on_failed};
    struct sim_process *process = &ledger->grid->clients[index % ledger->grid->options.clients];
    struct vug_subscription_options options = {.sql = slice_text(QUERY), .progress = index == 1};
    if (index == 1) {
        options.credit_events = 8;
        options.token_every_batch = true;
        options.max_batch_events = 3;
    }
    subscriber->ledger = ledger;
    if (vug_subscription_new(process->loops[0], process->nets[0], &ledger->grid->target, &options,
                             &events, subscriber, &subscriber->subscription) != OK)
        verdict_fail(ledger->verdict, "no subscription could be made");
}

/* ---- Writers ---- */

static void on_done(void *arg, uint64_t tag, const struct vug_error *error)
{
    struct ledger_writer *writer = arg;
    sim_note(writer->ledger->grid->sim, "written", tag, error != NULL);
    if (error != NULL)
        verdict_fail(writer->ledger->verdict, "a writer's operation was refused: %s", error->text);
    else if (tag != writer->done)
        verdict_fail(writer->ledger->verdict, "operation %llu was answered before operation %u",
                     (unsigned long long)tag, writer->done);
    writer->done++;
}

static void on_writer_failed(void *arg, const struct vug_error *error)
{
    verdict_fail(((struct ledger_writer *)arg)->ledger->verdict, "a writer gave up: %s",
                 error->text);
}

static void make_readings(struct ledger *ledger, unsigned index)
{
    struct ledger_writer *writer = &ledger->writers[index];
    struct sim *sim = ledger->grid->sim;
    for (unsigned i = 0; i < ledger->options.readings; i++) {
        struct sim_reading *reading = &writer->readings[i];
        unsigned number = index * LEDGER_READINGS_MAX + i;
        sim_reading_random(sim, reading, ledger->options.ids, number, ledger->options.key_is_id);
        reading->has_temperature = true;
        /* Different for each, in an order that tells nothing. */
        reading->temperature = ((double)(number * 40503u % 65521) - 20000) / 64;
    }
}

static void write_due(struct ledger_writer *writer)
{
    struct ledger *ledger = writer->ledger;
    uint64_t now_us = sim_now_us(ledger->grid->sim);
    if (writer->next == ledger->options.readings || now_us < writer->next_us)
        return;
    writer->next_us = now_us + sim_random_below(ledger->grid->sim, 2 * ledger->options.gap_us + 1);
    uint64_t burst = 1 + sim_random_below(ledger->grid->sim, 6);
    while (burst-- > 0 && writer->next < ledger->options.readings) {
        const struct sim_reading *reading = &writer->readings[writer->next];
        char document[256];
        size_t len = sim_reading_document(reading, document, sizeof document);
        struct value key = {.type = VALUE_STRING, .bytes = slice_text(reading->key)};
        struct value value = {.type = VALUE_JSON, .bytes = slice_of(document, len)};
        enum error error = vug_writer_put(writer->writer, &key, &value, writer->next);
        if (error == ERROR_BUSY)
            return;
        if (error != OK)
            verdict_fail(ledger->verdict, "a writer takes nothing more: %s", error_text(error));
        writer->next++;
    }
}

/* ---- Life ---- */

void ledger_start(struct ledger *ledger, struct grid *grid, struct verdict *verdict,
                  const struct ledger_options *options)
{
    static const struct vug_writer_events events = {.on_done = on_done,
                                                    .on_failed = on_writer_failed};
    PRE(options->writers <= LEDGER_WRITERS_MAX && options->subscribers <= LEDGER_SUBSCRIBERS_MAX);
    PRE(options->readings <= LEDGER_READINGS_MAX);
    *ledger = (struct ledger){.grid = grid, .verdict = verdict, .options = *options};
    ledger->writers = sim_alloc(LEDGER_WRITERS_MAX * sizeof *ledger->writers);
    ledger->started = true;
    for (unsigned i = 0; i < options->subscribers; i++)
        subscribe(ledger, &ledger->subscribers[i], i);
    for (unsigned i = 0; i < options->writers; i++) {
        struct sim_process *process = &grid->clients[(i + 1) % grid->options.clients];
        struct vug_writer_options writer = {.region = "readings", .batch_ops = 8, .window = 32};
        ledger->writers[i].ledger = ledger;
        make_readings(ledger, i);
        if (vug_writer_new(process->loops[0], process->nets[0], &grid->target, &writer, &events,
                           &ledger->writers[i], &ledger->writers[i].writer) != OK)
            verdict_fail(verdict, "no writer could be made");
    }
}

void ledger_fini(struct ledger *ledger)
{
    if (!ledger->started)
        return;
    for (unsigned i = 0; i < ledger->options.subscribers; i++) {
        if (ledger->subscribers[i].subscription != NULL)
            vug_subscription_free(ledger->subscribers[i].subscription);
        free(ledger->subscribers[i].seen);
    }
    for (unsigned i = 0; i < ledger->options.writers; i++)
        if (ledger->writers[i].writer != NULL)
            vug_writer_free(ledger->writers[i].writer);
    free(ledger->writers);
}

bool ledger_is_ready(const struct ledger *ledger)
{
    bool ready = true;
    for (unsigned i = 0; i < ledger->options.subscribers; i++)
        ready = ready && ledger->subscribers[i].ready;
    return ready;
}

void ledger_step(struct ledger *ledger)
{
    /* What is written before a subscription begins is in its snapshot, as a state and not as steps.
     */
    if (!ledger->started || !ledger_is_ready(ledger))
        return;
    for (unsigned i = 0; i < ledger->options.writers; i++)
        write_due(&ledger->writers[i]);
}

bool ledger_is_over(const struct ledger *ledger, char *why, size_t size)
{
    size_t total = 0;
    for (unsigned i = 0; ledger->started && i < ledger->options.writers; i++) {
        const struct ledger_writer *writer = &ledger->writers[i];
        total += writer->done;
        if (writer->done < ledger->options.readings) {
            snprintf(why, size, "writer %u has %u of %u operations acknowledged", i, writer->done,
                     ledger->options.readings);
            return false;
        }
    }
    for (unsigned i = 0; ledger->started && i < ledger->options.subscribers; i++) {
        const struct ledger_subscriber *subscriber = &ledger->subscribers[i];
        if (subscriber->count < total && ledger->losses + subscriber->gaps == 0) {
            snprintf(why, size, "subscriber %u has %zu of %zu results", i, subscriber->count,
                     total);
            return false;
        }
        for (unsigned bucket = 0; bucket < LEDGER_BUCKETS_MAX; bucket++) {
            if (!ledger->lost[bucket] || subscriber->told[bucket])
                continue;
            snprintf(why, size, "subscriber %u was not told that bucket %u lost its contents", i,
                     bucket);
            return false;
        }
    }
    return true;
}

/* ---- The books ---- */

bool ledger_explains(const struct ledger_row *rows, size_t row_count, const double *seen,
                     size_t seen_count, char *why, size_t size)
{
    bool explained = true;
    long long sum = 0;
    bool *used = sim_alloc((row_count + 1) * sizeof *used);
    for (size_t i = 0; explained && i < seen_count; i++) {
        long long now = llround(seen[i] * (double)(i + 1) * 64), step = now - sum;
        size_t found = row_count;
        sum = now;
        for (size_t j = 0; j < row_count; j++)
            if (!used[j] && llround(rows[j].temperature * 64) == step)
                found = j;
        if (found == row_count) {
            snprintf(why, size, "result %zu, %.17g, follows from no reading that was not counted",
                     i, seen[i]);
            explained = false;
            break;
        }
        used[found] = true;
        for (size_t j = 0; j < row_count; j++)
            if (!used[j] && rows[j].lane == rows[found].lane && rows[j].place < rows[found].place) {
                snprintf(why, size, "result %zu counts a reading before an earlier one", i);
                explained = false;
            }
    }
    if (explained && seen_count != row_count) {
        snprintf(why, size, "%zu results for %zu readings", seen_count, row_count);
        explained = false;
    }
    free(used);
    return explained;
}

/* A lane is what keeps its order: one writer's readings with keys of one bucket. */
static unsigned lane_of(const struct ledger *ledger, unsigned writer,
                        const struct sim_reading *reading)
{
    struct value key = {.type = VALUE_STRING, .bytes = slice_text(reading->key)};
    return value_bucket(&key, ledger->options.buckets) * LEDGER_WRITERS_MAX + writer;
}

static void check_id(struct ledger *ledger, unsigned subscriber, const char *id)
{
    const struct ledger_subscriber *books = &ledger->subscribers[subscriber];
    size_t most = (size_t)ledger->options.writers * ledger->options.readings, row_count = 0;
    struct ledger_row *rows = sim_alloc((most + 1) * sizeof *rows);
    double *seen = sim_alloc((books->count + 1) * sizeof *seen);
    size_t seen_count = 0;
    char why[160];
    for (unsigned i = 0; i < ledger->options.writers; i++) {
        for (unsigned j = 0; j < ledger->options.readings; j++) {
            const struct sim_reading *reading = &ledger->writers[i].readings[j];
            if (strcmp(reading->id, id) == 0)
                rows[row_count++] =
                    (struct ledger_row){reading->temperature, lane_of(ledger, i, reading), j};
        }
    }
    for (size_t i = 0; i < books->count; i++)
        if (strcmp(books->seen[i].id, id) == 0)
            seen[seen_count++] = books->seen[i].average;
    if (!ledger_explains(rows, row_count, seen, seen_count, why, sizeof why))
        verdict_fail(ledger->verdict, "subscriber %u, id %s: %s", subscriber, id, why);
    free(rows);
    free(seen);
}

void ledger_lost(struct ledger *ledger, uint32_t bucket)
{
    PRE(bucket < LEDGER_BUCKETS_MAX);
    ledger->lost[bucket] = true;
    ledger->losses++;
}

static void check_told(struct ledger *ledger, unsigned index)
{
    const struct ledger_subscriber *subscriber = &ledger->subscribers[index];
    if (ledger->losses == 0 && subscriber->gaps > 0)
        verdict_fail(ledger->verdict, "subscriber %u was told of %u gaps", index, subscriber->gaps);
    for (unsigned bucket = 0; bucket < LEDGER_BUCKETS_MAX; bucket++) {
        if (subscriber->told[bucket] && ledger->losses == 0)
            verdict_fail(ledger->verdict,
                         "subscriber %u was told of a loss in bucket %u that was none", index,
                         bucket);
        if (ledger->lost[bucket] && !subscriber->told[bucket])
            verdict_fail(ledger->verdict,
                         "subscriber %u was not told that bucket %u lost its contents", index,
                         bucket);
    }
}

void ledger_check(struct ledger *ledger)
{
    for (unsigned i = 0; ledger->started && i < ledger->options.subscribers; i++) {
        check_told(ledger, i);
        for (unsigned id = 0; ledger->losses == 0 && id < ledger->options.ids; id++) {
            char text[24];
            snprintf(text, sizeof text, "s%u", id);
            check_id(ledger, i, text);
        }
    }
}

/* ---- Snapshots at the end ---- */

void ledger_look(struct ledger *ledger, struct ledger_subscriber *subscriber)
{
    *subscriber = (struct ledger_subscriber){0};
    subscribe(ledger, subscriber, 0);
}

bool ledger_has_seen(const struct ledger_subscriber *subscriber)
{
    return subscriber->is_snapshot_over;
}

void ledger_compare(struct ledger *ledger, const struct ledger_subscriber *a,
                    const struct ledger_subscriber *b)
{
    if (a->count != b->count) {
        verdict_fail(ledger->verdict, "one snapshot has %zu results, another %zu", a->count,
                     b->count);
        return;
    }
    for (uint32_t bucket = 0; bucket < ledger->options.buckets; bucket++) {
        size_t at = 0;
        for (size_t i = 0; i < a->count; i++) {
            if (a->seen[i].bucket != bucket)
                continue;
            while (at < b->count && b->seen[at].bucket != bucket)
                at++;
            if (at == b->count || strcmp(a->seen[i].id, b->seen[at].id) != 0 ||
                a->seen[i].average != b->seen[at].average) {
                verdict_fail(ledger->verdict,
                             "two snapshots of bucket %u differ at result %zu of id %s", bucket, i,
                             a->seen[i].id);
                return;
            }
            at++;
        }
    }
}

void ledger_look_away(struct ledger_subscriber *subscriber)
{
    if (subscriber->subscription != NULL)
        vug_subscription_free(subscriber->subscription);
    free(subscriber->seen);
    *subscriber = (struct ledger_subscriber){0};
}
