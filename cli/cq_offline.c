#include "cli/cq_options.h"
#include "cli/row.h"
#include "query/query.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* The engine of the cluster over the rows of a file: every row is one write, as if a region had
 * taken it. */

#define OFFLINE_TABLES_MAX 64u

struct offline {
    struct cli *cli;
    const struct cq_options *options;
    struct cq_modes modes;
    struct cq_print *print;
    struct query_table tables[OFFLINE_TABLES_MAX]; /* in `catalog_arena` */
    uint32_t table_count;
    struct arena catalog_arena, arena;
    struct query_plan *plan;
    struct query_state *state; /* NULL for a plan without */
    struct csv csv;
    struct row_header header;
    uint32_t key_column;
    bool has_header;
    struct buf document;
    uint64_t seq, bad;
    uint32_t sub;
    uint32_t column_count;
};

/* ---- What the planner asks ---- */

static const struct query_table *catalog_table(void *arg, struct slice name)
{
    const struct offline *offline = arg;
    for (uint32_t i = 0; i < offline->table_count; i++)
        if (slice_equal(slice_text(offline->tables[i].name), name))
            return &offline->tables[i];
    return NULL;
}

static bool catalog_region(void *arg, struct slice name)
{
    const struct offline *offline = arg;
    for (uint32_t i = 0; i < offline->table_count; i++)
        if (slice_equal(slice_text(offline->tables[i].region), name))
            return true;
    return false;
}

static void catalog_each(void *arg, void (*visit)(void *visit_arg, const char *name),
                         void *visit_arg)
{
    const struct offline *offline = arg;
    for (uint32_t i = 0; i < offline->table_count; i++)
        visit(visit_arg, offline->tables[i].name);
}

/* ---- Getting ready ---- */

static enum exit_status fail_query(struct offline *offline, const char *where, enum error error,
                                   const struct query_error *why)
{
    if (error == ERROR_MEMORY)
        return cli_fail_memory(offline->cli);
    if (why->line > 0)
        return cli_fail(offline->cli, EXIT_FAILED, NULL, "%s, line %u, column %u: %s", where,
                        why->line, why->column, why->message);
    return cli_fail(offline->cli, EXIT_FAILED, NULL, "%s: %s", where, why->message);
}

static enum exit_status read_whole(struct offline *offline, const char *path, struct buf *text)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    enum exit_status status = EXIT_OK;
    if (fd < 0)
        return cli_fail(offline->cli, EXIT_FAILED, NULL, "cannot open %s: %s", path,
                        strerror(errno));
    for (;;) {
        uint8_t *room = buf_reserve(text, 16 * 1024);
        ssize_t got = room == NULL ? -1 : read(fd, room, 16 * 1024);
        if (room == NULL)
            status = cli_fail_memory(offline->cli);
        else if (got < 0)
            status = cli_fail(offline->cli, EXIT_FAILED, NULL, "cannot read %s: %s", path,
                              strerror(errno));
        if (got <= 0)
            break;
        text->len += (size_t)got;
    }
    close(fd);
    return status;
}

static enum exit_status read_ddl(struct offline *offline, struct slice script)
{
    struct slice text;
    while (query_script_next(&script, &text)) {
        struct query_statement statement;
        struct query_error why = {.message = ""};
        enum error error = query_parse(text, &offline->catalog_arena, &statement, &why);
        if (error != OK)
            return fail_query(offline, offline->options->ddl, error, &why);
        if (statement.kind != QUERY_CREATE_TABLE)
            return cli_fail(offline->cli, EXIT_FAILED, NULL,
                            "%s may hold CREATE TABLE statements only", offline->options->ddl);
        if (offline->table_count == OFFLINE_TABLES_MAX)
            return cli_fail(offline->cli, EXIT_FAILED, NULL, "%s has more than %u tables",
                            offline->options->ddl, OFFLINE_TABLES_MAX);
        offline->tables[offline->table_count++] = statement.table;
    }
    if (offline->table_count == 0)
        return cli_fail(offline->cli, EXIT_FAILED, "it needs a CREATE TABLE that names the columns",
                        "%s has no statement", offline->options->ddl);
    return EXIT_OK;
}

static enum exit_status read_parameters(struct offline *offline, struct buf *names,
                                        struct query_parameter into[LIMIT_PARAMETERS],
                                        uint32_t *count)
{
    struct vug_parameter parameters[LIMIT_PARAMETERS];
    enum exit_status status =
        cli_parameters(offline->cli, &offline->options->parameters, names, parameters, count);
    for (uint32_t i = 0; status == EXIT_OK && i < *count; i++) {
        into[i].name = slice_text(parameters[i].name);
        if (query_value_from_wire(&parameters[i].value, &into[i].value) != OK)
            status = cli_fail(offline->cli, EXIT_USAGE, NULL, "the parameter %s cannot be read",
                              parameters[i].name);
    }
    return status;
}

static enum exit_status make_plan(struct offline *offline)
{
    struct slice text = slice_text(cli_argument(offline->cli, 0));
    struct query_catalog catalog = {.table = catalog_table,
                                    .region = catalog_region,
                                    .name_each = catalog_each,
                                    .arg = offline};
    struct query_parameter parameters[LIMIT_PARAMETERS];
    struct query_statement statement;
    struct query_error why = {.message = ""};
    struct buf names;
    enum query_numeric_mode mode = offline->modes.flink ? QUERY_FLINK : QUERY_EXACT;
    uint32_t count = 0;
    buf_init(&names);
    enum exit_status status = read_parameters(offline, &names, parameters, &count);
    if (status != EXIT_OK)
        goto out;
    enum error error = query_parse(text, &offline->arena, &statement, &why);
    if (error == OK && statement.kind != QUERY_SELECT) {
        status = cli_fail(offline->cli, EXIT_FAILED, "`vug sql` runs other statements",
                          "a continuous query is a SELECT");
        goto out;
    }
    if (error == OK)
        error = query_plan_new(text, statement.select, &catalog, parameters, count, mode,
                               &offline->plan, &why);
    if (error == OK && query_plan_has_state(offline->plan))
        error = query_state_new(offline->plan, &offline->state);
    if (error != OK)
        status = fail_query(offline, "query", error, &why);
    else if (offline->modes.encoding == VUG_ENCODING_APPEND &&
             !query_plan_is_append_only(offline->plan))
        status = cli_fail(offline->cli, EXIT_FAILED, "--encoding upsert or changelog shows it",
                          "this query changes earlier results, which append cannot say");
out:
    arena_reset(&offline->arena);
    buf_fini(&names);
    return status;
}

static enum exit_status print_start(struct offline *offline)
{
    struct buf types, name;
    enum error error = OK;
    buf_init(&types);
    buf_init(&name);
    offline->column_count = query_plan_column_count(offline->plan);
    for (uint32_t i = 0; i < offline->column_count && error == OK; i++) {
        buf_clear(&name);
        query_type_name(query_plan_column_type(offline->plan, i), &name);
        buf_append_byte(&types, i == 0 ? '[' : ',');
        row_json_string(&types, buf_slice(&name));
        error =
            cq_print_column(offline->print, slice_text(query_plan_column_name(offline->plan, i)));
    }
    buf_append_byte(&types, ']');
    cq_print_subscribed(offline->print, buf_slice(&types), (struct slice){0}, false);
    bool failed = error != OK || types.failed || name.failed;
    buf_fini(&types);
    buf_fini(&name);
    return failed ? cli_fail_memory(offline->cli) : EXIT_OK;
}

/* ---- Rows ---- */

static enum error on_result(void *arg, enum query_kind kind, const struct query_row *row)
{
    struct offline *offline = arg;
    struct value values[LIMIT_COLUMNS];
    bool upsert = offline->modes.encoding == VUG_ENCODING_UPSERT;
    if (upsert && kind == QUERY_UPDATE_BEFORE)
        return OK;
    if (upsert && kind == QUERY_INSERT)
        kind = QUERY_UPDATE_AFTER;
    for (uint32_t i = 0; i < row->count && i < LIMIT_COLUMNS; i++) {
        enum error error = query_value_to_wire(&row->values[i], &offline->arena, &values[i]);
        if (error != OK)
            return error;
    }
    cq_print_event(offline->print, &(struct cq_print_event){.kind = (enum vug_kind)kind,
                                                            .values = values,
                                                            .value_count = row->count,
                                                            .seq = offline->seq,
                                                            .sub = offline->sub++});
    return OK;
}

static void print_row_error(struct offline *offline, const struct query_error *why)
{
    cq_print_event(offline->print, &(struct cq_print_event){.kind = VUG_ROW_ERROR,
                                                            .seq = offline->seq,
                                                            .sub = offline->sub++,
                                                            .error = slice_text(why->message)});
}

/* One write: admitted, applied, its results printed. */
static enum error take_row(struct offline *offline)
{
    struct value key = {.type = VALUE_STRING,
                        .bytes = csv_field(&offline->csv, offline->key_column)};
    struct query_error why = {.message = ""};
    struct query_row row;
    bool admitted = false;
    buf_clear(&offline->document);
    row_document(&offline->header, &offline->csv, &offline->document);
    if (offline->document.failed)
        return ERROR_MEMORY;
    struct value value = {.type = VALUE_JSON, .bytes = buf_slice(&offline->document)};
    struct query_input input = {.key = &key, .value = &value};
    arena_reset(&offline->arena);
    offline->seq++;
    offline->sub = 0;
    enum error error = query_admit(offline->plan, &input, &offline->arena, &admitted, &row, &why);
    if (error == OK && admitted) {
        if (offline->state == NULL)
            error = on_result(offline, QUERY_INSERT, &row);
        else
            error =
                query_state_apply(offline->state, &row, &offline->arena, on_result, offline, &why);
    }
    if (error != ERROR_INVALID)
        return error;
    print_row_error(offline, &why);
    return OK;
}

static enum exit_status take_header(struct offline *offline)
{
    const char *problem = NULL, *key = offline->options->key;
    struct slice name = {0};
    enum error error = row_header_take(&offline->header, &offline->csv, &problem, &name);
    offline->has_header = true;
    if (error == ERROR_INVALID)
        return cli_fail(offline->cli, EXIT_FAILED, NULL, "%s:1: the header has %s: \"%.*s\"",
                        offline->options->input, problem, SLICE_FMT(name));
    if (error != OK)
        return cli_fail_memory(offline->cli);
    /* In a file of one column a line without anything is a NULL. */
    offline->csv.empty_rows = offline->header.count == 1;
    if (key != NULL && !row_header_find(&offline->header, slice_text(key), &offline->key_column))
        return cli_fail(offline->cli, EXIT_FAILED, NULL, "%s has no column \"%s\"",
                        offline->options->input, key);
    return EXIT_OK;
}

static void bad_row(struct offline *offline, const char *problem)
{
    offline->bad++;
    cli_note(offline->cli, "%s:%llu: %s", offline->options->input,
             (unsigned long long)offline->csv.row_line, problem);
}

/* Every row that is there. *more: another chunk is needed. */
static enum exit_status take_rows(struct offline *offline, bool *more)
{
    enum exit_status status = EXIT_OK;
    uint64_t limit = (uint64_t)offline->options->limit;
    *more = false;
    while (status == EXIT_OK && (limit == 0 || offline->print->events < limit)) {
        switch (csv_next(&offline->csv)) {
        case CSV_ROW:
            if (!offline->has_header) {
                status = take_header(offline);
            } else if (offline->csv.field_count != offline->header.count) {
                bad_row(offline, "another number of fields than the header");
            } else {
                enum error error = take_row(offline);
                if (error == ERROR_MEMORY)
                    status = cli_fail_memory(offline->cli);
                else if (error != OK)
                    status = cli_fail(offline->cli, EXIT_FAILED, NULL, "%s:%llu: %s",
                                      offline->options->input,
                                      (unsigned long long)offline->csv.row_line, error_text(error));
            }
            break;
        case CSV_BAD:
            bad_row(offline, offline->csv.problem);
            break;
        case CSV_MORE:
            *more = true;
            return EXIT_OK;
        case CSV_END:
            return EXIT_OK;
        case CSV_MEMORY:
            return cli_fail_memory(offline->cli);
        }
        if (offline->cli->out.len > 64 * 1024 && !cli_flush(offline->cli))
            return EXIT_OK;
    }
    return status;
}

static enum exit_status take_file(struct offline *offline, int fd)
{
    uint8_t chunk[64 * 1024];
    enum exit_status status = EXIT_OK;
    for (bool more = true; more && status == EXIT_OK && !offline->cli->out_closed;) {
        ssize_t got = read(fd, chunk, sizeof chunk);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return cli_fail(offline->cli, EXIT_FAILED, NULL, "cannot read %s: %s",
                            offline->options->input, strerror(errno));
        if (got == 0)
            csv_end(&offline->csv);
        else
            csv_feed(&offline->csv, slice_of(chunk, (size_t)got));
        status = take_rows(offline, &more);
        if (!cli_flush(offline->cli)) /* results appear as a slow pipe brings rows */
            break;
    }
    return status;
}

enum exit_status cq_offline(struct cli *cli, const struct cq_options *options,
                            struct cq_modes modes, struct cq_print *print)
{
    struct offline offline = {.cli = cli, .options = options, .modes = modes, .print = print};
    struct buf script;
    bool from_stdin = strcmp(options->input, "-") == 0;
    int fd = -1;
    buf_init(&script);
    buf_init(&offline.document);
    arena_init(&offline.catalog_arena, LIMIT_ARENA_BYTES);
    arena_init(&offline.arena, LIMIT_ARENA_BYTES);
    csv_init(&offline.csv);
    row_header_init(&offline.header);
    enum exit_status status = read_whole(&offline, options->ddl, &script);
    if (status == EXIT_OK)
        status = read_ddl(&offline, buf_slice(&script));
    if (status == EXIT_OK)
        status = make_plan(&offline);
    if (status == EXIT_OK) {
        fd = from_stdin ? STDIN_FILENO : open(options->input, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            status = cli_fail(cli, EXIT_FAILED, "- reads from stdin", "cannot open %s: %s",
                              options->input, strerror(errno));
    }
    if (status == EXIT_OK)
        status = print_start(&offline);
    if (status == EXIT_OK)
        status = take_file(&offline, fd);
    if (status == EXIT_OK) {
        cq_print_end(print, (struct slice){0});
        if (offline.bad > 0)
            status = EXIT_FAILED;
    }
    if (fd >= 0 && !from_stdin)
        close(fd);
    if (offline.state != NULL)
        query_state_free(offline.state);
    if (offline.plan != NULL)
        query_plan_unref(offline.plan);
    row_header_fini(&offline.header);
    csv_fini(&offline.csv);
    arena_fini(&offline.arena);
    arena_fini(&offline.catalog_arena);
    buf_fini(&offline.document);
    buf_fini(&script);
    return status;
}
