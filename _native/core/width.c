/* How many requests at once a device takes is learned. */
#include "width.h"

#include "linkwait.h"

static void set_width(ft_link *link, uint32_t width)
{
    link->width = width;
    atomic_store_explicit(&link->shown_width, width, memory_order_relaxed);
}

void ft_width_begin(ft_link *link)
{
    link->proven = 0;
    link->most = link->is_narrow ? 1 : link->wanted;
    link->widen_after = FT_WIDEN_AFTER;
    set_width(link, 1);
}

void ft_width_one(ft_link *link)
{
    link->is_narrow = 1;
    link->most = 1;
    set_width(link, 1);
}

/* Polls of this unit that were sent earlier and are not answered yet: they are lost, or the unit keeps no order. A write may
 * take longer than a read, and another way, so errands tell nothing of that. */
static void pass(ft_link *link, uint32_t at)
{
    ft_flight *flights = link->flights.flight;
    for (uint32_t i = 0; i < at && !flights[at].errand; i++)
        flights[i].is_passed |= flights[i].unit == flights[at].unit && !flights[i].errand;
}

void ft_width_learn(ft_link *link, uint32_t at)
{
    link->proven = (uint32_t)ft_most(link->proven, link->flights.flight[at].behind + 1);
    pass(link, at);
    if (link->flights.flight[at].is_passed) {
        ft_width_one(link);
        return;
    }
    if (++link->good % link->widen_after == 0 && !link->is_narrow && link->most < link->wanted)
        link->most = (uint32_t)ft_least(2 * link->most, link->wanted);
    if (link->width < link->most)
        set_width(link, link->most);
}

/* Half as many, until some more were answered. */
static void halve(ft_link *link)
{
    link->most = link->most > 1 ? link->most / 2 : 1;
    if (link->width > link->most)
        set_width(link, link->most);
    link->proven = (uint32_t)ft_least(link->proven, ft_most(2, link->most)); /* 2: it did take several, once */
}

/* A device that lives did not answer a request that was sent behind another one: it does not take so many. Those that
 * were lost together are one lesson. Where the other one was overdue it may as well be that the gateway, which waits for
 * that, carries out one after the other. */
void ft_width_narrow(ft_link *link, const ft_flight *flight, const ft_device *device, int64_t now)
{
    if (!(flight->behind > 0 || flight->is_beside) || device->silent > 0 || flight->sent_ns < link->narrowed_ns)
        return;
    if (flight->behind > 0 && link->proven < 2) {
        ft_width_one(link);
        return;
    }
    link->narrowed_ns = now;
    link->good = 0;
    link->widen_after = (uint32_t)ft_least(2 * (int64_t)link->widen_after, FT_WIDEN_MOST);
    if (flight->behind > 0)
        halve(link);
}

int ft_width_gives_way(const ft_link *link)
{
    return !link->is_narrow && (link->narrowed_ns == 0 || link->good >= link->widen_after);
}

int ft_width_is_asked(const ft_link *link, uint32_t device, int by_polls)
{
    for (uint32_t i = 0; i < link->flights.count; i++) {
        const ft_flight *flight = &link->flights.flight[i];
        if (flight->device == device && !(by_polls && flight->errand))
            return 1;
    }
    return 0;
}

int ft_width_takes_more(const ft_link *link, const ft_block *block)
{
    const ft_device *device = &link->plan->devices[block->device];
    int takes_one = !device->alive || device->silent > 0 || block->gap_ns > 0;
    return !(takes_one && ft_width_is_asked(link, block->device, 0)) && !ft_linkwait_is_held_up(link, block->unit);
}

void ft_width_closed(ft_link *link)
{
    uint32_t count = link->flights.count;
    if (link->proven >= 2 || count == 0)
        return;
    const ft_flight *last = &link->flights.flight[count - 1];
    if (last->behind > 0 || last->is_beside)
        ft_width_one(link);
}
