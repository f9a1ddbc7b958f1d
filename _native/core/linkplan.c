/* Plans that come and go while requests are under way. */
#include "linkplan.h"

#include "inherit.h"
#include "linkdetour.h"

/* Polls that are under way are due on their grid, for what the next plan has instead of them. */
static void note_due(ft_link *link)
{
    for (uint32_t at = 0; at < link->flights.count; at++) {
        const ft_flight *flight = &link->flights.flight[at];
        if (flight->turn != FT_NO_BLOCK)
            link->plan->turns[flight->turn].due_ns = flight->due_ns;
    }
}

static uint32_t device_in(const ft_plan *plan, const ft_plan *before, uint32_t device)
{
    return device == FT_NO_BLOCK ? FT_NO_BLOCK : ft_plan_same_device(plan, before, device);
}

/* An errand does not depend on the plan. */
static void carry_errand(ft_flight *flight, ft_plan *plan)
{
    flight->plan = plan;
    flight->block = ft_linkdetour_block(plan, flight->unit);
    flight->device = flight->block == FT_NO_BLOCK ? FT_NO_BLOCK : plan->blocks[flight->block].device;
}

static void carry_poll(ft_flight *flight, ft_plan *plan, const ft_plan *before, int64_t now)
{
    const ft_block *block = &flight->plan->blocks[flight->block];
    flight->turn = ft_plan_same_poll(plan, block, flight->turn == FT_NO_BLOCK ? 0 : flight->turn);
    flight->device = device_in(plan, before, flight->device);
    if (flight->turn != FT_NO_BLOCK)
        plan->turns[flight->turn].due_ns = FT_NEVER;
    else
        ft_plan_put_off(plan, block, flight->due_ns, now);
}

static void carry_all(ft_link *link, ft_plan *plan, const ft_plan *before, int64_t now)
{
    for (uint32_t at = 0; at < link->flights.count; at++) {
        ft_flight *flight = &link->flights.flight[at];
        if (flight->errand)
            carry_errand(flight, plan);
        else
            carry_poll(flight, plan, before, now);
    }
    for (uint32_t i = 0; i < FT_LOST_MOST; i++)
        link->flights.lost[i].device = device_in(plan, before, link->flights.lost[i].device);
    link->last_device = device_in(plan, before, link->last_device);
}

void ft_link_adopt(ft_link *link, ft_plan *plan, int64_t now)
{
    ft_plan *before = link->plan;
    if (before)
        note_due(link);
    ft_plan_inherit(plan, before, now);
    if (before) {
        carry_all(link, plan, before, now);
        before->next = link->leaving;
        link->leaving = before;
    }
    link->plan = plan;
    atomic_store_explicit(&link->shown_plan, plan, memory_order_release);
}

static int is_under_way(const ft_link *link, const ft_plan *plan)
{
    for (uint32_t at = 0; at < link->flights.count; at++)
        if (link->flights.flight[at].plan == plan)
            return 1;
    return 0;
}

ft_plan *ft_link_take_retired(ft_link *link)
{
    ft_plan *retired = NULL;
    ft_plan **place = &link->leaving;
    while (*place) {
        ft_plan *plan = *place;
        if (is_under_way(link, plan)) {
            place = &plan->next;
            continue;
        }
        *place = plan->next;
        plan->next = retired;
        retired = plan;
    }
    return retired;
}
