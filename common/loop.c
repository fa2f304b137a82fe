#include "common/loop.h"

enum error loop_timer_init(struct loop_timer *timer, struct loop *loop, loop_fn *on_fire, void *arg)
{
    enum error error;

    *timer = (struct loop_timer){.loop = loop, .on_fire = on_fire, .arg = arg};
    error = loop->ops->timer_init(timer);
    if (error != OK)
        *timer = (struct loop_timer){0};
    return error;
}

void loop_timer_set(struct loop_timer *timer, uint64_t delay_us)
{
    PRE(timer->loop != NULL);
    timer->loop->ops->timer_set(timer, delay_us);
}

void loop_timer_clear(struct loop_timer *timer)
{
    PRE(timer->loop != NULL);
    timer->loop->ops->timer_clear(timer);
}

void loop_timer_fini(struct loop_timer *timer)
{
    if (timer->loop == NULL)
        return;
    timer->loop->ops->timer_fini(timer);
    *timer = (struct loop_timer){0};
}
