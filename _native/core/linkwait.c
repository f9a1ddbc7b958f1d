/* Requests that are waited for, and those that others need not wait for. */
#include "linkwait.h"

#include "ns.h"
#include "width.h"

uint32_t ft_linkwait_places(const ft_link *link)
{
    return link->flights.count - (ft_width_gives_way(link) ? link->overdue : 0);
}

int ft_linkwait_is_held_up(const ft_link *link, uint8_t unit)
{
    for (uint32_t at = 0; link->overdue > 0 && at < link->flights.count; at++) {
        const ft_flight *flight = &link->flights.flight[at];
        if (flight->unit == unit && flight->overdue_ns > 0 && !flight->is_passed)
            return 1;
    }
    return 0;
}

void ft_linkwait_overtake(ft_link *link, uint32_t at)
{
    while (at-- > 0)
        link->flights.flight[at].is_overtaken = 1;
}

/* What comes when it should be overdue and nobody has noticed waited for the host, which stood still. */
void ft_linkwait_learn(ft_device *device, const ft_flight *flight, int64_t now)
{
    int64_t most = now - flight->sent_ns;
    if (flight->overdue_ns == 0)
        most = ft_least(most, flight->from_ns - flight->sent_ns + 2 * (flight->hold_ns - flight->from_ns));
    ft_patience_observe_within(&device->patience, ft_least(ft_most(0, now - flight->from_ns), most), most);
}

void ft_linkwait_mark(ft_link *link, int64_t now)
{
    for (uint32_t at = 0; at < link->flights.count; at++) {
        ft_flight *flight = &link->flights.flight[at];
        if (flight->overdue_ns == 0 && flight->hold_ns <= now) {
            flight->overdue_ns = now;
            link->overdue++;
        }
    }
}

/* Of what lies behind a gateway and may hold bytes back nothing is known. A device that was silent is waited for as briefly
 * as ever: its answer is taken all the same. */
static int64_t usual_ns(ft_link *link, const ft_flight *flight)
{
    static const ft_pieces UNKNOWN = {0};
    int64_t timeout = flight->deadline_ns - flight->sent_ns;
    if (flight->errand)
        return timeout;
    return ft_patience_timeout(&ft_link_device_of(link, flight)->patience, &UNKNOWN, 0, timeout);
}

/* One behind another that may keep the other side busy is judged again when that has ended. One whose unit has answered what
 * was asked later is lost: to a device that took too much, nothing goes in its place (width.h). Of a frame that has begun
 * the rest comes first: meanwhile nobody is overdue. */
int64_t ft_linkwait_judge(ft_link *link, int64_t now)
{
    int is_amid = ft_flights_is_amid(&link->flights);
    int64_t busy_ns = 0;
    int64_t first_ns = FT_NEVER;
    for (uint32_t at = 0; at < link->flights.count; at++) {
        ft_flight *flight = &link->flights.flight[at];
        flight->from_ns = busy_ns > now ? busy_ns : ft_least(flight->from_ns, now);
        flight->hold_ns = flight->deadline_ns;
        if (!is_amid && !flight->is_passed && flight->from_ns <= now)
            flight->hold_ns = ft_least(flight->hold_ns, flight->from_ns + usual_ns(link, flight));
        first_ns = ft_least(first_ns, flight->overdue_ns > 0 ? flight->deadline_ns : flight->hold_ns);
        if (!flight->is_overtaken)
            busy_ns = ft_most(busy_ns, flight->deadline_ns);
    }
    return first_ns;
}
