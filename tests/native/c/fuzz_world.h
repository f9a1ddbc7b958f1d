/* A bus or a link and devices that behave, for fuzz_core.c: plans out of any bytes, what the devices hold and say, and what an
 * ASCII line has said since it was asked. */
#ifndef FUZZ_WORLD_H
#define FUZZ_WORLD_H

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
#define DEVICES 3
#define MOST_BLOCKS 6
#define MOST_ANSWER FT_MAX_ASCII /* the longest of all framings */
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

#endif
