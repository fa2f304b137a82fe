#include "cli/cli.h"

#include <signal.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv)
{
    struct cli cli = {.out_fd = STDOUT_FILENO, .err_fd = STDERR_FILENO};
    signal(SIGPIPE, SIG_IGN); /* a closed pipe shows as an error of write() */
    buf_init(&cli.out);
    cli.out_is_terminal = isatty(STDOUT_FILENO) == 1;
    cli.err_is_terminal = isatty(STDERR_FILENO) == 1;
    int status = cli_main(&cli, argc, argv, environ);
    buf_fini(&cli.out);
    return status;
}
