#include "bus.h"

#include <string.h>

#include "decode.h"
#include "ns.h"

#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S INT64_C(1000000000)

/* Dead devices. The first probe comes after so many timeouts' time that it takes at most 1/16 of the bus. */
#define FT_DEAD_AFTER 3u
#define FT_PROBE_SHARE 16
#define FT_PROBE_MAX_NS (60 * NS_PER_S)

/* On a bus that cannot keep up, polls of long periods come late by no more than this: deadlines are not further away. */
#define FT_PATIENCE_NS (100 * NS_PER_MS)

/* How long after a timeout the answer is still feared, at least (gateways and USB adapters hold bytes back). */
#define FT_LATE_NS (250 * NS_PER_MS)
/* After a complete answer with a wrong CRC the rest of the timeout is not waited for, but this much silence: more than
 * the 16 ms for which USB adapters hold bytes back. */
#define FT_DAMAGE_QUIET_NS (20 * NS_PER_MS)
/* A line that never falls silent is sent on all the same: the failure then shows in the samples. */
#define FT_BABBLE_NS (500 * NS_PER_MS)

/* UARTs hand over their 16-byte FIFO at a time: so few missing characters come in one piece. */
#define FT_FIFO_CHARS 16
/* Beyond the wire time of missing characters, for the host on the other side. */
#define FT_TAIL_NS INT64_C(25000)
/* A line idle for longer is watched: stale bytes and unplugged adapters show at once. */
#define FT_WATCH_IDLE_NS (50 * NS_PER_MS)

/* A request may come later by so much of t3.5 where that lets one wake-up serve several buses; buses that were once
 * served together then stay together. A bus alone never waits for it. */
#define FT_SLACK_SHARE 16

/* --- counters ---------------------------------------------------------------------------------------------------- */

static void count(ft_bus *bus, uint32_t device, enum ft_bus_count which, uint64_t n)
{
    ft_counts_add(&bus->counts, which, n);
    if (bus->plan && device < bus->plan->device_count)
        ft_counts_add(&bus->plan->devices[device].counts, which, n);
}

static void count_stale(ft_bus *bus)
{
    uint64_t stale = bus->master.counts.stale_bytes;
    if (stale != bus->stale_before)
        count(bus, bus->last_device, FT_N_STALE, stale - bus->stale_before);
    bus->stale_before = stale;
}

/* --- samples ----------------------------------------------------------------------------------------------------- */

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
    ft_plan *plan = bus->plan;
    size_t n = ft_decode(block, plan->points, pdu + 2, now, plan->scratch); /* after function and byte count */
    (void)ft_ring_push(&bus->ring, plan->scratch, n);
}

/* Every tag of one device, or of all (FT_NO_BLOCK), fails; the block `except` already told. */
static void fail_device(ft_bus *bus, uint32_t device, uint32_t except, int64_t now)
{
    for (uint32_t i = 0; bus->plan && i < bus->plan->block_count; i++) {
        const ft_block *block = &bus->plan->blocks[i];
        if (i != except && (device == FT_NO_BLOCK || block->device == device))
            push_failed(bus, block, FT_Q_COMM_FAIL, 0, now);
    }
}

/* --- the end of a transaction ------------------------------------------------------------------------------------ */

/* Keep the grid, but forget what was missed: the latest due time that is not in the future. */
static void catch_up(ft_bus *bus, uint32_t device, int64_t now)
{
    for (uint32_t i = 0; i < bus->plan->block_count; i++) {
        const ft_block *block = &bus->plan->blocks[i];
        ft_turn *turn = &bus->plan->turns[i];
        if ((device == FT_NO_BLOCK || block->device == device) && turn->due_ns < now)
            turn->due_ns += (now - turn->due_ns) / block->period_ns * block->period_ns;
    }
}

static void settle(ft_bus *bus, int64_t until, int64_t now)
{
    bus->settling = 1;
    bus->free_ns = until;
    bus->babble_ns = ft_most(until, now + FT_BABBLE_NS);
}

/* +-1/8, so that devices that died together are not probed together for ever. */
static int64_t jittered(ft_bus *bus, int64_t span)
{
    bus->dice = bus->dice * 1664525u + 1013904223u;
    return span - span / 8 + (span / 4 >> 8) * (int64_t)(bus->dice >> 24);
}

static void fell_silent(ft_bus *bus, const ft_block *block, int64_t now)
{
    ft_device *device = &bus->plan->devices[block->device];
    if (++device->silent < FT_DEAD_AFTER)
        return;
    if (device->backoff_ns == 0) {
        fail_device(bus, block->device, bus->current, now);
        device->backoff_ns = ft_least(FT_PROBE_SHARE * block->timeout_ns, FT_PROBE_MAX_NS);
    } else {
        device->backoff_ns = ft_least(2 * device->backoff_ns, FT_PROBE_MAX_NS);
    }
    device->not_before_ns = now + jittered(bus, device->backoff_ns);
}

static void answered(ft_bus *bus, const ft_block *block, int64_t now)
{
    ft_device *device = &bus->plan->devices[block->device];
    device->silent = 0;
    if (device->backoff_ns) {
        device->backoff_ns = 0;
        catch_up(bus, block->device, now);
    }
}

/* Damaged: a whole answer came, but its CRC did not fit; else nothing or only a part came in time. */
static void unanswered(ft_bus *bus, const ft_block *block, int damaged, int64_t now)
{
    ft_device *device = &bus->plan->devices[block->device];
    push_failed(bus, block, FT_Q_COMM_FAIL, 0, now);
    settle(bus, now + bus->wire.quiet_ns, now);
    if (damaged)
        return;
    count(bus, block->device, FT_N_TIMEOUTS, 1);
    if (bus->wire.framing == FT_RTU) { /* in TCP the transaction id tells late answers */
        device->late_until_ns = now + ft_most(block->timeout_ns, FT_LATE_NS);
        device->late_function = block->function;
        device->late_bytes = block->response_bytes;
    }
    if (bus->master.heard == 0)
        fell_silent(bus, block, now);
    else
        answered(bus, block, now);
}

static void learn(ft_bus *bus, ft_rhythm *rhythm, int64_t now)
{
    int64_t took = now - bus->sent_ns;
    if (!bus->predicted) {
        ft_rhythm_observe(rhythm, took, (int32_t)bus->looks);
        return;
    }
    rhythm->relied++;
    if (bus->looks > 1)
        ft_rhythm_adjust(rhythm, took - rhythm->expected_ns);
    else if (took <= rhythm->expected_ns + rhythm->spread_ns) /* a look that came late, for company, tells nothing */
        ft_rhythm_adjust(rhythm, 0);
}

static void finish(ft_bus *bus, int64_t now, enum ft_outcome outcome)
{
    const ft_block *block = &bus->plan->blocks[bus->current];
    ft_device *device = &bus->plan->devices[block->device];
    uint64_t damaged = bus->master.counts.crc_errors - bus->crc_before;
    size_t pdu_bytes;

    bus->free_ns = now + bus->wire.quiet_ns;
    device->not_before_ns = ft_most(device->not_before_ns, now + block->gap_ns);
    if (damaged)
        count(bus, block->device, FT_N_CRC_ERRORS, damaged);
    if (outcome == FT_TIMED_OUT) {
        unanswered(bus, block, damaged != 0, now);
    } else {
        answered(bus, block, now);
        if (outcome == FT_ANSWERED) {
            learn(bus, &bus->plan->turns[bus->current].rhythm, now);
            count(bus, block->device, FT_N_OK, 1);
            push_answer(bus, block, now);
        } else {
            count(bus, block->device, FT_N_EXCEPTIONS, 1);
            push_failed(bus, block, FT_Q_EXCEPTION, ft_master_pdu(&bus->master, &pdu_bytes)[1], now);
        }
    }
    count(bus, block->device, FT_N_BUSY_NS, (uint64_t)(bus->free_ns - bus->sent_ns));
    count_stale(bus); /* what came behind the answer */
    bus->current = FT_NO_BLOCK;
}

/* --- within a transaction ---------------------------------------------------------------------------------------- */

static int64_t give_up_at(const ft_bus *bus)
{
    int64_t deadline = ft_master_deadline(&bus->master);
    if (bus->master.counts.crc_errors == bus->crc_before)
        return deadline;
    return ft_least(deadline, bus->heard_ns + ft_most(FT_DAMAGE_QUIET_NS, bus->wire.quiet_ns));
}

/* What was heard may end the transaction: 1 if so. */
static int conclude(ft_bus *bus, int64_t now, const uint8_t *bytes, size_t n)
{
    enum ft_outcome outcome = FT_PENDING;
    bus->looks++;
    if (n) {
        bus->heard_ns = now;
        outcome = ft_master_feed(&bus->master, now, bytes, n);
    }
    if (outcome == FT_PENDING && now >= give_up_at(bus)) {
        outcome = ft_master_expire(&bus->master, now);
        if (outcome == FT_PENDING)
            outcome = FT_TIMED_OUT; /* damaged: earlier than the master would */
    }
    if (outcome == FT_PENDING)
        return 0;
    finish(bus, now, outcome);
    return 1;
}

/* When to look next at an answer of which n more bytes have just come: after the wire time of what is missing, or, where
 * that is too short or nothing came, when the next piece is there. */
static int64_t await_rest(ft_bus *bus, int64_t now, size_t n, ft_action *out)
{
    int64_t missing = (int64_t)ft_master_missing(&bus->master);
    int64_t rest = missing * bus->wire.char_ns;
    bus->watching = n == 0 || missing <= FT_FIFO_CHARS || rest < FT_WORTH_SLEEPING_NS;
    bus->wake_ns = give_up_at(bus);
    if (!bus->watching)
        bus->wake_ns = ft_least(bus->wake_ns, now + rest + FT_TAIL_NS);
    out->watch = bus->watching;
    return bus->wake_ns;
}

static void count_missed(ft_bus *bus, const ft_block *block, ft_turn *turn, int64_t now)
{
    int64_t missed = (now - turn->due_ns) / block->period_ns;
    turn->due_ns += (missed + 1) * block->period_ns;
    if (missed && bus->plan->devices[block->device].backoff_ns == 0)
        count(bus, block->device, FT_N_OVERRUNS, (uint64_t)missed);
}

static int64_t send(ft_bus *bus, uint32_t i, int64_t now, ft_action *out)
{
    const ft_block *block = &bus->plan->blocks[i];
    ft_turn *turn = &bus->plan->turns[i];

    count_missed(bus, block, turn, now);
    memcpy(bus->request, block->request, FT_MAX_REQUEST);
    if (bus->wire.framing == FT_TCP) {
        bus->transaction++;
        ft_put_u16(bus->request, bus->transaction);
    }
    ft_master_begin(&bus->master, now, bus->request, block->request_bytes, block->response_bytes, block->timeout_ns);
    count(bus, block->device, FT_N_TRANSACTIONS, 1);
    bus->current = i;
    bus->last_device = block->device;
    bus->sent_ns = now;
    bus->settling = 0;
    bus->looks = 0;
    bus->crc_before = bus->master.counts.crc_errors;
    bus->predicted = bus->wire.framing == FT_RTU && ft_rhythm_is_steady(&turn->rhythm);
    bus->watching = !bus->predicted;
    bus->wake_ns = ft_master_deadline(&bus->master);
    if (bus->predicted)
        bus->wake_ns = ft_least(bus->wake_ns, now + turn->rhythm.expected_ns);
    *out = (ft_action){.what = FT_SEND, .watch = bus->watching, .bytes = bus->request, .n = block->request_bytes,
                       .slack_ns = bus->predicted ? ft_rhythm_tolerance(&turn->rhythm) : 0,
                       .send_ns = bus->predicted ? bus->wake_ns + bus->wire.quiet_ns : FT_NEVER};
    return bus->wake_ns;
}

/* --- between transactions ---------------------------------------------------------------------------------------- */

/* Bytes that nobody asked for: the line is not quiet. */
static void stray(ft_bus *bus, int64_t now, const uint8_t *bytes, size_t n)
{
    (void)ft_master_feed(&bus->master, now, bytes, n); /* it counts them, and keeps TCP frames whole */
    count_stale(bus);
    if (!bus->settling)
        settle(bus, now, now);
    if (now < bus->babble_ns)
        bus->free_ns = now + bus->wire.quiet_ns;
}

/* When block i may be sent, the line apart. */
static int64_t ready_at(const ft_plan *plan, uint32_t i)
{
    const ft_block *block = &plan->blocks[i];
    const ft_device *device = &plan->devices[block->device];
    int64_t at = ft_most(plan->turns[i].due_ns, device->not_before_ns);
    if (block->function == device->late_function && block->response_bytes == device->late_bytes)
        at = ft_most(at, device->late_until_ns);
    return at;
}

/* The most urgent block that is ready at `at`, or FT_NO_BLOCK and when the first one will be. */
static uint32_t choose(const ft_plan *plan, int64_t at, int64_t *first_ready)
{
    uint32_t chosen = FT_NO_BLOCK;
    int64_t earliest = FT_NEVER;
    *first_ready = FT_NEVER;
    for (uint32_t i = 0; i < plan->block_count; i++) {
        int64_t ready = ready_at(plan, i);
        int64_t deadline = plan->turns[i].due_ns + ft_least(plan->blocks[i].period_ns, FT_PATIENCE_NS);
        if (ready > at) {
            *first_ready = ft_least(*first_ready, ready);
        } else if (deadline < earliest) {
            earliest = deadline;
            chosen = i;
        }
    }
    return chosen;
}

static int64_t next_poll(ft_bus *bus, int64_t now, int looked, ft_action *out)
{
    bus->wake_ns = FT_NEVER;
    bus->watching = bus->attached;
    out->watch = bus->watching;
    if (!bus->attached || !bus->plan)
        return FT_NEVER;
    int64_t at = ft_most(now, bus->free_ns);
    uint32_t i = choose(bus->plan, at, &bus->wake_ns);
    if (i != FT_NO_BLOCK && at == now && looked)
        return send(bus, i, now, out);
    if (i != FT_NO_BLOCK)
        bus->wake_ns = at;
    if (bus->wake_ns <= now) {
        out->what = FT_LOOK;
        return now;
    }
    bus->watching = bus->settling || bus->wake_ns - now > FT_WATCH_IDLE_NS;
    out->watch = bus->watching;
    out->slack_ns = bus->wire.quiet_ns / FT_SLACK_SHARE;
    out->send_ns = bus->wake_ns;
    out->patient = i != FT_NO_BLOCK;
    return bus->wake_ns;
}

int64_t ft_bus_step(ft_bus *bus, int64_t now, const uint8_t *bytes, size_t n, ft_action *out)
{
    *out = (ft_action){.what = FT_WAIT, .watch = bus->watching, .send_ns = FT_NEVER};
    if (!bytes && now < bus->wake_ns)
        return bus->wake_ns;
    if (bus->current != FT_NO_BLOCK) {
        if (!bytes) {
            out->what = FT_LOOK;
            return now;
        }
        if (!conclude(bus, now, bytes, n))
            return await_rest(bus, now, n, out);
    } else if (n) {
        stray(bus, now, bytes, n);
    }
    return next_poll(bus, now, bytes != NULL, out);
}

/* --- life -------------------------------------------------------------------------------------------------------- */

int ft_bus_init(ft_bus *bus, const ft_wire *wire, uint32_t ring_bits)
{
    memset(bus, 0, sizeof *bus);
    bus->wire = *wire;
    bus->current = FT_NO_BLOCK;
    bus->wake_ns = FT_NEVER;
    ft_master_init(&bus->master, wire->framing, wire->char_ns);
    return ft_ring_init(&bus->ring, ring_bits);
}

void ft_bus_free(ft_bus *bus)
{
    ft_plan_free(bus->plan);
    ft_ring_free(&bus->ring);
}

/* Without an answer, and not to be asked for one any more. */
static void abandon(ft_bus *bus, int64_t now)
{
    if (bus->current == FT_NO_BLOCK)
        return;
    settle(bus, ft_master_deadline(&bus->master), now); /* its answer may come until then */
    bus->current = FT_NO_BLOCK;
}

ft_plan *ft_bus_adopt(ft_bus *bus, ft_plan *plan, int64_t now)
{
    ft_plan *before = bus->plan;
    abandon(bus, now);
    bus->plan = plan;
    for (uint32_t i = 0; i < plan->block_count; i++)
        plan->turns[i].due_ns = now + plan->blocks[i].phase_ns;
    bus->wake_ns = now;
    return before;
}

void ft_bus_attach(ft_bus *bus, int64_t now)
{
    ft_master_init(&bus->master, bus->wire.framing, bus->wire.char_ns);
    bus->stale_before = 0;
    bus->attached = 1;
    bus->wake_ns = now;
    settle(bus, now + bus->wire.quiet_ns, now);
    if (bus->plan)
        catch_up(bus, FT_NO_BLOCK, now);
}

void ft_bus_detach(ft_bus *bus, int64_t now)
{
    bus->attached = 0;
    bus->wake_ns = FT_NEVER;
    bus->current = FT_NO_BLOCK;
    fail_device(bus, FT_NO_BLOCK, FT_NO_BLOCK, now);
}
