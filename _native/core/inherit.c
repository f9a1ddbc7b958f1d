/* What one plan has learned, for the next. */
#include "inherit.h"

#include "ns.h"
#include "silence.h"

/* ---- polls ---- */

static int reads_alike(const ft_block *a, const ft_block *b)
{
    return a->unit == b->unit && a->function == b->function;
}

static int is_same_poll(const ft_block *a, const ft_block *b)
{
    return reads_alike(a, b) && a->address == b->address && a->quantity == b->quantity && a->period_ns == b->period_ns;
}

static int overlaps(const ft_block *a, const ft_block *b)
{
    return reads_alike(a, b) && a->address < (uint32_t)b->address + b->quantity && b->address < (uint32_t)a->address + a->quantity;
}

uint32_t ft_plan_same_poll(const ft_plan *plan, const ft_block *block, uint32_t from)
{
    for (uint32_t n = 0; n < plan->block_count; n++) {
        uint32_t i = (from + n) % plan->block_count;
        if (is_same_poll(&plan->blocks[i], block))
            return i;
    }
    return FT_NO_BLOCK;
}

static int64_t first_due(const ft_plan *before, const ft_block *block, int64_t now)
{
    int64_t due = now + block->phase_ns;
    for (uint32_t i = 0; before && i < before->block_count; i++)
        if (overlaps(&before->blocks[i], block))
            due = ft_least(due, ft_most(now, before->turns[i].due_ns));
    return due;
}

static void take_turns(ft_plan *plan, const ft_plan *before, int64_t now)
{
    uint32_t from = 0;
    for (uint32_t i = 0; i < plan->block_count; i++) {
        ft_turn *turn = &plan->turns[i];
        ft_spare spare = turn->spare;
        uint32_t same = before ? ft_plan_same_poll(before, &plan->blocks[i], from) : FT_NO_BLOCK;
        if (same != FT_NO_BLOCK) {
            *turn = before->turns[same];
            turn->spare = spare; /* it depends on the other blocks */
            from = same + 1;
        } else {
            turn->due_ns = first_due(before, &plan->blocks[i], now);
        }
    }
}

void ft_plan_put_off(ft_plan *plan, const ft_block *block, int64_t due_ns, int64_t now)
{
    for (uint32_t i = 0; i < plan->block_count; i++) {
        ft_turn *turn = &plan->turns[i];
        if (overlaps(&plan->blocks[i], block))
            turn->due_ns = ft_most(turn->due_ns, ft_least(due_ns, now + plan->blocks[i].period_ns));
    }
}

/* ---- devices ---- */

static const ft_block *first_of(const ft_plan *plan, uint32_t device)
{
    for (uint32_t i = 0; i < plan->block_count; i++)
        if (plan->blocks[i].device == device)
            return &plan->blocks[i];
    return NULL;
}

uint32_t ft_plan_same_device(const ft_plan *plan, const ft_plan *other, uint32_t device)
{
    const ft_block *there = first_of(other, device);
    const ft_block *here = first_of(plan, device);
    if (!there)
        return FT_NO_BLOCK;
    if (!here || here->unit != there->unit)
        here = ft_plan_block_of(plan, there->unit);
    return here ? here->device : FT_NO_BLOCK;
}

static void take_devices(ft_plan *plan, const ft_plan *before)
{
    for (uint32_t i = 0; i < plan->device_count; i++) {
        uint32_t then = ft_plan_same_device(before, plan, i);
        if (then == FT_NO_BLOCK)
            continue;
        plan->devices[i] = before->devices[then];
        plan->devices[i].probe = ft_silence_probe(plan, i);
    }
}

void ft_plan_inherit(ft_plan *plan, const ft_plan *before, int64_t now)
{
    take_turns(plan, before, now);
    if (before)
        take_devices(plan, before);
}
