#include "rhythm.h"

#include "ns.h"

/* Answers observed before a prediction is trusted. A look may be late by 1/128 of the answer's time, which costs less
 * than 1 % of the bus. The spread may be twice as much: part of it is not the device's but the host's, which bytes wake
 * up later than a timer does, and expected_ns follows the device alone. */
#define FT_RHYTHM_TRUST 8
#define FT_RHYTHM_SHIFT 7
#define FT_RHYTHM_SPREADS 2
#define FT_RHYTHM_PIECES_8 12 /* an answer in one and a half pieces */
#define FT_RHYTHM_LEAST_NS INT64_C(10000)
#define FT_RHYTHM_SPREAD_NS INT64_C(1000) /* no host's clock and timer are steadier */
/* So many predictions in a row are relied on; then bytes are waited for once, to see whether the device became quicker. */
#define FT_RHYTHM_CHECK 256
/* One answer that is far too late counts as no more than this many tolerances: trust is back after ten good ones. */
#define FT_RHYTHM_SURPRISE 16
/* Looks in time take the spread back that one too early added, if there are this many of them for each. */
#define FT_RHYTHM_FORGIVE 32

int64_t ft_rhythm_tolerance(const ft_rhythm *rhythm)
{
    return ft_most(rhythm->mean_ns >> FT_RHYTHM_SHIFT, FT_RHYTHM_LEAST_NS);
}

int ft_rhythm_is_steady(const ft_rhythm *rhythm)
{
    return rhythm->observed >= FT_RHYTHM_TRUST && rhythm->pieces_8 >= FT_RHYTHM_PIECES_8
        && rhythm->spread_ns <= FT_RHYTHM_SPREADS * ft_rhythm_tolerance(rhythm) && rhythm->expected_ns >= FT_WORTH_SLEEPING_NS
        && rhythm->relied < FT_RHYTHM_CHECK;
}

void ft_rhythm_observe(ft_rhythm *rhythm, int64_t took, int32_t pieces)
{
    int64_t away = took - rhythm->mean_ns;
    if (rhythm->observed == 0) {
        rhythm->mean_ns = took;
        rhythm->spread_ns = 0;
        rhythm->pieces_8 = 8 * pieces;
    } else {
        rhythm->mean_ns += away / 4;
        rhythm->spread_ns += (ft_most(away, -away) - rhythm->spread_ns) / 4;
        rhythm->pieces_8 += pieces - rhythm->pieces_8 / 8;
    }
    rhythm->spread_ns = ft_most(rhythm->spread_ns, FT_RHYTHM_SPREAD_NS);
    rhythm->expected_ns = rhythm->mean_ns + rhythm->spread_ns;
    rhythm->relied = 0;
    if (rhythm->observed < FT_RHYTHM_TRUST)
        rhythm->observed++;
}

/* Eight small steps down make up for one step up, so that about 1 look in 9 is too early: a second look costs less than
 * looking late at all others. Much too late: the spread says that the rhythm is lost. */
void ft_rhythm_adjust(ft_rhythm *rhythm, int64_t over)
{
    if (over <= 0) {
        rhythm->expected_ns -= rhythm->spread_ns / 8;
        rhythm->spread_ns = ft_most(rhythm->spread_ns - rhythm->spread_ns / FT_RHYTHM_FORGIVE, FT_RHYTHM_SPREAD_NS);
        return;
    }
    int64_t surprise = ft_least(over, FT_RHYTHM_SURPRISE * ft_rhythm_tolerance(rhythm));
    rhythm->expected_ns += ft_most(ft_least(over, ft_rhythm_tolerance(rhythm)), FT_RHYTHM_SPREAD_NS);
    rhythm->spread_ns += (ft_most(surprise, FT_RHYTHM_SPREAD_NS) - rhythm->spread_ns) / 8;
}
