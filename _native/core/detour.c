/* When an errand may go, its beginning and its end. */
#include "detour.h"

#include "ending.h"

#define BROADCAST_UNIT 0
#define UNIT_AT 0 /* in an RTU frame */

uint8_t ft_detour_unit(const ft_errand *errand)
{
    return errand->request[UNIT_AT];
}

static uint8_t function_of(const ft_errand *errand)
{
    return errand->request[UNIT_AT + 1];
}

static ft_shape shape_of(const ft_errand *errand)
{
    return (ft_shape){ft_detour_unit(errand), function_of(errand), errand->answer_bytes};
}

static int is_broadcast(const ft_errand *errand)
{
    return ft_detour_unit(errand) == BROADCAST_UNIT;
}

/* The plan's device of that unit, or NULL: it is no part of the plan. */
static ft_device *device_of(const ft_bus *bus, uint8_t unit)
{
    const ft_block *block = ft_plan_block_of(bus->plan, unit);
    return block ? &bus->plan->devices[block->device] : NULL;
}

/* ---- when ---- */

/* Its answer could be taken for one that is owed, or the other way round. */
static int64_t guarded_until(const ft_bus *bus, const ft_errand *errand)
{
    uint8_t unit = ft_detour_unit(errand);
    const ft_device *device = device_of(bus, unit);
    int must_drain = device && device->must_drain;
    return must_drain || ft_guard_avoids(&bus->guard, shape_of(errand)) ? ft_guard_until(&bus->guard, unit) : 0;
}

/* When it may be sent, the line apart. A suspect is asked all the same: somebody wants to know. */
static int64_t ready_at(const ft_bus *bus, const ft_errand *errand)
{
    const ft_device *device = device_of(bus, ft_detour_unit(errand));
    int64_t gap_until = device && device->backoff_ns == 0 ? device->not_before_ns : 0;
    int may_be_echo = bus->master.echo == FT_ECHO_UNKNOWN && !is_broadcast(errand)
        && ft_is_mirrored(function_of(errand));
    return may_be_echo ? FT_NEVER : ft_most(gap_until, guarded_until(bus, errand));
}

ft_errand *ft_detour_choose(ft_bus *bus, int64_t now, int64_t at, int polls_wait, int64_t *wake_ns)
{
    ft_errands *errands = &bus->errands;
    ft_errand *chosen = NULL;
    if (!ft_errands_wait(errands))
        return NULL;
    *wake_ns = ft_least(*wake_ns, ft_errands_expire(errands, now));
    for (uint32_t i = 0; i < FT_ERRANDS; i++) {
        ft_errand *errand = ft_errand_next_of_unit(errands, i, UNIT_AT);
        if (!errand)
            continue;
        int64_t ready = ready_at(bus, errand);
        *wake_ns = ft_least(*wake_ns, ft_most(at, ready));
        if (ready <= at && (!chosen || ft_errand_is_older(errand, chosen)))
            chosen = errand;
    }
    return polls_wait && errands->in_row >= FT_ERRANDS_IN_ROW ? NULL : chosen;
}

/* ---- beginning ---- */

int64_t ft_detour_begin(ft_bus *bus, ft_errand *errand, int64_t now, ft_action *out)
{
    const ft_block *block = ft_plan_block_of(bus->plan, ft_detour_unit(errand));
    bus->ask = (ft_ask){.shape = shape_of(errand), .request_bytes = errand->request_bytes};
    ft_forgive(bus, bus->ask.shape, device_of(bus, bus->ask.shape.unit));
    bus->errands.current = errand;
    ft_errand_begin(&bus->errands, errand, now);
    bus->current = FT_ON_ERRAND;
    bus->last_device = block ? block->device : FT_NO_BLOCK;
    bus->timeout_ns = errand->timeout_ns;
    bus->is_barrier = 0;
    bus->predicted = 0;
    bus->watching = 1;
    ft_take_line(bus, errand->request, now);
    bus->wake_ns = ft_master_deadline(&bus->master);
    *out = (ft_action){.what = FT_SEND, .watch = 1, .bytes = errand->request, .n = errand->request_bytes,
                       .send_ns = FT_NEVER};
    return bus->wake_ns;
}

/* ---- end ---- */

static enum ft_errand_end failed(ft_bus *bus, int64_t now)
{
    ft_device *device = device_of(bus, bus->ask.shape.unit);
    int is_damaged = bus->master.counts.crc_errors != bus->before.crc_errors;
    ft_count_for(bus, bus->last_device, FT_N_TIMEOUTS, !is_damaged);
    ft_fear_late(bus, now);
    if (device)
        ft_judge_silence(bus, device, 0);
    return is_damaged ? FT_ERRAND_DAMAGED : FT_ERRAND_TIMED_OUT;
}

/* An exception that may be the late one to another request tells nothing, and all is cleared up before more is asked. */
static enum ft_errand_end doubted(ft_bus *bus, ft_device *device, int64_t now)
{
    ft_count_for(bus, bus->last_device, FT_N_AMBIGUOUS, 1);
    ft_owe(bus, now);
    if (device)
        device->must_drain = 1;
    return FT_ERRAND_AMBIGUOUS;
}

static enum ft_errand_end succeeded(ft_bus *bus, ft_errand *errand, enum ft_outcome outcome, int64_t now)
{
    size_t pdu_bytes;
    const uint8_t *pdu = ft_master_pdu(&bus->master, &pdu_bytes);
    ft_device *device = device_of(bus, bus->ask.shape.unit);
    if (device && ft_silence_breaks(device))
        ft_catch_up(bus->plan, bus->last_device, now);
    if (device)
        ft_judge_silence(bus, device, 1);
    if (outcome == FT_EXCEPTION && bus->is_doubted)
        return doubted(bus, device, now);
    ft_note_answer(bus, outcome == FT_EXCEPTION, now);
    ft_count_for(bus, bus->last_device, outcome == FT_ANSWERED ? FT_N_OK : FT_N_EXCEPTIONS, 1);
    return ft_errand_keep(errand, pdu, pdu_bytes);
}

/* A suspect that has said nothing stays one. */
static void keep_gap(ft_bus *bus, const ft_block *block, int64_t now)
{
    if (block && bus->plan->devices[block->device].backoff_ns == 0)
        bus->plan->devices[block->device].not_before_ns = now + block->gap_ns;
}

void ft_detour_end(ft_bus *bus, int64_t now, enum ft_outcome outcome)
{
    ft_errand *errand = bus->errands.current;
    const ft_block *block = ft_plan_block_of(bus->plan, bus->ask.shape.unit);
    enum ft_errand_end end = FT_ERRAND_BROADCAST;
    ft_release_line(bus, now);
    ft_count_for(bus, bus->last_device, FT_N_CRC_ERRORS, bus->master.counts.crc_errors - bus->before.crc_errors);
    if (!is_broadcast(errand))
        end = outcome == FT_TIMED_OUT ? failed(bus, now) : succeeded(bus, errand, outcome, now);
    keep_gap(bus, block, now);
    ft_count_for(bus, bus->last_device, FT_N_BUSY_NS, (uint64_t)(bus->free_ns - bus->sent_ns));
    ft_count_noise(bus);
    bus->current = FT_NO_BLOCK;
    ft_errand_finish(&bus->errands, errand, end, now);
}

void ft_detour_cancel(ft_bus *bus, int64_t now)
{
    ft_errands *errands = &bus->errands;
    if (errands->current)
        ft_errand_finish(errands, errands->current, FT_ERRAND_LOST, now);
    ft_errands_cancel(errands, now);
}
