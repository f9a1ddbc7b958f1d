/* When an errand may go over a link, its beginning and its end. */
#include "linkdetour.h"

#include <string.h>

#include "schedule.h"

#define UNIT_AT (FT_MBAP_BYTES - 1)

/* The plan's block of that unit tells its device; NULL: it is no part of the plan. */
static const ft_block *block_of(const ft_link *link, const ft_errand *errand)
{
    return ft_plan_block_of(link->plan, errand->request[UNIT_AT]);
}

static void count(ft_link *link, const ft_block *block, enum ft_bus_count which, uint64_t n)
{
    ft_counts_add(&link->counts, which, n);
    if (block)
        ft_counts_add(&link->plan->devices[block->device].counts, which, n);
}

/* ---- when ---- */

static int is_under_way(const ft_link *link, const ft_errand *errand)
{
    for (uint32_t i = 0; i < link->flights.count; i++)
        if (link->flights.flight[i].errand == errand)
            return 1;
    return 0;
}

static int is_asked(const ft_link *link, uint8_t unit)
{
    for (uint32_t i = 0; i < link->flights.count; i++)
        if (link->flights.flight[i].unit == unit)
            return 1;
    return 0;
}

/* A suspect is asked all the same: somebody wants to know. One that wants a gap is asked for one thing at a time. */
static int64_t ready_at(const ft_link *link, const ft_errand *errand)
{
    const ft_block *block = block_of(link, errand);
    if (!block || block->gap_ns == 0)
        return 0;
    const ft_device *device = &link->plan->devices[block->device];
    if (is_asked(link, block->unit))
        return FT_NEVER;
    return device->backoff_ns == 0 ? device->not_before_ns : 0;
}

static void drop_late(ft_link *link, int64_t now)
{
    for (uint32_t i = 0; i < FT_ERRANDS; i++) {
        ft_errand *errand = &link->errands.slots[i];
        if (ft_errand_waits(errand) && now >= errand->deadline_ns && !is_under_way(link, errand))
            ft_errand_finish(&link->errands, errand, FT_ERRAND_TOO_LATE, now);
    }
}

static ft_errand *choose(ft_link *link, int64_t now, int64_t *wake)
{
    ft_errand *chosen = NULL;
    for (uint32_t i = 0; i < FT_ERRANDS; i++) {
        ft_errand *errand = ft_errand_next_of_unit(&link->errands, i, UNIT_AT);
        if (!errand || is_under_way(link, errand))
            continue;
        int64_t ready = ready_at(link, errand);
        *wake = ft_least(*wake, ft_least(ft_most(now, ready), errand->deadline_ns));
        if (ready <= now && (!chosen || ft_errand_is_older(errand, chosen)))
            chosen = errand;
    }
    return chosen;
}

size_t ft_linkdetour_begin(ft_link *link, int64_t now, int polls_wait, int64_t *wake, uint8_t *out)
{
    if (!ft_errands_wait(&link->errands))
        return 0;
    drop_late(link, now);
    ft_errand *errand = choose(link, now, wake);
    if (!errand || (polls_wait && link->errands.in_row >= FT_ERRANDS_IN_ROW))
        return 0;
    const ft_block *block = block_of(link, errand);
    size_t bytes = ft_flights_add_errand(&link->flights, errand, out);
    ft_flight *flight = &link->flights.flight[link->flights.count - 1];
    flight->sent_ns = errand->sent_ns = now;
    flight->deadline_ns = now + errand->timeout_ns;
    link->errands.in_row++;
    if (block)
        link->last_device = block->device;
    count(link, block, FT_N_TRANSACTIONS, 1);
    return bytes;
}

/* ---- end ---- */

/* Takes the flight out; its errand. */
static ft_errand *land(ft_link *link, uint32_t at, int is_lost, int64_t now)
{
    ft_flight flight = link->flights.flight[at];
    const ft_block *block = block_of(link, flight.errand);
    count(link, block, FT_N_BUSY_NS, (uint64_t)ft_most(0, now - ft_most(flight.sent_ns, link->counted_ns)));
    link->counted_ns = ft_most(link->counted_ns, now);
    link->free_ns = now + link->quiet_ns;
    if (block && link->plan->devices[block->device].backoff_ns == 0)
        link->plan->devices[block->device].not_before_ns = now + block->gap_ns;
    ft_flights_remove(&link->flights, at, is_lost);
    return flight.errand;
}

void ft_linkdetour_end(ft_link *link, uint32_t at, const uint8_t *pdu, int64_t now)
{
    const ft_block *block = block_of(link, link->flights.flight[at].errand);
    int is_refused = pdu[0] > FT_EXCEPTION_BIT;
    if (block && ft_silence_breaks(&link->plan->devices[block->device])) /* first: a suspect's back-off is no gap */
        ft_polls_catch_up(link->plan, block->device, now);
    ft_errand *errand = land(link, at, 0, now);
    count(link, block, is_refused ? FT_N_EXCEPTIONS : FT_N_OK, 1);
    errand->pdu_bytes = (uint16_t)link->flights.answer_bytes;
    memcpy(errand->pdu, pdu, errand->pdu_bytes);
    ft_errand_finish(&link->errands, errand, is_refused ? FT_ERRAND_REFUSED : FT_ERRAND_ANSWERED, now);
}

void ft_linkdetour_fail(ft_link *link, uint32_t at, enum ft_errand_end end, int64_t now)
{
    ft_errand *errand = land(link, at, 1, now);
    count(link, block_of(link, errand), FT_N_TIMEOUTS, 1);
    ft_errand_finish(&link->errands, errand, end, now);
}

void ft_linkdetour_cancel(ft_link *link, int64_t now)
{
    for (uint32_t at = link->flights.count; at-- > 0;)
        if (link->flights.flight[at].errand)
            ft_linkdetour_fail(link, at, FT_ERRAND_LOST, now);
    for (uint32_t i = 0; i < FT_ERRANDS && ft_errands_wait(&link->errands); i++)
        if (ft_errand_waits(&link->errands.slots[i]))
            ft_errand_finish(&link->errands, &link->errands.slots[i], FT_ERRAND_NO_PORT, now);
}
