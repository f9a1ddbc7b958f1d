/* Silences that shrink as far as devices go along. */
#include "gap.h"

#include "ns.h"

/* So many answers in a row, and the silence is shortened by this share. */
#define FT_GAP_TRUST 32
#define FT_GAP_SHARE 8
/* A request that came later than that after its silence proves nothing about it: hosts wake up late. */
#define FT_GAP_LATE_NS INT64_C(50000)
/* No silence within this share of a refused one is tried again until `hold` answers have come: first so many, doubled with
 * each refusal up to some days at ten requests a second. */
#define FT_GAP_CLEAR 4
#define FT_GAP_HOLD_FIRST 256u
#define FT_GAP_HOLD_MOST (1u << 20)

int64_t ft_gap_silence(const ft_gap *gap, int64_t quiet_ns)
{
    int64_t silence_ns = atomic_load_explicit(&gap->silence_ns, memory_order_relaxed);
    return silence_ns ? silence_ns : quiet_ns;
}

int64_t ft_gap_refusal(const ft_gap *gap)
{
    return atomic_load_explicit(&gap->refused_ns, memory_order_relaxed);
}

static void set(_Atomic int64_t *silence, int64_t ns)
{
    atomic_store_explicit(silence, ns, memory_order_relaxed);
}

void ft_gap_accepted(ft_gap *gap, int64_t silence_ns, int64_t quiet_ns, int64_t least_ns)
{
    int64_t current = ft_gap_silence(gap, quiet_ns);
    int64_t refused = ft_gap_refusal(gap);
    int64_t bound = ft_least(quiet_ns, ft_most(least_ns, refused + refused / FT_GAP_CLEAR));
    if (silence_ns > current + ft_most(current / FT_GAP_SHARE, FT_GAP_LATE_NS))
        return;
    gap->good++;
    if (current > bound && gap->good >= FT_GAP_TRUST) {
        set(&gap->silence_ns, ft_most(bound, current - current / FT_GAP_SHARE));
        gap->good = 0;
    } else if (current <= bound && refused && gap->good >= gap->hold) {
        set(&gap->refused_ns, 0);
        gap->good = 0;
    }
}

void ft_gap_refused(ft_gap *gap, int64_t silence_ns, int64_t quiet_ns)
{
    gap->good = 0;
    if (silence_ns >= quiet_ns)
        return;
    set(&gap->silence_ns, 0);
    set(&gap->refused_ns, silence_ns);
    gap->hold = gap->hold ? (uint32_t)ft_least(2 * (int64_t)gap->hold, FT_GAP_HOLD_MOST) : FT_GAP_HOLD_FIRST;
}
