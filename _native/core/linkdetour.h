/* Errands and the window of a link in, the one that goes next and how many places there are beside it, out. Part of link.c's
 * machine.
 *
 * An errand goes ahead of every poll, into the first place of the window that is free, under the rules of polls: the
 * device's gap, and one thing at a time where that is what the device takes. After FT_ERRANDS_IN_ROW of them a poll that is
 * due goes first. It is sent once: what became of it is for its owner to find out. So it is no experiment either: with it
 * there are never more requests under way than this connection has answered before.
 */
#ifndef FT_LINKDETOUR_H
#define FT_LINKDETOUR_H

#include "link.h"

/* The errand that goes now; NULL: none, and *wake_ns is no later than when one may. `polls_wait`: a poll is due as well. */
ft_errand *ft_linkdetour_choose(ft_link *link, int64_t now, int polls_wait, int64_t *wake_ns);
/* How many requests, overdue ones as well, may be under way if this errand (NULL: a poll) is sent now, the window apart. */
uint32_t ft_linkdetour_places(const ft_link *link, const ft_errand *errand);
/* The number of the first block that reads from this unit, or FT_NO_BLOCK. */
uint32_t ft_linkdetour_block(const ft_plan *plan, uint8_t unit);

#endif
