/* SqlExecute, as a server forwards it: the statements that change the map. Everything else is the
 * servers' own. */
#include "locator/ops.h"
#include "locator/tables.h"
#include "protocol/message.h"

void locator_op_sql_execute(struct request *request, const ProtobufCMessage *body,
                            struct arena *arena)
{
    struct query_statement statement;
    struct query_error wrong;
    enum error error = query_parse(message_slice(((const Pb__SqlExecuteRequest *)body)->statement),
                                   arena, &statement, &wrong);
    if (error == ERROR_MEMORY) {
        request_fail(request, ADMIN_REASON_MEMORY,
                     "the locator has not enough memory for the statement.");
    } else if (error != OK) {
        struct failure failure;
        failure_set(&failure, FAILURE_INVALID_REQUEST, "%s", wrong.message);
        request_fail_with(request, &failure);
    } else if (statement.kind == QUERY_CREATE_TABLE) {
        tables_create(request, &statement);
    } else if (statement.kind == QUERY_DROP_TABLE) {
        tables_drop(request, &statement);
    } else {
        request_fail(request, ADMIN_REASON_UNSUPPORTED,
                     "a locator executes CREATE TABLE and DROP TABLE alone.");
    }
}
