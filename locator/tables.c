#include "locator/tables.h"

#include <stdio.h>
#include <strings.h>

#include "common/mem.h"
#include "common/text.h"
#include "locator/ack_wait.h"
#include "locator/regions.h"
#include "protocol/message.h"

/* ---- Which cluster an option means ---- */

static bool is_loopback(const char *host)
{
    return strcasecmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 ||
           strcmp(host, "::1") == 0;
}

static bool listens_on_loopback(const char *bind_host)
{
    return is_loopback(bind_host) || strcmp(bind_host, "0.0.0.0") == 0 ||
           strcmp(bind_host, "::") == 0 || bind_host[0] == '\0';
}

static bool is_ours(const struct text_host_port *named, const struct tables_address *address)
{
    if (named->port != address->port)
        return false;
    return strcasecmp(named->host, address->bind_host) == 0 ||
           strcasecmp(named->host, address->hostname) == 0 ||
           (is_loopback(named->host) && listens_on_loopback(address->bind_host));
}

bool tables_check_locators(const char *list, const struct tables_address *address,
                           struct failure *failure)
{
    struct slice rest = slice_text(list), part;
    bool any = false;
    while (text_next_part(&rest, ',', &part)) {
        struct text_host_port named;
        any = true;
        if (text_parse_host_port(part, 10334, &named) != OK) {
            request_failure(failure, ADMIN_REASON_INVALID,
                            "the option 'locators' cannot be read at '%.*s'; it is HOST[PORT], or "
                            "several with commas "
                            "between.",
                            SLICE_FMT(part));
            return false;
        }
        if (!is_ours(&named, address)) {
            request_failure(failure, ADMIN_REASON_INVALID,
                            "the option 'locators' names %s[%u], but a table reads the cluster "
                            "that it is created in, whose "
                            "locator is %s[%u]. Leave the option out, or create the table there.",
                            named.host, named.port, address->hostname, address->port);
            return false;
        }
    }
    if (!any)
        request_failure(failure, ADMIN_REASON_INVALID,
                        "the option 'locators' is empty; leave it out.");
    return any;
}

bool tables_take_connection_options(struct query_table *table, const struct tables_address *address,
                                    struct failure *failure)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < table->option_count; i++) {
        const struct query_option *option = &table->options[i];
        if (strcmp(option->name, "locators") == 0) {
            if (!tables_check_locators(option->value, address, failure))
                return false;
        } else if (strcmp(option->name, "username") != 0 && strcmp(option->name, "password") != 0) {
            table->options[kept++] = *option;
        }
    }
    table->option_count = kept;
    return true;
}

/* ---- Changes ---- */

struct table_change {
    struct change change;
    struct request *request;
    struct buf ddl;
    char name[LIMIT_NAME_BYTES + 1], region[LIMIT_NAME_BYTES + 1];
    bool tolerant; /* IF NOT EXISTS, IF EXISTS */
    bool changed;
};

static void table_change_free(struct table_change *table)
{
    buf_fini(&table->ddl);
    mem_free(table);
}

static void done(struct locator *locator, struct change *change, const struct failure *failure,
                 bool is_create)
{
    struct table_change *table = (struct table_change *)change;
    if (failure != NULL) {
        request_fail_with(table->request, failure);
    } else {
        Pb__SqlExecuteResponse response = PB__SQL_EXECUTE_RESPONSE__INIT;
        char text[LIMIT_NAME_BYTES + 64], sentence[LIMIT_NAME_BYTES + 80];
        if (table->changed)
            snprintf(text, sizeof(text), "table %s was %s", table->name,
                     is_create ? "created" : "dropped");
        else
            snprintf(text, sizeof(text),
                     is_create ? "table %s exists already" : "there was no table %s", table->name);
        snprintf(sentence, sizeof(sentence), "%s.", text);
        sentence[0] = (char)(sentence[0] - 'a' + 'A');
        response.message = message_bytes(slice_text(sentence));
        ack_wait_reply(table->request, locator->map->epoch, 1013, &response.base, text);
    }
    table_change_free(table);
}

static void done_create(struct locator *locator, struct change *change,
                        const struct failure *failure)
{
    done(locator, change, failure, true);
}

static void done_drop(struct locator *locator, struct change *change, const struct failure *failure)
{
    done(locator, change, failure, false);
}

static enum change_verdict apply_create(struct change *change, struct cluster_map *map,
                                        struct failure *failure)
{
    struct table_change *table = (struct table_change *)change;
    struct cluster_table added = {.name = slice_text(table->name),
                                  .ddl = buf_slice(&table->ddl),
                                  .region = slice_text(table->region)};
    table->changed = false;
    if (cluster_map_table(map, added.name) != NULL) {
        if (table->tolerant)
            return CHANGE_UNCHANGED;
        request_failure(failure, ADMIN_REASON_EXISTS,
                        "table %s exists already. `vug sql 'DESCRIBE %s'` shows it; DROP TABLE "
                        "removes it; CREATE TABLE IF "
                        "NOT EXISTS leaves it alone.",
                        table->name, table->name);
        return CHANGE_REFUSED;
    }
    if (cluster_map_region(map, added.region) == NULL) {
        request_failure(failure, ADMIN_REASON_NOT_FOUND,
                        "table %s is to read region %s, which does not exist. Create it first: "
                        "`vug region create %s "
                        "--type PARTITION`.",
                        table->name, table->region, table->region);
        return CHANGE_REFUSED;
    }
    enum error error = cluster_map_add_table(map, &added);
    table->changed = error == OK;
    if (error == OK)
        return CHANGE_STORE;
    if (error == ERROR_LIMIT)
        request_failure(failure, ADMIN_REASON_INVALID,
                        "a cluster has at most %u tables, of at most %u bytes each.", LIMIT_TABLES,
                        LIMIT_STATEMENT_BYTES);
    else if (error == ERROR_INVALID)
        request_failure(
            failure, ADMIN_REASON_INVALID,
            "the name of a table is 1 to %u printable characters, without a slash at either end.",
            LIMIT_NAME_BYTES);
    else
        request_failure(failure, ADMIN_REASON_MEMORY,
                        "the locator has not enough memory; nothing was changed.");
    return CHANGE_REFUSED;
}

static void fail_unknown_table(const struct cluster_map *map, const char *name,
                               struct failure *failure)
{
    struct text_nearest nearest;
    text_nearest_init(&nearest, slice_text(name));
    for (uint32_t i = 0; i < map->table_count; i++)
        text_nearest_offer(&nearest, (const char *)map->tables[i].name.data);
    const char *best = text_nearest_best(&nearest);
    if (best != NULL)
        request_failure(failure, ADMIN_REASON_NOT_FOUND, "there is no table %s; did you mean %s?",
                        name, best);
    else
        request_failure(failure, ADMIN_REASON_NOT_FOUND,
                        "there is no table %s; `vug sql 'SHOW TABLES'` shows those that there are.",
                        name);
}

static enum change_verdict apply_drop(struct change *change, struct cluster_map *map,
                                      struct failure *failure)
{
    struct table_change *table = (struct table_change *)change;
    table->changed = false;
    if (cluster_map_table(map, slice_text(table->name)) == NULL) {
        if (table->tolerant)
            return CHANGE_UNCHANGED;
        fail_unknown_table(map, table->name, failure);
        return CHANGE_REFUSED;
    }
    enum error error = cluster_map_remove_table(map, slice_text(table->name));
    INVARIANT(error == OK);
    table->changed = true;
    return CHANGE_STORE;
}

/* Ends the request when the names are too long or there is no memory. */
static struct table_change *table_change_new(struct request *request, struct slice name,
                                             struct slice region)
{
    if (name.len > LIMIT_NAME_BYTES || region.len > LIMIT_NAME_BYTES) {
        request_fail(request, ADMIN_REASON_INVALID,
                     "the name of a table or region has at most %u characters.", LIMIT_NAME_BYTES);
        return NULL;
    }
    struct table_change *table = mem_zalloc(sizeof(*table));
    if (table == NULL) {
        request_fail(request, ADMIN_REASON_MEMORY,
                     "the locator has not enough memory; nothing was changed.");
        return NULL;
    }
    table->request = request;
    buf_init(&table->ddl);
    memcpy(table->name, name.data, name.len);
    if (region.len > 0)
        memcpy(table->region, region.data, region.len);
    return table;
}

static void submit(struct table_change *table)
{
    struct request *request = table->request;
    if (changes_submit(&request->locator->changes, &table->change) == OK)
        return;
    table_change_free(table);
    request_fail(request, ADMIN_REASON_BUSY,
                 "too many changes of the cluster map wait; try again.");
}

void tables_create(struct request *request, const struct query_statement *statement)
{
    const struct locator_options *options = &request->locator->options;
    struct tables_address address = {.bind_host = options->bind_host,
                                     .hostname = options->hostname,
                                     .port = net_listener_address(request->locator->listener).port};
    struct query_table described = statement->table;
    struct failure failure;
    if (!tables_take_connection_options(&described, &address, &failure)) {
        request_fail_with(request, &failure);
        return;
    }
    struct table_change *table =
        table_change_new(request, slice_text(described.name), slice_text(described.region));
    if (table == NULL)
        return;
    table->change.apply = apply_create;
    table->change.done = done_create;
    table->tolerant = statement->if_not_exists;
    query_table_ddl(&described, &table->ddl);
    if (table->ddl.failed) {
        table_change_free(table);
        request_fail(request, ADMIN_REASON_MEMORY,
                     "the locator has not enough memory; nothing was changed.");
        return;
    }
    submit(table);
}

void tables_drop(struct request *request, const struct query_statement *statement)
{
    struct table_change *table = table_change_new(request, statement->name, slice_of(NULL, 0));
    if (table == NULL)
        return;
    table->change.apply = apply_drop;
    table->change.done = done_drop;
    table->tolerant = statement->if_exists;
    submit(table);
}
