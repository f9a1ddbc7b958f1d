/* A bus and the devices it polls, both as compiled for the agent, in virtual time: faults in, wrong values out.
 *
 *   fault_matrix KEY=NUMBER...
 *
 * Every register holds a number made of its unit, table, address and the time (core/signal.h), counted in ticks of 0.1 ms
 * here. A sample is right if its tag's register held it between the request of the transaction that gave it and its end:
 * also an old answer of the same register is a wrong value. Counted apart is what no device has sent: a frame that noise has
 * damaged so that its CRC fits, as one in 65536 does. Prints one JSON document. */
#define _GNU_SOURCE /* memmem */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/ascii.h"
#include "core/bus.h"
#include "core/signal.h"
#include "core/simbus.h"

#define MS INT64_C(1000000)
#define WALL_PER_NS 1000 /* the devices' ticks of 100 ms become 0.1 ms */
#define ADAPTER_BYTES 8192
#define MAX_UNITS 31
#define MAX_BLOCKS (8 * MAX_UNITS)
#define MAX_POINTS (64 * MAX_UNITS)
#define RING_BITS 12

static double number(int argc, char **argv, const char *key, double fallback)
{
    size_t n = strlen(key);
    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], key, n) == 0 && argv[i][n] == '=')
            return atof(argv[i] + n + 1);
    return fallback;
}

/* ---- what is polled: pairs of equal shape at different addresses, on every unit ---- */

typedef struct kind {
    uint8_t function;
    uint16_t address;
    uint16_t quantity;
} kind;

static const kind KINDS[] = {
    {3, 0, 10}, {3, 500, 10}, {3, 700, 1}, {3, 900, 1}, {1, 0, 16}, {1, 64, 16}, {2, 0, 3}, {2, 40, 3},
};
static const kind PLAIN[] = {{3, 0, 10}, {3, 500, 10}};
static const kind SINGLE[] = {{3, 0, 1}, {3, 500, 1}};
static const kind *const SETS[] = {KINDS, PLAIN, SINGLE};
static const size_t SET_SIZES[] = {8, 2, 2};

typedef struct place {
    uint8_t unit;
    uint8_t table;
    uint16_t address;
} place;

static ft_block blocks[MAX_BLOCKS];
static ft_point points[MAX_POINTS];
static place places[MAX_POINTS];

static ft_plan *make_plan(int argc, char **argv)
{
    static const uint8_t TABLES[] = {0, FT_COIL, FT_DISCRETE, FT_HOLDING, FT_INPUT};
    uint32_t units = (uint32_t)number(argc, argv, "units", 2);
    size_t set = (size_t)number(argc, argv, "set", 0);
    uint32_t block_count = 0;
    uint32_t point_count = 0;
    int64_t bad;
    for (uint32_t unit = 1; unit <= units; unit++) {
        for (size_t k = 0; k < SET_SIZES[set]; k++, block_count++) {
            const kind *of = &SETS[set][k];
            int bits = of->function <= FT_READ_DISCRETES;
            uint8_t pdu[5] = {of->function};
            uint8_t adu[FT_MAX_TCP];
            ft_block *block = &blocks[block_count];
            ft_put_u16(pdu + 1, of->address);
            ft_put_u16(pdu + 3, of->quantity);
            *block = (ft_block){
                .period_ns = (int64_t)(number(argc, argv, "period_ms", 0) * MS) + 1,
                .timeout_ns = (int64_t)(number(argc, argv, "timeout_ms", 100) * MS),
                .device = unit - 1, .first_point = point_count, .point_count = of->quantity,
                .request_bytes = (uint16_t)ft_frame(FT_RTU, 0, (uint8_t)unit, pdu, sizeof pdu, adu),
                .response_bytes = (uint16_t)(5 + (bits ? (of->quantity + 7) / 8 : 2 * of->quantity)),
                .unit = (uint8_t)unit, .function = of->function, .address = of->address, .quantity = of->quantity};
            memcpy(block->request, adu, block->request_bytes);
            for (uint16_t at = 0; at < of->quantity; at++, point_count++) {
                points[point_count] = (ft_point){.tag = point_count, .at = at, .length = 1, .type = bits ? FT_BOOL : FT_U16};
                places[point_count] = (place){(uint8_t)unit, TABLES[of->function], (uint16_t)(of->address + at)};
            }
        }
    }
    return ft_plan_new(blocks, block_count, points, point_count, units, &bad);
}

static ft_faults make_faults(int argc, char **argv)
{
    static const char *const NAMES[FT_FAULT_CHANCES] = {
        [FT_FAULT_DROP] = "drop", [FT_FAULT_CRC] = "crc", [FT_FAULT_TRUNCATE] = "truncate", [FT_FAULT_LATE] = "late",
        [FT_FAULT_GLITCH] = "glitch", [FT_FAULT_ECHO] = "echo", [FT_FAULT_WRONG_UNIT] = "wrong_unit",
        [FT_FAULT_EXCEPTION] = "exception", [FT_FAULT_BABBLE] = "babble", [FT_FAULT_DEAD] = "none"};
    ft_faults faults = {.late_ns = (int64_t)(number(argc, argv, "late_ms", 150) * MS),
                        .exception_code = (uint8_t)number(argc, argv, "code", 4),
                        .deaf_us = (uint32_t)number(argc, argv, "deaf_us", 0)};
    for (int i = 0; i < FT_FAULT_CHANCES; i++)
        faults.chance[i] = (uint64_t)(number(argc, argv, NAMES[i], 0) * (double)FT_ALWAYS);
    for (int unit = (int)number(argc, argv, "dead_from", FT_UNITS); unit < FT_UNITS; unit++)
        faults.dead[unit / 8] |= (uint8_t)(1 << unit % 8);
    return faults;
}

/* ---- the line: an adapter that hands bytes over in chunks ---- */

typedef struct line {
    int64_t now;
    int chunk;           /* bytes; 0: all that is there; -1: any number */
    int64_t latency_ns;  /* a chunk that does not fill up is handed over after so long */
    int64_t flush_ns;
    size_t held, ready;  /* bytes[0 .. ready) can be read, bytes[ready .. held) are in the adapter */
    double echo_cut, echo_bad;
    uint64_t random;
    uint8_t bytes[ADAPTER_BYTES];
} line;

static int is_ascii;
static ft_ascii edge;

static uint32_t draw(line *l)
{
    return (uint32_t)(ft_mix(l->random++) >> 32);
}

static int strikes(line *l, double chance)
{
    return draw(l) < chance * (double)UINT32_MAX;
}

static void hand_over(line *l)
{
    for (;;) {
        size_t size = l->chunk < 0 ? 1 + draw(l) % 40 : (size_t)l->chunk;
        if (l->held - l->ready < size || l->held == l->ready)
            break;
        l->ready = size ? l->ready + size : l->held;
    }
    l->flush_ns = l->held > l->ready ? l->now + l->latency_ns : FT_NEVER;
}

static void arrive(line *l, const uint8_t *bytes, size_t n)
{
    if (n > ADAPTER_BYTES - l->held)
        n = ADAPTER_BYTES - l->held;
    memcpy(l->bytes + l->held, bytes, n);
    l->held += n;
    hand_over(l);
}

/* What the bus hears of the next n bytes; `out` holds one more than ADAPTER_BYTES. */
static size_t take(line *l, uint8_t *out, size_t n)
{
    size_t heard = n;
    if (is_ascii)
        heard = ft_ascii_decode(&edge, l->bytes, n, out);
    else
        memcpy(out, l->bytes, n);
    memmove(l->bytes, l->bytes + n, l->held - n);
    l->held -= n;
    l->ready -= n;
    return heard;
}

/* What a bus that waits for bytes reads: it is woken by every chunk. */
static size_t take_chunk(line *l, uint8_t *out)
{
    size_t chunk = l->chunk < 0 ? 1 + draw(l) % 40 : (size_t)l->chunk;
    return take(l, out, chunk == 0 || chunk > l->ready ? l->ready : chunk);
}

/* A line that echoes, in part or with a collision in it. */
static void echo(line *l, const uint8_t *request, size_t n)
{
    uint8_t copy[FT_MAX_ASCII];
    memcpy(copy, request, n);
    if (l->echo_cut == 0 && l->echo_bad == 0)
        return;
    if (strikes(l, l->echo_bad))
        copy[draw(l) % n] ^= 0x24;
    arrive(l, copy, strikes(l, l->echo_cut) ? n - 1 : n);
}

/* ---- the network: datagrams come after any time, in any order, some twice ---- */

#define DATAGRAMS 64

typedef struct datagram {
    int64_t due;
    size_t n; /* 0: none */
    int is_request;
    uint8_t bytes[FT_SIM_OUT_BYTES];
} datagram;

static datagram network[DATAGRAMS];
static int64_t network_ns; /* the longest way; 0: there is no network */
static double copied, lost;

static void carry_once(line *l, int is_request, const uint8_t *bytes, size_t n)
{
    for (int i = 0; i < DATAGRAMS; i++) {
        datagram *free_one = &network[i];
        if (free_one->n > 0)
            continue;
        *free_one = (datagram){.due = l->now + draw(l) % network_ns, .n = n, .is_request = is_request};
        memcpy(free_one->bytes, bytes, n);
        return;
    }
}

static void carry(line *l, int is_request, const uint8_t *bytes, size_t n)
{
    if (strikes(l, lost))
        return;
    carry_once(l, is_request, bytes, n);
    while (strikes(l, copied))
        carry_once(l, is_request, bytes, n);
}

static int64_t network_due(void)
{
    int64_t due = FT_NEVER;
    for (int i = 0; i < DATAGRAMS; i++)
        due = ft_least(due, network[i].n > 0 ? network[i].due : FT_NEVER);
    return due;
}

/* ---- right or wrong ---- */

static int reorders; /* devices that answer what they are asked later before what they are late with */
static ft_bus bus;
static ft_simbus devices;
static uint64_t good, wrong, by_chance;
static int64_t sent_ns;

/* What the devices have sent lately, or are about to send: noise may damage an answer in such a way that its CRC fits. */
#define SENT_FRAMES 64
static ft_pending frames[SENT_FRAMES];
static uint32_t frame_count;

static void remember_frames(void)
{
    for (uint32_t i = 0; i < devices.waiting; i++)
        frames[frame_count++ % SENT_FRAMES] = devices.pending[i];
}

static int was_sent(const uint8_t *pdu, size_t n)
{
    uint8_t digits[2 * FT_MAX_PDU];
    for (size_t i = 0; is_ascii && i < n; i++) {
        digits[2 * i] = (uint8_t)"0123456789ABCDEF"[pdu[i] >> 4];
        digits[2 * i + 1] = (uint8_t)"0123456789ABCDEF"[pdu[i] & 15];
    }
    pdu = is_ascii ? digits : pdu;
    n = is_ascii ? 2 * n : n;
    for (int i = 0; i < SENT_FRAMES; i++)
        if (memmem(frames[i].adu, frames[i].bytes, pdu, n))
            return 1;
    return 0;
}

static int is_right(const ft_sample *sample, int64_t now)
{
    const place *at = &places[sample->tag];
    uint64_t identity = ft_signal_identity(at->unit, at->table, at->address);
    int64_t last = now * WALL_PER_NS / FT_TICK_NS;
    for (int64_t tick = sent_ns * WALL_PER_NS / FT_TICK_NS; tick <= last; tick++)
        if (sample->value == (sample->type == FT_BOOL ? ft_signal_value(FT_BOOL, identity, tick)
                                                      : (uint16_t)(identity + (uint64_t)tick)))
            return 1;
    return 0;
}

static void judge(int64_t now)
{
    ft_sample samples[256];
    size_t n;
    while ((n = ft_ring_pop(&bus.ring, samples, 256)) > 0) {
        for (size_t i = 0; i < n; i++) {
            if (samples[i].quality != FT_Q_GOOD)
                continue;
            size_t pdu_bytes;
            const uint8_t *pdu = ft_master_pdu(&bus.master, &pdu_bytes);
            int right = is_right(&samples[i], now);
            good++;
            int is_chance = !is_ascii && !was_sent(pdu, pdu_bytes); /* in ASCII all damage here is one that the LRC sees */
            wrong += !right && !is_chance;
            by_chance += !right && is_chance;
        }
    }
}

/* ---- time ---- */

static void ask_devices(line *l, const uint8_t *bytes, size_t n)
{
    ft_simbus_feed(&devices, 0, l->now, bytes, n);
    while (ft_simbus_next(&devices, 0, l->now, l->now * WALL_PER_NS) > 0) {
    }
    remember_frames();
}

static void deliver(line *l)
{
    for (int i = 0; i < DATAGRAMS; i++) {
        datagram *one = &network[i];
        if (one->n == 0 || one->due > l->now)
            continue;
        if (one->is_request)
            ask_devices(l, one->bytes, one->n);
        else
            arrive(l, one->bytes, one->n);
        one->n = 0;
    }
}

static void transmit(line *l, const ft_action *action)
{
    uint8_t characters[FT_MAX_ASCII];
    const uint8_t *bytes = is_ascii ? characters : action->bytes;
    size_t n = is_ascii ? ft_ascii_encode(action->bytes, action->n, characters) : action->n;
    sent_ns = l->now;
    if (reorders)
        memset(devices.busy_until_ns, 0, sizeof devices.busy_until_ns);
    echo(l, bytes, n);
    if (network_ns > 0)
        carry(l, 1, bytes, n);
    else
        ask_devices(l, bytes, n);
}

static int64_t step(line *l, ft_action *action)
{
    uint8_t bytes[ADAPTER_BYTES + 1];
    int looks = action->watch && l->ready;
    size_t n = looks ? take_chunk(l, bytes) : 0;
    int64_t wake = ft_bus_step(&bus, l->now, looks ? bytes : NULL, n, action);
    judge(l->now);
    if (action->what == FT_LOOK) {
        n = take(l, bytes, l->ready);
        wake = ft_bus_step(&bus, l->now, bytes, n, action);
        judge(l->now);
    }
    if (action->what == FT_SEND)
        transmit(l, action);
    return wake;
}

static void run(line *l, uint64_t transactions, int64_t until)
{
    uint8_t out[FT_SIM_OUT_BYTES];
    ft_action action = {.what = FT_WAIT};
    int64_t wake = 0;
    while (atomic_load(&bus.counts.n[FT_N_TRANSACTIONS]) < transactions && l->now < until) {
        int64_t next = ft_least(ft_least(wake, network_due()), ft_least(ft_simbus_due(&devices), l->flush_ns));
        uint32_t stream = 0;
        size_t n;
        if (action.watch && l->ready)
            next = l->now;
        l->now = ft_most(l->now, next);
        if (l->flush_ns <= l->now) {
            l->ready = l->held;
            l->flush_ns = FT_NEVER;
        }
        deliver(l);
        while ((n = ft_simbus_release(&devices, l->now, &stream, out)) > 0) {
            if (network_ns > 0)
                carry(l, 0, out, n);
            else
                arrive(l, out, n);
        }
        if (wake <= l->now || (action.watch && l->ready))
            wake = step(l, &action);
    }
}

int main(int argc, char **argv)
{
    static line l;
    static const char *const COUNTERS[FT_N_COUNT] = {
        [FT_N_TRANSACTIONS] = "transactions", [FT_N_OK] = "ok", [FT_N_TIMEOUTS] = "timeouts",
        [FT_N_CRC_ERRORS] = "crc_errors", [FT_N_EXCEPTIONS] = "exceptions", [FT_N_STALE] = "stale_discarded",
        [FT_N_AMBIGUOUS] = "ambiguous", [FT_N_OVERRUNS] = "overruns", [FT_N_BUSY_NS] = "busy_ns",
        [FT_N_BARRIERS] = "barriers", [FT_N_PROBES] = "probes", [FT_N_NOISE] = "noise_bytes",
        [FT_N_COLLISIONS] = "collisions", [FT_N_BYTES_SENT] = "bytes_sent",
        [FT_N_BYTES_HEARD] = "bytes_heard"};
    reorders = (int)number(argc, argv, "reorders", 0);
    double baud = number(argc, argv, "baud", 115200);
    uint64_t seed = (uint64_t)number(argc, argv, "seed", 1);
    ft_faults faults = make_faults(argc, argv);
    uint8_t units[FT_UNITS / 8];
    memset(units, 0, sizeof units);
    for (int unit = 1; unit <= (int)number(argc, argv, "units", 2); unit++)
        units[unit / 8] |= (uint8_t)(1 << unit % 8);
    is_ascii = (int)number(argc, argv, "ascii", 0);
    enum ft_framing framing = is_ascii ? FT_ASCII : FT_RTU;
    ft_wire wire = {.framing = framing, .char_ns = (int64_t)(1e10 / baud),
                    .quiet_ns = baud > 19200 ? 1750000 : (int64_t)(3.5e10 / baud),
                    .switch_ns = (int64_t)(number(argc, argv, "switch_ms", 0) * MS)};
    if (number(argc, argv, "learned", 0) > 0)
        wire.least_ns = 2 * wire.char_ns;
    l.chunk = (int)number(argc, argv, "chunk", 0);
    l.latency_ns = (int64_t)(number(argc, argv, "latency_ms", 1) * MS);
    l.flush_ns = FT_NEVER;
    l.echo_cut = number(argc, argv, "echo_cut", 0);
    l.echo_bad = number(argc, argv, "echo_bad", 0);
    l.random = seed * 77;
    network_ns = (int64_t)(number(argc, argv, "network_ms", 0) * MS);
    copied = number(argc, argv, "copied", 0);
    lost = number(argc, argv, "lost", 0);
    ft_plan *plan = make_plan(argc, argv);
    if (!plan || ft_server_init(&devices.server, framing, units, NULL, 0, &faults, seed << 32) < 0
        || ft_bus_init(&bus, &wire, RING_BITS) < 0)
        return 2;
    ft_bus_translated(&bus, is_ascii ? &edge : NULL);
    ft_simbus_init(&devices, network_ns > 0 ? 0 : wire.char_ns, network_ns > 0 ? 0 : wire.quiet_ns); /* whole datagrams */
    bus.guard.repeats = network_ns > 0;
    ft_bus_adopt(&bus, plan, 0);
    ft_bus_attach(&bus, 0);
    run(&l, (uint64_t)number(argc, argv, "n", 100000), (int64_t)(number(argc, argv, "seconds", 1e9) * 1e9));
    printf("{\"seconds\": %.6f, \"good\": %" PRIu64 ", \"wrong\": %" PRIu64 ", \"by_chance\": %" PRIu64,
           (double)l.now / 1e9, good, wrong, by_chance);
    for (int i = 0; i < FT_N_COUNT; i++)
        printf(", \"%s\": %" PRIu64, COUNTERS[i], atomic_load(&bus.counts.n[i]));
    printf(", \"deaf\": %zu", atomic_load(&devices.server.faults_applied[FT_FAULT_DEAF]));
    printf(", \"gap_violations\": %zu}\n", atomic_load(&devices.counts[FT_COUNT_GAP_VIOLATIONS]));
    ft_bus_free(&bus);
    return 0;
}
