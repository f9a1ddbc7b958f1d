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

/* Plans keep most of their order, so the search begins at `from`. */
static uint32_t find_same(const ft_plan *before, const ft_block *block, uint32_t from)
{
    for (uint32_t n = 0; n < before->block_count; n++) {
        uint32_t i = (from + n) % before->block_count;
        if (is_same_poll(&before->blocks[i], block))
            return i;
    }
    return before->block_count;
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
        uint32_t same = before ? find_same(before, &plan->blocks[i], from) : 0;
        if (before && same < before->block_count) {
            *turn = before->turns[same];
            turn->spare = spare; /* it depends on the other blocks */
            from = same + 1;
        } else {
            turn->due_ns = first_due(before, &plan->blocks[i], now);
        }
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

/* The device of the same unit, that of the same number if there are several; NULL: there was none. */
static const ft_device *predecessor(const ft_plan *plan, uint32_t device, const ft_plan *before)
{
    const ft_block *own = first_of(plan, device);
    const ft_block *then = first_of(before, device);
    if (!own)
        return NULL;
    if (!then || then->unit != own->unit)
        then = ft_plan_block_of(before, own->unit);
    return then ? &before->devices[then->device] : NULL;
}

static void take_devices(ft_plan *plan, const ft_plan *before)
{
    for (uint32_t i = 0; i < plan->device_count; i++) {
        const ft_device *then = predecessor(plan, i, before);
        if (!then)
            continue;
        plan->devices[i] = *then;
        plan->devices[i].probe = ft_silence_probe(plan, i);
    }
}

void ft_plan_inherit(ft_plan *plan, const ft_plan *before, int64_t now)
{
    take_turns(plan, before, now);
    if (before)
        take_devices(plan, before);
}
