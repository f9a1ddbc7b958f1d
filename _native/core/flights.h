/* Requests sent on one TCP connection and the bytes that come back in; which of them each frame answers, out.
 *
 * Up to FT_FLIGHTS_MOST transactions are under way at once. A frame answers one of them if its transaction number, unit,
 * function and size are those of that request; everything else is passed over and counted, and no deadline is put off for
 * it. The outcome depends on the bytes and their order alone, never on how they are chunked. Sans-IO.
 *
 * Two liberties that devices take are known from the field and cannot make a value wrong: exceptions come with unit FF,
 * and an answer's length field is too large by 1 or by the 6 bytes of the header that it does not count. Such an answer
 * ends where its own byte count says. A length that is too small, or too large by anything else, is a lie: the frame is
 * passed over byte by byte until an answer that is awaited begins.
 *
 * A transaction number that got no answer is not used again while that answer may still come.
 *
 * A TCP stream has no holes, so what follows the beginning of an answer is the rest of it. Where that does not come in
 * time, what does come later cannot be told from it: such a connection is to be given up.
 */
#ifndef FT_FLIGHTS_H
#define FT_FLIGHTS_H

#include <stddef.h>
#include <stdint.h>

#include "busplan.h"
#include "errand.h"

#define FT_FLIGHTS_MOST 16 /* the most requests that the protocol's guide lets a server take at once */
/* Numbers of the last requests without an answer; older ones are 60000 requests away. */
#define FT_LOST_MOST 64
/* Of a frame that is no answer: its header, unit, function, and a little to look at. */
#define FT_MURMUR_BYTES 16u
/* The head of a frame whose tail is yet to come, and a chunk behind it. */
#define FT_HEAP_BYTES (8 * FT_MAX_TCP)

typedef struct ft_flight {
    int64_t sent_ns;
    int64_t deadline_ns;
    int64_t due_ns;        /* of the block's next poll */
    int64_t from_ns;       /* it is waited for from then on, and its place is its own until hold_ns, see linkwait.h */
    int64_t hold_ns;
    int64_t overdue_ns;    /* since when it is overdue; 0: it is not */
    ft_errand *errand;     /* NULL: it is a poll */
    const uint8_t *request; /* its PDU, where it was given to ft_flights_add() */
    size_t request_bytes;
    ft_plan *plan;         /* under which it was sent; an errand's is the one that runs */
    uint32_t block;        /* of that plan; of an errand, the first of its unit, or FT_NO_BLOCK */
    uint32_t turn;         /* the same poll in the plan that runs, or FT_NO_BLOCK */
    uint32_t device;       /* the same device there, or FT_NO_BLOCK */
    uint32_t known;        /* as ft_flights' when it was sent; one less if it was sent between two frames */
    uint16_t transaction;
    uint8_t unit;
    uint8_t behind;        /* so many others had places when it was sent */
    uint8_t is_beside;     /* others were under way that had lost their places */
    uint8_t is_passed;     /* one of the same unit that was sent later was answered */
    uint8_t is_overtaken;  /* one of any unit */
    uint8_t murmured;      /* so many bytes are kept of what came that bears its number and is not its answer */
    uint8_t murmur[FT_MURMUR_BYTES];
} ft_flight;

/* A request that was given up, whose answer may still come. */
typedef struct ft_lost {
    int64_t sent_ns; /* 0: how late its answer comes tells nothing */
    uint32_t device; /* of the plan that runs, or FT_NO_BLOCK */
    uint16_t transaction;
} ft_lost;

/* What came besides answers, since init. */
typedef struct ft_flight_counts {
    uint64_t late;          /* answers to requests that had been given up */
    uint64_t foreign;       /* intact frames that answer nothing that is or was under way */
    uint64_t misfits;       /* frames with the number of a request, but another unit, function or size */
    uint64_t odd_lengths;   /* answers taken in spite of their length field */
    uint64_t noise_bytes;   /* all bytes that were no answer, late ones apart */
} ft_flight_counts;

typedef struct ft_flights {
    ft_flight flight[FT_FLIGHTS_MOST]; /* in the order in which they were sent */
    uint32_t count;
    uint32_t lost_count;               /* ever */
    ft_lost lost[FT_LOST_MOST];        /* a ring */
    uint16_t transaction;              /* last used */
    uint8_t hunting;                   /* the frame boundary is lost */
    uint32_t known;                    /* frames that answered what was asked, in time or not, ever */
    size_t from;                       /* heap[from .. used) has arrived and is not yet judged */
    size_t used;
    ft_flight_counts counts;
    uint8_t heap[FT_HEAP_BYTES];
} ft_flights;

enum ft_arrival { FT_ARRIVED_NOTHING = 0, FT_ARRIVED_ANSWER, FT_ARRIVED_LATE, FT_ARRIVED_FOREIGN };

/* The PDU that answers flight `at`; it is there until bytes are taken in. */
typedef struct ft_arrived {
    uint32_t at; /* LATE: in flights->lost */
    const uint8_t *pdu;
    size_t pdu_bytes;
} ft_arrived;

/* No request is under way. */
void ft_flights_init(ft_flights *flights);
/* A new connection: forget bytes and requests under way; counters and the transaction number go on. */
void ft_flights_reset(ft_flights *flights);

/* `request`, a whole frame of n bytes that stays where it is, is sent: it goes to `out` with a transaction number of its
 * own. The new flight, for which there must be room; the caller says what it is for, and sets its times. */
ft_flight *ft_flights_add(ft_flights *flights, const uint8_t *request, size_t n, uint8_t *out);
/* The request has an answer, or is given up (is_lost: its answer may still come). */
void ft_flights_remove(ft_flights *flights, uint32_t at, int is_lost);

/* Takes bytes in, as many as there is room for; returns how many. Judge them all before the next ones. */
size_t ft_flights_take(ft_flights *flights, const uint8_t *bytes, size_t n);
/* The next thing that has arrived whole. ANSWER: *out, whose flight is the caller's to remove. LATE: to out->at, which was
 * given up. FOREIGN: a frame that nobody asked for. NOTHING: more bytes are needed. */
enum ft_arrival ft_flights_next(ft_flights *flights, ft_arrived *out);
/* What is left is the beginning of nothing: it came in a datagram, and the next one begins anew. */
void ft_flights_cut(ft_flights *flights);
/* Whether an answer has begun to arrive and is not complete. */
int ft_flights_half(const ft_flights *flights);
/* Whether anything has: nothing else can come before its rest. */
int ft_flights_is_amid(const ft_flights *flights);
/* Whether flight `at` was sent amid a frame, and nothing has come since that was asked for: its answer may be in what passes
 * for that frame's rest. */
int ft_flights_is_adrift(const ft_flights *flights, uint32_t at);
/* What has arrived of an answer with this number, not whole yet; 0 bytes: nothing that is known to be of it. */
size_t ft_flights_part(const ft_flights *flights, uint16_t transaction, const uint8_t **bytes);

#endif
