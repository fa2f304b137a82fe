#include "cli/child.h"

#include "common/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PORTS_MAX 4

struct child_named_port {
    char name[16];
    struct text_host_port address;
};

struct child {
    struct loop *loop;
    struct child_events events;
    void *arg;
    pid_t pid;
    FILE *banner;
    pthread_t reader;
    struct loop_task ready_task, ended_task;
    struct child_named_port ports[PORTS_MAX]; /* the reader's until it has posted ready_task */
    unsigned port_count;
    bool ready, ended;
};

bool child_parse_port(const char *line, char name[16], struct text_host_port *address)
{
    char place[300];
    if (line[0] != ' ' || sscanf(line, " %15[a-z] %299s", name, place) != 2 ||
        strrchr(place, ':') == NULL)
        return false;
    return text_parse_host_port(slice_text(place), 0, address) == OK && address->port != 0;
}

static bool is_for_people(const char *line)
{
    return strstr(line, " WARN ") != NULL || strstr(line, " ERROR ") != NULL ||
           strncmp(line, "error:", 6) == 0 || strncmp(line, "  hint:", 7) == 0;
}

static void *read_lines(void *arg)
{
    struct child *child = arg;
    char line[2048];
    bool ready = false;
    while (fgets(line, sizeof line, child->banner) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (is_for_people(line))
            child->events.on_line(child->arg, line);
        if (ready)
            continue;
        struct child_named_port *port = &child->ports[child->port_count];
        if (child->port_count < PORTS_MAX && child_parse_port(line, port->name, &port->address))
            child->port_count++;
        if (strncmp(line, "ready in ", 9) == 0) {
            ready = true;
            loop_post(child->loop, &child->ready_task);
        }
    }
    loop_post(child->loop, &child->ended_task);
    return NULL;
}

static void on_ready(void *arg)
{
    struct child *child = arg;
    child->ready = true;
    child->events.on_ready(child->arg, child);
}

static void on_ended(void *arg)
{
    struct child *child = arg;
    child->ended = true;
    child->events.on_ended(child->arg, child);
}

/* In the child: nothing but system calls. */
static _Noreturn void become(char *const *argv, int banner, pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) /* it died before the line above */
        _exit(1);
    int null = open("/dev/null", O_RDWR);
    signal(SIGPIPE, SIG_DFL);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
        dup2(banner, STDERR_FILENO) < 0)
        _exit(1);
    setpgid(0, 0); /* Ctrl-C is for us; we end them in order */
    execv("/proc/self/exe", argv);
    _exit(127);
}

enum error child_start(struct loop *loop, char *const *argv, const struct child_events *events,
                       void *arg, struct child **out)
{
    int pipe_fds[2];
    struct child *child = mem_zalloc(sizeof *child);
    if (child == NULL)
        return ERROR_MEMORY;
    child->loop = loop;
    child->events = *events;
    child->arg = arg;
    child->ready_task = (struct loop_task){.on_run = on_ready, .arg = child};
    child->ended_task = (struct loop_task){.on_run = on_ended, .arg = child};
    if (pipe2(pipe_fds, O_CLOEXEC) != 0)
        goto err_after_child;
    child->banner = fdopen(pipe_fds[0], "r");
    if (child->banner == NULL) {
        close(pipe_fds[0]);
        close(pipe_fds[1]);
        goto err_after_child;
    }
    pid_t parent = getpid();
    child->pid = fork();
    if (child->pid == 0)
        become(argv, pipe_fds[1], parent);
    close(pipe_fds[1]);
    if (child->pid < 0)
        goto err_after_pipe;
    if (pthread_create(&child->reader, NULL, read_lines, child) != 0)
        goto err_after_fork;
    *out = child;
    return OK;

err_after_fork:
    kill(child->pid, SIGKILL);
    waitpid(child->pid, NULL, 0);
err_after_pipe:
    fclose(child->banner);
err_after_child:
    mem_free(child);
    return ERROR_IO;
}

void child_signal(struct child *child, int signal_number)
{
    if (!child->ended)
        kill(child->pid, signal_number); /* not waited for yet, so the id is still its own */
}

bool child_has_ended(const struct child *child)
{
    return child->ended;
}

int child_free(struct child *child)
{
    int status = 0;
    while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    pthread_join(child->reader, NULL);
    fclose(child->banner);
    mem_free(child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

bool child_port(struct child *child, const char *name, struct text_host_port *address)
{
    for (unsigned i = 0; child->ready && i < child->port_count; i++)
        if (strcmp(child->ports[i].name, name) == 0) {
            *address = child->ports[i].address;
            return true;
        }
    return false;
}
