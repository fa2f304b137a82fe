#include "cli/cli.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

extern char **environ;

/* A standard stream that the shell has closed must not become somebody's socket. What it stands for
 * then cannot be written, as before. */
static void hold_standard_streams(void)
{
    int fd = open("/dev/null", O_RDONLY);
    while (fd >= 0 && fd <= STDERR_FILENO)
        fd = open("/dev/null", O_RDONLY);
    if (fd >= 0)
        close(fd);
}

int main(int argc, char **argv)
{
    hold_standard_streams();
    struct cli cli = {.out_fd = STDOUT_FILENO, .err_fd = STDERR_FILENO, .stop_fd = -1};
    signal(SIGPIPE, SIG_IGN); /* a closed pipe shows as an error of write() */
    buf_init(&cli.out);
    cli.out_is_terminal = isatty(STDOUT_FILENO) == 1;
    cli.err_is_terminal = isatty(STDERR_FILENO) == 1;
    int status = cli_main(&cli, argc, argv, environ);
    buf_fini(&cli.out);
    return status;
}
