/* One Modbus TCP link without I/O: plan, time and received bytes in; requests to send, the next wake-up and samples out.
 *
 * The twin of bus.h for connections that carry several transactions at once. The caller owns the socket and the clock.
 *
 *   order      as on a bus (schedule.h): earliest deadline first, periods on a grid, missed ones skipped and counted
 *   width      so many requests are under way at once, at most as many as were configured; one until the first answer of a
 *              connection has come; half as many after a request behind another one got no answer although its device
 *              lives, twice as many again after ever more answers; one for good after the device answered a unit's requests
 *              out of turn, or one that was never sent, or closed the connection on a second request before it had ever
 *              answered one
 *   devices    one that wants a gap, has not answered yet or not lately, is asked for one thing at a time; suspects as on a
 *              bus (silence.h)
 *   matching   by number, unit, function and size (flights.h); an answer is taken until the configured timeout is over, but
 *              a request keeps its place in the window only as long as its device usually takes (linkwait.h)
 *   errands    go ahead of polls, into the first place that is free, in turn with polls that are due (linkdetour.h)
 *   stalls     a connection on which nothing at all came in FT_STALL_AFTER rounds of timeouts is to be closed (the rounds
 *              are doubled until something comes); so is one on which an answer stopped in its middle, or a request waited
 *              in vain that was sent amid another frame, and one on which FT_BABBLE_BYTES came and no answer. A new
 *              connection is a reason to ask suspects at once. Datagrams have no connection that could stall.
 *
 * A transaction whose connection ended is one that timed out: every request counts as answered, refused or timed out. Those
 * that are under way when their plan is replaced end under that plan (linkplan.h).
 */
#ifndef FT_LINK_H
#define FT_LINK_H

#include "busplan.h"
#include "counts.h"
#include "errand.h"
#include "flights.h"
#include "ring.h"
#include "silence.h"

#define FT_WIDEN_AFTER 1000u
#define FT_WIDEN_MOST 1000000
#define FT_STALL_AFTER 3u
#define FT_STALL_MOST 48u
#define FT_BABBLE_BYTES 65536u /* two hundred of the longest answers: no device that is worth listening to */

typedef struct ft_link {
    ft_flights flights;
    ft_plan *plan;
    _Atomic(ft_plan *) shown_plan; /* the same for other threads */
    ft_plan *leaving;        /* replaced, linked; of some, requests are under way */
    ft_device nobody;        /* whose requests are under way, though the plan does not have it */
    ft_ring ring;
    ft_silence silence;
    ft_counts counts;
    ft_histogram lateness;   /* of polls, from when they were due */
    uint64_t noise_before;   /* of flights.counts, as far as they are counted here */
    uint64_t noise_answered; /* the same at the last answer */
    int64_t quiet_ns;        /* silence that is wanted between an answer and the next request */
    int64_t free_ns;         /* ... and when it is over */
    int64_t heard_ns;        /* last time bytes arrived */
    int64_t counted_ns;      /* until then the time that the link was taken is counted */
    int64_t round_ns;        /* when the last round of timeouts was counted */
    uint32_t rounds;         /* in a row in which nothing came */
    uint32_t stall_after;
    uint32_t last_device;    /* whose bytes stray ones most likely are */
    uint32_t overdue;        /* requests under way */
    uint32_t wanted;         /* the configured width */
    uint32_t most;           /* what this connection may have */
    uint32_t width;          /* what it has */
    uint32_t proven;         /* on this connection, one that made it so many was answered */
    uint32_t good;           /* answers since it was narrowed */
    uint32_t widen_after;    /* so many of them */
    int64_t narrowed_ns;     /* 0: never */
    _Atomic uint32_t shown_width; /* the same for other threads */
    uint8_t attached;
    uint8_t is_datagrams;    /* each holds whole frames; set by the owner of the connection */
    uint8_t is_ending;       /* nothing more is asked */
    uint8_t is_narrow;       /* the device has shown that it takes one at a time */
    ft_errands errands;
    uint8_t out[FT_FLIGHTS_MOST * FT_MAX_REQUEST + FT_ERRANDS * FT_MAX_TCP];
} ft_link;

typedef struct ft_link_action {
    const uint8_t *bytes; /* to be written at once; n may be 0 */
    size_t n;
    int is_stalled;       /* close the connection instead, then detach */
} ft_link_action;

/* 0, or -1: no memory for a ring of 2^ring_bits samples. width: 1 .. FT_FLIGHTS_MOST. quiet_ns: where there is a silence
 * to be kept between an answer and the next request, the width is 1. No plan and no connection yet. */
int ft_link_init(ft_link *link, uint32_t width, int64_t quiet_ns, uint32_t ring_bits);
void ft_link_free(ft_link *link);

/* There is a new connection. What became due while there was none is polled once, at once. */
void ft_link_attach(ft_link *link, int64_t now);
/* The connection is gone (or was never there): every tag of the link fails, and every errand ends. */
void ft_link_detach(ft_link *link, int64_t now);

/* Nothing more is asked from now on: what is under way may end. */
void ft_link_finish(ft_link *link, int64_t now);
/* It has not: its answers did not come in time. */
void ft_link_abandon(ft_link *link);

/* The bytes that came until `now`, if any. Returns when it wants to be called again at the latest, FT_NEVER if only bytes
 * or attach matter. */
int64_t ft_link_step(ft_link *link, int64_t now, const uint8_t *bytes, size_t n, ft_link_action *out);

/* The device that the block reads; of no block, none. */
static inline uint32_t ft_link_device(const ft_link *link, uint32_t block)
{
    return block == FT_NO_BLOCK ? FT_NO_BLOCK : link->plan->blocks[block].device;
}

static inline ft_device *ft_link_device_of(ft_link *link, const ft_flight *flight)
{
    return flight->device == FT_NO_BLOCK ? &link->nobody : &link->plan->devices[flight->device];
}

#endif
