/* When each bus wants to be stepped, in; when to wake up for as many of them as possible, out.
 *
 * A wake-up costs a host more than the work it is for, so buses share them. Looks at answers and requests may come a
 * little later (slack) to meet another bus's. That keeps buses together that are in step, but never brings those into
 * step that are not. So a bus that cannot keep its periods anyway saves up a small share of its time, and spends it on
 * waiting for the next request of another bus: from then on the two are in step.
 */
#ifndef FT_WISHES_H
#define FT_WISHES_H

#include "ns.h"

/* 1/128 of its time is what a bus may lose for others' company, and 10 ms what it may have saved up for it. */
#define FT_SPARE_SHIFT 7
#define FT_SPARE_MAX_NS INT64_C(10000000)

typedef struct ft_wish {
    int64_t wake_ns;   /* step the bus then ... */
    int64_t latest_ns; /* ... or so much later, if that saves a wake-up */
    int64_t send_ns;   /* its next request, as far as it is known when; else FT_NEVER */
    int64_t sent_ns;   /* its last one; 0: none yet */
    int64_t spare_ns;  /* saved up */
    int patient;       /* what it waits for is a request that is late anyway */
} ft_wish;

/* Wants nothing yet, and has spare time to find company with at once. */
void ft_wish_init(ft_wish *wish);
/* What a stepped bus wants next; a wake-up may come slack_ns later. */
void ft_wish_make(ft_wish *wish, int64_t wake_ns, int64_t slack_ns, int64_t send_ns, int patient);
/* A request went out at `now`. */
void ft_wish_sent(ft_wish *wish, int64_t now);
/* As late as no bus is harmed, but not later than the last one that is due until then; FT_NEVER: nobody is. */
int64_t ft_wishes_wake(const ft_wish *wishes, uint32_t n);
/* Whether to step bus i at `now`; one that would rather wait for company has a later wish from then on. */
int ft_wishes_due(ft_wish *wishes, uint32_t n, uint32_t i, int64_t now);

#endif
