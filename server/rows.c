/* What wakes the main loop about rows, and its turn. */
#include "common/mem.h"
#include "server/rows_impl.h"

enum { WORK_ROWS = 64, WORK_SLICES = 8 }; /* of one bucket in one turn of the loop */
enum { TURNS = 512 };                     /* of one instance in one turn of the loop */

static void on_task(void *arg);

void rows_init(struct server *server)
{
    struct rows *rows = &server->rows;
    memset(rows, 0, sizeof *rows);
    pthread_mutex_init(&rows->lock, NULL);
    rows->server = server;
    rows->work_end = &rows->work;
    rows->mail_end = &rows->mail;
    rows->task = (struct loop_task){.on_run = on_task, .arg = rows};
}

static void post_locked(struct rows *rows)
{
    if (rows->posted)
        return;
    rows->posted = true;
    loop_post(rows->server->loop, &rows->task);
}

/* ---- From buckets ---- */

void rows_wake(struct server *server, struct cq_bucket *cqb)
{
    struct rows *rows = &server->rows;
    pthread_mutex_lock(&rows->lock);
    if (!cqb->is_work && cqb->instance->is_watched) {
        cqb->is_work = true;
        cqb->next_work = NULL;
        *rows->work_end = cqb;
        rows->work_end = &cqb->next_work;
        post_locked(rows);
    }
    rows_outs_wake_locked(rows, cqb->instance);
    pthread_mutex_unlock(&rows->lock);
}

void rows_wake_locked(struct cq_bucket *cqb)
{
    struct server *server = cqb->bucket->region->server;
    if (server != NULL)
        rows_wake(server, cqb);
}

/* What was committed before this server led has no order here. */
static void begin_to_lead(struct cq_bucket *cqb)
{
    uint64_t committed = atomic_load(&cqb->bucket->committed);
    cqb->old_seq = committed > cqb->added_seq ? committed : cqb->added_seq;
    cqb->told_seq = cqb->old_seq;
}

void rows_watch_locked(struct cq_bucket *cqb)
{
    struct cq_instance *instance = cqb->instance;
    struct server *server = cqb->bucket->region->server;
    if (server == NULL)
        return;
    struct rows *rows = &server->rows;
    pthread_mutex_lock(&rows->lock);
    if (!instance->is_watched) {
        instance->is_watched = true;
        instance->next_watched = rows->watched;
        rows->watched = cq_instance_ref(instance);
    }
    pthread_mutex_unlock(&rows->lock);
    cqb->seen_led = rows_is_led(cqb->bucket) ? cqb->bucket->replica.led : 0;
    cqb->seen_generation = cqb->bucket->generation;
    begin_to_lead(cqb);
    atomic_store(&instance->rows_check, true);
    rows_wake(server, cqb);
}

/* ---- Turns ---- */

static bool append_turn(struct rows_turns *turns, struct rows_turn turn)
{
    if (turns->first + turns->count == turns->cap && turns->first > turns->cap / 2) {
        memmove(turns->turns, turns->turns + turns->first, turns->count * sizeof turn);
        turns->first = 0;
    }
    if (turns->first + turns->count == turns->cap) {
        size_t cap = turns->cap == 0 ? 64 : turns->cap * 2;
        struct rows_turn *bigger = mem_realloc(turns->turns, cap * sizeof turn);
        if (bigger == NULL)
            return false;
        turns->turns = bigger;
        turns->cap = cap;
    }
    turns->turns[turns->first + turns->count++] = turn;
    return true;
}

/* The rows that the bucket has committed come behind all that were committed before. An instance
 * without memory for that would mistake the order, so it ends. */
static void take_a_turn(struct server *server, struct cq_bucket *cqb, uint64_t committed)
{
    struct rows *rows = &server->rows;
    struct cq_instance *instance = cqb->instance;
    struct rows_turns *turns = &instance->turns;
    bool taken = true;
    pthread_mutex_lock(&rows->lock);
    struct rows_turn *last =
        turns->count > 0 ? &turns->turns[turns->first + turns->count - 1] : NULL;
    if (last != NULL && last->bucket == cqb->bucket->id)
        last->seq = committed;
    else
        taken = append_turn(turns, (struct rows_turn){cqb->bucket->id, committed});
    atomic_store(&instance->rows_wait, turns->count > 0);
    post_locked(rows);
    rows_outs_wake_locked(rows, instance);
    pthread_mutex_unlock(&rows->lock);
    if (!taken)
        cq_instance_fail(instance);
}

static bool first_turn(struct rows *rows, const struct cq_instance *instance,
                       struct rows_turn *turn)
{
    const struct rows_turns *turns = &instance->turns;
    pthread_mutex_lock(&rows->lock);
    bool any = turns->count > 0;
    if (any)
        *turn = turns->turns[turns->first];
    pthread_mutex_unlock(&rows->lock);
    return any;
}

/* Unless it has become longer meanwhile. */
static void end_turn(struct rows *rows, struct cq_instance *instance, const struct rows_turn *turn)
{
    struct rows_turns *turns = &instance->turns;
    pthread_mutex_lock(&rows->lock);
    if (turns->turns[turns->first].seq == turn->seq) {
        turns->first++;
        turns->count--;
    }
    if (turns->count == 0)
        turns->first = 0;
    atomic_store(&instance->rows_wait, turns->count > 0);
    pthread_mutex_unlock(&rows->lock);
}

/* Returns whether more can be done at once. */
static bool take_turns(struct rows *rows, struct cq_instance *instance)
{
    struct rows_turn turn;
    for (int i = 0; first_turn(rows, instance, &turn); i++) {
        enum rows_pulled pulled = i < TURNS ? rows_puller_turn(instance->puller, &turn) : ROWS_MORE;
        if (pulled != ROWS_ALL)
            return pulled == ROWS_MORE;
        end_turn(rows, instance, &turn);
    }
    return false;
}

static void notify(struct server *server, struct cq_bucket *cqb, uint64_t committed)
{
    const struct bucket *bucket = cqb->bucket;
    uint32_t led = rows_is_led(bucket) ? bucket->replica.led : 0;
    bool moved = cqb->seen_led != led || cqb->seen_generation != bucket->generation;
    bool initial =
        led != 0 && !cqb->told_initial && cqb->initial_left == 0 && committed >= cqb->added_seq;
    if (moved) {
        if (cqb->seen_led == 0 || cqb->seen_generation != bucket->generation)
            begin_to_lead(cqb);
        cqb->seen_led = led;
        cqb->seen_generation = bucket->generation;
        cqb->told_initial = false;
        atomic_store(&cqb->instance->rows_check, true);
    }
    if (led != 0 && committed > cqb->told_seq &&
        (cqb->rows.last.seq > cqb->told_seq || cqb->input_count > 0)) {
        take_a_turn(server, cqb, committed);
        cqb->told_seq = committed;
    }
    if (initial)
        cqb->told_initial = true;
    if (moved || initial)
        rows_wake(server, cqb);
}

void rows_notify_locked(struct bucket *bucket)
{
    if (bucket->cqs == NULL)
        return;
    struct server *server = bucket->region->server;
    uint64_t committed = atomic_load(&bucket->committed);
    for (struct cq_bucket *cqb = bucket->cqs; server != NULL && cqb != NULL; cqb = cqb->next)
        if (cqb->instance->has_state)
            notify(server, cqb, committed);
}

/* ---- From links ---- */

static enum error post_mail(struct server *server, enum rows_mail_kind kind, uint64_t incarnation,
                            bool up, struct slice content)
{
    struct rows *rows = &server->rows;
    struct rows_mail *mail = mem_alloc(sizeof *mail + content.len);
    if (mail == NULL)
        return ERROR_MEMORY;
    *mail =
        (struct rows_mail){.kind = kind, .incarnation = incarnation, .up = up, .len = content.len};
    if (content.len > 0)
        memcpy(mail->content, content.data, content.len);
    pthread_mutex_lock(&rows->lock);
    *rows->mail_end = mail;
    rows->mail_end = &mail->next;
    post_locked(rows);
    pthread_mutex_unlock(&rows->lock);
    return OK;
}

/* Without memory the link is dropped, and with it what it carried: the feed is opened again. */
enum error rows_on_events(struct peer_conn *from, struct slice content)
{
    return post_mail(from->worker->server, ROWS_MAIL_EVENTS, from->peer->incarnation, true,
                     content);
}

enum error rows_on_status(struct peer_conn *from, struct slice content)
{
    return post_mail(from->worker->server, ROWS_MAIL_STATUS, from->peer->incarnation, true,
                     content);
}

void rows_on_link(struct peer *peer, bool up)
{
    /* Without memory for it, the tick sees what is not open; what is open and was lost is found by
     * the next check of who leads. */
    if (post_mail(peer->server, ROWS_MAIL_LINK, peer->incarnation, up, (struct slice){0}) != OK) {
        struct rows *rows = &peer->server->rows;
        pthread_mutex_lock(&rows->lock);
        rows->lost_link = true;
        pthread_mutex_unlock(&rows->lock);
    }
}

/* ---- The main loop's turn ---- */

/* Only the main loop takes instances off the list, and others put theirs in front. */
static struct cq_instance *first_watched(struct rows *rows)
{
    pthread_mutex_lock(&rows->lock);
    struct cq_instance *first = rows->watched;
    pthread_mutex_unlock(&rows->lock);
    return first;
}

static void check(struct rows *rows)
{
    for (struct cq_instance *i = first_watched(rows); i != NULL; i = i->next_watched) {
        if (i->puller == NULL)
            i->puller = rows_puller_new(rows->server, i);
        if (i->puller != NULL && atomic_exchange(&i->rows_check, false))
            rows_puller_check(i->puller);
    }
}

/* A slice of the input queue; true if it should go on with it. */
static bool work_off(struct cq_bucket *cqb)
{
    bucket_lock(cqb->bucket);
    bool moves = cqb->input_count > 0 && cq_work_off_locked(cqb, WORK_ROWS) == CQ_WORK_MORE;
    rows_notify_locked(cqb->bucket);
    bucket_unlock(cqb->bucket);
    return moves;
}

static struct cq_bucket *next_work(struct rows *rows)
{
    pthread_mutex_lock(&rows->lock);
    struct cq_bucket *cqb = rows->work;
    if (cqb != NULL) {
        rows->work = cqb->next_work;
        if (rows->work == NULL)
            rows->work_end = &rows->work;
        cqb->is_work = false;
    }
    pthread_mutex_unlock(&rows->lock);
    return cqb;
}

static void on_task(void *arg)
{
    struct rows *rows = arg;
    pthread_mutex_lock(&rows->lock);
    struct rows_mail *mail = rows->mail;
    rows->mail = NULL;
    rows->mail_end = &rows->mail;
    rows->posted = false;
    pthread_mutex_unlock(&rows->lock);
    check(rows);
    while (mail != NULL) {
        struct rows_mail *next = mail->next;
        rows_mail_take(rows->server, mail);
        mem_free(mail);
        mail = next;
    }
    struct cq_bucket *cqb;
    for (int i = 0; i < WORK_SLICES * 16 && (cqb = next_work(rows)) != NULL; i++) {
        if (work_off(cqb))
            rows_wake(rows->server, cqb);
        if (cqb->instance->puller != NULL)
            rows_puller_work(cqb->instance->puller, cqb->bucket->id);
    }
    bool more = false;
    for (struct cq_instance *i = first_watched(rows); i != NULL; i = i->next_watched) {
        if (i->puller == NULL)
            continue;
        rows_puller_settle(i->puller);
        more |= take_turns(rows, i);
    }
    pthread_mutex_lock(&rows->lock);
    if (rows->work != NULL || more)
        post_locked(rows);
    pthread_mutex_unlock(&rows->lock);
}

/* ---- Upkeep ---- */

static void forget_work_locked(struct rows *rows, const struct cq_instance *instance)
{
    rows->work_end = &rows->work;
    while (*rows->work_end != NULL) {
        struct cq_bucket *cqb = *rows->work_end;
        if (cqb->instance == instance) {
            *rows->work_end = cqb->next_work;
            cqb->is_work = false;
        } else {
            rows->work_end = &cqb->next_work;
        }
    }
}

/* An instance without a bucket here is watched no more. */
static struct cq_instance *take_idle(struct rows *rows, bool all)
{
    pthread_mutex_lock(&rows->lock);
    struct cq_instance **link = &rows->watched;
    while (*link != NULL && !all && atomic_load(&(*link)->active_count) > 0)
        link = &(*link)->next_watched;
    struct cq_instance *idle = *link;
    if (idle != NULL) {
        *link = idle->next_watched;
        idle->is_watched = false;
        idle->turns.first = idle->turns.count = 0;
        atomic_store(&idle->rows_wait, false);
        forget_work_locked(rows, idle);
    }
    pthread_mutex_unlock(&rows->lock);
    return idle;
}

static void drop_idle(struct rows *rows, bool all)
{
    struct cq_instance *idle;
    while ((idle = take_idle(rows, all)) != NULL) {
        struct rows_puller *puller = idle->puller;
        idle->puller = NULL;
        rows_puller_free(puller);
        cq_instance_unref(idle);
    }
}

void rows_tick(struct server *server, uint64_t now_us)
{
    struct rows *rows = &server->rows;
    uint64_t epoch = atomic_load(&server->adopted_epoch);
    (void)now_us;
    drop_idle(rows, false);
    rows_outs_tick(rows);
    pthread_mutex_lock(&rows->lock);
    bool again = rows->lost_link || rows->epoch != epoch;
    bool lost = rows->lost_link;
    rows->lost_link = false;
    rows->epoch = epoch;
    pthread_mutex_unlock(&rows->lock);
    for (struct cq_instance *i = first_watched(rows); i != NULL; i = i->next_watched) {
        if (again)
            atomic_store(&i->rows_check, true);
        if (lost && i->puller != NULL)
            rows_feeds_close(i->puller);
    }
    check(rows);
    bool waits = false;
    for (struct cq_instance *i = first_watched(rows); i != NULL; i = i->next_watched) {
        if (i->puller != NULL)
            rows_puller_tick(i->puller);
        waits |= atomic_load(&i->rows_wait);
    }
    pthread_mutex_lock(&rows->lock);
    if (waits)
        post_locked(rows);
    pthread_mutex_unlock(&rows->lock);
}

void rows_free(struct server *server)
{
    struct rows *rows = &server->rows;
    while (rows->mail != NULL) {
        struct rows_mail *mail = rows->mail;
        rows->mail = mail->next;
        mem_free(mail);
    }
    rows_outs_free(rows);
    drop_idle(rows, true);
    pthread_mutex_destroy(&rows->lock);
}
