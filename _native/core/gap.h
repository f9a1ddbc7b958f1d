/* How a device fared after short silences in; the silence before the next request to it out.
 *
 * A bus that is asked to (ft_wire.least_ns) shortens the silence of t3.5 for each device by itself: by a little once the
 * device has answered often enough after the one before. At the first request that goes wrong after a short silence the
 * device gets t3.5 again, and then for long none as short as that. Each time that happens it is left alone for longer.
 */
#ifndef FT_GAP_H
#define FT_GAP_H

#include <stdatomic.h>
#include <stdint.h>

/* The silences may be read by any thread. All 0: t3.5, nothing is known. */
typedef struct ft_gap {
    _Atomic int64_t silence_ns; /* 0: t3.5 */
    _Atomic int64_t refused_ns; /* the silence after which a request went wrong, 0: none is known */
    uint32_t good;              /* answers in a row after this silence */
    uint32_t hold;              /* so many of them until what was refused is tried once more */
} ft_gap;

/* The silence that the device gets, t3.5 at most. */
int64_t ft_gap_silence(const ft_gap *gap, int64_t quiet_ns);
/* The silence after which a request went wrong, 0: none is known. */
int64_t ft_gap_refusal(const ft_gap *gap);
/* It has answered a request that came after `silence_ns`. */
void ft_gap_accepted(ft_gap *gap, int64_t silence_ns, int64_t quiet_ns, int64_t least_ns);
/* ... or not, or its answer was damaged. */
void ft_gap_refused(ft_gap *gap, int64_t silence_ns, int64_t quiet_ns);

#endif
