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
#include "fuzz_world.h"

#define YEARS (INT64_C(100) * 365 * 86400 * S)
#define CHAR_NS 86805
#define QUIET_NS 1750000
#define RING_BITS 10
#define MOST_STEPS 64 /* that one happening may take */
#define WELL_AGAIN (200 * S) /* a suspect is asked within 72 s, a slow block a minute after that */
#define ANSWER_TIME (5 * MS)
#define COPY_LATE (100 * MS) /* well within the 250 ms for which copies are feared */

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
