#include "cli/exit_status.h"

#include "protocol/admin_reason.h"

static const struct {
    enum error error;
    enum exit_status status;
} rows[] = {
    {OK, EXIT_OK},
    {ERROR_MEMORY, EXIT_INTERNAL},
    {ERROR_MALFORMED, EXIT_FAILED},
    {ERROR_NOT_FOUND, EXIT_ABSENT},
    {ERROR_EXISTS, EXIT_EXISTS},
    {ERROR_CONFLICT, EXIT_EXISTS},
    {ERROR_UNAUTHORIZED, EXIT_DENIED},
    {ERROR_REFUSED, EXIT_CONNECT},
    {ERROR_RESET, EXIT_CONNECT},
    {ERROR_CLOSED, EXIT_CONNECT},
    {ERROR_UNREACHABLE, EXIT_CONNECT},
    {ERROR_NAME, EXIT_CONNECT},
    {ERROR_NO_SERVER, EXIT_CONNECT},
    {ERROR_TIMEOUT, EXIT_TIMEOUT},
    {ERROR_LOCKED, EXIT_DATA_DIR},
    {ERROR_DAMAGED, EXIT_DATA_DIR},
};

enum exit_status exit_status_of(enum error error)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].error == error)
            return rows[i].status;
    return EXIT_FAILED;
}

enum exit_status exit_status_of_vug(const struct vug_error *error, const char **text)
{
    *text = error->text;
    if (error->code != 0) {
        int status = admin_reason_exit_status(error->text, text);
        if (*text != error->text)
            return (enum exit_status)status;
    }
    return exit_status_of(error->error);
}
