#include "server/peers.h"

#include "common/mem.h"
#include "server/peers_impl.h"

#define TURN_US 250000

/* ---- References ---- */

struct peer *peer_ref(struct peer *peer)
{
    atomic_fetch_add_explicit(&peer->refs, 1, memory_order_relaxed);
    return peer;
}

void peer_unref(struct peer *peer)
{
    if (peer == NULL || atomic_fetch_sub_explicit(&peer->refs, 1, memory_order_acq_rel) != 1)
        return;
    INVARIANT(peer->dirty == NULL && peer->calls == NULL);
    peer_drop_mail(peer, PEER_LINK_REQUESTS);
    peer_drop_mail(peer, PEER_LINK_REPLICATION);
    pthread_mutex_destroy(&peer->lock);
    mem_free(peer->out);
    mem_free(peer->name);
    mem_free(peer->host);
    mem_free(peer);
}

/* ---- Mailboxes ---- */

static void on_flush(void *arg)
{
    struct peer *peer = arg;
    pthread_mutex_lock(&peer->lock);
    peer->flush_posted = false;
    pthread_mutex_unlock(&peer->lock);
    peer_out_flush(peer);
    peer_unref(peer);
}

/* With peer->lock held: true if the caller has to queue the task, with the lock released. */
static bool wants_flush_locked(struct peer *peer)
{
    if (peer->flush_posted)
        return false;
    peer->flush_posted = true;
    peer_ref(peer);
    return true;
}

static void queue_flush(struct peer *peer)
{
    if (loop_is_current(peer->worker->loop))
        loop_defer(peer->worker->loop, &peer->flush);
    else
        loop_post(peer->worker->loop, &peer->flush);
}

void peer_want_flush(struct peer *peer)
{
    pthread_mutex_lock(&peer->lock);
    bool queue = wants_flush_locked(peer);
    pthread_mutex_unlock(&peer->lock);
    if (queue)
        queue_flush(peer);
}

void peer_mark_dirty(struct peer *peer, struct replica_copy *copy)
{
    pthread_mutex_lock(&peer->lock);
    if (!copy->is_dirty) {
        copy->is_dirty = true;
        copy->next_dirty = NULL;
        *peer->dirty_end = copy;
        peer->dirty_end = &copy->next_dirty;
    }
    bool queue = wants_flush_locked(peer);
    pthread_mutex_unlock(&peer->lock);
    if (queue)
        queue_flush(peer);
}

void peer_forget_copy(struct peer *peer, struct replica_copy *copy)
{
    pthread_mutex_lock(&peer->lock);
    for (struct replica_copy **at = &peer->dirty; copy->is_dirty && *at != NULL;) {
        if (*at != copy) {
            at = &(*at)->next_dirty;
            continue;
        }
        *at = copy->next_dirty;
        if (peer->dirty_end == &copy->next_dirty)
            peer->dirty_end = at;
        copy->is_dirty = false;
    }
    pthread_mutex_unlock(&peer->lock);
}

void peer_send_call(struct peer *peer, struct call *call)
{
    pthread_mutex_lock(&peer->lock);
    call->next_mail = NULL;
    *peer->calls_end = call_ref(call);
    peer->calls_end = &call->next_mail;
    bool queue = wants_flush_locked(peer);
    pthread_mutex_unlock(&peer->lock);
    if (queue)
        queue_flush(peer);
}

enum error peer_send(struct peer *peer, enum peer_link_kind link, enum peer_frame_kind kind,
                     struct slice content)
{
    unsigned index = peer_link_index(link);
    _Atomic bool *up = link == PEER_LINK_REQUESTS ? &peer->requests_up : &peer->replication_up;
    PRE(content.len <= LIMIT_PEER_FRAME_BYTES);
    if (!atomic_load(up))
        return ERROR_UNREACHABLE;
    struct peer_mail *mail = mem_alloc(sizeof *mail + content.len);
    if (mail == NULL)
        return ERROR_MEMORY;
    *mail = (struct peer_mail){.kind = kind, .len = content.len};
    if (content.len > 0)
        memcpy(mail->data, content.data, content.len);
    pthread_mutex_lock(&peer->lock);
    /* Asked again under the lock, under which a broken link's mail is dropped. What is larger than
     * the bound passes alone. */
    enum error error = !atomic_load(up) ? ERROR_UNREACHABLE : OK;
    if (peer->mail_bytes > 0 && peer->mail_bytes + content.len > LIMIT_PEER_MAIL_BYTES)
        error = ERROR_BUSY;
    bool queue = false;
    if (error == OK) {
        peer->mail_bytes += content.len;
        *peer->mail_end[index] = mail;
        peer->mail_end[index] = &mail->next;
        queue = wants_flush_locked(peer);
    }
    pthread_mutex_unlock(&peer->lock);
    if (error != OK)
        mem_free(mail);
    if (queue)
        queue_flush(peer);
    return error;
}

void peer_drop_mail(struct peer *peer, enum peer_link_kind kind)
{
    unsigned index = peer_link_index(kind);
    pthread_mutex_lock(&peer->lock);
    struct peer_mail *mail = peer->mail[index];
    peer->mail[index] = NULL;
    peer->mail_end[index] = &peer->mail[index];
    for (struct peer_mail *at = mail; at != NULL; at = at->next)
        peer->mail_bytes -= at->len;
    pthread_mutex_unlock(&peer->lock);
    while (mail != NULL) {
        struct peer_mail *next = mail->next;
        mem_free(mail);
        mail = next;
    }
}

/* ---- The worker's turn ---- */

void peers_poke(struct worker *worker)
{
    if (atomic_exchange(&worker->peers_posted, true))
        return;
    if (loop_is_current(worker->loop))
        loop_defer(worker->loop, &worker->peers_task);
    else
        loop_post(worker->loop, &worker->peers_task);
}

static void take_new(struct worker *worker)
{
    pthread_mutex_lock(&worker->server->lock);
    struct peer *made = worker->peers_new;
    worker->peers_new = NULL;
    pthread_mutex_unlock(&worker->server->lock);
    while (made != NULL) {
        struct peer *next = made->next_out;
        made->next_out = worker->peers_out;
        worker->peers_out = made;
        made = next;
    }
}

static void turn(struct worker *worker)
{
    uint64_t now_us = loop_now_us(worker->loop), next_us = now_us + TURN_US;
    take_new(worker);
    struct peer **at = &worker->peers_out;
    while (*at != NULL) {
        struct peer *peer = *at;
        if (!atomic_load(&peer->out_of_map)) {
            peer_out_turn(peer, now_us, &next_us);
            at = &peer->next_out;
            continue;
        }
        *at = peer->next_out;
        peer_out_close(peer);
        peer_unref(peer);
    }
    struct peer_conn *next;
    for (struct peer_conn *conn = worker->peer_conns; conn != NULL; conn = next) {
        next = conn->next;
        peer_in_turn(conn, now_us, &next_us);
    }
    worker->peers_due_us = next_us;
    loop_timer_set(&worker->peers_timer, next_us > now_us ? next_us - now_us : 1000);
}

static void on_poked(void *arg)
{
    struct worker *worker = arg;
    atomic_store(&worker->peers_posted, false);
    turn(worker);
}

static void on_timer(void *arg)
{
    struct worker *worker = arg;
    uint64_t now_us = loop_clock_us(worker->loop);
    atomic_store(&worker->turned_us, now_us);
    if (now_us > worker->peers_due_us &&
        now_us - worker->peers_due_us > atomic_load(&worker->stall_us))
        atomic_store(&worker->stall_us, now_us - worker->peers_due_us);
    turn(worker);
}

uint64_t peers_stall_us(struct server *server, bool reset)
{
    uint64_t most = reset ? atomic_exchange(&server->stall_us, 0) : atomic_load(&server->stall_us);
    for (uint32_t i = 0; i < server->worker_count; i++) {
        _Atomic uint64_t *stall = &server->workers[i].stall_us;
        uint64_t own = reset ? atomic_exchange(stall, 0) : atomic_load(stall);
        if (own > most)
            most = own;
    }
    return most;
}

/* ---- Life ---- */

enum error peers_worker_init(struct worker *worker)
{
    worker->peers_task = (struct loop_task){.on_run = on_poked, .arg = worker};
    arena_init(&worker->peer_arena, 2 * (size_t)LIMIT_PEER_MESSAGE_BYTES);
    enum error error = loop_timer_init(&worker->peers_timer, worker->loop, on_timer, worker);
    if (error != OK)
        return error;
    uint64_t now_us = loop_clock_us(worker->loop);
    atomic_store(&worker->turned_us, now_us);
    worker->peers_due_us = now_us + TURN_US;
    loop_timer_set(&worker->peers_timer, TURN_US);
    return OK;
}

void peers_worker_fini(struct worker *worker)
{
    loop_timer_fini(&worker->peers_timer);
    arena_fini(&worker->peer_arena);
}

static enum error peer_new(struct server *server, const struct cluster_member *member,
                           struct peer **peer)
{
    struct peer *made = mem_zalloc(sizeof *made);
    if (made == NULL)
        return ERROR_MEMORY;
    atomic_init(&made->refs, 1);
    made->server = server;
    made->incarnation = member->incarnation;
    made->worker = &server->workers[member->incarnation % server->worker_count];
    made->port = member->port;
    made->dirty_end = &made->dirty;
    made->calls_end = &made->calls;
    made->mail_end[0] = &made->mail[0];
    made->mail_end[1] = &made->mail[1];
    made->flush = (struct loop_task){.on_run = on_flush, .arg = made};
    atomic_store(&made->heard_us, loop_now_us(server->loop));
    pthread_mutex_init(&made->lock, NULL);
    made->name = mem_strndup((const char *)member->name.data, member->name.len);
    made->host = mem_strndup((const char *)member->host.data, member->host.len);
    made->out = mem_zalloc(sizeof *made->out);
    if (made->name == NULL || made->host == NULL || made->out == NULL) {
        peer_unref(made);
        return ERROR_MEMORY;
    }
    *peer = made;
    return OK;
}

static struct peer *find(struct server *server, uint64_t incarnation)
{
    struct peer *peer = server->peers;
    while (peer != NULL && peer->incarnation != incarnation)
        peer = peer->next;
    return peer;
}

/* Takes those out of the list that the map does not name, and returns them. server->lock held. */
static struct peer *take_missing(struct server *server, const struct cluster_map *map)
{
    struct peer *missing = NULL;
    struct peer **at = &server->peers;
    while (*at != NULL) {
        struct peer *peer = *at;
        uint32_t index = cluster_map_member_by_incarnation(map, peer->incarnation);
        if (index != CLUSTER_NONE) {
            atomic_store(&peer->is_down, map->members[index].state == CLUSTER_DOWN);
            at = &peer->next;
            continue;
        }
        *at = peer->next;
        atomic_store(&peer->out_of_map, true);
        peer->next = missing;
        missing = peer;
    }
    return missing;
}

static void unref_list(struct peer *list)
{
    while (list != NULL) {
        struct peer *next = list->next;
        peer_unref(list);
        list = next;
    }
}

enum error peers_adopt(struct server *server, const struct cluster_map *map)
{
    PRE(loop_is_current(server->loop));
    struct peer *made = NULL;
    for (uint32_t i = 0; i < map->member_count; i++) {
        const struct cluster_member *member = &map->members[i];
        /* This loop alone changes the list. */
        if (member->role != CLUSTER_SERVER || member->incarnation == server->incarnation ||
            find(server, member->incarnation) != NULL)
            continue;
        struct peer *peer;
        if (peer_new(server, member, &peer) != OK) {
            unref_list(made);
            return ERROR_MEMORY;
        }
        peer->next = made;
        made = peer;
    }
    pthread_mutex_lock(&server->lock);
    while (made != NULL) {
        struct peer *next = made->next;
        made->next = server->peers;
        server->peers = made;
        made->next_out = made->worker->peers_new;
        made->worker->peers_new = peer_ref(made);
        made = next;
    }
    struct peer *missing = take_missing(server, map);
    pthread_mutex_unlock(&server->lock);
    unref_list(missing);
    for (uint32_t i = 0; i < server->worker_count; i++)
        peers_poke(&server->workers[i]);
    return OK;
}

struct peer *peers_find(struct server *server, uint64_t incarnation)
{
    pthread_mutex_lock(&server->lock);
    struct peer *peer = find(server, incarnation);
    if (peer != NULL)
        peer_ref(peer);
    pthread_mutex_unlock(&server->lock);
    return peer;
}

void peers_declare_gone(struct server *server, uint64_t incarnation)
{
    struct peer *peer = peers_find(server, incarnation);
    if (peer == NULL)
        return;
    atomic_store(&peer->gone, true);
    peers_poke(peer->worker);
    peer_unref(peer);
}

void peers_free(struct server *server)
{
    for (uint32_t i = 0; i < server->worker_count; i++) {
        struct worker *worker = &server->workers[i];
        while (worker->peer_conns != NULL)
            peer_in_drop(worker->peer_conns);
        take_new(worker);
        while (worker->peers_out != NULL) {
            struct peer *peer = worker->peers_out;
            worker->peers_out = peer->next_out;
            peer_out_close(peer);
            if (peer->flush_posted)
                peer_unref(peer); /* the task will not run any more */
            peer->flush_posted = true;
            peer_unref(peer);
        }
    }
    unref_list(server->peers);
    server->peers = NULL;
}
