/* Which poll goes next over a link. */
#include "linkturn.h"

#include "schedule.h"
#include "width.h"

static int64_t ready_at(const ft_link *link, uint32_t i)
{
    const ft_plan *plan = link->plan;
    const ft_block *block = &plan->blocks[i];
    const ft_turn *turn = &plan->turns[i];
    const ft_device *device = &plan->devices[block->device];
    int64_t at = ft_most(turn->due_ns, ft_most(turn->not_before_ns, device->not_before_ns));
    if ((device->backoff_ns > 0 && i != device->probe) || !ft_width_takes_more(link, block))
        return FT_NEVER;
    return ft_most(at, ft_silence_ready(&link->silence, device, block->timeout_ns / link->width));
}

uint32_t ft_linkturn_choose(const ft_link *link, int64_t now, int64_t *first_ready)
{
    const ft_plan *plan = link->plan;
    uint32_t chosen = FT_NO_BLOCK;
    int64_t earliest = FT_NEVER;
    *first_ready = FT_NEVER;
    for (uint32_t i = 0; i < plan->block_count; i++) {
        int64_t due = plan->turns[i].due_ns;
        if (due > now) { /* most are, and need no closer look */
            *first_ready = ft_least(*first_ready, due);
            continue;
        }
        int64_t deadline = ft_poll_deadline(due, plan->blocks[i].period_ns);
        if (deadline >= earliest)
            continue;
        int64_t ready = ready_at(link, i);
        if (ready > now) {
            *first_ready = ft_least(*first_ready, ready);
        } else {
            earliest = deadline;
            chosen = i;
        }
    }
    return chosen;
}
