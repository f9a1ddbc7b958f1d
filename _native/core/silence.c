/* Suspects, and the share of the bus that they get. */
#include "silence.h"

#include "ns.h"

#define NS_PER_S INT64_C(1000000000)

#define SHARE_OF_ONE 50  /* a suspect is waited for in 1/50 of the time */
#define SHARE_OF_ALL 12  /* all that may be dead in 1/12, which leaves of 1/10 something for what is asked once for free */
#define LONGEST_NS (60 * NS_PER_S)
#define CREDIT 3         /* so many timeouts may be owed when one more is allowed: a single device is a suspect at once */
#define DEBT_MOST 6      /* what 30 devices that were asked for the first time have cost is not all worked off */

static int64_t debt_at(const ft_silence *silence, int64_t now)
{
    return ft_most(0, silence->debt_ns - (now - silence->at_ns) / SHARE_OF_ALL);
}

int64_t ft_silence_ready(const ft_silence *silence, const ft_device *device, int64_t cost_ns)
{
    if (device->alive || device->silent == 0)
        return 0;
    return silence->at_ns + (silence->debt_ns - CREDIT * cost_ns) * SHARE_OF_ALL;
}

/* Up to a fifth more, so that devices that died together are not probed together for ever. */
static int64_t jittered(ft_silence *silence, int64_t span)
{
    silence->dice = silence->dice * 1664525u + 1013904223u;
    return span + (span / 5 >> 8) * (int64_t)(silence->dice >> 24);
}

uint32_t ft_silence_probe(const ft_plan *plan, uint32_t device)
{
    uint32_t best = plan->block_count;
    for (uint32_t i = 0; i < plan->block_count; i++) {
        if (plan->blocks[i].device != device)
            continue;
        int is_better = best == plan->block_count || plan->turns[i].known > plan->turns[best].known
            || (plan->turns[i].known == plan->turns[best].known
                && plan->blocks[i].response_bytes < plan->blocks[best].response_bytes);
        if (is_better)
            best = i;
    }
    return best;
}

int ft_silence_deepens(ft_silence *silence, ft_plan *plan, uint32_t number, int64_t cost_ns, int64_t now)
{
    ft_device *device = &plan->devices[number];
    int64_t longest = ft_most(LONGEST_NS, SHARE_OF_ONE * cost_ns);
    int is_new = 0;
    if (++device->silent >= FT_DEAD_AFTER) {
        is_new = device->backoff_ns == 0;
        device->backoff_ns = is_new ? SHARE_OF_ONE * cost_ns : ft_least(2 * device->backoff_ns, longest);
        device->not_before_ns = now + jittered(silence, device->backoff_ns);
        device->alive = 0;
        atomic_store_explicit(&device->is_suspect, 1, memory_order_relaxed);
        if (is_new)
            device->probe = ft_silence_probe(plan, number);
    }
    if (!device->alive) {
        silence->debt_ns = ft_least(debt_at(silence, now) + cost_ns, DEBT_MOST * cost_ns);
        silence->at_ns = now;
    }
    return is_new;
}

void ft_silence_murmurs(ft_device *device, int64_t now)
{
    if (device->backoff_ns == 0)
        device->silent = 0;
    else
        device->not_before_ns = now + device->backoff_ns;
}

void ft_silence_late(ft_device *device, int64_t now)
{
    if (device->backoff_ns > 0)
        device->not_before_ns = now;
}

int ft_silence_breaks(ft_device *device)
{
    int was_suspect = device->backoff_ns > 0;
    device->silent = 0;
    device->backoff_ns = 0;
    device->alive = 1;
    atomic_store_explicit(&device->is_suspect, 0, memory_order_relaxed);
    return was_suspect;
}
