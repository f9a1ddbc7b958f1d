#include "wishes.h"

void ft_wish_init(ft_wish *wish)
{
    *wish = (ft_wish){.wake_ns = FT_NEVER, .latest_ns = FT_NEVER, .send_ns = FT_NEVER, .spare_ns = FT_SPARE_MAX_NS};
}

void ft_wish_make(ft_wish *wish, int64_t wake_ns, int64_t slack_ns, int64_t send_ns, int patient)
{
    wish->wake_ns = wake_ns;
    wish->latest_ns = wake_ns < FT_NEVER - slack_ns ? wake_ns + slack_ns : FT_NEVER;
    wish->send_ns = send_ns;
    wish->patient = patient;
}

void ft_wish_sent(ft_wish *wish, int64_t now)
{
    if (wish->sent_ns)
        wish->spare_ns = ft_least(wish->spare_ns + ((now - wish->sent_ns) >> FT_SPARE_SHIFT), FT_SPARE_MAX_NS);
    wish->sent_ns = now;
}

int64_t ft_wishes_wake(const ft_wish *wishes, uint32_t n)
{
    int64_t latest = FT_NEVER;
    int64_t wake = INT64_MIN;
    for (uint32_t i = 0; i < n; i++)
        latest = ft_least(latest, wishes[i].latest_ns);
    for (uint32_t i = 0; i < n; i++)
        if (wishes[i].wake_ns <= latest && wishes[i].wake_ns > wake)
            wake = wishes[i].wake_ns;
    return wake == INT64_MIN ? FT_NEVER : wake;
}

/* How long bus i may wait for others: not at all when one has just sent, and no longer than those can that would send
 * with it now; who is together stays so. */
static int64_t patience(const ft_wish *wishes, uint32_t n, uint32_t i, int64_t now)
{
    int64_t least = wishes[i].patient ? wishes[i].spare_ns : 0;
    for (uint32_t j = 0; j < n; j++) {
        if (j != i && wishes[j].sent_ns >= now)
            return 0;
        if (wishes[j].patient && wishes[j].wake_ns <= now)
            least = ft_least(least, wishes[j].spare_ns);
    }
    return least;
}

/* The first request of another bus after `now` and until then, or FT_NEVER. */
static int64_t company(const ft_wish *wishes, uint32_t n, uint32_t i, int64_t now, int64_t until)
{
    int64_t first = FT_NEVER;
    for (uint32_t j = 0; j < n; j++)
        if (j != i && wishes[j].send_ns > now && wishes[j].send_ns <= until)
            first = ft_least(first, wishes[j].send_ns);
    return first;
}

int ft_wishes_due(ft_wish *wishes, uint32_t n, uint32_t i, int64_t now)
{
    ft_wish *wish = &wishes[i];
    if (wish->wake_ns > now)
        return 0;
    int64_t with = company(wishes, n, i, now, now + patience(wishes, n, i, now));
    if (with == FT_NEVER)
        return 1;
    wish->spare_ns -= with - now;
    wish->latest_ns += with - wish->wake_ns;
    wish->wake_ns = wish->send_ns = with;
    return 0;
}
