#include "cli/demo.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define START_US (20u * 1000 * 1000)
#define END_US   (5u * 1000 * 1000)

static bool is_over(const struct child *child)
{
    return child == NULL || child_has_ended(child);
}

static void on_ready(void *arg, struct child *child)
{
    struct demo_cluster *cluster = arg;
    (void)child;
    if (!cluster->ending)
        loop_event_stop(cluster->loop);
}

static void on_ended(void *arg, struct child *child)
{
    struct demo_cluster *cluster = arg;
    (void)child;
    if (!cluster->started || cluster->ending)
        loop_event_stop(cluster->loop);
    else
        cluster->on_lost(cluster->arg);
}

/* From a reader thread: one write, which does not mix with others. */
static void on_line(void *arg, const char *line)
{
    struct demo_cluster *cluster = arg;
    cli_note(cluster->cli, "%s", line);
}

static const struct child_events events = {
    .on_ready = on_ready, .on_ended = on_ended, .on_line = on_line};

static void on_deadline(void *arg)
{
    struct demo_cluster *cluster = arg;
    cluster->late = true;
    loop_event_stop(cluster->loop);
}

static void ignore_socket(void *arg, struct net_socket *socket)
{
    struct demo_cluster *cluster = arg;
    net_refuse(cluster->net, socket);
}

/* The usual port if it is free, so that other terminals find the demo without options; else 0,
 * which takes a free one. */
static unsigned usual_or_free(struct demo_cluster *cluster, uint16_t port)
{
    struct net_listener *listener = NULL;
    if (net_listen(cluster->net, "127.0.0.1", port, ignore_socket, cluster, &listener) != OK)
        return 0;
    net_listener_close(listener);
    return port;
}

static enum exit_status start_member(struct demo_cluster *cluster, char *const *argv,
                                     const char *port_name, struct child **child,
                                     struct text_host_port *address)
{
    if (child_start(cluster->loop, argv, &events, cluster, child) != OK) {
        *child = NULL;
        return cli_fail(cluster->cli, EXIT_INTERNAL, NULL, "cannot start a process for the %s",
                        argv[1]);
    }
    loop_timer_set(&cluster->deadline, START_US);
    loop_event_run(cluster->loop);
    loop_timer_clear(&cluster->deadline);
    if (cluster->late)
        return cli_fail(cluster->cli, EXIT_TIMEOUT, NULL, "the %s was not ready within 20 s",
                        argv[1]);
    if (!child_port(*child, port_name, address))
        return cli_fail(cluster->cli, EXIT_FAILED, "the lines above say why",
                        "the %s did not start", argv[1]);
    return EXIT_OK;
}

enum exit_status demo_cluster_start(struct demo_cluster *cluster, struct cli *cli,
                                    struct loop *loop, struct net *net, void (*on_lost)(void *arg),
                                    void *arg)
{
    char port[16], locators[300], http[16];
    const char *temporary = getenv("TMPDIR");
    *cluster =
        (struct demo_cluster){.cli = cli, .loop = loop, .net = net, .on_lost = on_lost, .arg = arg};
    if (loop_timer_init(&cluster->deadline, loop, on_deadline, cluster) != OK)
        return cli_fail_memory(cli);
    bool fits = temporary != NULL && strlen(temporary) < sizeof cluster->data_dir - 20;
    snprintf(cluster->data_dir, sizeof cluster->data_dir, "%s/vug-demo-XXXXXX",
             fits ? temporary : "/tmp");
    if (mkdtemp(cluster->data_dir) == NULL) {
        cluster->data_dir[0] = '\0';
        return cli_fail(cli, EXIT_DATA_DIR, "TMPDIR names another place",
                        "cannot make a directory for the demo");
    }
    snprintf(port, sizeof port, "%u", usual_or_free(cluster, VUG_LOCATOR_PORT));
    snprintf(http, sizeof http, "%u", usual_or_free(cluster, 7070));
    char *locator[] = {
        "vug",        "locator",         "--name",      "locator1",    "--bind-address",
        "127.0.0.1",  "--port",          port,          "--http-port", http,
        "--data-dir", cluster->data_dir, "--log-level", "warn",        NULL};
    enum exit_status status =
        start_member(cluster, locator, "locator", &cluster->locator, &cluster->locator_address);
    if (status != EXIT_OK)
        return status;
    snprintf(locators, sizeof locators, "%s[%u]", cluster->locator_address.host,
             (unsigned)cluster->locator_address.port);
    snprintf(port, sizeof port, "%u", usual_or_free(cluster, VUG_SERVER_PORT));
    snprintf(http, sizeof http, "%u", usual_or_free(cluster, 7071));
    char *server[] = {"vug",        "server",        "--name",      "server1",     "--bind-address",
                      "127.0.0.1",  "--server-port", port,          "--http-port", http,
                      "--locators", locators,        "--log-level", "warn",        NULL};
    status = start_member(cluster, server, "server", &cluster->server, &cluster->server_address);
    if (status == EXIT_OK)
        (void)child_port(cluster->server, "http", &cluster->http_address);
    cluster->started = status == EXIT_OK;
    return status;
}

/* Only what a locator keeps there: files, no folders. */
static void remove_directory(const char *path)
{
    DIR *directory = opendir(path);
    if (directory == NULL)
        return;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            (void)unlinkat(dirfd(directory), entry->d_name, 0); /* what stays shows in rmdir() */
    closedir(directory);
    (void)rmdir(path);
}

/* Signals one member and waits for its end; false if it takes too long. */
static bool end_child(struct demo_cluster *cluster, struct child *child, int signal_number)
{
    if (is_over(child))
        return true;
    cluster->late = false;
    loop_timer_set(&cluster->deadline, END_US);
    child_signal(child, signal_number);
    while (!cluster->late && !is_over(child))
        loop_event_run(cluster->loop);
    loop_timer_clear(&cluster->deadline);
    return is_over(child);
}

static void end_and_free(struct demo_cluster *cluster, struct child *child)
{
    if (child == NULL)
        return;
    if (!end_child(cluster, child, SIGTERM))
        (void)end_child(cluster, child, SIGKILL); /* child_free() waits for it in any case */
    child_free(child);
}

void demo_cluster_end(struct demo_cluster *cluster)
{
    cluster->ending = true;
    end_and_free(cluster, cluster->server); /* first, while it has a locator to tell */
    end_and_free(cluster, cluster->locator);
    loop_timer_fini(&cluster->deadline);
    if (cluster->data_dir[0] != '\0')
        remove_directory(cluster->data_dir);
}

bool demo_find_readings(char *path, size_t size)
{
    static const char *const below[] = {"/../deploy/data/weather-2013.csv",
                                        "/../share/vug/weather-2013.csv"};
    char folder[2048];
    ssize_t len = readlink("/proc/self/exe", folder, sizeof folder - 1);
    if (len > 0) {
        folder[len] = '\0';
        *strrchr(folder, '/') = '\0';
        for (size_t i = 0; i < sizeof below / sizeof below[0]; i++) {
            int needed = snprintf(path, size, "%s%s", folder, below[i]);
            if (needed > 0 && (size_t)needed < size && access(path, R_OK) == 0)
                return true;
        }
    }
    int needed = snprintf(path, size, "deploy/data/weather-2013.csv");
    return needed > 0 && (size_t)needed < size && access(path, R_OK) == 0;
}
