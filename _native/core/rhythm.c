#include "rhythm.h"

#include "ns.h"

/* Answers observed before a prediction is trusted. A look may be late by 1/128 of the answer's time, for the company of
 * other buses. The spread may be twice as much: part of it is not the device's but the host's, which bytes wake up later
 * than a timer does. */
#define FT_RHYTHM_TRUST 8
#define FT_RHYTHM_SHIFT 7
#define FT_RHYTHM_SPREADS 2
#define FT_RHYTHM_PIECES_8 12 /* an answer in one and a half pieces */
#define FT_RHYTHM_LEAST_NS INT64_C(10000)
#define FT_RHYTHM_SPREAD_NS INT64_C(1000) /* no host's clock and timer are steadier */
/* So many predictions in a row are relied on; then bytes are waited for once, to see whether the device became quicker. */
#define FT_RHYTHM_CHECK 256
/* One answer that is far off counts as no more than this many tolerances: six in a row, or one in five, are too many for a
 * rhythm, and the hiccups of a host are not. */
#define FT_RHYTHM_SURPRISE 4
/* Looks in time take the spread back that one too early added, if there are this many of them for each. */
#define FT_RHYTHM_FORGIVE 32
/* The expected time goes down by 1/8192 of the answer's time with each answer that was there, which costs 1/2000 of the
 * bus, and eight times as much up with each that came soon after: about 1 look in 9 is a little too early. A second look
 * costs less than looking late at all others; so what comes much later, as it does on a busy host, is not waited for. */
#define FT_RHYTHM_STEP_SHIFT 13
#define FT_RHYTHM_STEPS_UP 8
#define FT_RHYTHM_STEP_LEAST_NS INT64_C(100)
#define FT_RHYTHM_SOON_NS INT64_C(100000) /* beyond the tolerance: bytes wake a host up so late */

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

/* Steps of one size, whatever the distance: a tiny miss is not followed by the next one. */
static void follow(ft_rhythm *rhythm, int64_t over)
{
    int64_t step = ft_most(rhythm->mean_ns >> FT_RHYTHM_STEP_SHIFT, FT_RHYTHM_STEP_LEAST_NS);
    if (over <= 0)
        rhythm->expected_ns -= step;
    else if (over <= ft_rhythm_tolerance(rhythm) + FT_RHYTHM_SOON_NS)
        rhythm->expected_ns += FT_RHYTHM_STEPS_UP * step;
}

/* An answer that is far too late moves mean and spread only as far as those before were apart: hosts hiccup, but none lets
 * an answer come too early. What bytes tell comes later than what a timer can tell: hence the tolerance below the mean. */
void ft_rhythm_observe(ft_rhythm *rhythm, int64_t took, int32_t pieces)
{
    int64_t far = FT_RHYTHM_SURPRISE * ft_most(rhythm->spread_ns, ft_rhythm_tolerance(rhythm));
    int64_t away = ft_least(took - rhythm->mean_ns, far);
    if (rhythm->observed == 0) {
        *rhythm = (ft_rhythm){.mean_ns = took, .expected_ns = took, .pieces_8 = 8 * pieces};
    } else {
        rhythm->mean_ns += away / 4;
        rhythm->spread_ns += (ft_most(away, -away) - rhythm->spread_ns) / 4;
        rhythm->pieces_8 += pieces - rhythm->pieces_8 / 8;
    }
    rhythm->spread_ns = ft_most(rhythm->spread_ns, FT_RHYTHM_SPREAD_NS);
    follow(rhythm, took - rhythm->expected_ns);
    rhythm->expected_ns = ft_most(rhythm->mean_ns - ft_rhythm_tolerance(rhythm),
                                  ft_least(rhythm->expected_ns, rhythm->mean_ns + rhythm->spread_ns));
    rhythm->relied = 0;
    if (rhythm->observed < FT_RHYTHM_TRUST)
        rhythm->observed++;
}

/* Much too late: the spread says that the rhythm is lost. */
void ft_rhythm_adjust(ft_rhythm *rhythm, int64_t over)
{
    follow(rhythm, over);
    if (over <= 0) {
        rhythm->spread_ns = ft_most(rhythm->spread_ns - rhythm->spread_ns / FT_RHYTHM_FORGIVE, FT_RHYTHM_SPREAD_NS);
        return;
    }
    int64_t surprise = ft_least(over, FT_RHYTHM_SURPRISE * ft_rhythm_tolerance(rhythm));
    rhythm->spread_ns += (ft_most(surprise, FT_RHYTHM_SPREAD_NS) - rhythm->spread_ns) / 8;
}
