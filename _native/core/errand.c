/* Slots that change hands: one atomic each. */
#include "errand.h"

#include <string.h>

static int state_of(const ft_errand *errand)
{
    return atomic_load_explicit(&errand->state, memory_order_acquire);
}

int ft_errand_offer(ft_errands *errands, const uint8_t *request, size_t n, size_t answer_bytes, int64_t timeout_ns,
                    int64_t deadline_ns)
{
    uint32_t i = 0;
    while (i < FT_ERRANDS && state_of(&errands->slots[i]) != FT_ERRAND_FREE)
        i++;
    if (i == FT_ERRANDS)
        return -1;
    ft_errand *errand = &errands->slots[i];
    errand->number = errands->count++;
    errand->deadline_ns = deadline_ns;
    errand->timeout_ns = timeout_ns;
    errand->request_bytes = (uint16_t)n;
    errand->answer_bytes = (uint16_t)answer_bytes;
    memcpy(errand->request, request, n);
    errand->sent_ns = 0;
    errand->pdu_bytes = 0;
    atomic_fetch_add(&errands->offered, 1); /* first, so that it never falls below 0 */
    atomic_store_explicit(&errand->state, FT_ERRAND_OFFERED, memory_order_release);
    return (int)i;
}

int ft_errand_take(ft_errands *errands, uint32_t slot, ft_errand *out)
{
    ft_errand *errand = &errands->slots[slot];
    if (state_of(errand) != FT_ERRAND_DONE)
        return 0;
    memcpy(out, errand, sizeof *out);
    atomic_store_explicit(&errand->state, FT_ERRAND_FREE, memory_order_release);
    return 1;
}

int ft_errand_waits(const ft_errand *errand)
{
    return state_of(errand) == FT_ERRAND_OFFERED;
}

int ft_errand_is_older(const ft_errand *errand, const ft_errand *other)
{
    return (int32_t)(errand->number - other->number) < 0;
}

static int goes_first(const ft_errand *other, const ft_errand *errand, size_t unit_at)
{
    int state = state_of(other);
    if (state != FT_ERRAND_UNDER_WAY && !(state == FT_ERRAND_OFFERED && ft_errand_is_older(other, errand)))
        return 0;
    return other->request[unit_at] == errand->request[unit_at];
}

ft_errand *ft_errand_next_of_unit(ft_errands *errands, uint32_t i, size_t unit_at)
{
    ft_errand *errand = &errands->slots[i];
    if (!ft_errand_waits(errand))
        return NULL;
    for (uint32_t j = 0; j < FT_ERRANDS; j++)
        if (goes_first(&errands->slots[j], errand, unit_at))
            return NULL;
    return errand;
}

void ft_errand_begin(ft_errands *errands, ft_errand *errand, int64_t now)
{
    errands->in_row++;
    errand->sent_ns = now;
    atomic_store_explicit(&errand->state, FT_ERRAND_UNDER_WAY, memory_order_relaxed); /* the bus's own note */
}

enum ft_errand_end ft_errand_keep(ft_errand *errand, const uint8_t *pdu, size_t n)
{
    memcpy(errand->pdu, pdu, n);
    errand->pdu_bytes = (uint16_t)n;
    return pdu[0] > FT_EXCEPTION_BIT ? FT_ERRAND_REFUSED : FT_ERRAND_ANSWERED;
}

void ft_errand_finish(ft_errands *errands, ft_errand *errand, enum ft_errand_end end, int64_t now)
{
    errand->end = end;
    errand->done_ns = now;
    if (errands->current == errand)
        errands->current = NULL;
    errands->finished++;
    atomic_fetch_sub(&errands->offered, 1);
    atomic_store_explicit(&errand->state, FT_ERRAND_DONE, memory_order_release);
}

int64_t ft_errands_expire(ft_errands *errands, int64_t now)
{
    int64_t next = FT_NEVER;
    for (uint32_t i = 0; i < FT_ERRANDS && ft_errands_wait(errands); i++) {
        ft_errand *errand = &errands->slots[i];
        if (!ft_errand_waits(errand))
            continue;
        if (now >= errand->deadline_ns)
            ft_errand_finish(errands, errand, FT_ERRAND_TOO_LATE, now);
        else
            next = ft_least(next, errand->deadline_ns);
    }
    return next;
}

void ft_errands_cancel(ft_errands *errands, int64_t now)
{
    for (uint32_t i = 0; i < FT_ERRANDS && ft_errands_wait(errands); i++)
        if (ft_errand_waits(&errands->slots[i]))
            ft_errand_finish(errands, &errands->slots[i], FT_ERRAND_NO_PORT, now);
}

int ft_errands_news(ft_errands *errands)
{
    uint32_t finished = errands->finished;
    errands->finished = 0;
    return finished > 0;
}
