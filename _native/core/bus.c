#include "bus.h"

#include <string.h>

#include "ascii.h"
#include "detour.h"
#include "ending.h"
#include "inherit.h"

#define NS_PER_MS INT64_C(1000000)

/* On a bus that cannot keep up, polls of long periods come late by no more than this: deadlines are not further away. */
#define FT_PATIENCE_NS (100 * NS_PER_MS)

/* UARTs hand over their 16-byte FIFO at a time: so few missing characters come in one piece. */
#define FT_FIFO_CHARS 16
/* Beyond the wire time of missing characters, for the host on the other side. */
#define FT_TAIL_NS INT64_C(25000)
/* A line idle for longer is watched: stale bytes and unplugged adapters show at once. */
#define FT_WATCH_IDLE_NS (50 * NS_PER_MS)

/* A request may come later by so much of t3.5 where that lets one wake-up serve several buses; buses that were once
 * served together then stay together. A bus alone never waits for it. */
#define FT_SLACK_SHARE 16

/* Answers of a block in a row, after which one that has begun and stops is given up before its timeout. */
#define FT_GOOD_BLOCK 8u
/* A device that left so many loop-backs unanswered does not know them. */
#define FT_MUTE_AFTER 2u
#define FT_BARRIER_BYTES 8 /* unit, function, sub-function, data, CRC; the answer is the same */

/* --- within a transaction ---------------------------------------------------------------------------------------- */

/* The timeout; sooner where the line has fallen silent after a whole but damaged answer, or in the middle of one from a
 * block that is known to come without such pauses. */
static int64_t give_up_at(const ft_bus *bus)
{
    const ft_master *master = &bus->master;
    int64_t deadline = ft_master_deadline(master);
    if (master->began && master->counts.crc_errors != bus->before.crc_errors)
        deadline = ft_least(deadline, bus->heard_ns + ft_quiet_ns(bus));
    if (bus->current == FT_ON_ERRAND)
        return deadline;
    if (master->began && master->arriving && bus->plan->turns[bus->current].good >= FT_GOOD_BLOCK) {
        int64_t rest = (int64_t)ft_master_missing(master) * bus->wire.char_ns;
        deadline = ft_least(deadline, bus->heard_ns + rest + ft_pieces_stall(&bus->pieces, bus->pause_most_ns));
    }
    return deadline;
}

/* A silence within the answer tells how long the adapter holds bytes back. */
static void note_pause(ft_bus *bus, int64_t now, size_t n)
{
    if (bus->watching && bus->master.arriving)
        bus->pause_ns = ft_most(bus->pause_ns, now - bus->heard_ns - (int64_t)n * bus->wire.char_ns);
}

static void keep(ft_bus *bus, const uint8_t *bytes, size_t n)
{
    size_t room = FT_MISHAP_BYTES - bus->seen.n;
    size_t kept = n < room ? n : room;
    memcpy(bus->seen.bytes + bus->seen.n, bytes, kept);
    bus->seen.n += (uint8_t)kept;
}

/* What was heard may end the transaction: 1 if so. */
static int conclude(ft_bus *bus, int64_t now, const uint8_t *bytes, size_t n)
{
    enum ft_outcome outcome = FT_PENDING;
    bus->looks++;
    if (n) {
        bus->is_doubted = (uint8_t)ft_guard_doubts(&bus->guard, bus->ask.shape.unit, bus->ask.shape.function);
        note_pause(bus, now, n);
        keep(bus, bytes, n);
        ft_hear(bus, now, bytes, n);
        bus->heard_ns = now;
        outcome = ft_master_feed(&bus->master, now, bytes, n);
    }
    if (outcome == FT_PENDING && now >= give_up_at(bus))
        outcome = ft_master_give_up(&bus->master);
    if (outcome == FT_PENDING)
        return 0;
    if (bus->current == FT_ON_ERRAND)
        ft_detour_end(bus, now, outcome);
    else
        ft_end(bus, now, outcome);
    return 1;
}

/* When to look next at an answer of which n more bytes have just come: after the wire time of what is missing, or, where
 * that is too short or nothing came, when the next piece is there; so too after a look at a time of our own, which does not
 * tell how much of the next piece is on the wire already. */
static int64_t await_rest(ft_bus *bus, int64_t now, size_t n, ft_action *out)
{
    int64_t missing = (int64_t)ft_master_missing(&bus->master);
    int64_t rest = missing * bus->wire.char_ns;
    bus->watching = n == 0 || !bus->watching || missing <= FT_FIFO_CHARS || rest < FT_WORTH_SLEEPING_NS;
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
        ft_count_for(bus, block->device, FT_N_OVERRUNS, (uint64_t)missed);
}

/* --- another shape, where an answer is owed ---------------------------------------------------------------------- */

enum way { PLAIN, VARIANT, BARRIER };

/* There is something to be driven out. An echo of a loop-back is not to be told from its answer where it is not known
 * whether the line echoes; and an answer of an earlier one proves nothing. */
static int may_use_barrier(const ft_bus *bus, const ft_block *block)
{
    const ft_device *device = &bus->plan->devices[block->device];
    return device->alive && device->mute < FT_MUTE_AFTER && bus->master.echo != FT_ECHO_UNKNOWN && !bus->master.echo_changed
        && ft_guard_is_behind(&bus->guard, block->unit) && !ft_guard_doubts(&bus->guard, block->unit, FT_DIAGNOSTICS);
}

/* How block i can be asked for at once; PLAIN also where it cannot. */
static enum way way_for(const ft_bus *bus, uint32_t i, ft_ask *ask)
{
    const ft_block *block = &bus->plan->blocks[i];
    int must_drain = bus->plan->devices[block->device].must_drain;
    ft_ask_plain(block, ask);
    if (!must_drain && !ft_guard_avoids(&bus->guard, ask->shape))
        return PLAIN;
    if (!must_drain && ft_ask_variant(bus->plan, i, bus->plan->turns[i].variants, &bus->guard, ask))
        return VARIANT;
    return may_use_barrier(bus, block) ? BARRIER : PLAIN;
}

/* When a block that is asked for as planned may be: at once if nothing is owed that it could be mistaken for. */
static int64_t plain_from(const ft_bus *bus, const ft_block *block)
{
    ft_shape shape = {block->unit, block->function, block->response_bytes};
    if (!bus->plan->devices[block->device].must_drain && !ft_guard_avoids(&bus->guard, shape))
        return 0;
    return ft_guard_until(&bus->guard, block->unit);
}

/* --- requests ------------------------------------------------------------------------------------------------------ */

static void make_barrier(ft_bus *bus, uint8_t unit)
{
    uint8_t pdu[5] = {FT_DIAGNOSTICS, 0, 0};
    uint8_t adu[FT_MAX_TCP];
    bus->nonce = (uint16_t)(bus->nonce * 25173u + 13849u); /* visits all 65536 numbers before one comes again */
    ft_put_u16(pdu + 3, bus->nonce);
    bus->ask = (ft_ask){.shape = {unit, FT_DIAGNOSTICS, FT_BARRIER_BYTES}, .request_bytes = FT_BARRIER_BYTES};
    ft_frame(FT_RTU, 0, unit, pdu, sizeof pdu, adu);
    memcpy(bus->ask.request, adu, FT_BARRIER_BYTES);
}

/* The unit owes nothing, or its time is over: ask as planned. */
static void make_plain(ft_bus *bus, const ft_block *block)
{
    ft_device *device = &bus->plan->devices[block->device];
    ft_ask_plain(block, &bus->ask);
    ft_forgive(bus, bus->ask.shape, device);
}

static void make_request(ft_bus *bus, uint32_t i)
{
    const ft_block *block = &bus->plan->blocks[i];
    enum way way = way_for(bus, i, &bus->ask);
    bus->is_barrier = way == BARRIER;
    if (way == BARRIER)
        make_barrier(bus, block->unit);
    else if (way == VARIANT)
        bus->plan->turns[i].variants++;
    else
        make_plain(bus, block);
}

static void begin(ft_bus *bus, uint32_t i, int64_t now)
{
    const ft_block *block = &bus->plan->blocks[i];
    const ft_device *device = &bus->plan->devices[block->device];
    bus->timeout_ns = ft_patience_timeout(&device->patience, &bus->pieces, device->silent, block->timeout_ns);
    bus->current = i;
    bus->last_device = block->device;
    ft_take_line(bus, bus->ask.request, now);
    ft_count_for(bus, block->device, FT_N_BARRIERS, bus->is_barrier);
    ft_count_for(bus, block->device, FT_N_PROBES, device->backoff_ns > 0);
}

static int64_t send(ft_bus *bus, uint32_t i, int64_t now, ft_action *out)
{
    const ft_block *block = &bus->plan->blocks[i];
    ft_turn *turn = &bus->plan->turns[i];

    make_request(bus, i);
    begin(bus, i, now);
    bus->errands.in_row = 0;
    if (!bus->is_barrier) {
        ft_histogram_add(&bus->lateness, now - turn->due_ns);
        count_missed(bus, block, turn, now);
    }
    bus->predicted = !bus->is_barrier && turn->good > 0 && ft_rhythm_is_steady(&turn->rhythm);
    bus->watching = !bus->predicted;
    /* Where an answer is expected to be whole, nobody looks before that whether it has begun, nor whether it is an exception:
     * that is for blocks whose last poll went wrong. */
    bus->wake_ns = bus->predicted ? now + turn->rhythm.expected_ns : ft_master_deadline(&bus->master);
    *out = (ft_action){.what = FT_SEND, .watch = bus->watching, .bytes = bus->ask.request, .n = bus->ask.request_bytes,
                       .slack_ns = bus->predicted ? ft_rhythm_tolerance(&turn->rhythm) : 0,
                       .send_ns = bus->predicted ? bus->wake_ns + bus->wire.quiet_ns : FT_NEVER};
    return bus->wake_ns;
}

/* --- plans ---------------------------------------------------------------------------------------------------------- */

static void retire(ft_bus *bus, ft_plan *plan)
{
    if (!plan)
        return;
    plan->next = bus->retired;
    bus->retired = plan;
}

/* No transaction is under way: the plan that waits for that takes over. */
static void change_plan(ft_bus *bus, int64_t now)
{
    if (!bus->coming)
        return;
    ft_plan_inherit(bus->coming, bus->plan, now);
    retire(bus, bus->plan);
    bus->plan = bus->coming;
    bus->coming = NULL;
    atomic_store_explicit(&bus->shown_plan, bus->plan, memory_order_release);
    const ft_block *block = ft_plan_block_of(bus->plan, bus->ask.shape.unit);
    bus->last_device = block ? block->device : FT_NO_BLOCK;
}

void ft_bus_adopt(ft_bus *bus, ft_plan *plan, int64_t now)
{
    retire(bus, bus->coming);
    bus->coming = plan;
    if (bus->current != FT_NO_BLOCK)
        return;
    change_plan(bus, now);
    bus->wake_ns = now;
}

ft_plan *ft_bus_take_retired(ft_bus *bus)
{
    ft_plan *retired = bus->retired;
    bus->retired = NULL;
    return retired;
}

/* --- between transactions ---------------------------------------------------------------------------------------- */

/* Bytes that nobody asked for: the line is not quiet. */
static void stray(ft_bus *bus, int64_t now, const uint8_t *bytes, size_t n)
{
    ft_hear(bus, now, bytes, n);
    (void)ft_master_feed(&bus->master, now, bytes, n); /* it counts them */
    ft_count_noise(bus);
    if (!bus->settling)
        ft_settle(bus, now, now);
    if (now < bus->babble_ns)
        bus->free_ns = now + bus->wire.quiet_ns;
}

/* When block i may be sent, the line apart. */
static int64_t ready_at(const ft_bus *bus, uint32_t i)
{
    const ft_block *block = &bus->plan->blocks[i];
    const ft_turn *turn = &bus->plan->turns[i];
    const ft_device *device = &bus->plan->devices[block->device];
    int64_t at = ft_most(turn->due_ns, ft_most(turn->not_before_ns, device->not_before_ns));
    if (device->backoff_ns > 0 && i != device->probe)
        return FT_NEVER;
    at = ft_most(at, ft_silence_ready(&bus->silence, device, block->timeout_ns));
    if (ft_guard_owes(&bus->guard, block->unit)) {
        ft_ask ask;
        if (way_for(bus, i, &ask) == PLAIN)
            at = ft_most(at, plain_from(bus, block));
    }
    return at;
}

/* The most urgent block that is ready at `at`, or FT_NO_BLOCK and when the first one will be. */
static uint32_t choose(const ft_bus *bus, int64_t at, int64_t *first_ready)
{
    const ft_plan *plan = bus->plan;
    uint32_t chosen = FT_NO_BLOCK;
    int64_t earliest = FT_NEVER;
    *first_ready = FT_NEVER;
    for (uint32_t i = 0; i < plan->block_count; i++) {
        int64_t ready = ready_at(bus, i);
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
    if (!bus->attached || !bus->plan) {
        ft_detour_cancel(bus, now);
        return FT_NEVER;
    }
    int64_t at = ft_most(now, bus->free_ns);
    ft_guard_tidy(&bus->guard, now);
    uint32_t i = choose(bus, at, &bus->wake_ns);
    ft_errand *errand = ft_detour_choose(bus, now, at, i != FT_NO_BLOCK, &bus->wake_ns);
    if (errand || i != FT_NO_BLOCK) {
        /* Who is next is settled before how long it takes: else a device that needs a longer silence would never be. */
        at = ft_most(at, ft_silent_until(bus, errand ? ft_detour_unit(errand) : bus->plan->blocks[i].unit));
        if (at == now && looked)
            return errand ? ft_detour_begin(bus, errand, now, out) : send(bus, i, now, out);
        bus->wake_ns = at;
    }
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
        int overslept = n && now - FT_OVERSLEPT_NS > ft_most(ft_master_deadline(&bus->master), bus->wake_ns);
        if (!conclude(bus, now, bytes, overslept ? 0 : n))
            return await_rest(bus, now, n, out);
        if (overslept)
            stray(bus, now, bytes, n);
        change_plan(bus, now);
    } else if (n) {
        stray(bus, now, bytes, n);
    }
    return next_poll(bus, now, bytes != NULL, out);
}

/* --- life -------------------------------------------------------------------------------------------------------- */

/* An answer's CR tells all, the LF behind it is still to come. */
static ft_wire wire_in_bytes(const ft_wire *wire)
{
    ft_wire in_bytes = *wire;
    if (wire->framing == FT_ASCII) {
        in_bytes.char_ns = FT_ASCII_DIGITS * wire->char_ns;
        in_bytes.quiet_ns = wire->quiet_ns + wire->char_ns;
    }
    return in_bytes;
}

int ft_bus_init(ft_bus *bus, const ft_wire *wire, uint32_t ring_bits)
{
    memset(bus, 0, sizeof *bus);
    bus->wire = wire_in_bytes(wire);
    bus->pause_most_ns = wire->framing == FT_ASCII ? FT_ASCII_PAUSE_NS : FT_CHUNK_NS;
    bus->current = FT_NO_BLOCK;
    bus->wake_ns = FT_NEVER;
    ft_master_init(&bus->master, FT_RTU, bus->wire.char_ns);
    return ft_ring_init(&bus->ring, ring_bits);
}

void ft_bus_free(ft_bus *bus)
{
    ft_plan_free(bus->plan);
    ft_plan_free(bus->coming);
    ft_plan_free(bus->retired);
    ft_ring_free(&bus->ring);
}

void ft_bus_translated(ft_bus *bus, ft_ascii *ascii)
{
    bus->master.ascii = ascii;
    bus->guard.ascii = ascii;
}

void ft_bus_attach(ft_bus *bus, int64_t now)
{
    ft_master_reset(&bus->master);
    bus->counted = bus->master.counts;
    bus->pieces = (ft_pieces){0}; /* it may be another adapter */
    bus->attached = 1;
    bus->wake_ns = now;
    ft_settle(bus, now + bus->wire.quiet_ns, now);
    if (bus->plan)
        ft_catch_up(bus->plan, FT_NO_BLOCK, now);
}

void ft_bus_finish(ft_bus *bus, int64_t now)
{
    bus->attached = 0;
    ft_bus_nudge(bus, now);
}

void ft_bus_abandon(ft_bus *bus)
{
    ft_count_for(bus, bus->last_device, FT_N_TIMEOUTS, (uint64_t)ft_bus_is_asking(bus));
}

void ft_bus_detach(ft_bus *bus, int64_t now)
{
    ft_bus_abandon(bus);
    if (bus->current != FT_NO_BLOCK)
        ft_owe(bus, now);
    bus->attached = 0;
    bus->wake_ns = FT_NEVER;
    bus->current = FT_NO_BLOCK;
    change_plan(bus, now);
    ft_detour_cancel(bus, now);
    ft_fail_tags(bus, FT_NO_BLOCK, FT_NO_BLOCK, now);
}

void ft_bus_nudge(ft_bus *bus, int64_t now)
{
    if (bus->current == FT_NO_BLOCK)
        bus->wake_ns = now;
}
