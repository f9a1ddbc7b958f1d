/* What follows from an answer, an exception, damage and silence. */
#include "ending.h"

#include <string.h>

#include "decode.h"

#define NS_PER_MS INT64_C(1000000)

/* A line that never falls silent is sent on all the same: the failure then shows in the samples. */
#define FT_BABBLE_NS (500 * NS_PER_MS)
/* A block for which the device is busy: asked again after so long, doubled each time. */
#define FT_BUSY_FIRST_NS (100 * NS_PER_MS)
#define FT_BUSY_MOST_NS (10000 * NS_PER_MS)

/* So many late answers that came in order are enough to believe that a device keeps it. */
#define FT_ORDER_TRUST 4

enum { ACKNOWLEDGE = 5, BUSY = 6 }; /* exceptions that say: ask again later */

/* ---- counters ---- */

void ft_count_for(ft_bus *bus, uint32_t device, enum ft_bus_count which, uint64_t n)
{
    if (n == 0)
        return;
    ft_counts_add(&bus->counts, which, n);
    if (bus->plan && device < bus->plan->device_count)
        ft_counts_add(&bus->plan->devices[device].counts, which, n);
}

void ft_count_noise(ft_bus *bus)
{
    ft_master_counts *now = &bus->master.counts;
    ft_master_counts *then = &bus->counted;
    uint64_t bytes = now->stale_bytes - then->stale_bytes + now->garbage_bytes - then->garbage_bytes;
    ft_count_for(bus, bus->last_device, FT_N_NOISE, bytes);
    ft_count_for(bus, bus->last_device, FT_N_COLLISIONS, now->collisions - then->collisions);
    *then = *now;
}

/* ---- the beginning ---- */

/* A block that was answered just now is expected to be answered without longer pauses than all others. */
static int64_t longest_pause_ns(const ft_bus *bus)
{
    int is_steady = bus->current < FT_ON_ERRAND && bus->plan->turns[bus->current].good > 0;
    return is_steady ? ft_most(FT_CHUNK_NS, ft_pieces_stall(&bus->pieces, bus->pause_most_ns)) : bus->pause_most_ns;
}

void ft_take_line(ft_bus *bus, const uint8_t *request, int64_t now)
{
    const ft_ask *ask = &bus->ask;
    bus->master.pause_ns = longest_pause_ns(bus);
    ft_master_begin(&bus->master, now, request, ask->request_bytes, ask->shape.bytes, bus->timeout_ns);
    ft_count_for(bus, bus->last_device, FT_N_BUSY_NS, (uint64_t)ft_most(0, ft_silent_until(bus, ask->shape.unit) - bus->free_ns));
    bus->silence_ns = now - bus->ended_ns;
    bus->last_unit = ask->shape.unit;
    bus->sent_ns = now;
    bus->pause_ns = 0;
    bus->late_bytes = 0;
    bus->settling = 0;
    bus->looks = 0;
    bus->seen.n = 0;
    bus->before = bus->master.counts;
    bus->is_behind = (uint8_t)ft_guard_owes(&bus->guard, ask->shape.unit);
    ft_count_for(bus, bus->last_device, FT_N_TRANSACTIONS, 1);
    ft_count_for(bus, bus->last_device, FT_N_BYTES_SENT, ask->request_bytes);
}

void ft_forgive(ft_bus *bus, ft_shape shape, ft_device *device)
{
    ft_guard_forgive(&bus->guard, shape);
    if (!device || !device->must_drain)
        return;
    ft_guard_clear(&bus->guard, shape.unit);
    device->must_drain = 0;
}

/* ---- samples ---- */

static void push_failed(ft_bus *bus, const ft_block *block, uint8_t quality, uint8_t detail, int64_t now)
{
    ft_plan *plan = bus->plan;
    size_t n = ft_decode_failed(block, plan->points, quality, detail, now, plan->scratch);
    (void)ft_ring_push(&bus->ring, plan->scratch, n); /* the ring counts what it drops */
}

static void push_answer(ft_bus *bus, const ft_block *block, int64_t now)
{
    size_t pdu_bytes;
    const uint8_t *pdu = ft_master_pdu(&bus->master, &pdu_bytes);
    size_t n = ft_ask_decode(bus->plan, block, &bus->ask, pdu + 2, now); /* after function and byte count */
    (void)ft_ring_push(&bus->ring, bus->plan->scratch, n);
}

void ft_fail_tags(ft_bus *bus, uint32_t device, uint32_t except, int64_t now)
{
    for (uint32_t i = 0; bus->plan && i < bus->plan->block_count; i++) {
        const ft_block *block = &bus->plan->blocks[i];
        if (i != except && (device == FT_NO_BLOCK || block->device == device))
            push_failed(bus, block, FT_Q_COMM_FAIL, FT_FAIL_SILENCE, now);
    }
}

/* ---- late answers ---- */

int64_t ft_quiet_ns(const ft_bus *bus)
{
    return ft_most(bus->wire.quiet_ns, ft_pieces_quiet(&bus->pieces));
}

/* Silences shrink only while every device of the plan answers, and between those alone: what is not asked cannot tell what
 * it needs. */
static int may_shrink(const ft_bus *bus, const ft_block *block)
{
    if (bus->wire.least_ns == 0 || !block || !ft_plan_block_of(bus->plan, bus->last_unit))
        return 0;
    for (uint32_t i = 0; i < bus->plan->device_count; i++)
        if (!bus->plan->devices[i].alive)
            return 0;
    return 1;
}

int64_t ft_silent_until(const ft_bus *bus, uint8_t unit)
{
    const ft_block *block = bus->wire.least_ns ? ft_plan_block_of(bus->plan, unit) : NULL;
    int64_t silence = bus->wire.quiet_ns;
    if (may_shrink(bus, block))
        silence = ft_gap_silence(&bus->plan->devices[block->device].gap, silence);
    if (unit != bus->last_unit)
        silence = ft_most(silence, bus->wire.switch_ns);
    return bus->ended_ns + silence;
}

void ft_release_line(ft_bus *bus, int64_t now)
{
    bus->ended_ns = now;
    bus->free_ns = now + (bus->wire.least_ns ? bus->wire.least_ns : bus->wire.quiet_ns);
}

void ft_judge_silence(const ft_bus *bus, ft_device *device, int is_understood)
{
    if (bus->wire.least_ns == 0)
        return;
    if (is_understood)
        ft_gap_accepted(&device->gap, bus->silence_ns, bus->wire.quiet_ns, bus->wire.least_ns);
    else
        ft_gap_refused(&device->gap, bus->silence_ns, bus->wire.quiet_ns);
}

void ft_settle(ft_bus *bus, int64_t until, int64_t now)
{
    bus->settling = 1;
    bus->free_ns = until;
    bus->babble_ns = ft_most(until, now + FT_BABBLE_NS);
}

static const ft_patience *patience_of_last(const ft_bus *bus)
{
    static const ft_patience UNKNOWN = {0};
    int is_known = bus->plan && bus->last_device < bus->plan->device_count;
    return is_known ? &bus->plan->devices[bus->last_device].patience : &UNKNOWN;
}

void ft_owe(ft_bus *bus, int64_t now)
{
    int64_t window_ns = ft_patience_window(patience_of_last(bus), bus->timeout_ns);
    bus->free_ns = ft_most(bus->free_ns, ft_guard_owe(&bus->guard, bus->ask.shape, bus->sent_ns, now, window_ns));
}

void ft_note_answer(ft_bus *bus, int is_exception, int64_t now)
{
    int64_t window_ns = ft_patience_window(patience_of_last(bus), 0); /* a copy goes the way of answers, however patient we are */
    int64_t rest_until = 0;
    ft_guard_answered(&bus->guard, bus->ask.shape.unit);
    if (bus->guard.repeats)
        rest_until = ft_guard_repeat(&bus->guard, bus->ask.shape, is_exception, bus->sent_ns, now, window_ns);
    bus->free_ns = ft_most(bus->free_ns, rest_until);
}

void ft_hear(ft_bus *bus, int64_t now, const uint8_t *bytes, size_t n)
{
    ft_shape asked = {0};
    ft_owed late;
    if (bus->current != FT_NO_BLOCK)
        asked = bus->ask.shape;
    ft_count_for(bus, bus->last_device, FT_N_BYTES_HEARD, n);
    while (ft_guard_hear(&bus->guard, asked, &bytes, &n, &late)) {
        const ft_block *block = ft_plan_block_of(bus->plan, late.shape.unit);
        ft_count_for(bus, block ? block->device : FT_NO_BLOCK, FT_N_STALE, 1);
        bus->late_bytes += late.shape.bytes;
        if (!block || late.is_copy) /* the unit is in no plan, or was in one that is gone; it was not late the first time */
            continue;
        ft_device *device = &bus->plan->devices[block->device];
        ft_patience_late(&device->patience, now - late.sent_ns);
        ft_silence_late(device, now);
        device->is_disorderly |= late.passed;
        if (!late.passed && device->orderly < FT_ORDER_TRUST)
            device->orderly++;
    }
}

/* ---- outcomes ---- */

void ft_catch_up(ft_plan *plan, uint32_t device, int64_t now)
{
    for (uint32_t i = 0; i < plan->block_count; i++) {
        const ft_block *block = &plan->blocks[i];
        ft_turn *turn = &plan->turns[i];
        if ((device == FT_NO_BLOCK || block->device == device) && turn->due_ns < now)
            turn->due_ns += (now - turn->due_ns) / block->period_ns * block->period_ns;
    }
}

static void learn(ft_bus *bus, ft_turn *turn, int64_t now)
{
    ft_rhythm *rhythm = &turn->rhythm;
    int64_t took = now - bus->sent_ns;
    if (!bus->predicted) {
        ft_rhythm_observe(rhythm, took, (int32_t)bus->looks);
        return;
    }
    rhythm->relied++;
    if (bus->looks > 1)
        ft_rhythm_adjust(rhythm, took - rhythm->expected_ns);
    else if (took <= rhythm->expected_ns + ft_rhythm_tolerance(rhythm) / 2) /* one that came late, for company, tells nothing */
        ft_rhythm_adjust(rhythm, 0);
}

/* Time that an answer took beyond that was the host's, which stood still. */
static int64_t most_ns(const ft_bus *bus)
{
    return 2 * bus->timeout_ns;
}

/* How long the device, the adapter and the host took: the round trip without the wire time of request and answer. */
static int64_t turnaround_ns(const ft_bus *bus, int64_t now)
{
    int64_t wire_ns = ((int64_t)bus->ask.request_bytes + bus->ask.shape.bytes) * bus->wire.char_ns;
    return ft_most(0, now - bus->sent_ns - wire_ns);
}

static void learn_patience(ft_bus *bus, ft_device *device, int64_t now)
{
    ft_patience_observe(&device->patience, ft_least(turnaround_ns(bus, now), most_ns(bus)));
    if (!bus->predicted || bus->looks > 1)
        ft_pieces_observe(&bus->pieces, bus->pause_ns);
}

/* A line of ASCII shows its characters, not the bytes that they were translated to. */
static void show_characters(ft_mishap_seen *seen, const ft_ascii *line)
{
    seen->n = (uint8_t)line->head_n;
    memcpy(seen->bytes, line->head, line->head_n);
}

_Static_assert(FT_ASCII_HEAD <= FT_MISHAP_BYTES, "what is kept of a line of ASCII can be shown");

static void note_mishap(ft_bus *bus, const ft_block *block, enum ft_mishap_kind kind, uint8_t detail, int64_t now)
{
    bus->seen.time_ns = now;
    bus->seen.kind = kind;
    bus->seen.detail = detail;
    bus->seen.asked = (ft_mishap_asked){block->unit, block->function, (uint16_t)(block->address + bus->ask.first),
                                        bus->ask.quantity};
    if (bus->master.ascii && bus->seen.n > 0)
        show_characters(&bus->seen, bus->master.ascii);
    memset(bus->seen.bytes + bus->seen.n, 0, FT_MISHAP_BYTES - bus->seen.n);
    ft_mishap_note(&bus->plan->devices[block->device].mishap, &bus->seen);
}

static void answered(ft_bus *bus, const ft_block *block, ft_turn *turn, int64_t now)
{
    ft_device *device = &bus->plan->devices[block->device];
    if (bus->ask.quantity == block->quantity)
        learn(bus, turn, now);
    learn_patience(bus, device, now);
    turn->good++;
    turn->known = 1;
    turn->busy_ns = 0;
    ft_histogram_add(&device->round_trips, now - bus->sent_ns);
    ft_histogram_add(&device->turnarounds, turnaround_ns(bus, now));
    ft_count_for(bus, block->device, FT_N_OK, 1);
    push_answer(bus, block, now);
}

static void refused(ft_bus *bus, const ft_block *block, ft_turn *turn, int64_t now)
{
    size_t pdu_bytes;
    uint8_t code = ft_master_pdu(&bus->master, &pdu_bytes)[1];
    turn->good = 0;
    ft_count_for(bus, block->device, FT_N_EXCEPTIONS, 1);
    push_failed(bus, block, FT_Q_EXCEPTION, code, now);
    note_mishap(bus, block, FT_MISHAP_EXCEPTION, code, now);
    if (code != ACKNOWLEDGE && code != BUSY)
        turn->busy_ns = 0;
    else
        turn->busy_ns = turn->busy_ns ? ft_least(2 * turn->busy_ns, FT_BUSY_MOST_NS) : FT_BUSY_FIRST_NS;
    turn->not_before_ns = now + turn->busy_ns;
}

/* An answer to this very request, or to a late one of the same function: nothing is believed, and all is cleared up
 * before this device is asked for anything else. */
static void doubted(ft_bus *bus, const ft_block *block, int64_t now)
{
    ft_count_for(bus, block->device, FT_N_AMBIGUOUS, 1);
    push_failed(bus, block, FT_Q_COMM_FAIL, FT_FAIL_AMBIGUOUS, now);
    note_mishap(bus, block, FT_MISHAP_AMBIGUOUS, 0, now);
    ft_owe(bus, now);
    bus->plan->devices[block->device].must_drain = 1;
}

static enum ft_mishap_kind kind_heard(const ft_bus *bus)
{
    if (bus->master.heard == 0) /* at most its echo */
        return FT_MISHAP_SILENCE;
    return bus->master.counts.truncated != bus->before.truncated ? FT_MISHAP_PIECE : FT_MISHAP_NOISE;
}

void ft_fear_late(ft_bus *bus, int64_t now)
{
    if (bus->master.heard > 0)
        bus->ended_ns = bus->heard_ns;
    ft_settle(bus, bus->master.heard > 0 ? ft_most(now, bus->heard_ns + ft_quiet_ns(bus)) : now + bus->wire.quiet_ns, now);
    if (bus->is_behind || !bus->master.began || bus->guard.repeats) /* else it came, but damaged, and comes no more */
        ft_owe(bus, now);
}

static void failed(ft_bus *bus, const ft_block *block, ft_turn *turn, int64_t now)
{
    ft_device *device = &bus->plan->devices[block->device];
    int is_damaged = bus->master.counts.crc_errors != bus->before.crc_errors;
    turn->good = 0;
    ft_fear_late(bus, now);
    ft_count_for(bus, block->device, FT_N_TIMEOUTS, !is_damaged);
    if (bus->is_barrier) {
        device->mute++;
        return;
    }
    ft_judge_silence(bus, device, 0);
    push_failed(bus, block, FT_Q_COMM_FAIL, FT_FAIL_SILENCE, now);
    note_mishap(bus, block, is_damaged ? FT_MISHAP_CRC : kind_heard(bus), 0, now);
    if (bus->master.heard > bus->late_bytes)
        ft_silence_murmurs(device, now);
    else if (ft_silence_deepens(&bus->silence, bus->plan, block->device, ft_least(now - bus->sent_ns, most_ns(bus)), now))
        ft_fail_tags(bus, block->device, bus->current, now);
}

/* Nothing older is under way, if the device answers in the order it is asked. One that has not yet shown it, or has shown
 * the contrary, is waited for all the same. */
static void drained(ft_bus *bus, ft_device *device, uint8_t unit)
{
    device->mute = 0;
    ft_guard_answered(&bus->guard, unit);
    if (device->orderly < FT_ORDER_TRUST || device->is_disorderly || bus->guard.repeats)
        return;
    device->must_drain = 0;
    ft_guard_drain(&bus->guard, unit);
}

/* The device talks: it is at its full rate again, and what was asked before is passed. */
static void succeeded(ft_bus *bus, const ft_block *block, ft_turn *turn, enum ft_outcome outcome, int64_t now)
{
    ft_device *device = &bus->plan->devices[block->device];
    if (ft_silence_breaks(device))
        ft_catch_up(bus->plan, block->device, now);
    ft_judge_silence(bus, device, 1);
    if (bus->is_barrier) {
        drained(bus, device, block->unit);
    } else if (outcome == FT_EXCEPTION && bus->is_doubted) {
        doubted(bus, block, now);
    } else {
        ft_note_answer(bus, outcome == FT_EXCEPTION, now);
        outcome == FT_ANSWERED ? answered(bus, block, turn, now) : refused(bus, block, turn, now);
    }
}

void ft_end(ft_bus *bus, int64_t now, enum ft_outcome outcome)
{
    const ft_block *block = &bus->plan->blocks[bus->current];
    ft_turn *turn = &bus->plan->turns[bus->current];
    ft_device *device = &bus->plan->devices[block->device];

    ft_release_line(bus, now);
    device->not_before_ns = ft_most(device->not_before_ns, now + block->gap_ns);
    ft_count_for(bus, block->device, FT_N_CRC_ERRORS, bus->master.counts.crc_errors - bus->before.crc_errors);
    if (outcome == FT_EXCEPTION && bus->is_barrier && bus->is_doubted)
        outcome = FT_TIMED_OUT; /* it may be what an earlier barrier was answered with */
    if (outcome == FT_TIMED_OUT)
        failed(bus, block, turn, now);
    else
        succeeded(bus, block, turn, outcome, now);
    ft_count_for(bus, block->device, FT_N_BUSY_NS, (uint64_t)(bus->free_ns - bus->sent_ns));
    ft_count_noise(bus);
    bus->current = FT_NO_BLOCK;
}
