/* When an errand may go over a link, and what may go beside it. */
#include "linkdetour.h"

#include "width.h"

/* When the device takes it. A suspect is asked all the same: somebody wants to know. */
static int64_t ready_at(const ft_link *link, const ft_errand *errand)
{
    const ft_block *block = ft_plan_block_of(link->plan, errand->request[FT_UNIT_AT]);
    if (!block)
        return 0;
    if (!ft_width_takes_more(link, block))
        return FT_NEVER;
    const ft_device *device = &link->plan->devices[block->device];
    return device->backoff_ns == 0 ? device->not_before_ns : 0;
}

ft_errand *ft_linkdetour_choose(ft_link *link, int64_t now, int polls_wait, int64_t *wake_ns)
{
    ft_errands *errands = &link->errands;
    ft_errand *chosen = NULL;
    if (!ft_errands_wait(errands))
        return NULL;
    for (uint32_t i = 0; i < FT_ERRANDS; i++) {
        ft_errand *errand = ft_errand_next_of_unit(errands, i, FT_UNIT_AT);
        int64_t ready = errand ? ready_at(link, errand) : FT_NEVER;
        if (ready > now)
            *wake_ns = ft_least(*wake_ns, ready);
        else if (!chosen || ft_errand_is_older(errand, chosen))
            chosen = errand;
    }
    return polls_wait && errands->in_row >= FT_ERRANDS_IN_ROW ? NULL : chosen;
}

uint32_t ft_linkdetour_places(const ft_link *link, const ft_errand *errand)
{
    int is_sure = errand != NULL;
    for (uint32_t i = 0; i < link->flights.count; i++)
        is_sure |= link->flights.flight[i].errand != NULL;
    return is_sure ? (uint32_t)ft_least(link->width, ft_most(1, link->proven)) : FT_FLIGHTS_MOST;
}

uint32_t ft_linkdetour_block(const ft_plan *plan, uint8_t unit)
{
    const ft_block *block = ft_plan_block_of(plan, unit);
    return block ? (uint32_t)(block - plan->blocks) : FT_NO_BLOCK;
}
