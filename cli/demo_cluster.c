#include "cli/demo.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define START_US (20u * 1000 * 1000)
#define END_US   (5u * 1000 * 1000)

static void on_ready(void *arg, struct child *child)
{
    struct demo_cluster *cluster = arg;
    (void)child;
    if (!cluster->started && !cluster->ending)
        loop_event_stop(cluster->loop);
}

static bool was_killed(const struct demo_cluster *cluster, const struct child *child)
{
    for (uint32_t i = 0; i < cluster->server_count; i++)
        if (cluster->servers[i].child == child)
            return cluster->servers[i].killed;
    return false;
}

static void on_ended(void *arg, struct child *child)
{
    struct demo_cluster *cluster = arg;
    if (!cluster->started || cluster->ending)
        loop_event_stop(cluster->loop);
    else if (!was_killed(cluster, child))
        cluster->on_lost(cluster->arg);
}

/* From a reader thread: one write, which does not mix with others. What members say of each other
 * while the whole cluster is thrown away is of no interest. */
static void on_line(void *arg, const char *line)
{
    struct demo_cluster *cluster = arg;
    if (!atomic_load(&cluster->ending))
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
                                     struct child **child)
{
    if (child_start(cluster->loop, argv, &events, cluster, child) == OK)
        return EXIT_OK;
    *child = NULL;
    return cli_fail(cluster->cli, EXIT_INTERNAL, NULL, "cannot start a process for the %s",
                    argv[1]);
}

static enum exit_status wait_for(struct demo_cluster *cluster, struct child *child,
                                 const char *name, struct text_host_port *address)
{
    cluster->late = false;
    loop_timer_set(&cluster->deadline, START_US);
    while (!cluster->late && !child_has_ended(child) && !child_port(child, name, address))
        loop_event_run(cluster->loop);
    loop_timer_clear(&cluster->deadline);
    if (cluster->late)
        return cli_fail(cluster->cli, EXIT_TIMEOUT, NULL, "the %s was not ready within 20 s", name);
    if (!child_port(child, name, address))
        return cli_fail(cluster->cli, EXIT_FAILED, "the lines above say why",
                        "the %s did not start", name);
    return EXIT_OK;
}

static enum exit_status make_data_dir(struct demo_cluster *cluster)
{
    const char *temporary = getenv("TMPDIR");
    bool fits = temporary != NULL && strlen(temporary) < sizeof cluster->data_dir - 20;
    snprintf(cluster->data_dir, sizeof cluster->data_dir, "%s/vug-demo-XXXXXX",
             fits ? temporary : "/tmp");
    if (mkdtemp(cluster->data_dir) != NULL)
        return EXIT_OK;
    cluster->data_dir[0] = '\0';
    return cli_fail(cluster->cli, EXIT_DATA_DIR, "TMPDIR names another place",
                    "cannot make a directory for the demo");
}

static enum exit_status start_locator(struct demo_cluster *cluster)
{
    char port[16], http[16];
    snprintf(port, sizeof port, "%u", usual_or_free(cluster, VUG_LOCATOR_PORT));
    snprintf(http, sizeof http, "%u", usual_or_free(cluster, 7070));
    char *locator[] = {
        "vug",        "locator",         "--name",      "locator1",    "--bind-address",
        "127.0.0.1",  "--port",          port,          "--http-port", http,
        "--data-dir", cluster->data_dir, "--log-level", "warn",        NULL};
    enum exit_status status = start_member(cluster, locator, &cluster->locator);
    if (status == EXIT_OK)
        status = wait_for(cluster, cluster->locator, "locator", &cluster->locator_address);
    if (status == EXIT_OK)
        (void)child_port(cluster->locator, "http", &cluster->http_address);
    return status;
}

static enum exit_status start_server(struct demo_cluster *cluster, uint32_t index)
{
    char name[16], port[16], http[16], locators[300];
    snprintf(name, sizeof name, "server%u", index + 1);
    snprintf(port, sizeof port, "%u", usual_or_free(cluster, (uint16_t)(VUG_SERVER_PORT + index)));
    snprintf(http, sizeof http, "%u", usual_or_free(cluster, (uint16_t)(7071 + index)));
    snprintf(locators, sizeof locators, "%s[%u]", cluster->locator_address.host,
             (unsigned)cluster->locator_address.port);
    char *server[] = {"vug",        "server",        "--name",      name,          "--bind-address",
                      "127.0.0.1",  "--server-port", port,          "--http-port", http,
                      "--locators", locators,        "--log-level", "error",       NULL};
    return start_member(cluster, server, &cluster->servers[index].child);
}

enum exit_status demo_cluster_start(struct demo_cluster *cluster, struct cli *cli,
                                    struct loop *loop, struct net *net, uint32_t servers,
                                    void (*on_lost)(void *arg), void *arg)
{
    PRE(servers <= DEMO_SERVERS_MAX);
    *cluster = (struct demo_cluster){.cli = cli,
                                     .loop = loop,
                                     .net = net,
                                     .server_count = servers,
                                     .on_lost = on_lost,
                                     .arg = arg};
    if (loop_timer_init(&cluster->deadline, loop, on_deadline, cluster) != OK)
        return cli_fail_memory(cli);
    enum exit_status status = make_data_dir(cluster);
    if (status == EXIT_OK)
        status = start_locator(cluster);
    for (uint32_t i = 0; i < servers && status == EXIT_OK; i++)
        status = start_server(cluster, i);
    for (uint32_t i = 0; i < servers && status == EXIT_OK; i++)
        status =
            wait_for(cluster, cluster->servers[i].child, "server", &cluster->servers[i].address);
    cluster->started = status == EXIT_OK;
    return status;
}

void demo_cluster_kill(struct demo_cluster *cluster, uint32_t server)
{
    PRE(server < cluster->server_count);
    cluster->servers[server].killed = true;
    child_signal(cluster->servers[server].child, SIGKILL);
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

/* Signals one member, or all servers (NULL), and waits for their end; false if it takes too long.
 */
static bool end_children(struct demo_cluster *cluster, struct child *child, int signal_number)
{
    struct child *children[DEMO_SERVERS_MAX] = {child};
    uint32_t count = child != NULL;
    for (uint32_t i = 0; child == NULL && i < cluster->server_count; i++)
        if (cluster->servers[i].child != NULL)
            children[count++] = cluster->servers[i].child;
    cluster->late = false;
    loop_timer_set(&cluster->deadline, END_US);
    for (uint32_t i = 0; i < count; i++)
        if (!child_has_ended(children[i]))
            child_signal(children[i], signal_number);
    bool over = true;
    for (uint32_t i = 0; i < count; i++) {
        while (!cluster->late && !child_has_ended(children[i]))
            loop_event_run(cluster->loop);
        over = over && child_has_ended(children[i]);
    }
    loop_timer_clear(&cluster->deadline);
    return over;
}

void demo_cluster_end(struct demo_cluster *cluster)
{
    cluster->ending = true;
    /* A cluster that is thrown away has nothing to hand over, so nobody is asked to. */
    (void)end_children(cluster, NULL, SIGKILL);
    for (uint32_t i = 0; i < cluster->server_count; i++)
        if (cluster->servers[i].child != NULL)
            child_free(cluster->servers[i].child);
    if (cluster->locator != NULL) {
        if (!end_children(cluster, cluster->locator, SIGTERM))
            (void)end_children(cluster, cluster->locator, SIGKILL);
        child_free(cluster->locator);
    }
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
