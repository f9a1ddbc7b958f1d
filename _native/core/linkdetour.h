/* Errands and what answers them in, requests among the polls of a link out: how a link carries out what other threads want.
 *
 * The twin of detour.h. An errand goes ahead of every poll, after FT_ERRANDS_IN_ROW of them a poll that is due; those of one
 * unit go one after the other, in the order they were offered. Answers are told by their numbers, so none must wait for a
 * late one. A new plan does not touch errands that are under way.
 */
#ifndef FT_LINKDETOUR_H
#define FT_LINKDETOUR_H

#include "link.h"

/* The oldest errand that may go now, as a request to `out`, which holds FT_MAX_TCP bytes. Returns its length; 0: none may, and
 * *wake is no later than when one will. `polls_wait`: a poll is due. There must be room for one more flight. */
size_t ft_linkdetour_begin(ft_link *link, int64_t now, int polls_wait, int64_t *wake, uint8_t *out);
/* The errand of flight `at` is answered by this PDU. */
void ft_linkdetour_end(ft_link *link, uint32_t at, const uint8_t *pdu, int64_t now);
/* It is not. */
void ft_linkdetour_fail(ft_link *link, uint32_t at, enum ft_errand_end end, int64_t now);
/* There is no connection: what was sent is lost, what was not is not. */
void ft_linkdetour_cancel(ft_link *link, int64_t now);

#endif
