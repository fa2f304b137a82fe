/* From a query of the map to a plan. Every server makes it from the same text, parameters and
 * table, whatever became of the table in between: so all have the same plan. */
#include <xxhash.h>

#include "server/ops.h"

struct names {
    const struct catalog *catalog;
    const struct query_table *own;  /* the table that the query began with; NULL: of the catalog */
    const struct query_table *read; /* what was asked for */
};

static const struct query_table *find_table(void *arg, struct slice name)
{
    struct names *names = arg;
    const struct query_catalog *query = &names->catalog->query;
    const struct query_table *table = names->own;
    if (table == NULL || !slice_equal(slice_text(table->name), name))
        table = query->table(query->arg, name);
    if (table != NULL)
        names->read = table;
    return table;
}

static bool has_region(void *arg, struct slice name)
{
    struct names *names = arg;
    return names->catalog->query.region(names->catalog->query.arg, name);
}

static void each_name(void *arg, void (*visit)(void *visit_arg, const char *name), void *visit_arg)
{
    struct names *names = arg;
    names->catalog->query.name_each(names->catalog->query.arg, visit, visit_arg);
}

static enum error read_parameters(struct slice packed, struct arena *arena,
                                  struct query_parameter **parameters, uint32_t *count)
{
    ProtobufCMessage *message;
    struct failure failure;
    enum error error = message_unpack(&pb__query_parameters__descriptor, arena, packed, &message);
    if (error != OK)
        return error;
    const Pb__QueryParameters *from = (const Pb__QueryParameters *)message;
    error = op_parameters_of(arena, from->parameter, from->n_parameter, parameters, &failure);
    *count = (uint32_t)from->n_parameter;
    return error;
}

enum error registry_plan(const struct catalog *catalog, const struct cluster_query *query,
                         struct query_plan **plan, struct buf *ddl)
{
    struct arena arena;
    struct query_statement statement, table;
    struct query_error why;
    struct query_parameter *parameters = NULL;
    uint32_t count = 0;
    struct names names = {.catalog = catalog};
    struct query_catalog query_catalog = {find_table, has_region, each_name, &names};
    arena_init(&arena, LIMIT_ARENA_BYTES);
    enum error error = read_parameters(query->parameters, &arena, &parameters, &count);
    if (error == OK && query->ddl.len > 0) {
        error = query_parse(query->ddl, &arena, &table, &why);
        if (error == OK && table.kind == QUERY_CREATE_TABLE)
            names.own = &table.table;
    }
    if (error == OK)
        error = query_parse(query->text, &arena, &statement, &why);
    if (error == OK && statement.kind != QUERY_SELECT)
        error = ERROR_INVALID;
    if (error == OK)
        error = query_plan_new(
            query->text, statement.select, &query_catalog, parameters, count,
            query->numeric_mode == PB__NUMERIC_MODE__FLINK ? QUERY_FLINK : QUERY_EXACT, plan, &why);
    if (error == OK && ddl != NULL && names.read != NULL)
        query_table_ddl(names.read, ddl);
    arena_fini(&arena);
    return error;
}

uint64_t registry_life(const struct catalog *catalog, const struct region *region)
{
    return XXH3_64bits_withSeed(catalog->map->cluster_id, sizeof catalog->map->cluster_id,
                                region->id);
}
