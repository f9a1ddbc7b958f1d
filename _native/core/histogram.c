#include "histogram.h"

#include "ns.h"

#define NS_PER_US 1000
#define BITS 64

static int class_of(int64_t span_ns)
{
    uint64_t us = (uint64_t)ft_most(span_ns, 0) / NS_PER_US;
    if (us >> FT_HISTOGRAM_LEAST_SHIFT == 0)
        return 0;
    int octave = BITS - 1 - __builtin_clzll(us);
    int quarter = (int)(us >> (octave - 2) & 3);
    int i = 1 + 4 * (octave - FT_HISTOGRAM_LEAST_SHIFT) + quarter;
    return i < FT_HISTOGRAM_CLASSES ? i : FT_HISTOGRAM_CLASSES - 1;
}

void ft_histogram_add(ft_histogram *histogram, int64_t span_ns)
{
    _Atomic uint64_t *n = &histogram->n[class_of(span_ns)];
    atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + 1, memory_order_relaxed);
}

void ft_histogram_read(const ft_histogram *histogram, uint64_t out[FT_HISTOGRAM_CLASSES])
{
    for (int i = 0; i < FT_HISTOGRAM_CLASSES; i++)
        out[i] = atomic_load_explicit(&histogram->n[i], memory_order_relaxed);
}

int64_t ft_histogram_limit_us(int i)
{
    int octave = FT_HISTOGRAM_LEAST_SHIFT + (i - 1) / 4;
    if (i == 0)
        return INT64_C(1) << FT_HISTOGRAM_LEAST_SHIFT;
    return (int64_t)(5 + (i - 1) % 4) << (octave - 2);
}
