/* Due times of polls and the time in; the most urgent one, what was missed, and when a busy device is asked again, out.
 *
 * What every master does alike, whatever lies between it and its devices: non-preemptive earliest deadline first,
 * periods on a grid, nothing queued up. A poll whose answer is awaited is not due (FT_NEVER).
 */
#ifndef FT_SCHEDULE_H
#define FT_SCHEDULE_H

#include <stdint.h>

#include "busplan.h"
#include "ns.h"

#define FT_EVERY_DEVICE UINT32_MAX

/* Where not all can be polled in time, those of long periods come late by no more than this: deadlines are not further
 * away. */
#define FT_WAIT_MOST_NS INT64_C(100000000)

/* A poll that is due then has to be sent until this time. */
static inline int64_t ft_poll_deadline(int64_t due_ns, int64_t period_ns)
{
    return due_ns + ft_least(period_ns, FT_WAIT_MOST_NS);
}

/* The first time on the poll's grid that lies after `now`; *missed: those between it and the due one. */
int64_t ft_poll_after(int64_t due_ns, int64_t period_ns, int64_t now, uint64_t *missed);

/* Keep the grid of one device, or of all (FT_EVERY_DEVICE), but forget what was missed: due is the latest time on it that
 * is not in the future. */
void ft_polls_catch_up(ft_plan *plan, uint32_t device, int64_t now);

/* The device refused this block with an exception: one that says "busy" or "in progress" puts the block off, with growing
 * pauses, any other one and an answer (code 0) end that. */
void ft_turn_refused(ft_turn *turn, uint8_t code, int64_t now);

#endif
