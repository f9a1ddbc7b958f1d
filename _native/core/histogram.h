/* Spans of time in, how many of them were about how long out: four classes an octave, from 32 us to half a minute.
 *
 * One thread adds, any may read. A class is 19 % wide on average, which is what a quantile may be off.
 */
#ifndef FT_HISTOGRAM_H
#define FT_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

#define FT_HISTOGRAM_LEAST_SHIFT 5 /* what is below 2^5 us is one class */
#define FT_HISTOGRAM_OCTAVES 20    /* what is above 2^25 us is in the last one */
#define FT_HISTOGRAM_CLASSES (1 + 4 * FT_HISTOGRAM_OCTAVES)

typedef struct ft_histogram {
    _Atomic uint64_t n[FT_HISTOGRAM_CLASSES]; /* at 1000 a second 32 bits were full after seven weeks */
} ft_histogram;

void ft_histogram_add(ft_histogram *histogram, int64_t span_ns);
void ft_histogram_read(const ft_histogram *histogram, uint64_t out[FT_HISTOGRAM_CLASSES]);
/* Up to how many us class i reaches. */
int64_t ft_histogram_limit_us(int i);

#endif
