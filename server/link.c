#include "server/link_impl.h"

#include <stdio.h>
#include <string.h>

#include "common/limits.h"
#include "common/mem.h"

/* ---- All lines ---- */

void link_give_up(struct link *link, enum error why, const char *text)
{
    /* The text may be part of a message that goes with its connection. */
    char kept[1024];
    snprintf(kept, sizeof(kept), "%s", text);
    for (uint32_t i = 0; i < link->line_count; i++)
        line_close(&link->lines[i]);
    loop_timer_clear(&link->patience);
    link->events.on_refused(link->arg, why, kept);
}

void link_try_next(struct link *link, const struct link_line *after, uint64_t delay_us)
{
    struct link_line *next = &link->lines[(after->index + 1) % link->line_count];
    loop_timer_set(&next->step, delay_us);
}

void link_start_all(struct link *link)
{
    for (uint32_t i = 0; i < link->line_count; i++)
        if (link->lines[i].state == LINE_IDLE || link->lines[i].state == LINE_WAITING)
            line_start(&link->lines[i]);
}

struct link_line *link_first(const struct link *link)
{
    struct link_line *first = NULL;
    uint64_t now_us = loop_now_us(link->loop);
    for (uint32_t i = 0; i < link->line_count; i++) {
        struct link_line *line = &link->lines[i];
        if (line->state != LINE_UP)
            continue;
        if (now_us - line->heard_us <= LINE_FRESH_MS * UINT64_C(1000))
            return line;
        if (first == NULL)
            first = line;
    }
    return first;
}

static void on_patience(void *arg)
{
    struct link *link = arg;
    char text[1024];
    snprintf(text, sizeof(text),
             "No locator took this server in within %u ms; the last attempt: %s. Start a locator, "
             "or name it with "
             "--locators=HOST[PORT]; --locator-wait-time says how long to wait.",
             link->options.wait_ms, link->trouble[0] == '\0' ? "none has answered" : link->trouble);
    link_give_up(link, ERROR_TIMEOUT, text);
}

void link_acknowledge(struct link *link, uint64_t epoch)
{
    PRE(loop_is_current(link->loop));
    if (epoch > link->epoch)
        link->epoch = epoch; /* of a peer's map */
    if (epoch > link->acknowledged)
        link->acknowledged = epoch;
    for (uint32_t i = 0; i < link->line_count && link->acknowledged > 0; i++) {
        struct link_line *line = &link->lines[i];
        if (line->state != LINE_UP)
            continue;
        Pb__PeerMapAck ack = PB__PEER_MAP_ACK__INIT;
        ack.epoch = link->acknowledged;
        /* Without memory for it the next beacon says the same. */
        (void)PEER_SEND(line->conn, MAP_ACK, map_ack, &ack);
        if (!line->confirmed)
            line_send_beacon(line);
    }
}

void link_leave(struct link *link)
{
    PRE(loop_is_current(link->loop));
    link->leaving = true;
    loop_timer_clear(&link->patience);
    for (uint32_t i = 0; i < link->line_count; i++) {
        struct link_line *line = &link->lines[i];
        Pb__PeerLeave leave = PB__PEER_LEAVE__INIT;
        /* Without memory for it the locator finds out as if the process had died. */
        if (line->state == LINE_UP)
            (void)PEER_SEND(line->conn, LEAVE, leave, &leave);
        else if (!link->joined)
            line_close(line);
    }
}

bool link_is_up(const struct link *link)
{
    return link_first(link) != NULL;
}

/* ---- Life ---- */

static char *copy_text(const char *text)
{
    return mem_strndup(text == NULL ? "" : text, text == NULL ? 0 : strlen(text));
}

/* "a, b" becomes {"a", "b"}. */
static enum error split_groups(struct link *link)
{
    size_t count = 1;
    for (const char *at = link->options.groups; *at != '\0'; at++)
        count += *at == ',';
    link->group_text = copy_text(link->options.groups);
    link->groups = mem_array(count, sizeof(*link->groups));
    if (link->group_text == NULL || link->groups == NULL)
        return ERROR_MEMORY;
    char *next = link->group_text;
    while (next != NULL) {
        char *group = next;
        next = strchr(next, ',');
        if (next != NULL)
            *next++ = '\0';
        while (*group == ' ')
            group++;
        size_t len = strlen(group);
        while (len > 0 && group[len - 1] == ' ')
            group[--len] = '\0';
        if (len > 0)
            link->groups[link->group_count++] = group;
    }
    return OK;
}

static enum error copy_options(struct link *link, const struct link_options *options)
{
    struct net_address *locators = mem_array(options->locator_count, sizeof(*locators));
    if (locators != NULL)
        memcpy(locators, options->locators, options->locator_count * sizeof(*locators));
    link->options = *options;
    link->options.locators = locators;
    link->options.name = copy_text(options->name);
    link->options.host = copy_text(options->host);
    link->options.groups = copy_text(options->groups);
    if (locators == NULL || link->options.name == NULL || link->options.host == NULL ||
        link->options.groups == NULL)
        return ERROR_MEMORY;
    return split_groups(link);
}

enum error link_new(struct loop *loop, struct net *net, struct log *log,
                    const struct link_options *options, const struct link_events *events, void *arg,
                    struct link **out)
{
    PRE(loop_is_current(loop) && options->locator_count > 0);
    struct link *link = mem_zalloc(sizeof(*link));
    if (link == NULL)
        return ERROR_MEMORY;
    link->loop = loop;
    link->net = net;
    link->log = log;
    link->events = *events;
    link->arg = arg;
    arena_init(&link->arena, 2 * (size_t)LIMIT_PEER_MESSAGE_BYTES);
    enum error error = copy_options(link, options);
    if (error == OK)
        error = loop_timer_init(&link->patience, loop, on_patience, link);
    link->lines = error == OK ? mem_array(options->locator_count, sizeof(*link->lines)) : NULL;
    if (error == OK && link->lines == NULL)
        error = ERROR_MEMORY;
    for (uint32_t i = 0; i < options->locator_count && error == OK; i++) {
        error = line_init(&link->lines[i], link, i);
        link->line_count++;
    }
    if (error != OK) {
        link_free(link);
        return error;
    }
    line_start(&link->lines[0]);
    loop_timer_set(&link->patience, options->wait_ms * UINT64_C(1000));
    *out = link;
    return OK;
}

void link_free(struct link *link)
{
    for (uint32_t i = 0; i < link->line_count; i++)
        line_fini(&link->lines[i]);
    loop_timer_fini(&link->patience);
    arena_fini(&link->arena);
    mem_free(link->lines);
    mem_free((void *)(uintptr_t)link->options.locators);
    mem_free((void *)(uintptr_t)link->options.name);
    mem_free((void *)(uintptr_t)link->options.host);
    mem_free((void *)(uintptr_t)link->options.groups);
    mem_free(link->groups);
    mem_free(link->group_text);
    mem_free(link);
}
