/* A new plan and the requests that are under way in, those that go on under the plan they were sent under, out. Part of
 * link.c's machine.
 *
 * Unlike a bus (bus.h) a link does not wait for the end of what is under way: one request that nobody answers would hold up
 * all others, and there may always be one. So the new plan runs at once, with what is known from the one before (inherit.h).
 * What is under way is answered, fails and is counted as ever, its samples are those of its own plan, and its registers are
 * not due again before their next time. A plan that was replaced stays until the last of its requests has ended: there are
 * no more of them than requests under way.
 */
#ifndef FT_LINKPLAN_H
#define FT_LINKPLAN_H

#include "link.h"

/* Runs `plan` from now on. */
void ft_link_adopt(ft_link *link, ft_plan *plan, int64_t now);
/* Plans that were replaced and of which nothing is under way any more, linked: the caller's again. NULL: there are none. */
ft_plan *ft_link_take_retired(ft_link *link);

#endif
