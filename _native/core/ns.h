/* Two times or spans in ns in, the earlier or shorter, the later or longer one out. */
#ifndef FT_NS_H
#define FT_NS_H

#include <stdint.h>

#define FT_NEVER INT64_MAX /* a time that does not come */

/* Answers that lie there so long after their deadline came while this whole process slept (stopped, starved, swapped out):
 * nobody knows when, and their values would get the time of the awakening. */
#define FT_OVERSLEPT_NS INT64_C(500000000)

static inline int64_t ft_least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t ft_most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

#endif
