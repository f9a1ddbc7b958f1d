/* Single requests from another thread in, each one's outcome, exactly once, out: the slots through which they pass.
 *
 * An errand is a request that somebody makes once, beside the plan: a write, or a read on demand. One thread offers and
 * takes back, the bus's thread carries out; a slot belongs to one of them at a time:
 *
 *   FREE --offer--> OFFERED --the bus--> UNDER_WAY --the bus--> DONE --take--> FREE
 *
 * Those of one unit are carried out one by one, in the order they were offered.
 */
#ifndef FT_ERRAND_H
#define FT_ERRAND_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "modbus.h"
#include "ns.h"

#define FT_ERRANDS 8        /* of one bus: two bursts; who has more keeps them until there is room */
#define FT_ERRANDS_IN_ROW 4 /* then a poll that is due goes first */

enum ft_errand_state { FT_ERRAND_FREE = 0, FT_ERRAND_OFFERED, FT_ERRAND_UNDER_WAY, FT_ERRAND_DONE };

enum ft_errand_end {
    FT_ERRAND_ANSWERED = 0,
    FT_ERRAND_REFUSED,   /* answered with an exception */
    /* It was sent, and may have been carried out or not. */
    FT_ERRAND_TIMED_OUT,
    FT_ERRAND_DAMAGED,   /* an answer came whose CRC does not fit */
    FT_ERRAND_AMBIGUOUS, /* an exception came that may be the late one to another request */
    FT_ERRAND_LOST,      /* the port was lost meanwhile */
    FT_ERRAND_BROADCAST, /* to all units: nobody answers */
    /* It was not sent. */
    FT_ERRAND_NO_PORT,
    FT_ERRAND_TOO_LATE,  /* the line or the unit was not free for it by its deadline */
    FT_ERRAND_ENDS
};

typedef struct ft_errand {
    _Atomic int state;
    uint32_t number;         /* counts what was offered */
    /* in */
    int64_t deadline_ns;     /* it is not sent later */
    int64_t timeout_ns;      /* as of a poll; of a broadcast: silence behind it, for the units to act */
    uint16_t request_bytes;
    uint16_t answer_bytes;   /* the normal answer's ADU; 0: not known beforehand */
    uint8_t request[FT_MAX_TCP];
    /* out */
    enum ft_errand_end end;
    int64_t sent_ns;         /* 0: it was not */
    int64_t done_ns;
    uint16_t pdu_bytes;      /* of the answer or exception, else 0 */
    uint8_t pdu[FT_MAX_PDU];
} ft_errand;

typedef struct ft_errands {
    ft_errand slots[FT_ERRANDS];
    _Atomic uint32_t offered; /* slots that wait for the bus or are under way */
    uint32_t count;           /* ever offered; the offering thread's */
    /* the bus's */
    ft_errand *current;       /* of a bus, which carries out one at a time: that one, or NULL */
    uint32_t in_row;          /* since the last poll */
    uint32_t finished;        /* since ft_errands_news() */
} ft_errands;

/* ---- the thread that has errands ---- */

/* The slot where `request`, a whole frame, waits now; -1: none is free. Fields: see ft_errand. */
int ft_errand_offer(ft_errands *errands, const uint8_t *request, size_t n, size_t answer_bytes, int64_t timeout_ns,
                    int64_t deadline_ns);
/* 1: the errand of this slot is done, *out tells how, and the slot is free again; 0: it is not, or there is none. */
int ft_errand_take(ft_errands *errands, uint32_t slot, ft_errand *out);

/* ---- the bus ---- */

static inline int ft_errands_wait(const ft_errands *errands)
{
    return atomic_load_explicit(&errands->offered, memory_order_acquire) > 0;
}

int ft_errand_waits(const ft_errand *errand);
int ft_errand_is_older(const ft_errand *errand, const ft_errand *other);
/* The offered one in slot i if it is the next of its unit, whose number stands at `unit_at` in the request; else NULL. */
ft_errand *ft_errand_next_of_unit(ft_errands *errands, uint32_t i, size_t unit_at);
/* Its request goes out now. */
void ft_errand_begin(ft_errands *errands, ft_errand *errand, int64_t now);
/* Keeps the PDU that answers it, and tells how it ends by that: answered or refused. */
enum ft_errand_end ft_errand_keep(ft_errand *errand, const uint8_t *pdu, size_t n);
void ft_errand_finish(ft_errands *errands, ft_errand *errand, enum ft_errand_end end, int64_t now);
/* Those that wait and are past their deadlines end. The first deadline of the others, or FT_NEVER. */
int64_t ft_errands_expire(ft_errands *errands, int64_t now);
/* There is no port: those that wait end. */
void ft_errands_cancel(ft_errands *errands, int64_t now);
/* Whether some were finished since the last call. */
int ft_errands_news(ft_errands *errands);

#endif
