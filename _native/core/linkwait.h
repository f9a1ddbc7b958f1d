/* Requests under way on a connection and when they were answered in; which of them are overdue out. Part of link.c's machine.
 *
 * Answers bear numbers, so one is taken until its request's timeout is over, however late it seems. But a request whose
 * device has mostly answered long since (patience.h) is overdue: its place in the window is given to others. Nothing else
 * is asked of its unit meanwhile, unless that answers what was asked later: a slow device is not heaped with requests, and
 * a gateway that mixes up numbers can give its late answer to none of another unit.
 *
 * Behind a connection may lie a single line, on which one request is carried out after the other. So a request is waited
 * for from when nothing that was sent before it is awaited any more, or something that was sent later was answered: the
 * other side then does not wait for it. What it took is known between bounds where it was sent behind others.
 *
 * That a request goes beside an overdue one is an experiment, and width.h judges it.
 */
#ifndef FT_LINKWAIT_H
#define FT_LINKWAIT_H

#include "link.h"

/* So many places of the window are taken. */
uint32_t ft_linkwait_places(const ft_link *link);
/* Whether a request to this unit is overdue. */
int ft_linkwait_is_held_up(const ft_link *link, uint8_t unit);
/* Flight `at` was answered: what was sent before it does not hold up others. */
void ft_linkwait_overtake(ft_link *link, uint32_t at);
/* A poll of the device was answered as asked. */
void ft_linkwait_learn(ft_device *device, const ft_flight *flight, int64_t now);
/* What is not answered by `now` may be overdue. */
void ft_linkwait_mark(ft_link *link, int64_t now);
/* How long each one is waited for, all that came and was sent considered. Returns when that is over for the first one. */
int64_t ft_linkwait_judge(ft_link *link, int64_t now);

#endif
