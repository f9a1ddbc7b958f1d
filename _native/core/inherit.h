/* The plan that has run and the one that follows it in; what is known of devices and polls, handed on, out. */
#ifndef FT_INHERIT_H
#define FT_INHERIT_H

#include "busplan.h"

/* `plan` begins at `now`; `before` may be NULL. A device is known by its unit: it keeps what it owes, its back-off, its
 * timeouts and its counters. A poll of the same registers as often keeps its turn, so that it is neither asked for twice nor
 * left out. A new one begins after its phase, but no later than one was due that read any of its registers. */
void ft_plan_inherit(ft_plan *plan, const ft_plan *before, int64_t now);

#endif
