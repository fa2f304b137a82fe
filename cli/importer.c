#include "cli/importer.h"

#include "cli/cluster_status.h"
#include "cli/input.h"
#include "client/wire.h"
#include "common/mem.h"

#include <stdarg.h>
#include <stdio.h>

#define ASK_AGAIN_US (200u * 1000)

struct importer {
    struct loop *loop;
    struct importer_options options;
    struct importer_events events;
    void *arg;
    struct vug_writer *writer;
    struct input *input;
    struct csv csv;
    struct row_header header;
    uint32_t key_column;
    bool has_header, row_waits, over;
    struct buf document;
    struct importer_counts counts;
    uint64_t start_us, paced_rows; /* for the rate */
    struct loop_timer pace;

    /* Whether what was acknowledged is still there. */
    uint32_t patience_ms;
    struct vug_client *locator; /* NULL: the target is straight */
    struct text_host_port server;
    uint64_t generations;           /* of the region's buckets when it began; 0: not known yet */
    uint32_t connection, asked_for; /* connections so far; that which the locator is asked for */
    bool connected, asking, away;
    struct loop_timer ask_again;
};

static void end(struct importer *importer, const struct vug_error *error)
{
    if (importer->over)
        return;
    importer->over = true;
    importer->events.on_end(importer->arg, error);
}

static void end_kind(struct importer *importer, enum error kind, const char *text)
{
    struct vug_error error;
    vug_error_set(&error, kind, "%s", text);
    end(importer, &error);
}

static void bad_row(struct importer *importer, const char *problem)
{
    importer->counts.bad++;
    importer->events.on_row(importer->arg, importer->csv.row_line, problem);
}

static void take_header(struct importer *importer)
{
    const char *problem = NULL;
    struct slice name = {0};
    struct vug_error error;
    enum error kind = row_header_take(&importer->header, &importer->csv, &problem, &name);
    if (kind == ERROR_INVALID) {
        vug_error_set(&error, ERROR_INVALID, "%s:1: the header has %s: \"%.*s\"",
                      importer->options.name, problem, SLICE_FMT(name));
        end(importer, &error);
    } else if (kind != OK) {
        end_kind(importer, kind, error_text(kind));
    } else if (!row_header_find(&importer->header, slice_text(importer->options.key),
                                &importer->key_column)) {
        char names[512] = "";
        for (uint32_t i = 0; i < importer->header.count; i++) {
            size_t len = strlen(names);
            snprintf(names + len, sizeof names - len, "%s%.*s", i == 0 ? "" : ", ",
                     SLICE_FMT(row_header_name(&importer->header, i)));
        }
        vug_error_set(&error, ERROR_INVALID, "%s has no column \"%s\"; its columns: %s",
                      importer->options.name, importer->options.key, names);
        end(importer, &error);
    }
    importer->has_header = true;
}

/* False: the row has to wait for room. */
static bool write_row(struct importer *importer)
{
    struct csv *csv = &importer->csv;
    char problem[96];
    if (csv->field_count != importer->header.count) {
        snprintf(problem, sizeof problem, "%u fields where the header has %u", csv->field_count,
                 importer->header.count);
        bad_row(importer, problem);
        return true;
    }
    struct value key = {.type = VALUE_STRING, .bytes = csv_field(csv, importer->key_column)};
    if (key.bytes.len == 0) {
        bad_row(importer, "the key is empty");
        return true;
    }
    buf_clear(&importer->document);
    row_document(&importer->header, csv, &importer->document);
    struct value value = {.type = VALUE_JSON, .bytes = buf_slice(&importer->document)};
    enum error error = importer->document.failed
                           ? ERROR_MEMORY
                           : vug_writer_put(importer->writer, &key, &value, csv->row_line);
    if (error == ERROR_BUSY)
        return false;
    if (error != OK) {
        end_kind(importer, error, error_text(error));
        return true;
    }
    importer->counts.rows++;
    importer->paced_rows++;
    if (importer->events.on_read != NULL)
        importer->events.on_read(importer->arg, &importer->header, csv);
    return true;
}

/* Microseconds until the next row may go. */
static uint64_t pause_us(const struct importer *importer)
{
    if (importer->options.rate == 0)
        return 0;
    uint64_t due = importer->start_us + importer->paced_rows * 1000000 / importer->options.rate;
    uint64_t now = loop_now_us(importer->loop);
    return due > now ? due - now : 0;
}

static void check_end(struct importer *importer)
{
    if (importer->csv.ended && !importer->row_waits &&
        importer->csv.at == importer->csv.input.len &&
        vug_writer_unanswered(importer->writer) == 0) {
        if (!importer->has_header)
            end_kind(importer, ERROR_INVALID, "there is no header line");
        else
            end(importer, NULL);
    }
}

static void work(struct importer *importer)
{
    while (!importer->over) {
        uint64_t pause = importer->has_header ? pause_us(importer) : 0;
        if (pause > 0) {
            loop_timer_set(&importer->pace, pause);
            return;
        }
        if (importer->row_waits) {
            importer->row_waits = !write_row(importer);
            if (importer->row_waits)
                return; /* on_room() comes */
            continue;
        }
        switch (csv_next(&importer->csv)) {
        case CSV_ROW:
            if (importer->has_header)
                importer->row_waits = true;
            else
                take_header(importer);
            break;
        case CSV_BAD:
            if (importer->has_header)
                bad_row(importer, importer->csv.problem);
            else
                end_kind(importer, ERROR_INVALID, "the header line is not well formed");
            break;
        case CSV_MORE:
            input_next(importer->input);
            return;
        case CSV_END:
            check_end(importer);
            return;
        case CSV_MEMORY:
            end_kind(importer, ERROR_MEMORY, error_text(ERROR_MEMORY));
            return;
        }
    }
}

static void on_pace(void *arg)
{
    work(arg);
}

static void on_chunk(void *arg, struct slice chunk)
{
    struct importer *importer = arg;
    csv_feed(&importer->csv, chunk);
    importer->counts.bytes += chunk.len;
    work(importer);
}

static void on_input_end(void *arg, int error_number)
{
    struct importer *importer = arg;
    if (error_number != 0) {
        struct vug_error error;
        vug_error_set(&error, ERROR_INVALID, "%s: %s", importer->options.name,
                      strerror(error_number));
        end(importer, &error);
        return;
    }
    csv_end(&importer->csv);
    work(importer);
}

static void on_done(void *arg, uint64_t tag, const struct vug_error *error)
{
    struct importer *importer = arg;
    if (error != NULL && error->code == 0)
        return; /* nobody has answered, and on_failed() comes */
    if (error == NULL)
        importer->counts.written++;
    else if (error->error == ERROR_NOT_FOUND || error->error == ERROR_UNAUTHORIZED)
        end(importer, error); /* no row will fare better */
    else
        importer->counts.bad++;
    if (importer->over)
        return;
    importer->events.on_row(importer->arg, tag, error == NULL ? NULL : error->text);
    if (importer->csv.ended)
        check_end(importer);
}

static void on_room(void *arg)
{
    struct importer *importer = arg;
    if (importer->row_waits)
        work(importer);
}

static void on_failed(void *arg, const struct vug_error *error)
{
    struct importer *importer = arg;
    struct vug_error told;
    vug_error_set(&told, error->error, "%s; %llu rows were acknowledged", error->text,
                  (unsigned long long)importer->counts.written);
    told.code = error->code;
    end(importer, &told);
}

/* ---- Losing the server, and finding out whether contents were lost with it ---- */

static void note(struct importer *importer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void note(struct importer *importer, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    importer->events.on_note(importer->arg, text);
}

static void go_on(struct importer *importer)
{
    if (importer->away)
        note(importer, "connected to the server %s:%u again", importer->server.host,
             (unsigned)importer->server.port);
    importer->away = false;
    vug_writer_proceed(importer->writer);
}

/* A bucket that lost its last copy goes on in another generation. */
static void compare(struct importer *importer, uint64_t generations)
{
    struct vug_error error;
    if (importer->counts.written > 0 && importer->generations != 0 &&
        generations != importer->generations) {
        vug_error_set(&error, ERROR_INVALID,
                      "servers died and took the last copy of buckets of this region with them: of "
                      "the %llu rows that were acknowledged before some are gone; import the file "
                      "again",
                      (unsigned long long)importer->counts.written);
        end(importer, &error);
        return;
    }
    importer->generations = generations;
    go_on(importer);
}

static void on_regions(void *arg, const struct vug_error *error, struct slice body);

/* ClusterStatusRequest: 2 want_regions. */
static void ask_what_is_lost(struct importer *importer)
{
    struct buf body;
    if (importer->asking || importer->over)
        return;
    buf_init(&body);
    vug_wire_uint(&body, 2, 1);
    enum error error = body.failed ? ERROR_MEMORY
                                   : vug_client_call(importer->locator, VUG_CLUSTER_STATUS,
                                                     buf_slice(&body), on_regions, importer);
    buf_fini(&body);
    if (error != OK) {
        end_kind(importer, error, error_text(error));
        return;
    }
    importer->asking = true;
    importer->asked_for = importer->connection;
}

/* A locator that does not answer is asked again, for as long as the writer is patient. */
static void on_regions(void *arg, const struct vug_error *error, struct slice body)
{
    struct importer *importer = arg;
    struct status_region region;
    importer->asking = false;
    if (importer->over || !importer->connected)
        return;
    if (importer->asked_for != importer->connection) {
        ask_what_is_lost(importer);
        return;
    }
    if (error != NULL) {
        loop_timer_set(&importer->ask_again, ASK_AGAIN_US);
        return;
    }
    while (cluster_status_next_region(&body, &region))
        if (slice_equal(region.name, slice_text(importer->options.region))) {
            compare(importer, region.generations);
            return;
        }
    go_on(importer); /* the server says what it thinks of the region's name */
}

static void on_ask_again(void *arg)
{
    struct importer *importer = arg;
    if (importer->connected)
        ask_what_is_lost(importer);
}

static void on_connected(void *arg, const struct text_host_port *server)
{
    struct importer *importer = arg;
    importer->server = *server;
    importer->connected = true;
    importer->connection++;
    if (importer->locator == NULL)
        go_on(importer);
    else
        ask_what_is_lost(importer);
}

static void on_disconnected(void *arg, const struct text_host_port *server,
                            const struct vug_error *why)
{
    struct importer *importer = arg;
    importer->connected = false;
    if (importer->over || importer->away)
        return;
    importer->away = true;
    note(importer, "lost the server %s:%u: %s; trying again for %u s", server->host,
         (unsigned)server->port, error_text(why->error), (importer->patience_ms + 999) / 1000);
}

enum error importer_new(struct loop *loop, struct net *net, const struct vug_target *target,
                        const struct importer_options *options,
                        const struct importer_events *events, void *arg, struct importer **out)
{
    static const struct vug_writer_events writer_events = {.on_done = on_done,
                                                           .on_room = on_room,
                                                           .on_connected = on_connected,
                                                           .on_disconnected = on_disconnected,
                                                           .on_failed = on_failed};
    static const struct input_events input_events = {.on_chunk = on_chunk, .on_end = on_input_end};
    struct importer *importer = mem_zalloc(sizeof *importer);
    if (importer == NULL)
        return ERROR_MEMORY;
    importer->loop = loop;
    importer->options = *options;
    importer->events = *events;
    importer->arg = arg;
    importer->start_us = loop_now_us(loop);
    importer->patience_ms = target->timeout_ms == 0 ? VUG_TIMEOUT_MS : target->timeout_ms;
    csv_init(&importer->csv);
    row_header_init(&importer->header);
    buf_init(&importer->document);
    enum error error = loop_timer_init(&importer->pace, loop, on_pace, importer);
    if (error == OK)
        error = loop_timer_init(&importer->ask_again, loop, on_ask_again, importer);
    if (error == OK && !target->straight)
        error = vug_client_new(loop, net, target, VUG_TO_LOCATOR, &importer->locator);
    if (error != OK)
        goto err_after_timers;
    error = vug_writer_new(loop, net, target,
                           &(struct vug_writer_options){.region = options->region,
                                                        .give_up_ms = importer->patience_ms},
                           &writer_events, importer, &importer->writer);
    if (error != OK)
        goto err_after_locator;
    error = input_new(loop, options->fd, &input_events, importer, &importer->input);
    if (error != OK)
        goto err_after_writer;
    input_next(importer->input);
    *out = importer;
    return OK;

err_after_writer:
    vug_writer_free(importer->writer);
err_after_locator:
    if (importer->locator != NULL)
        vug_client_free(importer->locator);
err_after_timers:
    loop_timer_fini(&importer->ask_again);
    loop_timer_fini(&importer->pace);
    mem_free(importer);
    return error;
}

void importer_free(struct importer *importer)
{
    input_free(importer->input);
    vug_writer_free(importer->writer);
    if (importer->locator != NULL)
        vug_client_free(importer->locator);
    loop_timer_fini(&importer->ask_again);
    loop_timer_fini(&importer->pace);
    csv_fini(&importer->csv);
    row_header_fini(&importer->header);
    buf_fini(&importer->document);
    mem_free(importer);
}

struct importer_counts importer_counts(const struct importer *importer)
{
    return importer->counts;
}
