/* How much a line brings in, whether that can be a line at all, and if not, how long nobody listens to it, out.
 *
 * A serial port brings no more than its baud rate. Over a socket the other side sets the pace, and one that sends as fast
 * as it can would have this thread do nothing but read. So the bytes between two good answers are counted, and run off as
 * fast as a line could bring them. Beyond that, what waits is thrown away and counted, and the line rests: so it is read
 * a bounded number of times a second, its polls and those of all other lines go on, and the kernel holds the sender back
 * meanwhile.
 */
#ifndef FT_FLOOD_H
#define FT_FLOOD_H

#include <stddef.h>
#include <stdint.h>

#include "ns.h"

#define FT_FLOOD_BYTES 16384               /* at once: a process that slept finds as much of a noisy line */
#define FT_FLOOD_NS_PER_BYTE 2500          /* in the long run: 4 Mbaud, more than any line of Modbus has */
#define FT_FLOOD_LOOK_BYTES 256            /* what a look costs beside its bytes: they may come one by one */
#define FT_FLOOD_REST_NS INT64_C(20000000) /* an answer in a flood is seen by so much later */
#define FT_FLOOD_READS 64                  /* of 4 KiB before each rest: what the kernel still holds is soon gone */

typedef struct ft_flood {
    uint64_t answers;      /* so many had come ... */
    int64_t level_bytes;   /* ... before these, which run off by time ... */
    int64_t level_ns;      /* ... from here on */
    int64_t rest_until_ns; /* 0: it is listened to */
} ft_flood;

/* n bytes came, by which time there had been so many answers. 1: what else waits is to be thrown away. */
static inline int ft_flood_swells(ft_flood *flood, size_t n, uint64_t answers, int64_t now)
{
    int64_t ran_off = (now - flood->level_ns) / FT_FLOOD_NS_PER_BYTE;
    int64_t left = answers != flood->answers ? 0 : ft_most(0, flood->level_bytes - ran_off);
    flood->answers = answers;
    flood->level_bytes = left + (int64_t)n + FT_FLOOD_LOOK_BYTES;
    flood->level_ns = now;
    if (flood->level_bytes <= FT_FLOOD_BYTES)
        return 0;
    flood->rest_until_ns = now + FT_FLOOD_REST_NS;
    return 1;
}

#endif
