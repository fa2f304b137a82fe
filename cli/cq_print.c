#include "cli/cq_print.h"

#include "cli/grid.h"
#include "cli/row.h"

#define TABLE_WIDTH 14u

void cq_print_init(struct cq_print *print, struct cli *cli, enum output output)
{
    *print = (struct cq_print){.cli = cli, .output = output};
    buf_init(&print->columns);
    buf_init(&print->plain);
}

void cq_print_fini(struct cq_print *print)
{
    buf_fini(&print->columns);
    buf_fini(&print->plain);
}

enum error cq_print_column(struct cq_print *print, struct slice name)
{
    if (print->column_count == LIMIT_COLUMNS)
        return ERROR_LIMIT;
    row_json_string(&print->columns, name);
    buf_append_byte(&print->columns, ':');
    buf_append_slice(&print->plain, name);
    print->column_end[print->column_count] = print->columns.len;
    print->plain_end[print->column_count] = print->plain.len;
    print->column_count++;
    return print->columns.failed || print->plain.failed ? ERROR_MEMORY : OK;
}

static struct slice column_key(const struct cq_print *print, uint32_t column)
{
    size_t start = column == 0 ? 0 : print->column_end[column - 1];
    return slice_of(print->columns.data + start, print->column_end[column] - start);
}

static struct slice column_name(const struct cq_print *print, uint32_t column)
{
    size_t start = column == 0 ? 0 : print->plain_end[column - 1];
    return slice_of(print->plain.data + start, print->plain_end[column] - start);
}

/* Fills up to the width of a column of the table, whose rows come one by one. */
static void pad(struct buf *out, size_t from, size_t width)
{
    size_t own = 0;
    for (size_t i = from; i < out->len; i++)
        own += (out->data[i] & 0xc0) != 0x80;
    for (; own < width; own++)
        buf_append_byte(out, ' ');
    buf_append_text(out, "  ");
}

static size_t column_width(const struct cq_print *print, uint32_t column)
{
    size_t len = column_name(print, column).len;
    return len > TABLE_WIDTH ? len : TABLE_WIDTH;
}

static void print_heading(struct cq_print *print)
{
    struct buf *out = &print->cli->out;
    buf_append_text(out, print->output == OUTPUT_CSV ? "kind" : "KIND   ");
    for (uint32_t i = 0; i < print->column_count; i++) {
        if (print->output == OUTPUT_CSV) {
            buf_append_byte(out, ',');
            grid_csv_field(out, column_name(print, i));
        } else {
            size_t from = out->len;
            buf_append_slice(out, column_name(print, i));
            pad(out, from, column_width(print, i));
        }
    }
    buf_append_byte(out, '\n');
}

void cq_print_subscribed(struct cq_print *print, struct slice types, struct slice token, bool again)
{
    struct buf *out = &print->cli->out;
    if (print->output != OUTPUT_NDJSON) {
        if (!again)
            print_heading(print);
        return;
    }
    buf_append_text(out, "{\"status\":\"SUBSCRIBED\",\"columns\":[");
    for (uint32_t i = 0; i < print->column_count; i++) {
        struct slice key = column_key(print, i);
        if (i > 0)
            buf_append_byte(out, ',');
        buf_append(out, key.data, key.len - 1);
    }
    buf_append_text(out, "],\"types\":");
    buf_append_slice(out, types);
    buf_append_text(out, ",\"token\":");
    row_json_string(out, token);
    buf_append_text(out, "}\n");
}

static void print_ndjson(struct cq_print *print, const struct cq_print_event *event)
{
    struct buf *out = &print->cli->out;
    buf_printf(out, "{\"kind\":\"%s\",\"row\":{", vug_kind_text(event->kind));
    for (uint32_t i = 0; i < event->value_count && i < print->column_count; i++) {
        if (i > 0)
            buf_append_byte(out, ',');
        buf_append_slice(out, column_key(print, i));
        grid_json_value(out, &event->values[i]);
    }
    buf_printf(out, "},\"bucket\":%u,\"seq\":%llu,\"sub\":%u", event->bucket,
               (unsigned long long)event->seq, event->sub);
    if (event->error.len > 0) {
        buf_append_text(out, ",\"error\":");
        row_json_string(out, event->error);
    }
    buf_append_text(out, "}\n");
}

static void print_csv(struct cq_print *print, const struct cq_print_event *event)
{
    struct buf *out = &print->cli->out, cell;
    buf_init(&cell);
    buf_append_text(out, vug_kind_text(event->kind));
    for (uint32_t i = 0; i < print->column_count; i++) {
        buf_append_byte(out, ',');
        if (i >= event->value_count || event->values[i].type == VALUE_NULL)
            continue;
        buf_clear(&cell);
        grid_plain_value(&cell, &event->values[i]);
        out->failed = out->failed || cell.failed;
        grid_csv_field(out, buf_slice(&cell));
    }
    buf_append_byte(out, '\n');
    buf_fini(&cell);
}

static void print_table(struct cq_print *print, const struct cq_print_event *event)
{
    struct buf *out = &print->cli->out;
    buf_printf(out, "%-5s  ", vug_kind_text(event->kind));
    for (uint32_t i = 0; i < event->value_count && i < print->column_count; i++) {
        size_t from = out->len;
        grid_plain_value(out, &event->values[i]);
        for (size_t at = from; at < out->len; at++) /* a value must not steer the terminal */
            if (out->data[at] < 0x20 || out->data[at] == 0x7f)
                out->data[at] = ' ';
        pad(out, from, column_width(print, i));
    }
    if (event->error.len > 0)
        buf_append_slice(out, event->error);
    buf_append_byte(out, '\n');
}

void cq_print_event(struct cq_print *print, const struct cq_print_event *event)
{
    print->events++;
    if (print->output == OUTPUT_NDJSON)
        print_ndjson(print, event);
    else if (print->output == OUTPUT_CSV)
        print_csv(print, event);
    else
        print_table(print, event);
}

void cq_print_status(struct cq_print *print, const struct vug_status *status, struct slice token)
{
    struct buf *out = &print->cli->out;
    const char *name = vug_status_text(status->code);
    if (print->output != OUTPUT_NDJSON) {
        cli_flush(print->cli);
        cli_note(print->cli, "-- %s%s%.*s", name, status->detail.len > 0 ? ": " : "",
                 SLICE_FMT(status->detail));
        return;
    }
    buf_printf(out, "{\"status\":\"%s\"", name);
    if (status->code == VUG_GAP || status->code == VUG_DATA_LOSS ||
        status->code == VUG_BUCKET_MOVED || status->code == VUG_RESNAPSHOT)
        buf_printf(out, ",\"bucket\":%u", status->bucket);
    if (status->to_seq > 0)
        buf_printf(out, ",\"from_seq\":%llu,\"to_seq\":%llu", (unsigned long long)status->from_seq,
                   (unsigned long long)status->to_seq);
    if (status->detail.len > 0) {
        buf_append_text(out, ",\"detail\":");
        row_json_string(out, status->detail);
    }
    if (token.len > 0) {
        buf_append_text(out, ",\"token\":");
        row_json_string(out, token);
    }
    buf_append_text(out, "}\n");
}

void cq_print_end(struct cq_print *print, struct slice token)
{
    if (print->output == OUTPUT_NDJSON) {
        buf_printf(&print->cli->out, "{\"status\":\"END\",\"events\":%llu,\"token\":",
                   (unsigned long long)print->events);
        row_json_string(&print->cli->out, token);
        buf_append_text(&print->cli->out, "}\n");
    } else {
        cli_flush(print->cli);
        cli_note(print->cli, "-- %llu events", (unsigned long long)print->events);
        if (token.len > 0)
            cli_note(print->cli, "-- to go on from here: --resume %.*s", SLICE_FMT(token));
    }
}
