/* Any bytes in, as what happens to a bus or a link: time, bytes on the line, ports that come and go, plans, errands. Then the
 * devices behave, and all must be well again. With libFuzzer (`make fuzz`), or by itself:
 *
 *   fuzz_core SEED RUNS         so many random inputs
 *
 * A bus may be an ASCII line, and what it hears may come in datagrams, of which some are copies.
 *
 * Wrong is what a sanitizer finds; a step that asks to be repeated for ever; a block that is not read again although its
 * device answers; an errand that has no outcome, or two; a good value after the end that is not what the register holds;
 * an answer in ASCII that nobody has said in one piece, with the LRC that fits, since it was asked for. */
#define _GNU_SOURCE /* memmem, memrchr */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/ascii.h"
#include "core/bus.h"
#include "core/link.h"
#include "core/linkplan.h"

#define MS INT64_C(1000000)
#define S (1000 * MS)
#define YEARS (INT64_C(100) * 365 * 86400 * S)
#define CHAR_NS 86805
#define QUIET_NS 1750000
#define RING_BITS 10
#define DEVICES 3
#define MOST_BLOCKS 6
#define MOST_STEPS 64 /* that one happening may take */
#define WELL_AGAIN (200 * S) /* a suspect is asked within 72 s, a slow block a minute after that */
#define MOST_ANSWER FT_MAX_ASCII /* the longest of all framings */
#define ANSWER_TIME (5 * MS)
#define COPY_LATE (100 * MS) /* well within the 250 ms for which copies are feared */
#define SPOKEN_BYTES (1 << 19) /* more than an input can say after one request: an answer for every two of its bytes */

typedef struct happenings {
    const uint8_t *at;
    size_t left;
} happenings;

typedef struct world {
    enum framing_of { BUS, LINK } kind;
    ft_bus bus;
    ft_link link;
    int64_t now;
    int64_t wake;
    int attached;
    int well;                 /* the devices behave, and what was asked before is over */
    uint8_t asked[16 * FT_MAX_REQUEST + FT_MAX_TCP];
    size_t asked_bytes;       /* of the last request, or the last ones of a link */
    uint8_t reply[16 * MOST_ANSWER];
    size_t reply_bytes;
    int is_ascii;
    ft_ascii edge;
    uint8_t spoken[SPOKEN_BYTES]; /* characters since the request, in capitals */
    size_t spoken_bytes;
    uint8_t copy[MOST_ANSWER]; /* of a datagram, yet to come */
    size_t copy_bytes;
    int64_t copy_due;
    uint32_t offered[FT_ERRANDS];
    uint32_t read[MOST_BLOCKS]; /* good samples since all is well */
} world;

static void wrong(const char *what, int64_t number)
{
    fprintf(stderr, "%s: %lld\n", what, (long long)number);
    abort();
}

static unsigned take(happenings *h)
{
    if (h->left == 0)
        return 0;
    h->left--;
    return *h->at++;
}

/* ---- plans ---- */

static uint16_t held(uint8_t unit, uint16_t address)
{
    return (uint16_t)(unit * 4099u + address * 257u + 1);
}

static ft_plan *make_plan(enum ft_framing framing, happenings *h)
{
    static const int64_t PERIODS[] = {1, 20 * MS, 50 * MS, 100 * MS, S, 60 * S};
    ft_block blocks[MOST_BLOCKS];
    ft_point points[MOST_BLOCKS];
    int64_t bad;
    uint32_t count = 1 + take(h) % MOST_BLOCKS;
    for (uint32_t i = 0; i < count; i++) {
        unsigned shape = take(h);
        unsigned times = take(h);
        uint16_t quantity = (uint16_t)(1 + shape / 4 % (shape & 2 ? 2 : 40)); /* many answers are of one shape */
        uint8_t function = shape & 1 ? FT_READ_HOLDING : FT_READ_INPUT;
        uint8_t pdu[5] = {function, 0, (uint8_t)(take(h) % 64), 0, (uint8_t)quantity};
        uint8_t adu[FT_MAX_TCP];
        blocks[i] = (ft_block){
            .period_ns = PERIODS[times % 6], .timeout_ns = (10 + times / 8 % 8 * 40) * MS, .phase_ns = take(h) * MS,
            .gap_ns = times & 64 ? 30 * MS : 0, .group = i, .device = i % DEVICES, .first_point = i, .point_count = 1,
            .response_bytes = (uint16_t)((framing == FT_TCP ? 9 : 5) + 2 * quantity), .unit = (uint8_t)(1 + i % DEVICES),
            .function = function, .address = ft_u16(pdu + 1), .quantity = quantity};
        blocks[i].request_bytes = (uint16_t)ft_frame(framing, 0, blocks[i].unit, pdu, sizeof pdu, adu);
        memcpy(blocks[i].request, adu, blocks[i].request_bytes);
        points[i] = (ft_point){.tag = i, .at = (uint16_t)(quantity - 1), .length = 1, .type = FT_U16};
    }
    ft_plan *plan = ft_plan_new(blocks, count, points, count, DEVICES, &bad);
    if (!plan)
        wrong("a plan was refused", bad);
    return plan;
}

static void adopt(world *w, happenings *h)
{
    ft_plan *plan = make_plan(w->kind == LINK ? FT_TCP : FT_RTU, h);
    if (w->kind == LINK) {
        ft_link_adopt(&w->link, plan, w->now);
        ft_plan_free(ft_link_take_retired(&w->link));
    } else {
        ft_bus_adopt(&w->bus, plan, w->now);
        ft_plan_free(ft_bus_take_retired(&w->bus));
    }
    w->wake = w->now;
}

/* ---- devices that behave ---- */

static size_t answer_of(enum ft_framing framing, const uint8_t *request, uint8_t *out)
{
    size_t head = framing == FT_TCP ? FT_MBAP_BYTES : 1;
    uint8_t unit = request[head - 1];
    uint8_t pdu[FT_MAX_PDU];
    memcpy(pdu, request + head, 5);
    if (pdu[0] != FT_READ_HOLDING && pdu[0] != FT_READ_INPUT)
        return ft_frame(framing, ft_u16(request), unit, pdu, 5, out);
    uint16_t address = ft_u16(pdu + 1);
    uint16_t quantity = ft_u16(pdu + 3);
    pdu[1] = (uint8_t)(2 * quantity);
    for (uint16_t i = 0; i < quantity; i++)
        ft_put_u16(pdu + 2 + 2 * i, held(unit, (uint16_t)(address + i)));
    return ft_frame(framing, ft_u16(request), unit, pdu, 2 + 2u * quantity, out);
}

static size_t say(const world *w, const uint8_t *adu, size_t n, uint8_t *out)
{
    if (w->is_ascii)
        return ft_ascii_encode(adu, n, out);
    memcpy(out, adu, n);
    return n;
}

static void answer_all(world *w)
{
    enum ft_framing framing = w->kind == LINK ? FT_TCP : FT_RTU;
    size_t one = framing == FT_TCP ? 12 : w->asked_bytes;
    uint8_t adu[FT_MAX_TCP];
    w->reply_bytes = 0;
    for (size_t at = 0; one >= 8 && at + one <= w->asked_bytes; at += one)
        w->reply_bytes += say(w, adu, answer_of(framing, w->asked + at, adu), w->reply + w->reply_bytes);
}

/* ---- what an ASCII line has said ---- */

static void note_spoken(world *w, const uint8_t *characters, size_t n)
{
    if (n > SPOKEN_BYTES - w->spoken_bytes)
        wrong("too much is said to be remembered", (int64_t)n);
    for (size_t i = 0; i < n; i++)
        w->spoken[w->spoken_bytes++] = (uint8_t)toupper(characters[i]);
}

/* A request goes out: of what was said, only a frame that has begun and not ended matters. */
static void forget_spoken(world *w)
{
    const uint8_t *begun = memrchr(w->spoken, ':', w->spoken_bytes);
    size_t rest = begun ? w->spoken_bytes - (size_t)(begun - w->spoken) : 0;
    if (rest > 0 && memchr(begun, '\r', rest))
        rest = 0;
    memmove(w->spoken, w->spoken + w->spoken_bytes - rest, rest);
    w->spoken_bytes = rest;
}

/* The bus has taken something for the answer. */
static void check_accepted(const world *w)
{
    uint8_t adu[FT_MAX_TCP];
    uint8_t characters[FT_MAX_ASCII];
    size_t n;
    const uint8_t *pdu = ft_master_pdu(&w->bus.master, &n);
    n = ft_ascii_encode(adu, ft_frame(FT_RTU, 0, w->asked[0], pdu, n, adu), characters) - 1; /* the LF may be missing */
    if (!memmem(w->spoken, w->spoken_bytes, characters, n))
        wrong("nobody said what was taken for an answer, function", pdu[0]);
}

/* ---- steps ---- */

static void sent(world *w, const uint8_t *bytes, size_t n)
{
    if (n > sizeof w->asked)
        wrong("a request is too long", (int64_t)n);
    memcpy(w->asked, bytes, n);
    w->asked_bytes = n;
    forget_spoken(w);
}

static int64_t hear(world *w, const uint8_t *bytes, size_t n, ft_action *action)
{
    uint8_t heard[sizeof w->reply + 1];
    int is_asked = w->bus.master.outcome == FT_PENDING;
    size_t given = n;
    if (w->is_ascii) {
        note_spoken(w, bytes, n);
        given = ft_ascii_decode(&w->edge, bytes, n, heard);
        bytes = heard;
    }
    int64_t wake = ft_bus_step(&w->bus, w->now, n ? bytes : NULL, given, action);
    if (w->is_ascii && is_asked && (w->bus.master.outcome == FT_ANSWERED || w->bus.master.outcome == FT_EXCEPTION))
        check_accepted(w);
    return wake;
}

static int64_t step_bus(world *w, const uint8_t *bytes, size_t n)
{
    ft_action action;
    int64_t wake = hear(w, bytes, n, &action);
    if (action.what == FT_LOOK) {
        wake = ft_bus_step(&w->bus, w->now, bytes, 0, &action);
        if (action.what == FT_LOOK)
            wrong("it looks for ever at", w->now);
    }
    if (action.what == FT_SEND)
        sent(w, action.bytes, action.n);
    return wake;
}

static int64_t step_link(world *w, const uint8_t *bytes, size_t n)
{
    ft_link_action action;
    int64_t wake = ft_link_step(&w->link, w->now, bytes, n, &action);
    if (action.is_stalled) {
        ft_link_detach(&w->link, w->now);
        ft_link_attach(&w->link, w->now);
        return w->now + 1;
    }
    if (action.n)
        sent(w, action.bytes, action.n);
    return wake;
}

static ft_errands *errands_of(world *w)
{
    return w->kind == LINK ? &w->link.errands : &w->bus.errands;
}

static void collect(world *w)
{
    ft_errand done;
    for (uint32_t slot = 0; slot < FT_ERRANDS; slot++)
        if (ft_errand_take(errands_of(w), slot, &done) && w->offered[slot]-- != 1)
            wrong("nobody offered the errand", slot);
}

static const ft_plan *plan_of(const world *w)
{
    return w->kind == LINK ? w->link.plan : w->bus.plan;
}

static void drain(world *w)
{
    static ft_sample samples[1 << RING_BITS];
    size_t n = ft_ring_pop(w->kind == LINK ? &w->link.ring : &w->bus.ring, samples, 1 << RING_BITS);
    for (size_t i = 0; i < n; i++) {
        if (samples[i].quality != FT_Q_GOOD || !w->well)
            continue;
        const ft_block *block = &plan_of(w)->blocks[samples[i].tag];
        if (samples[i].value != held(block->unit, (uint16_t)(block->address + block->quantity - 1)))
            wrong("a wrong value of tag", samples[i].tag);
        w->read[samples[i].tag]++;
    }
}

static void step(world *w, const uint8_t *bytes, size_t n)
{
    static const uint8_t NONE[1];
    w->wake = w->kind == LINK ? step_link(w, bytes ? bytes : NONE, n) : step_bus(w, bytes ? bytes : NONE, n);
    if (w->wake <= w->now)
        wrong("it wants to be stepped again and again at", w->now);
    drain(w);
    collect(w);
}

static void pass_time(world *w, int64_t span)
{
    int64_t until = w->now + span;
    if (until > YEARS)
        return;
    for (int i = 0; i < MOST_STEPS && w->wake < until; i++) {
        w->now = w->wake > w->now ? w->wake : w->now;
        step(w, NULL, 0);
    }
    w->now = until;
}

/* ---- what happens ---- */

/* Noise; on an ASCII line most of it in the line's own characters, so that some of it is nearly a frame. */
static uint8_t noise(const world *w, unsigned byte)
{
    return w->is_ascii && byte < 0xE0 ? (uint8_t)"0123456789ABCDEF0123456789abcdef:::\r\r\r\n"[byte % 40] : (uint8_t)byte;
}

static void put_on_line(world *w, happenings *h, int is_answer)
{
    uint8_t raw[256];
    uint8_t *bytes = raw;
    size_t n = take(h);
    if (is_answer) {
        unsigned how = (unsigned)n;
        answer_all(w);
        bytes = w->reply;
        n = how & 1 ? w->reply_bytes : w->reply_bytes / 2;
        if (how & 2 && n > 0)
            bytes[take(h) % n] ^= (uint8_t)take(h);
    } else {
        for (size_t i = 0; i < n; i++)
            raw[i] = noise(w, take(h));
    }
    if (n)
        step(w, bytes, n);
}

static void plug(world *w)
{
    if (w->kind == LINK)
        w->attached ? ft_link_detach(&w->link, w->now) : ft_link_attach(&w->link, w->now);
    else
        w->attached ? ft_bus_detach(&w->bus, w->now) : ft_bus_attach(&w->bus, w->now);
    w->attached = !w->attached;
    w->wake = w->now;
}

static void offer(world *w, happenings *h)
{
    static const uint8_t FUNCTIONS[] = {FT_READ_HOLDING, FT_WRITE_REGISTER, FT_DIAGNOSTICS, FT_READ_DEVICE};
    uint8_t pdu[5] = {FUNCTIONS[take(h) % 4], 0, 0, 0, 1};
    uint8_t adu[FT_MAX_TCP];
    size_t n = ft_frame(w->kind == LINK ? FT_TCP : FT_RTU, 0, (uint8_t)(take(h) % 5), pdu, sizeof pdu, adu);
    int slot = ft_errand_offer(errands_of(w), adu, n, take(h) % 2 ? n : 0, (1 + take(h)) * MS, w->now + take(h) * 50 * MS);
    if (slot >= 0 && ++w->offered[slot] != 1)
        wrong("a slot was given away twice", slot);
    ft_bus_nudge(&w->bus, w->now);
    w->wake = w->now;
}

static void happen(world *w, happenings *h)
{
    unsigned what = take(h);
    switch (what % 8) {
    case 0:
    case 1:
        put_on_line(w, h, 0);
        break;
    case 2:
    case 3:
        put_on_line(w, h, 1);
        break;
    case 4:
        pass_time(w, INT64_C(1) << what / 8);
        break;
    case 5:
        pass_time(w, (INT64_C(1) << (24 + what / 8)) + take(h));
        break;
    case 6:
        what & 8 ? adopt(w, h) : offer(w, h);
        break;
    default:
        what & 8 ? plug(w) : pass_time(w, (1 + what / 8) * MS);
        break;
    }
}

/* An answer that came in a datagram comes again, unless another copy is on its way. */
static void copy_reply(world *w)
{
    if (!w->bus.guard.repeats || w->copy_bytes > 0)
        return;
    w->copy_bytes = w->reply_bytes;
    w->copy_due = w->now + COPY_LATE;
    memcpy(w->copy, w->reply, w->reply_bytes);
}

static void deliver_copy(world *w)
{
    size_t n = w->copy_bytes;
    w->now = ft_most(w->now, w->copy_due);
    w->copy_bytes = 0;
    step(w, w->copy, n);
}

/* What was asked is answered; else what comes next comes. */
static void go_on_well(world *w)
{
    answer_all(w);
    w->asked_bytes = 0;
    if (w->copy_bytes > 0 && w->copy_due <= (w->reply_bytes ? w->now + ANSWER_TIME : w->wake)) {
        deliver_copy(w);
    } else if (w->reply_bytes == 0) {
        w->now = ft_most(w->now, w->wake);
        step(w, NULL, 0);
    }
    if (w->reply_bytes == 0)
        return;
    w->now += ANSWER_TIME;
    copy_reply(w);
    step(w, w->reply, w->reply_bytes);
}

/* From now on every request is answered; nothing that has happened may matter for long. */
static void get_well(world *w)
{
    int64_t until = w->now + WELL_AGAIN;
    w->asked_bytes = 0;
    if (!w->attached)
        plug(w);
    while (w->now < until) {
        w->well = until - w->now < WELL_AGAIN - 5 * S;
        go_on_well(w);
    }
    for (uint32_t i = 0; i < plan_of(w)->block_count; i++)
        if (w->read[i] == 0)
            wrong("it is not read again, block", i);
    for (uint32_t slot = 0; slot < FT_ERRANDS; slot++)
        if (w->offered[slot])
            wrong("it has no outcome, errand", slot);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static world *w;
    happenings h = {data, size};
    if (!w && !(w = aligned_alloc(FT_CACHE_LINE, (sizeof *w + FT_CACHE_LINE - 1) / FT_CACHE_LINE * FT_CACHE_LINE)))
        abort();
    memset(w, 0, sizeof *w);
    unsigned how = take(&h);
    w->kind = how & 1 ? LINK : BUS;
    w->is_ascii = w->kind == BUS && how & 2;
    w->now = S;
    enum ft_framing framing = w->is_ascii ? FT_ASCII : FT_RTU;
    ft_bus_init(&w->bus, &(ft_wire){.framing = framing, .char_ns = CHAR_NS, .quiet_ns = QUIET_NS}, RING_BITS);
    ft_bus_translated(&w->bus, w->is_ascii ? &w->edge : NULL);
    w->bus.guard.repeats = w->kind == BUS && how & 4;
    ft_link_init(&w->link, 1 + how / 2 % 16, how & 32 ? 3 * MS : 0, RING_BITS);
    adopt(w, &h);
    plug(w);
    while (h.left > 0)
        happen(w, &h);
    if (how >= 240) /* it takes long */
        get_well(w);
    ft_bus_free(&w->bus);
    ft_link_free(&w->link);
    return 0;
}

#ifndef FT_LIBFUZZER
int main(int argc, char **argv)
{
    uint8_t input[4096];
    uint64_t random = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    long runs = argc > 2 ? atol(argv[2]) : 100;
    for (long run = 0; run < runs; run++) {
        size_t n = 0;
        size_t most = 1;
        for (; n < most; n++) {
            random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            input[n] = (uint8_t)(random >> 56);
            most = n ? most : 2 + (random >> 32) % (sizeof input - 2);
        }
        LLVMFuzzerTestOneInput(input, n);
    }
    return 0;
}
#endif
