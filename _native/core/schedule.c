/* Grids of due times, and blocks that are put off. */
#include "schedule.h"

#define NS_PER_MS INT64_C(1000000)

/* A block for which the device is busy: asked again after so long, doubled each time. */
#define BUSY_FIRST_NS (100 * NS_PER_MS)
#define BUSY_MOST_NS (10000 * NS_PER_MS)

enum { ACKNOWLEDGE = 5, BUSY = 6 }; /* exceptions that say: ask again later */

int64_t ft_poll_after(int64_t due_ns, int64_t period_ns, int64_t now, uint64_t *missed)
{
    int64_t passed = now > due_ns ? (now - due_ns) / period_ns : 0;
    *missed = (uint64_t)passed;
    return due_ns + (passed + 1) * period_ns;
}

void ft_polls_catch_up(ft_plan *plan, uint32_t device, int64_t now)
{
    for (uint32_t i = 0; i < plan->block_count; i++) {
        const ft_block *block = &plan->blocks[i];
        ft_turn *turn = &plan->turns[i];
        if ((device == FT_EVERY_DEVICE || block->device == device) && turn->due_ns < now)
            turn->due_ns += (now - turn->due_ns) / block->period_ns * block->period_ns;
    }
}

void ft_turn_refused(ft_turn *turn, uint8_t code, int64_t now)
{
    if (code != ACKNOWLEDGE && code != BUSY)
        turn->busy_ns = 0;
    else
        turn->busy_ns = turn->busy_ns ? ft_least(2 * turn->busy_ns, BUSY_MOST_NS) : BUSY_FIRST_NS;
    turn->not_before_ns = now + turn->busy_ns;
}
