/* Errands and a free line in, one request between the polls and its outcome out. Part of bus.c's machine.
 *
 * An errand goes ahead of every poll as soon as the line is free, under the rules of polls: a look at the line before it,
 * t3.5, the device's gap; nothing whose answer could be mistaken for one that is owed; and no request that is answered by
 * its copy before it is known whether the line echoes. It is sent once: what became of it is for its owner to find out.
 */
#ifndef FT_DETOUR_H
#define FT_DETOUR_H

#include "bus.h"

/* The errand that goes next at `at`, the time when the line is free; NULL: none, and *wake_ns is no later than when one may.
 * `polls_wait`: a poll is due as well. */
ft_errand *ft_detour_choose(ft_bus *bus, int64_t now, int64_t at, int polls_wait, int64_t *wake_ns);
/* Whom it asks. */
uint8_t ft_detour_unit(const ft_errand *errand);
/* The request goes out now. Returns when to look for its answer. */
int64_t ft_detour_begin(ft_bus *bus, ft_errand *errand, int64_t now, ft_action *out);
/* The transaction is over. */
void ft_detour_end(ft_bus *bus, int64_t now, enum ft_outcome outcome);
/* There is no port: nothing that waits can be sent, and what was sent is not answered any more. */
void ft_detour_cancel(ft_bus *bus, int64_t now);

#endif
