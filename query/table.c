/* Tables as values: copies, and the statement that makes them again. */
#include "query/query.h"

#include "common/mem.h"
#include "query/lexer.h"

/* ---- Copies ---- */

static bool copy_text(const char *text, const char **copy)
{
    *copy = text == NULL ? NULL : mem_strndup(text, strlen(text));
    return text == NULL || *copy != NULL;
}

static void free_text(const char *text)
{
    mem_free((void *)(uintptr_t)text);
}

struct query_table *query_table_copy(const struct query_table *table)
{
    struct query_table *copy = mem_zalloc(sizeof *copy);
    if (copy == NULL)
        return NULL;
    copy->columns = mem_array(table->column_count + 1u, sizeof *copy->columns);
    copy->options = mem_array(table->option_count + 1u, sizeof *copy->options);
    bool copied = copy->columns != NULL && copy->options != NULL &&
                  copy_text(table->name, &copy->name) && copy_text(table->region, &copy->region);
    for (uint32_t i = 0; copied && i < table->column_count; i++) {
        copy->columns[i] = table->columns[i];
        copied = copy_text(table->columns[i].name, &copy->columns[i].name);
        copy->column_count++;
    }
    for (uint32_t i = 0; copied && i < table->option_count; i++) {
        copy->option_count++;
        copied = copy_text(table->options[i].name, &copy->options[i].name) &&
                 copy_text(table->options[i].value, &copy->options[i].value);
    }
    if (copied)
        return copy;
    query_table_free(copy);
    return NULL;
}

void query_table_free(struct query_table *table)
{
    if (table == NULL)
        return;
    for (uint32_t i = 0; i < table->column_count; i++)
        free_text(table->columns[i].name);
    for (uint32_t i = 0; i < table->option_count; i++) {
        free_text(table->options[i].name);
        free_text(table->options[i].value);
    }
    free_text(table->name);
    free_text(table->region);
    mem_free(table->columns);
    mem_free(table->options);
    mem_free(table);
}

/* ---- The statement ---- */

static void write_quoted(const char *text, char quote, struct buf *ddl)
{
    buf_append_byte(ddl, (uint8_t)quote);
    for (const char *at = text; *at != '\0'; at++) {
        if (*at == quote)
            buf_append_byte(ddl, (uint8_t)quote);
        buf_append_byte(ddl, (uint8_t)*at);
    }
    buf_append_byte(ddl, (uint8_t)quote);
}

static void write_name(const char *name, struct buf *ddl)
{
    if (lexer_is_plain_name(slice_text(name)))
        buf_append_text(ddl, name);
    else
        write_quoted(name, '`', ddl);
}

void query_table_ddl(const struct query_table *table, struct buf *ddl)
{
    buf_append_text(ddl, "CREATE TABLE ");
    write_name(table->name, ddl);
    buf_append_text(ddl, " (");
    for (uint32_t i = 0; i < table->column_count; i++) {
        const struct query_column *column = &table->columns[i];
        buf_append_text(ddl, i > 0 ? ", " : "");
        write_name(column->name, ddl);
        if (column->proctime) {
            buf_append_text(ddl, " AS PROCTIME()");
            continue;
        }
        buf_append_byte(ddl, ' ');
        query_type_name(column->type, ddl);
        if (column->not_null)
            buf_append_text(ddl, " NOT NULL");
    }
    buf_append_text(ddl, ") WITH (");
    for (uint32_t i = 0; i < table->option_count; i++) {
        buf_append_text(ddl, i > 0 ? ", " : "");
        write_quoted(table->options[i].name, '\'', ddl);
        buf_append_text(ddl, " = ");
        write_quoted(table->options[i].value, '\'', ddl);
    }
    buf_append_byte(ddl, ')');
}
