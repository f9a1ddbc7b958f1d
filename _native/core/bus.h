/* One bus without I/O: plan, time and received bytes in; requests to send, the next wake-up and samples out.
 *
 * The caller owns the port and the clock. It calls ft_bus_step() when the returned time has come, or when bytes
 * arrived, and does what the action says. Nothing here blocks, allocates or reads a clock, so that tests drive
 * hours of a bus in virtual time. Policy, in one place:
 *
 *   order      non-preemptive earliest deadline first; a poll's deadline is its due time plus its period, or plus
 *              FT_PATIENCE_NS where that is shorter
 *   schedule   due = start + phase + k * period; what was missed is skipped and counted, never queued
 *   gaps       t3.5 after the last byte of an answer; gap_ns after an answer of a device that wants more, switch_ns before a
 *              request to another device; less where the line may learn what devices accept (gap.h)
 *   looking    a request is only sent in a step that was told what waits on the line, so stale bytes never
 *              stand in front of the answer
 *   late       after a failure the device is asked for an answer of another shape, until the lost one has come or cannot
 *              come any more (guard.h): another block, the same block with some more or less (variant.h), or a barrier,
 *              a loop-back with a number nobody has used; where none of these goes, nothing is asked for a while
 *   patience   timeouts follow the device, below the configured one (patience.h)
 *   silence    a device that left FT_DEAD_AFTER polls unanswered is probed with growing back-off (silence.h)
 *   busy       a block that the device was too busy for is put off, with growing back-off, and no other one
 *   errands    single requests of others go ahead of all polls, some in a row at most (detour.h)
 *   prediction each block learns how long its answer takes; once steady, the line is looked at just then instead of
 *              at every piece; an answer that comes in one piece is best waited for as such
 */
#ifndef FT_BUS_H
#define FT_BUS_H

#include <stddef.h>
#include <stdint.h>

#include "busplan.h"
#include "counts.h"
#include "errand.h"
#include "guard.h"
#include "master.h"
#include "modbus.h"
#include "ns.h"
#include "ring.h"
#include "silence.h"
#include "variant.h"

/* The properties of a line that the bus must respect. Of an ASCII line the bus sends and hears what it says in RTU frames
 * (ascii.h): who owns the line translates, and ft_bus_init() reckons with the time that the characters take. */
typedef struct ft_wire {
    enum ft_framing framing; /* FT_RTU or FT_ASCII: requests with numbers have links (link.h) */
    int64_t char_ns;   /* one character on the wire; 0: no wire to speak of (a network) */
    int64_t quiet_ns;  /* t3.5 */
    int64_t switch_ns; /* silence before a request to another unit than the last one, where longer */
    int64_t least_ns;  /* silences may shrink so far if all devices go along; 0: not below t3.5 */
} ft_wire;

typedef struct ft_bus {
    ft_master master;
    ft_wire wire;          /* an ASCII line's in terms of RTU */
    int64_t pause_most_ns; /* the longest silence within an answer, on such a line */
    ft_plan *plan;
    _Atomic(ft_plan *) shown_plan; /* the same for other threads */
    ft_plan *coming;       /* takes over at the end of the transaction; NULL: none does */
    ft_plan *retired;      /* took over, ran and were replaced: the caller's again */
    ft_ring ring;
    ft_guard guard;
    ft_silence silence;
    ft_pieces pieces;
    ft_ask ask;            /* what the transaction asks for */
    int64_t sent_ns;       /* start of the transaction */
    int64_t timeout_ns;    /* of it */
    int64_t heard_ns;      /* last time bytes arrived in it */
    size_t late_bytes;     /* heard in it, but of answers to others */
    int64_t pause_ns;      /* the longest silence within its answer so far */
    int64_t silence_ns;    /* before it */
    int64_t ended_ns;      /* when the line fell silent after the one before */
    int64_t free_ns;       /* the line is ours from then on */
    int64_t babble_ns;     /* ... and however much it talks, from then on */
    int64_t wake_ns;       /* next look at the line within the transaction */
    uint32_t current;      /* block that waits for its answer, FT_ON_ERRAND, or FT_NO_BLOCK */
    uint32_t last_device;  /* whose answer stale bytes most likely are, or FT_NO_BLOCK */
    uint32_t looks;        /* times the line was looked at in the transaction */
    ft_master_counts before; /* the master's counters when it began */
    ft_master_counts counted; /* ... and as far as they are counted here */
    uint16_t nonce;        /* of the last barrier */
    uint8_t last_unit;     /* that was asked */
    uint8_t attached;      /* there is a port */
    uint8_t settling;      /* the line may still talk: wait until it is quiet */
    uint8_t predicted;     /* the transaction's first look was timed, not triggered by bytes */
    uint8_t watching;      /* bytes wake the caller */
    uint8_t is_barrier;    /* the transaction */
    uint8_t is_behind;     /* its unit owed other answers when it began */
    uint8_t is_doubted;    /* an exception may be the late one to another request */
    ft_mishap_seen seen;   /* what came in the transaction, should it go wrong */
    ft_histogram lateness; /* of polls, from when they were due */
    ft_counts counts;
    ft_errands errands;
} ft_bus;

#define FT_ON_ERRAND (UINT32_MAX - 1)

enum ft_what {
    FT_WAIT = 0, /* until the returned time */
    FT_LOOK,     /* read all that waits on the line and step again at once, also with 0 bytes */
    FT_SEND      /* write `bytes`, then wait until the returned time */
};

typedef struct ft_action {
    enum ft_what what;
    int watch;            /* while waiting, arriving bytes matter: read them and step */
    int64_t slack_ns;     /* the wake-up may come so much later without harm, to share it with other buses */
    int64_t send_ns;      /* the next request goes out then, as far as it is known, or FT_NEVER */
    int patient;          /* what is waited for is the end of a silence, and a request that is due already */
    const uint8_t *bytes; /* FT_SEND */
    size_t n;
} ft_action;

/* 0, or -1: no memory for a ring of 2^ring_bits samples. Takes no plan and no port yet. */
int ft_bus_init(ft_bus *bus, const ft_wire *wire, uint32_t ring_bits);
void ft_bus_free(ft_bus *bus);
/* What the bus hears is what `ascii` made of an ASCII line: frames that did not come whole there are no answers. */
void ft_bus_translated(ft_bus *bus, ft_ascii *ascii);

/* Runs `plan` from the end of the transaction under way on, or else from now on, with what is known from the one before
 * (inherit.h). */
void ft_bus_adopt(ft_bus *bus, ft_plan *plan, int64_t now);
/* Plans that nobody runs any more, linked: the caller's again. NULL: there are none. */
ft_plan *ft_bus_take_retired(ft_bus *bus);
/* The port is there. What became due while it was not is polled once, at once. */
void ft_bus_attach(ft_bus *bus, int64_t now);
/* The port is gone (or was never there): every tag of the bus fails. */
void ft_bus_detach(ft_bus *bus, int64_t now);

/* Nothing more is asked from now on: what is under way may end. To be stepped at once. */
void ft_bus_finish(ft_bus *bus, int64_t now);
/* It has not: its answer did not come in time. */
void ft_bus_abandon(ft_bus *bus);
/* A request waits for its answer. */
static inline int ft_bus_is_asking(const ft_bus *bus)
{
    return bus->current != FT_NO_BLOCK;
}

/* Errands were offered: step at once where that makes sense. Those that wait when the port is lost, or that are offered
 * while there is none, are finished in that step. */
void ft_bus_nudge(ft_bus *bus, int64_t now);

/* `bytes`: all that waited on the line at `now`, non-NULL also if that was nothing; NULL: nobody looked.
 * Returns when it wants to be called again, FT_NEVER if only bytes (where watched) or attach matter. */
int64_t ft_bus_step(ft_bus *bus, int64_t now, const uint8_t *bytes, size_t n, ft_action *out);

#endif
