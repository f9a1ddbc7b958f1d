/* Timeouts that follow the devices, and silences that follow the adapter. */
#include "patience.h"

#include "ns.h"

#define NS_PER_MS INT64_C(1000000)

/* Answers seen before a timeout is shortened: the slowest of so few is no percentile yet. */
#define FT_PATIENCE_TRUST 200
/* Timeouts are never shorter: a busy host alone may be late by so much. */
#define FT_TIMEOUT_LEAST_NS (30 * NS_PER_MS)
#define FT_TIMEOUT_SPREADS 8
/* The slowest answer is forgotten by this share with every quicker one: half of the distance in 2800 answers. */
#define FT_SLOWEST_FORGET 4096
/* An answer is feared for so long after its timeout, at least and at most (gateways and USB adapters hold bytes back). */
#define FT_LATE_LEAST_NS (250 * NS_PER_MS)
#define FT_LATE_MOST_NS (10000 * NS_PER_MS)

#define FT_PIECES_TRUST 8
#define FT_PIECES_FORGET 256
/* No adapter pauses for longer: then it was the host that stood still. */
#define FT_PIECES_MOST_NS (500 * NS_PER_MS)
/* Until something is known: more than the 16 ms for which USB adapters hold bytes back. */
#define FT_QUIET_NS (20 * NS_PER_MS)
#define FT_STALL_LEAST_NS (10 * NS_PER_MS) /* the host's own lateness */
#define FT_STALL_PIECES 4

void ft_patience_observe(ft_patience *patience, int64_t took_ns)
{
    int64_t away = took_ns - patience->mean_ns;
    if (patience->seen == 0) {
        patience->mean_ns = took_ns;
        patience->spread_ns = took_ns / 2;
    } else {
        patience->mean_ns += away / 8;
        patience->spread_ns += (ft_most(away, -away) - patience->spread_ns) / 4;
    }
    patience->slowest_ns -= (patience->slowest_ns - took_ns) / FT_SLOWEST_FORGET;
    patience->slowest_ns = ft_most(patience->slowest_ns, took_ns);
    patience->seen += patience->seen < FT_PATIENCE_TRUST;
}

/* What fits with what is known tells nothing new. */
void ft_patience_observe_within(ft_patience *patience, int64_t least_ns, int64_t most_ns)
{
    int64_t fitting = ft_least(ft_most(patience->mean_ns, least_ns), most_ns);
    ft_patience_observe(patience, patience->seen > 0 ? fitting : most_ns);
}

void ft_patience_late(ft_patience *patience, int64_t took_ns)
{
    if (took_ns <= FT_LATE_MOST_NS) /* else the host stood still */
        patience->slowest_ns = ft_most(patience->slowest_ns, took_ns);
}

/* Doubled with each failure: a device that has become slower is waited for as long as the configuration allows. */
int64_t ft_patience_timeout(const ft_patience *patience, const ft_pieces *pieces, uint32_t silent, int64_t ceiling_ns)
{
    int64_t quiet = ft_pieces_quiet(pieces);
    int64_t usual = patience->mean_ns + FT_TIMEOUT_SPREADS * patience->spread_ns;
    int64_t slow = patience->slowest_ns + patience->slowest_ns / 2 + quiet;
    int64_t timeout = ft_most(ft_most(usual, slow), ft_most(FT_TIMEOUT_LEAST_NS, 2 * quiet));
    if (patience->seen < FT_PATIENCE_TRUST)
        return ceiling_ns;
    while (silent-- > 0 && timeout < ceiling_ns)
        timeout *= 2;
    return ft_least(timeout, ceiling_ns);
}

int64_t ft_patience_window(const ft_patience *patience, int64_t timeout_ns)
{
    int64_t window = ft_most(ft_most(2 * patience->slowest_ns, timeout_ns), FT_LATE_LEAST_NS);
    return ft_least(window, FT_LATE_MOST_NS);
}

void ft_pieces_observe(ft_pieces *pieces, int64_t silence_ns)
{
    silence_ns = ft_least(silence_ns, FT_PIECES_MOST_NS);
    pieces->longest_ns -= (pieces->longest_ns - silence_ns) / FT_PIECES_FORGET;
    pieces->longest_ns = ft_most(pieces->longest_ns, silence_ns);
    pieces->seen += pieces->seen < FT_PIECES_TRUST;
}

int64_t ft_pieces_quiet(const ft_pieces *pieces)
{
    return pieces->seen < FT_PIECES_TRUST ? ft_most(FT_QUIET_NS, pieces->longest_ns) : pieces->longest_ns;
}

int64_t ft_pieces_stall(const ft_pieces *pieces, int64_t most_ns)
{
    if (pieces->seen < FT_PIECES_TRUST)
        return most_ns;
    return ft_least(most_ns, ft_most(FT_STALL_PIECES * pieces->longest_ns, FT_STALL_LEAST_NS));
}
