/* Polls that nobody answered in; when each silent device may be asked again, out.
 *
 * A device is a suspect after FT_DEAD_AFTER polls without a byte. It then is asked for one short block at growing
 * intervals, so that it takes at most 1/50 of the bus; devices that were never heard and suspects share 1/12 of it.
 * The first answer makes everything as it was.
 */
#ifndef FT_SILENCE_H
#define FT_SILENCE_H

#include <stdint.h>

#include "busplan.h"

#define FT_DEAD_AFTER 3u

/* What a bus has spent on waiting for devices that may not be there. */
typedef struct ft_silence {
    int64_t debt_ns; /* at `at_ns`; it is worked off with the time */
    int64_t at_ns;
    uint32_t dice;   /* state of the jitter */
} ft_silence;

/* The block that a suspect is asked for: of those that it is known to answer, or else of all, the shortest one. */
uint32_t ft_silence_probe(const ft_plan *plan, uint32_t device);
/* When a device whose next timeout is `cost_ns` may be asked, as far as its silence matters. */
int64_t ft_silence_ready(const ft_silence *silence, const ft_device *device, int64_t cost_ns);
/* The device said nothing for `cost_ns`. 1: from now on it is a suspect. */
int ft_silence_deepens(ft_silence *silence, ft_plan *plan, uint32_t device, int64_t cost_ns, int64_t now);
/* Damaged or foreign bytes came: somebody is there, but a suspect stays one. */
void ft_silence_murmurs(ft_device *device, int64_t now);
/* An intact answer came when it was no longer awaited: a suspect may be asked as soon as the others' share allows. */
void ft_silence_late(ft_device *device, int64_t now);
/* The device has answered. 1: it was a suspect. */
int ft_silence_breaks(ft_device *device);

#endif
