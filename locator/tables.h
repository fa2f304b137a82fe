/* Tables: CREATE TABLE and DROP TABLE as changes of the map, and which cluster the options of a
 * table mean. */
#ifndef VUG_LOCATOR_TABLES_H
#define VUG_LOCATOR_TABLES_H

#include "locator/locator_impl.h"
#include "query/query.h"

/* The address that a locator is called by. */
struct tables_address {
    const char *bind_host, *hostname;
    uint16_t port;
};

/* Option `locators` of a table must name this cluster: every address of the list is one of this
 * locator's. The ways to write the local host are equal where the locator listens there. False
 * fills `failure`. */
bool tables_check_locators(const char *list, const struct tables_address *address,
                           struct failure *failure);

/* Checks the options that say where and as whom, and takes them out: inside of the cluster they
 * mean nothing more, and a password has no place in the map. False fills `failure`. */
bool tables_take_connection_options(struct query_table *table, const struct tables_address *address,
                                    struct failure *failure);

/* Proposes the statement's table; answered with an SqlExecuteResponse when every live server has
 * the map. */
void tables_create(struct request *request, const struct query_statement *statement);
void tables_drop(struct request *request, const struct query_statement *statement);

#endif
