/* The plan that has run and the one that follows it in; what is known of devices and polls, handed on, out. */
#ifndef FT_INHERIT_H
#define FT_INHERIT_H

#include "busplan.h"

/* `plan` begins at `now`; `before` may be NULL. A device is known by its unit: it keeps what it owes, its back-off, its
 * timeouts and its counters. A poll of the same registers as often keeps its turn, so that it is neither asked for twice nor
 * left out. A new one begins after its phase, but no later than one was due that read any of its registers. */
void ft_plan_inherit(ft_plan *plan, const ft_plan *before, int64_t now);

/* What reads any registers of `block`, which another plan is reading now, is not due before due_ns, or for one period. */
void ft_plan_put_off(ft_plan *plan, const ft_block *block, int64_t due_ns, int64_t now);

/* The number in `plan` of the poll that reads what `block` of another plan reads, as often, or FT_NO_BLOCK. Plans keep most of
 * their order, so the search begins at `from`. */
uint32_t ft_plan_same_poll(const ft_plan *plan, const ft_block *block, uint32_t from);
/* The number in `plan` of the device that is number `device` in `other`: of the same unit, and the same number if there are
 * several; or FT_NO_BLOCK. */
uint32_t ft_plan_same_device(const ft_plan *plan, const ft_plan *other, uint32_t device);

#endif
